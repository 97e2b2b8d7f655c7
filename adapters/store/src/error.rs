//! Why the database did not do what it was asked.

use std::path::PathBuf;

/// A failure of the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be used as the database.
    #[error("cannot open the database {}: {source}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// A statement failed.
    #[error("{doing}: {source}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: sqlx::Error,
    },
    /// Somebody else appended events in between.
    #[error("the event log already has an event number {sequence}")]
    Conflict {
        /// The number that is taken.
        sequence: u64,
    },
    /// A stored value cannot be read.
    #[error("a stored {what} cannot be read: {reason}")]
    Corrupt {
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        reason: String,
    },
    /// The database was made under another value.
    #[error("the database was made with {name} = {held}, and cannot go on with {asked}")]
    OtherFact {
        /// Of what.
        name: &'static str,
        /// The value it was made with.
        held: String,
        /// The value asked for.
        asked: String,
    },
}

impl StoreError {
    pub(crate) fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Query { doing, source }
    }

    pub(crate) fn corrupt<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |reason| Self::Corrupt { what, reason: reason.to_string() }
    }
}

//! The database: events, series, plans, meters, sites, tokens, idempotency keys.
//!
//! SQLite, embedded: one machine needs nothing installed. Write-ahead log with `synchronous =
//! FULL`, because money is kept here: what was answered to a caller is on the disk. This crate
//! knows rows, not rules; what may be stored is decided above.

mod chain;
mod error;
mod events;
pub mod limits;
mod meters;
mod migrations;
mod plans;
mod purges;
mod series;
mod sites;
mod tokens;

use std::{path::Path, time::Duration};

pub use error::StoreError;
pub use events::{Answered, StoredEvent};
pub use meters::{ContractSecond, Delivered, MappingSum, OwnLoad, Recorded};
pub use series::SlotRecord;
pub use sites::{ProofOutcome, StoredHost, StoredSite};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
pub use tokens::{TokenHash, TokenOwner};

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
}

impl Store {
    /// Opens the database at `path`, makes it if it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// If the file cannot be opened or is not such a database.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let opened = |source| StoreError::Open { path: path.to_owned(), source };
        let pool = SqlitePoolOptions::new()
            .max_connections(limits::CONNECTIONS_MAX)
            .connect_with(options)
            .await
            .map_err(opened)?;
        migrations::migrator().run(&pool).await.map_err(|error| opened(error.into()))?;
        let store = Self { pool };
        store.chain_older_events().await?;
        Ok(store)
    }

    /// Holds a fact for the life of the database: stores it the first time, and refuses another
    /// value ever after.
    ///
    /// # Errors
    /// [`StoreError::OtherFact`] if the database was made with another value.
    pub async fn hold_fact(&self, name: &'static str, value: &str) -> Result<(), StoreError> {
        let doing = "holding a fact";
        sqlx::query("INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(value)
            .execute(&self.pool)
            .await
            .map_err(StoreError::query(doing))?;
        let held: String = sqlx::query_scalar("SELECT value FROM facts WHERE name = ?")
            .bind(name)
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::query(doing))?;
        if held == value {
            Ok(())
        } else {
            Err(StoreError::OtherFact { name, held, asked: value.to_owned() })
        }
    }

    /// Writes what is in memory to the disk and closes.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// SQLite's integers are signed; the counts kept here stay far below that.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod testing {
    use super::*;

    /// A store in a folder of its own, which goes when the second value is dropped.
    pub(crate) async fn store() -> (Store, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("headroom.db")).await.unwrap();
        (store, folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fact_is_held_for_the_life_of_the_database() {
        let (store, folder) = testing::store().await;
        store.hold_fact("slot_seconds", "900").await.unwrap();
        store.close().await;
        let again = Store::open(&folder.path().join("headroom.db")).await.unwrap();
        again.hold_fact("slot_seconds", "900").await.unwrap();
        let error = again.hold_fact("slot_seconds", "60").await.unwrap_err().to_string();
        assert!(error.contains("900") && error.contains("60"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headroom.db");
        std::fs::write(&path, "this is a text file, and long enough to be read as one").unwrap();
        let error = Store::open(&path).await.unwrap_err().to_string();
        assert!(error.contains("headroom.db"), "{error}");
    }
}

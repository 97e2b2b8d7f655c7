//! Messages between services.
//!
//! ```text
//!   exchange ──PLAN, BUDGETS──► dns, edge          state: the newest value, kept for late comers
//!   exchange ──SERVER_REPORTS──► dns               state
//!   edge ──METERS──► exchange                      stream: every message, in order
//!   exchange ──METER_ACKS──► edge                  stream
//!   dns ──NAME_SERVER_REPORTS──► exchange          stream
//! ```
//!
//! All subjects stand in one list ([`subjects`]), each with the shape of its messages. Messages
//! cross the bus serialised, also in process, so that the laptop and a deployment over a broker
//! take the same path. This crate knows no policy: what a message means is the receiver's matter.

mod in_process;
pub mod limits;
pub mod subjects;

pub use in_process::{Bus, Subscription};
pub use subjects::{Kind, Subject};

/// Why a message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The message cannot be written in its shape.
    #[error("cannot write a message on {subject}: {source}")]
    Encode {
        /// The subject.
        subject: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The message is not of the subject's shape.
    #[error("cannot read a message on {subject}: {source}")]
    Decode {
        /// The subject.
        subject: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The message is longer than the bus carries.
    #[error("a message of {bytes} bytes on {subject} is longer than {max} bytes")]
    TooLarge {
        /// The subject.
        subject: &'static str,
        /// Its length.
        bytes: usize,
        /// What is carried.
        max: usize,
    },
    /// The receiver was too slow and messages are gone.
    #[error("{lost} messages on {subject} are lost: the receiver is too slow")]
    Lagged {
        /// The subject.
        subject: &'static str,
        /// How many.
        lost: u64,
    },
    /// The bus is gone.
    #[error("the bus of {subject} is closed")]
    Closed {
        /// The subject.
        subject: &'static str,
    },
}

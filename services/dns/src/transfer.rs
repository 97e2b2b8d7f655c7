//! Zones from other name servers: AXFR (RFC 5936), IXFR (RFC 1995), over TCP.
//!
//! ```text
//!   fetch: connect ──► SOA? ──newer──► IXFR or AXFR ──► message after message
//!                        │                                 │ Verifier (tsig.rs)
//!                        └─ the same, or older             ▼
//!                                         Reader: whole, deltas or current ──► apply: a new zone
//! ```
//!
//! What comes in was made by somebody else. It is bounded in octets, records, names and time, and
//! is taken as a whole or not at all. When to ask, and whom, is left to `secondary.rs`.

mod apply;
mod fetch;
mod read;
mod write;

use std::{io, time::Duration};

use domain::base::iana::{Class, Rcode};

pub use fetch::Primary;
pub(crate) use fetch::{Fetched, fetch};
pub(crate) use write::messages;

use crate::{Zone, ZoneError, limits, message::Name, tsig::TsigFault};

/// What a transfer may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransferLimits {
    /// All messages together.
    pub(crate) octets: usize,
    /// The records in them.
    pub(crate) records: usize,
    /// The names of the zone.
    pub(crate) names: usize,
    /// The data of one record.
    pub(crate) record_data: usize,
    /// From the connection to the last message.
    pub(crate) time: Duration,
    /// Until connected, and for each message.
    pub(crate) idle: Duration,
}

impl Default for TransferLimits {
    fn default() -> Self {
        Self {
            octets: limits::TRANSFER_OCTETS_MAX,
            records: limits::TRANSFER_RECORDS_MAX,
            names: limits::ZONE_NAMES_MAX,
            record_data: limits::RECORD_DATA_MAX,
            time: limits::TRANSFER_TIME,
            idle: limits::TRANSFER_IDLE,
        }
    }
}

/// Why a transfer brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    #[error("the primary cannot be reached: {0}")]
    Connection(#[from] io::Error),
    #[error("the primary was silent for {0:?}")]
    Idle(Duration),
    #[error("the transfer took longer than {0:?}")]
    Time(Duration),
    #[error("the transfer was cut short")]
    CutShort,
    #[error("a message is not taken: {0}")]
    Tsig(#[from] TsigFault),
    #[error("a message is malformed")]
    Malformed,
    #[error("a message does not belong to what was asked")]
    OtherMessage,
    #[error("the primary answers {0}")]
    Rcode(Rcode),
    #[error("the transfer is larger than {0} octets")]
    Octets(usize),
    #[error("the transfer holds more than {0} records")]
    Records(usize),
    #[error("{owner} has a record of {length} octets; accepted are {max}")]
    RecordData { owner: String, length: usize, max: usize },
    #[error("{0} is not within the zone")]
    OutOfZone(String),
    #[error("{owner} is of class {class}; accepted is IN")]
    Class { owner: String, class: Class },
    #[error("{owner} has a record of type {rtype}, which no zone holds")]
    Type { owner: String, rtype: String },
    #[error("the transfer does not begin with the zone's SOA record")]
    NoSoa,
    #[error("a SOA record stands within the zone, or below its name")]
    SoaInside,
    #[error("the SOA records at its begin and end differ")]
    SoasDiffer,
    #[error("records follow the last SOA record")]
    Trailing,
    #[error("serial {offered} is not newer than {held}")]
    Older { offered: u32, held: u32 },
    #[error("the changes do not join: one begins at serial {found} instead of {expected}")]
    Unjoined { found: u32, expected: u32 },
    #[error("a change takes away what {0} does not have")]
    NotThere(String),
    #[error("it is not a zone: {0}")]
    Zone(#[from] ZoneError),
}

/// The whole zone that these messages are.
pub(crate) fn read_zone(
    apex: &Name,
    messages: impl IntoIterator<Item = Vec<u8>>,
    limits: TransferLimits,
) -> Result<Zone, TransferError> {
    let mut reader = read::Reader::new(apex.clone(), 0, None, limits);
    for message in messages {
        reader.read(message)?;
    }
    let zone = apply::apply(reader.finish()?, None, &limits)?;
    zone.ok_or(TransferError::CutShort)
}

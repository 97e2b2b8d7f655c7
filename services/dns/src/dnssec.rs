//! Zones that we sign (RFC 4033 to 4035), with algorithm 13 alone (RFC 6605).
//!
//! ```text
//!   folder of keys ──► roll: which keys are in a zone now ──┐
//!   plan, zones ──► NameTable ──────────────────────────────┴─► Signer ──► NameTable, signed
//!                                   variants: all that steering may answer │
//!                                   the table before ── its signatures ────┘
//! ```
//!
//! All signatures are made when a table is made; answering only puts them beside the records. What has
//! not changed since the table before keeps its signatures until they are due. Zones that their owners
//! signed are served as they came.
//!
//! Not here: what of it goes into which answer (`lookup/secure.rs`).

mod denial;
mod folder;
mod key;
mod metrics;
mod roll;
mod rrsig;
mod sign_zone;
mod signer;
#[cfg(test)]
mod tests;
mod variants;

use std::{collections::BTreeSet, io, path::PathBuf, time::Duration};

use domain::base::Rtype;
use headroom_units::HostName;

pub(crate) use denial::Chain;
pub use folder::{Held, KeyFolder};
pub use key::{KeyTimes, ZoneKey};
pub(crate) use metrics::SignerMetrics;
pub use roll::{RollError, is_synced, state};
pub(crate) use signer::Signer;
pub(crate) use variants::Steered;

use crate::message::Data;

/// How zones are signed.
#[derive(Debug, Clone)]
pub struct DnssecConfig {
    /// Where the keys are.
    pub folder: PathBuf,
    /// How long a signature is valid.
    pub validity: Duration,
    /// The zones that have to be signed; without them, each zone that has a key is.
    pub zones: Option<BTreeSet<HostName>>,
}

/// Why there is no key, or no signature by it.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Files cannot be read or written.
    #[error("it cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// There are too many keys.
    #[error("the folder holds more than {max} keys")]
    TooMany {
        /// What is accepted.
        max: usize,
    },
    /// A line is not there.
    #[error("it has no line {word}")]
    Missing {
        /// What the line begins with.
        word: &'static str,
    },
    /// The private part is not in base64.
    #[error("its private part is not in base64")]
    Encoding,
    /// A part of the key has another length than those of its algorithm.
    #[error("a part of it has a wrong length; accepted are 32 octets, and 64 for the public part")]
    Length,
    /// The parts are of two keys.
    #[error("its private and its public part do not belong together")]
    Mismatch,
    /// There is no DNSKEY record.
    #[error("its .key file does not begin with a DNSKEY record")]
    Record,
    /// It has other flags.
    #[error("its flags are not 257; accepted is one key that signs all and has a DS record")]
    Flags,
    /// A moment is none.
    #[error("a moment in it is not written as YYYYMMDDHHMMSS")]
    Time,
    /// The library failed.
    #[error("the cryptographic library failed")]
    Crypto,
    /// It is not the moment for that.
    #[error(transparent)]
    Roll(#[from] RollError),
}

/// An answer that steering may give at a name, signed in advance.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    pub(crate) rtype: Rtype,
    /// How long it may be cached at most, in seconds.
    pub(crate) ttl: u32,
    pub(crate) data: Vec<Data>,
    pub(crate) signatures: Vec<Data>,
}

impl Variant {
    /// Whether it is the set of these records.
    pub(crate) fn is(&self, rtype: Rtype, data: &[Data]) -> bool {
        self.rtype == rtype && self.data == data
    }

    /// Whether it says that there are no records of a type.
    pub(crate) fn denies(&self, rtype: Rtype) -> bool {
        let denies =
            |data: &Data| matches!(data, Data::Nsec(nsec) if !nsec.types().contains(rtype));
        self.rtype == Rtype::NSEC && self.data.iter().any(denies)
    }
}

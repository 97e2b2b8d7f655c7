//! The hash chain over the event log: each event's hash covers its number, its moment, its text
//! and the hash before it, so that no event can be changed, taken out or put in without changing
//! every hash after it.
//!
//! Whoever has noted a head of the chain can later prove that the log still leads to it. The chain
//! alone does not show that events are missing at the end.

use std::{fmt, str::FromStr};

use headroom_units::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::Text;

/// Keeps these hashes apart from any other use of SHA-256.
const PURPOSE: &[u8] = b"headroom event log\0";

/// A link of the chain: SHA-256 (FIPS 180-4), written in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// What stands before the first event.
    pub const START: Self = Self([0; 32]);

    /// The hash of an event that follows this one. `body` is the event as it is stored, byte for
    /// byte.
    #[must_use]
    pub fn follow(self, sequence: u64, at: Timestamp, body: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(PURPOSE);
        hash.update(self.0);
        hash.update(sequence.to_be_bytes());
        hash.update(at.nanos().to_be_bytes());
        hash.update(body);
        Self(hash.finalize().into())
    }

    /// Its bytes, as they are stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A stored hash, if these are as many bytes as one has.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ChainHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} is not a hash; accepted are 64 hexadecimal digits");
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(refuse());
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(digits, 16).ok().filter(|_| plain).ok_or_else(refuse)?;
        }
        Ok(Self(bytes))
    }
}

/// What an exported log begins with: what its reader has to know of the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogHeader {
    /// The currency of all amounts.
    pub currency: String,
    /// How long a slot is, in seconds.
    pub slot_seconds: u64,
}

/// One event of the log with its link, as it is exported: one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLine {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub at_nanos: u64,
    /// The link of the chain.
    pub hash: Text<ChainHash>,
    /// The event, byte for byte as it is stored.
    pub event: Box<RawValue>,
}

/// Walks a log from its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Chain {
    /// How many events it went past.
    pub events: u64,
    /// The hash of the last.
    pub head: ChainHash,
}

/// Where a log is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An event is missing, or stands in another place.
    #[error("event {found} stands where event {expected} should be")]
    OutOfOrder {
        /// The number that should follow.
        expected: u64,
        /// The number that follows.
        found: u64,
    },
    /// The event, or one before it, is not the one that was hashed.
    #[error(
        "event {sequence} does not lead to its hash: it, or an event before it, was changed after \
         it was written"
    )]
    Changed {
        /// Which event.
        sequence: u64,
    },
}

impl Default for Chain {
    fn default() -> Self {
        Self { events: 0, head: ChainHash::START }
    }
}

impl Chain {
    /// Goes on to the next event.
    ///
    /// # Errors
    /// If it is not the next, or does not lead to its hash; the walk stays where it is.
    pub fn go_on(&mut self, line: &LogLine) -> Result<(), Broken> {
        let expected = self.events + 1;
        if line.sequence != expected {
            return Err(Broken::OutOfOrder { expected, found: line.sequence });
        }
        let at = Timestamp::from_nanos(line.at_nanos);
        let head = self.head.follow(line.sequence, at, line.event.get());
        if head != line.hash.0 {
            return Err(Broken::Changed { sequence: line.sequence });
        }
        *self = Self { events: expected, head };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Vec<String> {
        let mut head = ChainHash::START;
        let bodies = [r#"{"event":"a", "n":1}"#, r#"{"event":"b"}"#, r#"{"event":"c"}"#];
        (1_u64..)
            .zip(bodies)
            .map(|(sequence, body)| {
                head = head.follow(sequence, Timestamp::from_seconds(sequence), body);
                let at = sequence * 1_000_000_000;
                format!(
                    r#"{{"sequence":{sequence},"at_nanos":{at},"hash":"{head}","event":{body}}}"#
                )
            })
            .collect()
    }

    fn walk(lines: &[String]) -> Result<Chain, Broken> {
        let mut chain = Chain::default();
        for line in lines {
            chain.go_on(&serde_json::from_str(line).unwrap())?;
        }
        Ok(chain)
    }

    #[test]
    fn an_untouched_log_leads_to_its_head() {
        let chain = walk(&log()).unwrap();
        assert_eq!(chain.events, 3);
        let head = chain.head.to_string();
        assert_eq!(head.parse(), Ok(chain.head));
        assert!(log()[2].contains(&head));
    }

    #[test]
    fn every_change_is_found() {
        let changed = |index: usize, from: &str, to: &str| {
            let mut lines = log();
            lines[index] = lines[index].replacen(from, to, 1);
            walk(&lines).unwrap_err()
        };
        assert_eq!(changed(0, "\"n\":1", "\"n\":2"), Broken::Changed { sequence: 1 });
        assert_eq!(changed(0, "\"n\":1", "\"n\": 1"), Broken::Changed { sequence: 1 });
        assert_eq!(changed(1, ":2000000000", ":2000000001"), Broken::Changed { sequence: 2 });
        let mut lines = log();
        lines.remove(1);
        assert_eq!(walk(&lines).unwrap_err(), Broken::OutOfOrder { expected: 2, found: 3 });
        let mut lines = log();
        lines.swap(0, 1);
        assert_eq!(walk(&lines).unwrap_err(), Broken::OutOfOrder { expected: 1, found: 2 });
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for text in ["", "12", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            let error = text.parse::<ChainHash>().unwrap_err();
            assert!(error.contains("64 hexadecimal digits"), "{error}");
        }
    }
}

//! Transferred zones on local disk, so that a restart needs no primary.
//!
//! ```text
//!   "hrzone1\n"   confirmed at (s, 8 octets)   SHA-256 of the rest   length, message; length, …
//! ```
//!
//! The messages are those of a transfer, and are read as if they came from a primary. A file is
//! replaced as a whole; the time of the last confirmation alone is written in its place.

use std::{
    fs, io,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use domain::base::Rtype;
use headroom_units::Timestamp;

use crate::{
    Zone,
    message::Name,
    replace::replace,
    transfer::{self, TransferError, TransferLimits},
};

const MAGIC: &[u8; 8] = b"hrzone1\n";
const TIME_LENGTH: usize = 8;
const HEAD_LENGTH: usize = MAGIC.len() + TIME_LENGTH + SHA256_OUTPUT_LEN;

/// Why a saved zone is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("it cannot be read or written: {0}")]
    Io(#[from] io::Error),
    #[error("it is damaged")]
    Damaged,
    #[error("{0}")]
    Zone(#[from] TransferError),
}

/// Where the zone of this name is kept.
pub(super) fn path(folder: &Path, apex: &Name) -> PathBuf {
    folder.join(format!("{}.zone", apex.to_string().to_ascii_lowercase()))
}

/// The zone in the file at `path`, and when a primary last had it; none if there is no file.
pub(super) fn load(
    path: &Path,
    apex: &Name,
    limits: TransferLimits,
) -> Result<Option<(Zone, Timestamp)>, KeepError> {
    let octets = match fs::read(path) {
        Ok(octets) => octets,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (head, body) = octets.split_at_checked(HEAD_LENGTH).ok_or(KeepError::Damaged)?;
    let (magic, head) = head.split_at(MAGIC.len());
    let (time, sum) = head.split_at(TIME_LENGTH);
    if magic != MAGIC || digest(&SHA256, body).as_ref() != sum {
        return Err(KeepError::Damaged);
    }
    let seconds = u64::from_be_bytes(time.try_into().map_err(|_| KeepError::Damaged)?);
    let messages = split(body).ok_or(KeepError::Damaged)?;
    let zone = transfer::read_zone(apex, messages, limits)?;
    Ok(Some((zone, Timestamp::from_seconds(seconds))))
}

fn split(mut body: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        let (length, rest) = body.split_at_checked(2)?;
        let length = u16::from_be_bytes([length[0], length[1]]);
        let (message, rest) = rest.split_at_checked(length.into())?;
        messages.push(message.to_vec());
        body = rest;
    }
    Some(messages)
}

/// Replaces the file at `path`.
pub(super) fn save(path: &Path, zone: &Zone, confirmed_at: Timestamp) -> Result<(), KeepError> {
    let mut body = Vec::new();
    for message in transfer::messages(zone, 0, Rtype::AXFR) {
        let length = u16::try_from(message.len()).map_err(|_| KeepError::Damaged)?;
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(&message);
    }
    let (at, digest) = (confirmed_at.seconds().to_be_bytes(), digest(&SHA256, &body));
    Ok(replace(path, 0o644, &[MAGIC, &at, digest.as_ref(), &body])?)
}

/// Notes that a primary still has the zone of the file at `path`.
pub(super) fn confirm(path: &Path, confirmed_at: Timestamp) -> Result<(), KeepError> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    let at = u64::try_from(MAGIC.len()).map_err(|_| KeepError::Damaged)?;
    file.seek(io::SeekFrom::Start(at))?;
    Ok(file.write_all(&confirmed_at.seconds().to_be_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> Zone {
        Zone::parse("$ORIGIN shop.example.\n@ 60 SOA ns1 a 7 2 3 4 5\n@ NS ns1\nwww A 192.0.2.1\n")
            .unwrap()
    }

    fn load_it(path: &Path) -> Result<Option<(Zone, Timestamp)>, KeepError> {
        load(path, zone().apex(), TransferLimits::default())
    }

    #[test]
    fn a_zone_comes_back_with_the_time_of_its_last_confirmation() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(&folder.path().join("zones"), zone().apex());
        assert!(load_it(&path).unwrap().is_none());
        save(&path, &zone(), Timestamp::from_seconds(100)).unwrap();
        let (found, confirmed_at) = load_it(&path).unwrap().unwrap();
        assert_eq!(found.records().count(), 3);
        assert_eq!(confirmed_at, Timestamp::from_seconds(100));
        confirm(&path, Timestamp::from_seconds(200)).unwrap();
        assert_eq!(load_it(&path).unwrap().unwrap().1, Timestamp::from_seconds(200));
    }

    #[test]
    fn a_damaged_file_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), zone().apex());
        save(&path, &zone(), Timestamp::from_seconds(100)).unwrap();
        let whole = fs::read(&path).unwrap();
        let told = |octets: &[u8]| {
            fs::write(&path, octets).unwrap();
            load_it(&path).unwrap_err().to_string()
        };
        for cut in [0, 7, HEAD_LENGTH - 1, HEAD_LENGTH, whole.len() - 1] {
            assert_eq!(told(&whole[..cut]), "it is damaged", "{cut}");
        }
        for at in [0, MAGIC.len() + TIME_LENGTH, HEAD_LENGTH, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(told(&changed), "it is damaged", "{at}");
        }
    }

    #[test]
    fn the_file_of_another_zone_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.zone");
        save(&path, &zone(), Timestamp::from_seconds(100)).unwrap();
        let other: Name = "other.example".parse().unwrap();
        let told = load(&path, &other, TransferLimits::default()).unwrap_err().to_string();
        assert_eq!(told, "a message does not belong to what was asked");
    }
}

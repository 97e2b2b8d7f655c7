//! The operator's prefix map: a file that says which client prefix is in which region.
//!
//! ```text
//!   clients.csv    prefix,region              ─┐
//!                                              ├─► PrefixMap (headroom-steer), digest
//!   clients.mmdb   a field's value ─► region  ─┘
//! ```
//!
//! A file is used as a whole or not at all. When it is read, and who goes by it, is not known here.

mod csv;
pub mod limits;
mod mmdb;
#[cfg(test)]
mod testing;

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
};

use headroom_steer::{PrefixMap, PrefixMapError};
use headroom_units::RegionId;
use ipnet::IpNet;
pub use mmdb::{Field, FieldError};
use sha2::{Digest as _, Sha256};

/// Where the operator's prefix map stands, and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixFile {
    /// The file.
    pub path: PathBuf,
    /// Its form.
    pub form: Form,
    /// The regions that it may name.
    pub regions: Vec<RegionId>,
}

/// The form of a prefix map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// Lines of `prefix,region`.
    Csv,
    /// A MaxMind DB.
    MaxMind {
        /// The field whose value says the region.
        field: Field,
        /// The region of each value; if there are none, the value is the region's id.
        values: BTreeMap<String, RegionId>,
    },
}

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PrefixFileError {
    /// It cannot be read.
    #[error("the prefix map {} cannot be read: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is too long.
    #[error("the prefix map {} is larger than {max} bytes", path.display(), max = limits::FILE_BYTES_MAX)]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// It is not what it should be.
    #[error("{} is no prefix map: {mistakes}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        mistakes: Mistakes,
    },
}

/// What is wrong with a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes {
    told: Vec<(Option<usize>, String)>,
    /// How many more there are.
    more: usize,
}

impl Mistakes {
    fn of(reason: impl Into<String>) -> Self {
        Self { told: vec![(None, reason.into())], more: 0 }
    }

    fn add(&mut self, line: usize, reason: String) {
        if self.told.len() < limits::MISTAKES_TOLD_MAX {
            self.told.push((Some(line), reason));
        } else {
            self.more += 1;
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (line, reason)) in self.told.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            match line {
                Some(line) => write!(f, "{between}line {line}: {reason}")?,
                None => write!(f, "{between}{reason}")?,
            }
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// A prefix map that was read.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub map: PrefixMap,
    /// How many prefixes it was made from.
    pub prefixes: usize,
    /// What it says, in short: the same for two files, whatever their form, if all clients are in the
    /// same regions by both.
    pub digest: Digest,
    /// What the operator should know all the same.
    pub notes: Vec<String>,
}

/// What a prefix map says, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 6]);

impl Digest {
    fn of(map: &PrefixMap) -> Self {
        let mut hash = Sha256::new();
        for (start, region) in map.ranges() {
            match start {
                IpAddr::V4(start) => hash.update(start.octets()),
                IpAddr::V6(start) => hash.update(start.octets()),
            }
            hash.update(region.map_or("", RegionId::as_str));
            hash.update([0]);
        }
        let hash = hash.finalize();
        Self(hash.first_chunk().copied().unwrap_or_default())
    }

    /// The digest as a whole number of 48 bits.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0.iter().fold(0, |number, octet| number << 8 | i64::from(*octet))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What a file says of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The prefix it says it of.
    pub prefix: IpNet,
    /// Where: a line, or the value of the field.
    pub at: String,
}

impl PrefixFile {
    /// Reads the file.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn load(&self) -> Result<Loaded, PrefixFileError> {
        let octets = read(&self.path)?;
        let malformed = |mistakes| self.malformed(mistakes);
        let (prefixes, notes) = match &self.form {
            Form::Csv => {
                let lines = csv::read(&octets, &self.regions).map_err(malformed)?;
                (lines.iter().map(|line| (line.prefix, line.region)).collect(), Vec::new())
            }
            Form::MaxMind { field, values } => {
                mmdb::read(&octets, field, values, &self.regions).map_err(malformed)?
            }
        };
        let count = Vec::len(&prefixes);
        let map = PrefixMap::new(self.regions.clone(), prefixes);
        let map = map.map_err(|error| self.malformed(Mistakes::of(worded(&error))))?;
        let digest = Digest::of(&map);
        Ok(Loaded { map, prefixes: count, digest, notes })
    }

    /// What the file says of each of these addresses, if it says anything.
    ///
    /// # Errors
    /// If it cannot be used.
    pub fn entries(&self, addresses: &[IpAddr]) -> Result<Vec<Option<Entry>>, PrefixFileError> {
        let octets = read(&self.path)?;
        let malformed = |mistakes| self.malformed(mistakes);
        match &self.form {
            Form::Csv => {
                let lines = csv::read(&octets, &self.regions).map_err(malformed)?;
                Ok(addresses.iter().map(|address| csv::entry(&lines, *address)).collect())
            }
            Form::MaxMind { field, .. } => {
                let entries = addresses.iter().map(|at| mmdb::entry(&octets, field, *at));
                entries.collect::<Result<_, _>>().map_err(malformed)
            }
        }
    }

    fn malformed(&self, mistakes: Mistakes) -> PrefixFileError {
        PrefixFileError::Malformed { path: self.path.clone(), mistakes }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, PrefixFileError> {
    let failed = |source| PrefixFileError::Read { path: path.to_owned(), source };
    let mut octets = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(limits::FILE_BYTES_MAX + 1).read_to_end(&mut octets).map_err(failed)?;
    if u64::try_from(octets.len()).is_ok_and(|length| length <= limits::FILE_BYTES_MAX) {
        Ok(octets)
    } else {
        Err(PrefixFileError::TooLarge { path: path.to_owned() })
    }
}

/// What [`headroom_steer`] finds wrong.
fn worded(error: &PrefixMapError) -> String {
    match error {
        PrefixMapError::TooFine(prefix) => too_fine(*prefix),
        PrefixMapError::Duplicate(prefix) => format!("{prefix} stands there twice"),
        PrefixMapError::UnknownRegion(prefix) => format!("{prefix} has no region"),
        PrefixMapError::TooMany => {
            format!("it holds more than {} prefixes", headroom_steer::limits::PREFIXES_MAX)
        }
    }
}

fn too_fine(prefix: IpNet) -> String {
    format!(
        "{prefix} is finer than clients are told apart; accepted are prefixes up to /{} of IPv4 and \
         /{} of IPv6",
        headroom_steer::limits::CLIENT_PREFIX_V4,
        headroom_steer::limits::CLIENT_PREFIX_V6
    )
}

/// `text`, or as much of it as is shown in a mistake.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(limits::SHOWN_BYTES_MAX)]
}

#[cfg(test)]
mod tests;

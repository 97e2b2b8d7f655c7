//! Whether a file is another than it was.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// What changes when a file does: its number, its size, when it was written last. The same for all
/// files that are not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u64, u64, i64, i64);

impl Stamp {
    pub(crate) fn of(path: &Path) -> Self {
        let of =
            |file: fs::Metadata| Self(file.ino(), file.size(), file.mtime(), file.mtime_nsec());
        fs::metadata(path).map_or_else(|_| Self::default(), of)
    }
}

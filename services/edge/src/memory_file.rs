//! Bodies in memory that the system sends by itself: each is a file without a name
//! (`memfd_create(2)`), whose pages go to a socket without being copied (`sendfile(2)`).
//!
//! A file takes a descriptor, so there are only so many; what finds no place is kept as bytes.

use std::{
    fs::File,
    io::{self, Write as _},
    os::{fd::AsFd, unix::fs::FileExt as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, memfd_create, sendfile};

/// Descriptors are the whole process's, and so is their number.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// How many may be open.
static OPEN_MAX: AtomicUsize = AtomicUsize::new(0);

/// A body in memory. It does not change.
#[derive(Debug)]
pub(crate) struct MemoryFile {
    file: File,
    _place: Place,
}

/// Part of a body in memory.
#[derive(Debug, Clone)]
pub(crate) struct FilePart {
    file: Arc<MemoryFile>,
    from: u64,
    length: usize,
}

/// One of the files there may be.
#[derive(Debug)]
struct Place;

/// Lets so many files be open at once, in all of this process.
pub(crate) fn allow(files: usize) {
    OPEN_MAX.store(files, Ordering::Relaxed);
}

impl Place {
    fn take() -> Option<Self> {
        let most = OPEN_MAX.load(Ordering::Relaxed);
        let more = |open: usize| (open < most).then_some(open + 1);
        OPEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

impl MemoryFile {
    /// A file with these pieces one behind the other. `None` if as many are open as may be, or the
    /// system gives none.
    pub(crate) fn of(pieces: &[Bytes]) -> Option<Arc<Self>> {
        let place = Place::take()?;
        let write = || {
            let mut file = File::from(memfd_create("headroom-body", MemfdFlags::CLOEXEC)?);
            pieces.iter().try_for_each(|piece| file.write_all(piece))?;
            Ok::<_, io::Error>(file)
        };
        match write() {
            Ok(file) => Some(Arc::new(Self { file, _place: place })),
            Err(error) => {
                tracing::debug!(%error, "a body is kept as bytes");
                None
            }
        }
    }

    /// Appends the first `length` bytes to `buffer`.
    ///
    /// # Errors
    /// If the system does not give them.
    pub(crate) fn append_to(&self, length: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let begin = buffer.len();
        buffer.resize(begin + length, 0);
        self.file.read_exact_at(&mut buffer[begin..], 0)
    }
}

impl FilePart {
    /// `length` bytes of `file` beginning with `from`, which are there.
    pub(crate) fn new(file: &Arc<MemoryFile>, from: u64, length: usize) -> Self {
        Self { file: Arc::clone(file), from, length }
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Splits the first `count` bytes off, at most all.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        let first = Self::new(&self.file, self.from, count.min(self.length));
        self.advance(first.length);
        first
    }

    /// Leaves the first `count` bytes out, at most all.
    pub(crate) fn advance(&mut self, count: usize) {
        let count = count.min(self.length);
        self.from += u64::try_from(count).unwrap_or(u64::MAX);
        self.length -= count;
    }

    /// A copy of its bytes.
    ///
    /// # Errors
    /// If the system does not give them.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let mut bytes = vec![0; self.length];
        self.file.file.read_exact_at(&mut bytes, self.from)?;
        Ok(bytes.into())
    }

    /// Sends the beginning to `socket`: as much as it takes, and says how much.
    ///
    /// # Errors
    /// What sendfile(2) says; `WouldBlock` if the socket takes nothing now.
    pub(crate) fn send(&self, socket: impl AsFd) -> io::Result<usize> {
        let mut from = self.from;
        Ok(sendfile(socket, &self.file.file, Some(&mut from), self.length)?)
    }
}

impl PartialEq for FilePart {
    fn eq(&self, other: &Self) -> bool {
        let part = |part: &Self| (Arc::as_ptr(&part.file), part.from, part.length);
        part(self) == part(other)
    }
}

impl Eq for FilePart {}

#[cfg(test)]
mod tests {
    use std::{io::Read as _, os::unix::net::UnixStream};

    use super::*;

    /// A body of three pieces, held in a file.
    fn body() -> Arc<MemoryFile> {
        allow(1_000);
        let pieces = [&b"he"[..], b"llo wor", b"ld"].map(Bytes::from_static);
        MemoryFile::of(&pieces).unwrap()
    }

    #[test]
    fn parts_are_read_and_sent() {
        let file = body();
        let mut part = FilePart::new(&file, 1, 9);
        assert_eq!(part.split_to(4).read().unwrap(), "ello");
        assert_eq!(part.read().unwrap(), " worl");
        let (here, mut there) = UnixStream::pair().unwrap();
        assert_eq!(part.send(&here).unwrap(), 5);
        part.advance(3);
        assert_eq!(part.send(&here).unwrap(), 2);
        part.advance(100);
        assert_eq!((part.len(), part.split_to(1).len()), (0, 0));
        drop(here);
        let mut came = String::new();
        there.read_to_string(&mut came).unwrap();
        assert_eq!(came, " worlrl");
    }

    #[test]
    fn all_of_it_is_appended() {
        let mut buffer = b"> ".to_vec();
        body().append_to(11, &mut buffer).unwrap();
        assert_eq!(buffer, b"> hello world");
        assert!(body().append_to(12, &mut buffer).is_err());
    }
}

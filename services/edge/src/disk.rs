//! Blobs on disk by key: what survives a restart, a kill and a damaged file.
//!
//! ```text
//!  put ──► index ──queue──► writer ──► segment-0000000007.log   the newest; appended to
//!  get ◄── index ◄─readers─────────── segment-0000000006.log, .tab   finished, with its contents
//!                                     segment-0000000005.log, .tab   the oldest makes room first
//! ```
//!
//! One thread appends puts and removals to a log in the order of the index; the oldest log is
//! removed as a whole, so a removal always outlives what it removed. Values are opaque; nothing
//! here knows HTTP, and the memory tier is the cache's matter. Why not foyer: decision 0014.
//!
//! **What lasts.** A value is readable at once, from the queue. It is in the hands of the operating
//! system after the queue (milliseconds), so that a kill loses the newest values only; nobody calls
//! `fsync` for values, so that a loss of power may lose more of them. Removals are synchronised to
//! the disk after each batch (`fdatasync`): once there, neither a kill nor a loss of power brings
//! back what was purged. If a new value of a key is lost with the queue, the one before may be
//! read after the start: remove a key that must not be read again.
//! Every head and every value has a checksum that also covers where it stands, and the whole key is
//! compared: what is half written, damaged or of another key is a miss. Where removals may be
//! among what is damaged, everything older is forgotten; each log tells where the removals of the
//! one before end, so that this holds for what is cut off as well. One case looks like a kill and
//! is taken for one: the newest log whose table of contents is not there or damaged, and whose end,
//! from a record on, is cut off or all zeros. The same goes for the newest log if both of its files
//! are gone. Then what its lost removals removed may be read again.

mod index;
mod record;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::HashMap,
    fmt::Display,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use index::{Entry, Index, Queued, Spot};
use record::{HEAD_BYTES, Head, Place, to_usize};
use segment::{Directory, Recovered};
use tokio::sync::oneshot;
use writer::{Command, Writer};

use crate::{EdgeError, limits};

/// Where blobs are kept, and how many bytes of files.
#[derive(Debug, Clone)]
pub(crate) struct DiskConfig {
    pub(crate) directory: PathBuf,
    pub(crate) bytes: u64,
}

/// Blobs on disk by key: survives a restart, a kill and a corrupt file.
#[derive(Debug)]
pub(crate) struct Disk {
    shared: Arc<Shared>,
    commands: Sender<Command>,
    reads: SyncSender<Read>,
    closed: AtomicBool,
}

/// What happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DiskCounts {
    pub(crate) gets: u64,
    pub(crate) hits: u64,
    pub(crate) puts: u64,
    /// Values that were too large or came while too much was queued or the disk failed.
    pub(crate) refused: u64,
    /// Values that were queued and could not be written.
    pub(crate) lost: u64,
    pub(crate) removals: u64,
    /// Records that were not what was written.
    pub(crate) corrupt: u64,
    pub(crate) read_errors: u64,
    pub(crate) write_errors: u64,
}

#[derive(Debug, Default)]
struct Counts {
    gets: AtomicU64,
    hits: AtomicU64,
    puts: AtomicU64,
    refused: AtomicU64,
    lost: AtomicU64,
    removals: AtomicU64,
    corrupt: AtomicU64,
    read_errors: AtomicU64,
    write_errors: AtomicU64,
}

/// How the bytes are divided.
#[derive(Debug, Clone, Copy)]
struct Layout {
    capacity: u64,
    segment_bytes: u64,
    value_bytes_max: usize,
}

impl Layout {
    fn new(capacity: u64) -> Self {
        let (least, most) = (limits::DISK_SEGMENT_BYTES_MIN, limits::DISK_SEGMENT_BYTES_MAX);
        let segment_bytes = (capacity / limits::DISK_SEGMENTS).clamp(least, most);
        let half = usize::try_from(segment_bytes / 2).unwrap_or(usize::MAX);
        let value_bytes_max = half.min(limits::DISK_VALUE_BYTES_MAX);
        Self { capacity, segment_bytes, value_bytes_max }
    }
}

/// What callers, writer and readers share.
#[derive(Debug)]
struct Shared {
    layout: Layout,
    seed: u64,
    index: Index,
    files: RwLock<HashMap<u32, Arc<File>>>,
    queued_bytes: AtomicUsize,
    bytes: AtomicU64,
    counts: Counts,
    complaints: Complaints,
    /// Until when nothing is put.
    rests_until: Mutex<Option<Instant>>,
    /// Held until the end, so that nobody else writes here.
    lock: File,
}

impl Shared {
    fn show(&self, segment: u32, file: Arc<File>) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).insert(segment, file);
    }

    fn file(&self, segment: u32) -> Option<Arc<File>> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(&segment).cloned()
    }

    /// Puts nothing for a while.
    fn rest(&self) {
        let mut until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Instant::now().checked_add(limits::DISK_REST);
    }

    fn rests(&self) -> bool {
        let mut until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| until <= Instant::now()) {
            *until = None;
        }
        until.is_some()
    }

    /// Takes room in the queue.
    fn reserve(&self, bytes: usize) -> bool {
        let most = limits::DISK_QUEUE_BYTES_MAX;
        let grown = |queued: usize| queued.checked_add(bytes).filter(|queued| *queued <= most);
        self.queued_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }
}

/// Tells the log that the disk fails, once per interval.
#[derive(Debug)]
struct Complaints {
    directory: PathBuf,
    last: Mutex<(Option<Instant>, u64)>,
}

impl Complaints {
    fn tell(&self, what: &'static str, error: &dyn Display) {
        if let Some(untold) = self.due(Instant::now()) {
            let directory = self.directory.display();
            tracing::error!(%directory, %error, untold, "the disk tier cannot {what} its directory");
        }
    }

    /// How many complaints were left out, if it is time for one.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, untold) = *last;
        let early = |told| now.duration_since(told) < limits::DISK_COMPLAINT_INTERVAL;
        if told.is_some_and(early) {
            last.1 += 1;
            return None;
        }
        *last = (Some(now), 0);
        Some(untold)
    }
}

/// A record to read, and whom to tell.
#[derive(Debug)]
struct Read {
    spot: Spot,
    hash: u64,
    key: Vec<u8>,
    tell: oneshot::Sender<Option<Bytes>>,
}

impl Disk {
    /// [`Self::open_within`] no time at all.
    #[cfg(test)]
    pub(crate) fn open(config: &DiskConfig) -> Result<Self, EdgeError> {
        Self::open_within(config, Duration::ZERO)
    }

    /// Opens the directory, which is created if need be. Waits so long for another process to
    /// leave it, and blocks while it reads what is there.
    ///
    /// # Errors
    /// If the directory cannot be used or another process uses it. Damaged files are no reason:
    /// what they held is forgotten, and the log says so.
    pub(crate) fn open_within(config: &DiskConfig, patience: Duration) -> Result<Self, EdgeError> {
        if config.bytes < limits::DISK_BYTES_MIN {
            let reason = format!("it is less than {} bytes", limits::DISK_BYTES_MIN);
            return Err(EdgeError::Config { key: "disk_bytes", reason });
        }
        let failed = |what| {
            let directory = config.directory.clone();
            move |source| EdgeError::Disk { directory, what, source }
        };
        fs::create_dir_all(&config.directory).map_err(failed("created"))?;
        let lock = lock(config, patience)?;
        let index = Index::new();
        let directory = Directory::new(&config.directory);
        let fresh_seed = getrandom::u64().map_err(io::Error::other).map_err(failed("opened"))?;
        let recovered = segment::recover(&directory, fresh_seed, &index);
        let Recovered { seed, segments, damages } = recovered.map_err(failed("read"))?;
        for damage in damages {
            let place = config.directory.display();
            tracing::error!(directory = %place, damage, "the disk tier forgot what is older");
        }
        let shared = Arc::new(Shared {
            layout: Layout::new(config.bytes),
            seed,
            index,
            files: RwLock::default(),
            queued_bytes: AtomicUsize::new(0),
            bytes: AtomicU64::new(0),
            counts: Counts::default(),
            complaints: Complaints { directory: config.directory.clone(), last: Mutex::default() },
            rests_until: Mutex::default(),
            lock,
        });
        let (commands, told) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&shared), directory, seed, segments);
        start("edge-disk-write", move || writer.run(&told))?;
        let (reads, asked) = mpsc::sync_channel(limits::DISK_READS_MAX);
        let asked = Arc::new(Mutex::new(asked));
        for _ in 0..limits::DISK_READERS {
            let (shared, asked) = (Arc::clone(&shared), Arc::clone(&asked));
            let commands = commands.clone();
            start("edge-disk-read", move || read_all(&shared, &asked, &commands))?;
        }
        Ok(Self { shared, commands, reads, closed: AtomicBool::new(false) })
    }

    /// Whether there may be a value; `false`: surely not. Asks memory alone.
    pub(crate) fn may_hold(&self, key: &[u8]) -> bool {
        self.shared.index.holds(self.hash(key))
    }

    /// The value of `key`; `None` also if it is damaged or the disk fails or is too slow, which
    /// is counted and logged. Needs a tokio runtime with time.
    pub(crate) async fn get(&self, key: &[u8]) -> Option<Bytes> {
        let counts = &self.shared.counts;
        counts.gets.fetch_add(1, Ordering::Relaxed);
        let hash = self.hash(key);
        let found = match self.shared.index.find(hash)? {
            Entry::Queued(queued) => value_of(&queued, key),
            Entry::Stored(spot) => {
                let value = self.read(spot, hash, key).await?;
                // It may have been removed or replaced meanwhile.
                match self.shared.index.find(hash)? {
                    Entry::Stored(still) => (still == spot).then_some(value),
                    Entry::Queued(queued) => value_of(&queued, key),
                    Entry::Lost => None,
                }
            }
            Entry::Lost => None,
        };
        if found.is_some() {
            counts.hits.fetch_add(1, Ordering::Relaxed);
        }
        found
    }

    async fn read(&self, spot: Spot, hash: u64, key: &[u8]) -> Option<Bytes> {
        let (tell, told) = oneshot::channel();
        let failed = |why: &'static str| {
            self.shared.counts.read_errors.fetch_add(1, Ordering::Relaxed);
            self.shared.complaints.tell("read in time from", &why);
        };
        if self.reads.try_send(Read { spot, hash, key: key.to_vec(), tell }).is_err() {
            failed("too many reads wait");
            return None;
        }
        let Ok(value) = tokio::time::timeout(limits::DISK_READ_TIME_MAX, told).await else {
            failed("a read takes too long");
            return None;
        };
        value.ok().flatten()
    }

    /// Stores `value`, in place of any other of `key`; never blocks. `false` if it is too large,
    /// too much is queued, or the disk fails: then `key` has no value.
    pub(crate) fn put(&self, key: Vec<u8>, value: Bytes) -> bool {
        let hash = self.hash(&key);
        let bytes = key.len() + value.len();
        let fits = key.len() <= limits::DISK_KEY_BYTES_MAX
            && value.len() <= self.shared.layout.value_bytes_max;
        let accepted = fits
            && !self.closed.load(Ordering::Relaxed)
            && !self.shared.rests()
            && self.shared.reserve(bytes);
        let queued = Arc::new(Queued { hash, key, value });
        let put = accepted && {
            let tell = || self.commands.send(Command::Write(Arc::clone(&queued))).is_ok();
            let told = self.shared.index.queue(&queued, tell);
            if !told {
                self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            told
        };
        let counts = &self.shared.counts;
        if put {
            counts.puts.fetch_add(1, Ordering::Relaxed);
        } else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            self.remove_hash(hash);
        }
        put
    }

    /// Removes the value of `key`: at once for everyone here, on disk as soon as the queue is
    /// written.
    pub(crate) fn remove(&self, key: &[u8]) {
        self.remove_hash(self.hash(key));
    }

    fn remove_hash(&self, hash: u64) {
        let tell = || {
            self.shared.counts.removals.fetch_add(1, Ordering::Relaxed);
            if self.commands.send(Command::Remove(hash)).is_err() {
                self.shared.complaints.tell("remove from", &"it is closed");
            }
        };
        self.shared.index.remove(hash, |_| true, tell);
    }

    /// Writes what is queued and leaves the directory to others, within a limited time; blocks
    /// so long. What is put afterwards is refused.
    pub(crate) fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        let (tell, told) = mpsc::sync_channel(1);
        let asked = self.commands.send(Command::Close(tell)).is_ok();
        if asked && told.recv_timeout(limits::DISK_CLOSE_TIME_MAX).is_err() {
            return self.shared.complaints.tell("finish in time with", &"it is too slow");
        }
        if let Err(error) = self.shared.lock.unlock() {
            self.shared.complaints.tell("unlock", &error);
        }
    }

    /// The largest value that is stored.
    pub(crate) fn value_bytes_max(&self) -> usize {
        self.shared.layout.value_bytes_max
    }

    /// How many bytes the files take.
    pub(crate) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// How many values there are.
    pub(crate) fn entries(&self) -> usize {
        self.shared.index.len()
    }

    /// What happened since the start.
    pub(crate) fn counts(&self) -> DiskCounts {
        let counts = &self.shared.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DiskCounts {
            gets: of(&counts.gets),
            hits: of(&counts.hits),
            puts: of(&counts.puts),
            refused: of(&counts.refused),
            lost: of(&counts.lost),
            removals: of(&counts.removals),
            corrupt: of(&counts.corrupt),
            read_errors: of(&counts.read_errors),
            write_errors: of(&counts.write_errors),
        }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        record::sum(self.shared.seed, key)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), EdgeError> {
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|source| EdgeError::Thread { source })
}

/// The lock of the directory; it goes with the process.
fn lock(config: &DiskConfig, patience: Duration) -> Result<File, EdgeError> {
    let failed = |what| {
        let directory = config.directory.clone();
        move |source| EdgeError::Disk { directory, what, source }
    };
    let path = config.directory.join("lock");
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.open(path).map_err(failed("written to"))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed("locked")(source)),
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                thread::sleep(limits::DISK_LOCK_REST);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(EdgeError::DiskInUse { directory: config.directory.clone() });
            }
        }
    }
}

fn value_of(queued: &Queued, key: &[u8]) -> Option<Bytes> {
    (queued.key == key).then(|| queued.value.clone())
}

/// What each reading thread does.
fn read_all(shared: &Shared, asked: &Mutex<Receiver<Read>>, commands: &Sender<Command>) {
    loop {
        let next = asked.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Read { spot, hash, key, tell }) = next else { return };
        if tell.is_closed() {
            continue;
        }
        let value = match read(shared, spot, hash, &key) {
            Ok(value) => value,
            Err(error) => {
                let corrupt = matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                );
                if corrupt {
                    shared.counts.corrupt.fetch_add(1, Ordering::Relaxed);
                    let same =
                        |entry: &Entry| matches!(entry, Entry::Stored(found) if *found == spot);
                    shared.index.remove(hash, same, || {
                        drop(commands.send(Command::Remove(hash)));
                    });
                } else {
                    shared.counts.read_errors.fetch_add(1, Ordering::Relaxed);
                }
                shared.complaints.tell("read from", &error);
                None
            }
        };
        // Whoever asked may have gone.
        drop(tell.send(value));
    }
}

/// The value at `spot`, if it is that of `key`.
fn read(shared: &Shared, spot: Spot, hash: u64, key: &[u8]) -> io::Result<Option<Bytes>> {
    let Some(file) = shared.file(spot.segment) else { return Ok(None) };
    let mut bytes = vec![0; to_usize(spot.bytes)];
    file.read_exact_at(&mut bytes, u64::from(spot.offset))?;
    let place = Place { seed: shared.seed, segment: spot.segment, offset: spot.offset };
    let corrupt = || io::Error::new(io::ErrorKind::InvalidData, "a record is damaged");
    let (head, payload) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or_else(corrupt)?;
    let head = Head::decode(head, place).filter(|head| head.hash == hash).ok_or_else(corrupt)?;
    if payload.len() != head.payload_bytes() || record::sum(shared.seed, payload) != head.sum {
        return Err(corrupt());
    }
    let (key_bytes, _) = head.lengths.ok_or_else(corrupt)?;
    let same = payload.get(..to_usize(key_bytes)).is_some_and(|found| found == key);
    let value = HEAD_BYTES + key.len();
    Ok(same.then(|| Bytes::from(bytes).slice(value..)))
}

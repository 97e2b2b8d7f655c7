//! The files of the disk tier: logs of records and their tables of contents, and what a start makes
//! of them after a stop, a kill, a loss of power or damage.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    index::{Index, Spot},
    record::{self, HEAD_BYTES, Head, LogHead, Place, Row, to_usize},
};
use crate::limits;

/// Which file of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Log,
    Table,
}

/// Where the files are.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

/// A log that is no longer written to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    /// Of its files.
    pub(super) bytes: u64,
    /// Where its last removal ends.
    pub(super) removals_end: u32,
    pub(super) file: Arc<File>,
}

impl Directory {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(super) fn path(&self, segment: u32, kind: Kind) -> PathBuf {
        let ending = match kind {
            Kind::Log => "log",
            Kind::Table => "tab",
        };
        self.0.join(format!("segment-{segment:010}.{ending}"))
    }

    /// Makes the names in this directory durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    /// A new log, whose room is reserved as far as the file system can: a disk that is full shows
    /// here and not amid a record. Its head is durable: without it, a start would forget all.
    pub(super) fn create(&self, head: LogHead, segment: u32, bytes: u64) -> io::Result<File> {
        let path = self.path(segment, Kind::Log);
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
        let filled = reserve(&file, bytes)
            .and_then(|()| file.write_all_at(&head.encode(segment), 0))
            .and_then(|()| file.sync_data())
            .and_then(|()| self.sync());
        if filled.is_err() {
            drop(fs::remove_file(&path));
        }
        filled.map(|()| file)
    }

    /// Ends a log at `end` and writes its table of contents. A table that cannot be written is no
    /// loss: the log is read instead.
    pub(super) fn seal(
        &self,
        (seed, number): (u64, u32),
        file: Arc<File>,
        end: u32,
        rows: &[Row],
    ) -> (Segment, io::Result<()>) {
        let table = record::table(seed, number, rows);
        let path = self.path(number, Kind::Table);
        let written = file.set_len(u64::from(end)).and_then(|()| fs::write(&path, &table));
        if written.is_err() {
            drop(fs::remove_file(&path));
        }
        let bytes = u64::from(end) + length(&table);
        (Segment { number, bytes, removals_end: record::removals_end(rows), file }, written)
    }

    /// The rows of a segment, if its table is whole.
    pub(super) fn rows(&self, segment: u32) -> Option<(u64, Vec<Row>)> {
        record::read_table(&fs::read(self.path(segment, Kind::Table)).ok()?, segment)
    }

    /// The log first: a table without a log says nothing.
    pub(super) fn delete(&self, segment: u32) -> io::Result<()> {
        let ignore_absent = |result: io::Result<()>| match result {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
        ignore_absent(fs::remove_file(self.path(segment, Kind::Log)))?;
        ignore_absent(fs::remove_file(self.path(segment, Kind::Table)))
    }

    /// The numbers of all files that are ours.
    fn numbers(&self) -> io::Result<BTreeSet<u32>> {
        let mut numbers = BTreeSet::new();
        for file in fs::read_dir(&self.0)? {
            let name = file?.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix("segment-"));
            let number = name.and_then(|name| name.split_once('.')?.0.parse::<u32>().ok());
            numbers.extend(number);
        }
        Ok(numbers)
    }

    /// The head of a log, if it is whole.
    fn head(&self, segment: u32) -> Option<LogHead> {
        let mut head = [0; HEAD_BYTES];
        let file = File::open(self.path(segment, Kind::Log)).ok()?;
        file.read_exact_at(&mut head, 0).ok()?;
        LogHead::decode(&head, segment)
    }

    /// The seed by which this log was written, from one of its two files.
    fn seed(&self, segment: u32) -> Option<u64> {
        let from_log = || self.head(segment).map(|head| head.seed);
        self.rows(segment).map(|(seed, _)| seed).or_else(from_log)
    }

    /// How far a log reaches at least, for all that is known: the next one tells where its
    /// removals end. Nothing tells of the newest.
    fn least_end(&self, seed: u64, segment: u32, newest: u32) -> u32 {
        if segment >= newest {
            return 0;
        }
        let next = segment.checked_add(1).and_then(|next| self.head(next));
        next.filter(|next| next.seed == seed).map_or(u32::MAX, |next| next.removals_before)
    }
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::{fs::FallocateFlags, io::Errno};
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Then the file grows as it is written.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What a start found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) seed: u64,
    /// In the order in which they were written.
    pub(super) segments: Vec<Segment>,
    /// What is damaged, for the log of the program.
    pub(super) damages: Vec<String>,
}

/// Reads what there is into `index`. A part that may have held removals and cannot be read makes
/// everything older forgotten: rather empty than to serve what was purged.
pub(super) fn recover(
    directory: &Directory,
    fresh_seed: u64,
    index: &Index,
) -> io::Result<Recovered> {
    let numbers = directory.numbers()?;
    let seed = numbers.iter().rev().find_map(|number| directory.seed(*number));
    let seed = seed.unwrap_or(fresh_seed);
    let newest = numbers.last().copied().unwrap_or(0);
    let mut recovered = Recovered { seed, segments: Vec::new(), damages: Vec::new() };
    for number in numbers {
        let before = recovered.segments.last();
        if before.is_some_and(|before| before.number.checked_add(1) != Some(number)) {
            recovered.forget(directory, index, format!("a log is missing before {number}"));
        }
        let least_end = || directory.least_end(seed, number, newest);
        match read_segment(directory, (seed, number), least_end, index, &mut recovered) {
            Ok(Some(segment)) => recovered.segments.push(segment),
            Ok(None) => directory.delete(number)?,
            Err(error) => {
                recovered.forget(directory, index, format!("log {number}: {error}"));
                directory.delete(number)?;
            }
        }
    }
    Ok(recovered)
}

impl Recovered {
    /// Forgets all that was read so far.
    fn forget(&mut self, directory: &Directory, index: &Index, damage: String) {
        index.retain(|_| false);
        for segment in self.segments.drain(..) {
            if let Err(error) = directory.delete(segment.number) {
                self.damages.push(format!("log {} cannot be removed: {error}", segment.number));
            }
        }
        self.damages.push(damage);
    }
}

/// One segment, from its table of contents or else from its log; `None` if it has no record.
fn read_segment(
    directory: &Directory,
    (seed, number): (u64, u32),
    least_end: impl FnOnce() -> u32,
    index: &Index,
    recovered: &mut Recovered,
) -> io::Result<Option<Segment>> {
    let path = directory.path(number, Kind::Log);
    let file = Arc::new(OpenOptions::new().read(true).write(true).open(path)?);
    let spot = |row: &Row| {
        (row.bytes > 0).then_some(Spot { segment: number, offset: row.offset, bytes: row.bytes })
    };
    if let Some((_, rows)) = directory.rows(number).filter(|(found, _)| *found == seed) {
        rows.iter().for_each(|row| index.replay(row.hash, spot(row)));
        let table = fs::metadata(directory.path(number, Kind::Table))?.len();
        let bytes = file.metadata()?.len() + table;
        let removals_end = record::removals_end(&rows);
        return Ok(Some(Segment { number, bytes, removals_end, file }));
    }
    let mut scanned = scan(&file, seed, number)?;
    if scanned.end < least_end() {
        // Removals are missing at the end.
        scanned.rows.clear();
        scanned.damaged = Some(scanned.end);
    }
    if let Some(offset) = scanned.damaged {
        recovered.forget(directory, index, format!("log {number} at byte {offset}"));
    }
    scanned.rows.iter().for_each(|row| index.replay(row.hash, spot(row)));
    if scanned.rows.is_empty() {
        return Ok(None);
    }
    // What a killed process removed is to outlive a loss of power from now on.
    file.sync_data()?;
    let (segment, _) = directory.seal((seed, number), file, scanned.end, &scanned.rows);
    Ok(Some(segment))
}

/// The records of a log that has no table of contents.
struct Scanned {
    rows: Vec<Row>,
    end: u32,
    /// Up to where records may be missing that cannot be read; `rows` has those behind it.
    damaged: Option<u32>,
}

fn scan(file: &File, seed: u64, number: u32) -> io::Result<Scanned> {
    let length = u32::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, 0)?;
    if LogHead::decode(&head, number).is_none_or(|head| head.seed != seed) {
        return Err(io::Error::other("its head is damaged"));
    }
    let start = u32::try_from(HEAD_BYTES).map_err(io::Error::other)?;
    let mut scanned = Scanned { rows: Vec::new(), end: start, damaged: None };
    let mut payload = Vec::new();
    loop {
        let place = Place { seed, segment: number, offset: scanned.end };
        if to_usize(length - scanned.end) < HEAD_BYTES {
            return Ok(scanned);
        }
        file.read_exact_at(&mut head, u64::from(place.offset))?;
        let Some(found) = Head::decode(&head, place) else {
            let Some(next) = next_record(file, place, length)? else {
                // The last write of a process that was killed, or the end.
                if !Head::is_cut_short(&head) {
                    scanned.rows.clear();
                    scanned.damaged = Some(length);
                }
                return Ok(scanned);
            };
            scanned.rows.clear();
            (scanned.damaged, scanned.end) = (Some(next), next);
            continue;
        };
        let bytes = HEAD_BYTES + found.payload_bytes();
        let Some(end) = end_of(place.offset, bytes).filter(|end| *end <= length) else {
            // Cut short behind its head.
            return Ok(scanned);
        };
        scanned.rows.push(row(file, seed, place.offset, &found, &mut payload)?);
        scanned.end = end;
    }
}

/// Where the next record may begin.
pub(super) fn end_of(offset: u32, bytes: usize) -> Option<u32> {
    offset.checked_add(u32::try_from(record::padded(bytes)).ok()?)
}

/// The row of a record; of one whose content is damaged, a removal of what it replaced.
fn row(file: &File, seed: u64, offset: u32, head: &Head, payload: &mut Vec<u8>) -> io::Result<Row> {
    let removal = Row { hash: head.hash, offset, bytes: 0 };
    if head.lengths.is_none() {
        return Ok(removal);
    }
    payload.resize(head.payload_bytes(), 0);
    let begin = u64::from(offset) + u64::try_from(HEAD_BYTES).map_err(io::Error::other)?;
    file.read_exact_at(payload, begin)?;
    if record::sum(seed, payload) != head.sum {
        return Ok(removal);
    }
    let bytes = u32::try_from(HEAD_BYTES + payload.len()).map_err(io::Error::other)?;
    Ok(Row { bytes, ..removal })
}

/// The first record after one that cannot be read.
fn next_record(file: &File, from: Place, length: u32) -> io::Result<Option<u32>> {
    let mut bytes = vec![0; limits::DISK_SCAN_BYTES];
    let mut begin = from.offset;
    while to_usize(length - begin) >= HEAD_BYTES {
        let count = to_usize(length - begin).min(bytes.len());
        let read = &mut bytes[..count];
        file.read_exact_at(read, u64::from(begin))?;
        for start in record::starts(count) {
            let head = read[start..start + HEAD_BYTES].try_into().map_err(io::Error::other)?;
            let offset = begin + u32::try_from(start).map_err(io::Error::other)?;
            let found =
                !Head::is_cut_short(head) && Head::decode(head, Place { offset, ..from }).is_some();
            if found {
                return Ok(Some(offset));
            }
        }
        // A head may lie across the end of what was read.
        let Some(step) = record::starts(count).last().filter(|step| *step > 0) else { break };
        begin += u32::try_from(step).map_err(io::Error::other)?;
    }
    Ok(None)
}

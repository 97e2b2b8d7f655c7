//! The one thread that changes the files: it appends what is put and removed, ends logs that are
//! full, and removes the oldest ones to keep within the size.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    sync::{
        Arc, PoisonError,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender},
    },
};

use super::{
    Shared,
    index::{Entry, Queued, Spot},
    record::{HEAD_BYTES, Head, LogHead, Place, Row, padded},
    segment::{Directory, Segment, end_of},
};
use crate::limits;

/// What the writer is told, in the order in which the index changed.
#[derive(Debug)]
pub(super) enum Command {
    Write(Arc<Queued>),
    Remove(u64),
    /// Ends the log and the thread, and tells.
    Close(SyncSender<()>),
}

/// The log that is written to.
#[derive(Debug)]
struct Active {
    number: u32,
    file: Arc<File>,
    /// Where the next write goes.
    end: u32,
    rows: Vec<Row>,
}

/// A record in the buffer; without a value, a removal.
#[derive(Debug)]
struct Pending {
    row: Row,
    queued: Option<Arc<Queued>>,
}

#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    directory: Directory,
    seed: u64,
    /// Oldest first.
    sealed: VecDeque<Segment>,
    active: Option<Active>,
    buffer: Vec<u8>,
    pending: Vec<Pending>,
    removals_unsynced: bool,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        directory: Directory,
        seed: u64,
        sealed: Vec<Segment>,
    ) -> Self {
        for segment in &sealed {
            shared.show(segment.number, Arc::clone(&segment.file));
        }
        let mut writer = Self {
            shared,
            directory,
            seed,
            sealed: sealed.into(),
            active: None,
            buffer: Vec::new(),
            pending: Vec::new(),
            removals_unsynced: false,
        };
        writer.make_room(0);
        writer
    }

    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        while let Ok(command) = commands.recv() {
            let mut next = Some(command);
            while let Some(command) = next {
                if let Command::Close(tell) = command {
                    self.end();
                    // Whoever closes may have gone on.
                    let _ = tell.try_send(());
                    return;
                }
                self.apply(command);
                let more = self.buffer.len() < limits::DISK_BATCH_BYTES;
                next = if more { commands.try_recv().ok() } else { None };
            }
            self.flush();
            self.sync_removals();
        }
        self.end();
    }

    fn end(&mut self) {
        self.flush();
        self.seal();
        self.account();
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Write(queued) => {
                if self.shared.index.is_newest(&queued) {
                    self.append(queued.hash, Some(queued));
                } else {
                    self.settle(&queued);
                }
            }
            Command::Remove(hash) => self.append(hash, None),
            Command::Close(_) => {}
        }
    }

    /// Puts a record into the buffer.
    fn append(&mut self, hash: u64, queued: Option<Arc<Queued>>) {
        let payload = queued.as_ref().map_or(0, |queued| queued.key.len() + queued.value.len());
        let Some((number, offset)) = self.place(HEAD_BYTES + payload) else {
            return self.give_up(queued);
        };
        let place = Place { seed: self.seed, segment: number, offset };
        let begin = self.buffer.len();
        self.buffer.resize(begin + HEAD_BYTES, 0);
        let mut head = Head::removal(hash);
        let mut bytes = 0;
        if let Some(queued) = &queued {
            self.buffer.extend_from_slice(&queued.key);
            self.buffer.extend_from_slice(&queued.value);
            let lengths = (u32::try_from(queued.key.len()), u32::try_from(queued.value.len()));
            let (key, value) = (lengths.0.unwrap_or(0), lengths.1.unwrap_or(0));
            head = Head::of(self.seed, hash, key, value, &self.buffer[begin + HEAD_BYTES..]);
            bytes = u32::try_from(HEAD_BYTES + payload).unwrap_or(u32::MAX);
        }
        self.buffer[begin..begin + HEAD_BYTES].copy_from_slice(&head.encode(place));
        self.buffer.resize(padded(self.buffer.len()), 0);
        self.pending.push(Pending { row: Row { hash, offset, bytes }, queued });
    }

    /// Segment and offset for a record of this size, in a new log if need be.
    fn place(&mut self, bytes: usize) -> Option<(u32, u32)> {
        let fits = |active: &Active, buffered: usize| {
            let begin = end_of(active.end, buffered)?;
            let end = end_of(begin, bytes)?;
            (u64::from(end) <= self.shared.layout.segment_bytes).then_some((active.number, begin))
        };
        let fit = self.active.as_ref().and_then(|active| fits(active, self.buffer.len()));
        if fit.is_some() {
            return fit;
        }
        self.flush();
        self.begin_log();
        self.active.as_ref().and_then(|active| Some((active.number, end_of(active.end, 0)?)))
    }

    /// A record cannot be written. A lost value is a miss; a removal that is lost would come back
    /// at the next start, so rather everything is removed.
    fn give_up(&mut self, queued: Option<Arc<Queued>>) {
        if let Some(queued) = queued {
            self.lose(&queued);
        } else {
            self.delete_all();
        }
    }

    fn lose(&self, queued: &Arc<Queued>) {
        self.shared.index.lost(queued);
        self.shared.counts.lost.fetch_add(1, Ordering::Relaxed);
        self.settle(queued);
    }

    /// `queued` needs its part of the queue no longer.
    fn settle(&self, queued: &Queued) {
        let bytes = queued.key.len() + queued.value.len();
        self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Writes the buffer.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let pending = std::mem::take(&mut self.pending);
        let written = self.active.as_ref().map_or_else(
            || Err(io::Error::other("there is no log")),
            |active| active.file.write_all_at(&self.buffer, u64::from(active.end)),
        );
        let end = self.active.as_ref().and_then(|active| end_of(active.end, self.buffer.len()));
        self.buffer.clear();
        self.buffer.shrink_to(limits::DISK_BATCH_BYTES * 2);
        match (written, &mut self.active, end) {
            (Ok(()), Some(active), Some(end)) => {
                active.end = end;
                active.rows.extend(pending.iter().map(|pending| pending.row));
                let segment = active.number;
                for Pending { row, queued } in pending {
                    if let Some(queued) = queued {
                        let spot = Spot { segment, offset: row.offset, bytes: row.bytes };
                        self.shared.index.stored(&queued, spot);
                        self.settle(&queued);
                    } else {
                        self.removals_unsynced = true;
                    }
                }
            }
            (written, ..) => {
                let error = written.err().unwrap_or_else(|| io::Error::other("the log is full"));
                self.failed("write to", &error);
                self.rescue(pending);
            }
        }
        self.account();
    }

    /// After a failed write: ends the log before it, and tries once more to write the removals.
    fn rescue(&mut self, pending: Vec<Pending>) {
        self.seal();
        let mut removals = Vec::new();
        for Pending { row, queued } in pending {
            match queued {
                Some(queued) => self.lose(&queued),
                None => removals.push(row.hash),
            }
        }
        if removals.is_empty() {
            return;
        }
        self.begin_log();
        let Some(active) = &mut self.active else { return self.delete_all() };
        let (mut bytes, mut rows, mut end) = (Vec::new(), Vec::new(), Some(active.end));
        for hash in removals {
            let Some(offset) = end else { break };
            let place = Place { seed: self.seed, segment: active.number, offset };
            bytes.extend_from_slice(&Head::removal(hash).encode(place));
            rows.push(Row { hash, offset, bytes: 0 });
            end = end_of(offset, HEAD_BYTES);
        }
        let Some(end) = end else { return self.delete_all() };
        if let Err(error) = active.file.write_all_at(&bytes, u64::from(active.end)) {
            self.failed("write to", &error);
            return self.delete_all();
        }
        active.end = end;
        active.rows.extend(rows);
        self.removals_unsynced = true;
    }

    /// What was purged is to stay so after a loss of power, too.
    fn sync_removals(&mut self) {
        if !std::mem::take(&mut self.removals_unsynced) {
            return;
        }
        if let Some(Err(error)) = self.active.as_ref().map(|active| active.file.sync_data()) {
            self.failed("sync", &error);
        }
    }

    /// Ends the active log.
    fn seal(&mut self) {
        self.sync_removals();
        let Some(active) = self.active.take() else { return };
        let id = (self.seed, active.number);
        let (segment, table) = self.directory.seal(id, active.file, active.end, &active.rows);
        if let Err(error) = table {
            self.failed("end a log in", &error);
        }
        self.sealed.push_back(segment);
    }

    /// Begins a log, in the place of old ones if need be.
    fn begin_log(&mut self) {
        self.seal();
        let bytes = self.shared.layout.segment_bytes;
        self.make_room(bytes);
        let last = self.sealed.back().map_or(Some(0), |segment| segment.number.checked_add(1));
        let Some(number) = last else { return self.delete_all() };
        let removals_before = self.sealed.back().map_or(0, |before| before.removals_end);
        let head = LogHead { seed: self.seed, removals_before };
        let mut created = self.directory.create(head, number, bytes);
        if let Err(error) = &created
            && matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
            && !self.sealed.is_empty()
        {
            // Others need the disk: this becomes smaller.
            self.failed("grow in", error);
            let mut freed = 0;
            while freed < bytes
                && let Some(oldest) = self.sealed.front().map(|segment| segment.bytes)
            {
                freed += oldest;
                self.delete_oldest();
            }
            created = self.directory.create(head, number, bytes);
        }
        match created {
            Ok(file) => {
                let file = Arc::new(file);
                self.shared.show(number, Arc::clone(&file));
                let end = u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX);
                self.active = Some(Active { number, file, end, rows: Vec::new() });
            }
            Err(error) => {
                self.shared.rest();
                self.failed("create a log in", &error);
            }
        }
    }

    /// Removes the oldest logs until `bytes` more are within the size.
    fn make_room(&mut self, bytes: u64) {
        while !self.sealed.is_empty()
            && (self.used() + bytes > self.shared.layout.capacity
                || self.sealed.len() >= limits::DISK_SEGMENTS_MAX)
        {
            self.delete_oldest();
        }
        self.account();
    }

    fn used(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |_| self.shared.layout.segment_bytes);
        self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() + active
    }

    fn account(&self) {
        self.shared.bytes.store(self.used(), Ordering::Relaxed);
    }

    fn delete_oldest(&mut self) {
        let Some(segment) = self.sealed.pop_front() else { return };
        let rows = self.directory.rows(segment.number).map(|(_, rows)| rows);
        let hashes = rows.map(|rows| rows.into_iter().map(|row| row.hash));
        self.shared.index.forget(segment.number, hashes);
        self.delete(segment.number);
    }

    /// Removes every log; what is still queued stays queued.
    fn delete_all(&mut self) {
        for Pending { queued, .. } in std::mem::take(&mut self.pending) {
            if let Some(queued) = queued {
                self.lose(&queued);
            }
        }
        self.buffer.clear();
        self.shared.index.retain(|entry| matches!(entry, Entry::Queued(_)));
        let active = self.active.take().map(|active| active.number);
        // Oldest first, so that a removal outlives what it removed.
        for segment in std::mem::take(&mut self.sealed) {
            self.delete(segment.number);
        }
        if let Some(active) = active {
            self.delete(active);
        }
        if let Err(error) = self.directory.sync() {
            self.failed("sync", &error);
        }
        self.account();
    }

    fn delete(&self, segment: u32) {
        let mut files = self.shared.files.write().unwrap_or_else(PoisonError::into_inner);
        files.remove(&segment);
        drop(files);
        if let Err(error) = self.directory.delete(segment) {
            self.failed("remove a log from", &error);
        }
    }

    fn failed(&self, what: &'static str, error: &io::Error) {
        self.shared.counts.write_errors.fetch_add(1, Ordering::Relaxed);
        self.shared.complaints.tell(what, error);
    }
}

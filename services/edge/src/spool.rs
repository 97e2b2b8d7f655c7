//! The spool: reports that the exchange has not acknowledged, in memory and on disk.
//!
//! Each run of an edge has a file of its own, locked while the run lives, with one report per
//! line. A report is written before it is sent, so that a kill loses only the second that was
//! being counted. What a run leaves behind, the next takes into its own file and sends. A report
//! may be sent more than once; the exchange knows it by edge, run and second.
//!
//! A line that was cut off by a kill has no end or cannot be read: it is left out. What a report
//! means is not known here.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use headroom_units::{EdgeId, Timestamp};
use headroom_wire::{MeterAck, MeterReport};
use prometheus_client::metrics::counter::Counter;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::limits;

const PREFIX: &str = "meters-";
const SUFFIX: &str = ".jsonl";

/// What is not acknowledged yet.
#[derive(Debug)]
pub(crate) struct Spool {
    edge: EdgeId,
    incarnation: u64,
    /// By run and second: the oldest first.
    waiting: BTreeMap<(u64, u64), Waiting>,
    bytes: usize,
    /// When the exchange was last heard of.
    heard: Timestamp,
    acknowledged: bool,
    full: bool,
    dropped: Counter,
    /// Without a folder, reports wait in memory alone.
    file: Option<Arc<Mutex<SpoolFile>>>,
    file_bytes: usize,
    syncing: Option<JoinHandle<()>>,
}

/// A report that waits for its acknowledgement.
#[derive(Debug)]
struct Waiting {
    /// As it stands in the file, with the line feed.
    line: Bytes,
    sent_at: Timestamp,
}

/// The file of this run.
#[derive(Debug)]
struct SpoolFile {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    length: u64,
}

impl Spool {
    /// An empty spool, and in `folder` a file for it; then what earlier runs left there.
    pub(crate) fn open(
        edge: EdgeId,
        folder: Option<&Path>,
        incarnation: u64,
        dropped: Counter,
    ) -> Self {
        let file = folder.and_then(|folder| match SpoolFile::create(folder, incarnation) {
            Ok(file) => Some(Arc::new(Mutex::new(file))),
            Err(error) => {
                let folder = folder.display();
                tracing::error!(%folder, %error, "meters cannot be spooled: a kill loses them");
                None
            }
        });
        let mut spool = Self {
            edge,
            incarnation,
            waiting: BTreeMap::new(),
            bytes: 0,
            heard: Timestamp::EPOCH,
            acknowledged: false,
            full: false,
            dropped,
            file,
            file_bytes: 0,
            syncing: None,
        };
        if let Some(file) = &spool.file {
            let adopted = locked(file).adopt();
            spool.take_over(adopted);
        }
        spool
    }

    /// Which run of the edge this is.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// True if every report is acknowledged.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// True if an exchange has ever acknowledged a report of this run.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Keeps a report that is about to be sent, on disk first.
    pub(crate) async fn keep(&mut self, report: &MeterReport, now: Timestamp) {
        let mut line = match serde_json::to_vec(report) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "a report cannot be written, so it is not kept");
                return;
            }
        };
        line.push(b'\n');
        let line = Bytes::from(line);
        self.wait((report.incarnation, report.second.0.seconds()), line.clone(), now);
        self.blocking(move |file| file.append(&line)).await;
        self.sync();
    }

    /// What is to be sent again at `now`: the oldest reports whose acknowledgement is overdue. Few
    /// if there seems to be no exchange.
    pub(crate) fn overdue(&mut self, now: Timestamp) -> Vec<MeterReport> {
        let alive = now.since(self.heard) < limits::EXCHANGE_SILENCE_MAX;
        let most = if alive { limits::METERS_RESENT_MAX } else { limits::METERS_PROBED_MAX };
        let overdue = self
            .waiting
            .values_mut()
            .filter(|waiting| now.since(waiting.sent_at) >= limits::METER_ACK_TIME);
        let again = overdue.take(most).filter_map(|waiting| {
            waiting.sent_at = now;
            serde_json::from_slice(&waiting.line).ok()
        });
        again.collect()
    }

    /// The exchange is there.
    pub(crate) fn heard(&mut self, now: Timestamp) {
        self.heard = self.heard.max(now);
    }

    /// Forgets what the exchange has stored.
    pub(crate) async fn acknowledge(&mut self, ack: &MeterAck, now: Timestamp) {
        if ack.edge.0 != self.edge {
            return;
        }
        self.heard(now);
        self.acknowledged |= ack.incarnation == self.incarnation;
        if let Some(waiting) = self.waiting.remove(&(ack.incarnation, ack.second.0.seconds())) {
            self.bytes -= waiting.line.len();
            self.trim().await;
        }
    }

    /// Takes over what a run that has ended since left behind.
    pub(crate) async fn adopt(&mut self) {
        if let Some(file) = self.file.clone() {
            let adopted = spawn_blocking(move || locked(&file).adopt()).await;
            self.take_over(adopted.unwrap_or_default());
        }
    }

    /// The last word of this run: everything on the disk, or no file if nothing is left.
    pub(crate) async fn close(&mut self) {
        if self.is_empty() {
            self.blocking(|file| fs::remove_file(&file.path)).await;
        } else {
            self.blocking(|file| file.file.sync_data()).await;
        }
    }

    fn take_over(&mut self, lines: Vec<Bytes>) {
        if !lines.is_empty() {
            tracing::info!(reports = lines.len(), "meters of an earlier run are sent again");
        }
        for line in lines {
            self.file_bytes += line.len();
            match serde_json::from_slice::<MeterReport>(&line) {
                Ok(report) if report.edge.0 == self.edge => {
                    let key = (report.incarnation, report.second.0.seconds());
                    self.wait(key, line, Timestamp::EPOCH);
                }
                Ok(report) => {
                    tracing::warn!(edge = %report.edge.0, "another edge's report is left out")
                }
                Err(error) => tracing::warn!(%error, "a spooled report cannot be read"),
            }
        }
    }

    /// Adds a report, and drops the oldest ones if there is no room.
    fn wait(&mut self, key: (u64, u64), line: Bytes, sent_at: Timestamp) {
        self.bytes += line.len();
        if let Some(before) = self.waiting.insert(key, Waiting { line, sent_at }) {
            self.bytes -= before.line.len();
        }
        while self.bytes > limits::SPOOL_BYTES_MAX && self.waiting.len() > 1 {
            let Some((_, oldest)) = self.waiting.pop_first() else { break };
            self.bytes -= oldest.line.len();
            self.dropped.inc();
            if !self.full {
                self.full = true;
                tracing::error!(
                    "the spool is full: the oldest meters are dropped and will count as not delivered"
                );
            }
        }
        self.full &= self.bytes > limits::SPOOL_BYTES_MAX / 2;
    }

    /// Shortens the file if much of it is acknowledged.
    async fn trim(&mut self) {
        let waste = self.file_bytes.saturating_sub(self.bytes);
        if !self.waiting.is_empty() && waste <= limits::SPOOL_WASTE_MAX {
            return;
        }
        let lines: Vec<Bytes> = self.waiting.values().map(|waiting| waiting.line.clone()).collect();
        self.blocking(move |file| file.replace(&lines)).await;
        self.file_bytes = self.bytes;
    }

    /// Works on the file away from everything that must not wait for a disk.
    async fn blocking(
        &mut self,
        work: impl FnOnce(&mut SpoolFile) -> io::Result<()> + Send + 'static,
    ) {
        let Some(file) = self.file.clone() else { return };
        let worked = spawn_blocking(move || {
            let mut file = locked(&file);
            let worked = work(&mut file);
            (worked, file.length)
        });
        match worked.await {
            Ok((Ok(()), length)) => self.file_bytes = usize::try_from(length).unwrap_or(usize::MAX),
            Ok((Err(error), _)) => {
                tracing::error!(%error, "the spool of the meters cannot be written")
            }
            Err(error) => tracing::error!(%error, "writing the spool of the meters broke off"),
        }
    }

    /// Begins to sync the file, unless that is still going on. Against a loss of power only: what
    /// is written survives the end of the process.
    fn sync(&mut self) {
        if self.syncing.as_ref().is_some_and(|syncing| !syncing.is_finished()) {
            return;
        }
        let Some(file) = self.file.clone() else { return };
        self.syncing = Some(spawn_blocking(move || {
            // On a handle of its own: the next report does not wait for the disk.
            let synced = locked(&file).file.try_clone().and_then(|handle| handle.sync_data());
            if let Err(error) = synced {
                tracing::error!(%error, "the spool of the meters cannot be synced");
            }
        }));
    }
}

fn locked(file: &Mutex<SpoolFile>) -> std::sync::MutexGuard<'_, SpoolFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SpoolFile {
    fn create(folder: &Path, incarnation: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{PREFIX}{incarnation}{SUFFIX}"));
        let file = new_file(&path)?;
        Ok(Self { folder: folder.to_owned(), path, file, length: 0 })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(line);
        if written.is_err() {
            // Half a line would spoil the next one.
            self.file.set_len(self.length)?;
        } else {
            self.length += u64::try_from(line.len()).unwrap_or(0);
        }
        written
    }

    /// Makes the file hold just `lines`.
    fn replace(&mut self, lines: &[Bytes]) -> io::Result<()> {
        if lines.is_empty() {
            self.file.set_len(0)?;
            self.length = 0;
            return Ok(());
        }
        let mut file = new_file(&self.path)?;
        file.write_all(&lines.concat())?;
        file.sync_data()?;
        self.length = file.metadata()?.len();
        self.file = file;
        Ok(())
    }

    /// The whole lines of files whose runs have ended; they are in this file then, and their own
    /// files gone.
    fn adopt(&mut self) -> Vec<Bytes> {
        let mut adopted = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::error!(%error, "the spools of earlier runs cannot be looked for");
                return adopted;
            }
        };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path == self.path || !name.starts_with(PREFIX) || !name.ends_with(SUFFIX) {
                continue;
            }
            match self.adopt_file(&path) {
                Ok(lines) => adopted.extend(lines),
                Err(error) => {
                    let path = path.display();
                    tracing::error!(%path, %error, "an earlier run's meters cannot be taken over");
                }
            }
        }
        adopted
    }

    fn adopt_file(&mut self, path: &Path) -> io::Result<Vec<Bytes>> {
        let file = File::open(path)?;
        if file.try_lock().is_err() {
            // Its run lives.
            return Ok(Vec::new());
        }
        let bytes = Bytes::from(fs::read(path)?);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let whole = bytes.slice(..whole);
        self.append(&whole)?;
        self.file.sync_data()?;
        fs::remove_file(path)?;
        Ok(whole.split_inclusive(|byte| *byte == b'\n').map(|line| whole.slice_ref(line)).collect())
    }
}

/// An empty, locked file at `path`. It appears there only when it is locked, so that no other run
/// takes it for one that was left behind.
fn new_file(path: &Path) -> io::Result<File> {
    let beside = path.with_extension("new");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&beside)?;
    drop(file);
    let file = OpenOptions::new().append(true).open(&beside)?;
    file.try_lock()?;
    fs::rename(&beside, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use headroom_wire::{OwnMeter, Text, Time};

    use super::*;

    fn edge() -> EdgeId {
        "east-1".parse().unwrap()
    }

    fn report(incarnation: u64, second: u64) -> MeterReport {
        MeterReport {
            edge: Text(edge()),
            incarnation,
            second: Time(Timestamp::from_seconds(second)),
            generation: 1,
            budget_sequence: 0,
            own: OwnMeter { requests: second, hits: 0, bytes: 0 },
            contracts: Vec::new(),
            clients: Vec::new(),
        }
    }

    fn ack(incarnation: u64, second: u64) -> MeterAck {
        let second = Time(Timestamp::from_seconds(second));
        MeterAck { edge: Text(edge()), incarnation, second }
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    fn open(folder: Option<&Path>, incarnation: u64) -> Spool {
        Spool::open(edge(), folder, incarnation, Counter::default())
    }

    /// Ends a run as a kill would, with nothing left that holds its file.
    async fn kill(mut spool: Spool) {
        if let Some(syncing) = spool.syncing.take() {
            syncing.await.unwrap();
        }
    }

    fn keys(reports: &[MeterReport]) -> Vec<(u64, u64)> {
        reports.iter().map(|report| (report.incarnation, report.second.0.seconds())).collect()
    }

    fn files(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_is_sent_again() {
        let mut spool = open(None, 1);
        for second in 10..13 {
            spool.keep(&report(1, second), at(second + 1)).await;
        }
        spool.acknowledge(&ack(1, 11), at(13)).await;
        spool.acknowledge(&ack(2, 12), at(13)).await;
        assert!(spool.overdue(at(12)).is_empty(), "it is not late yet");
        assert_eq!(keys(&spool.overdue(at(20))), [(1, 10), (1, 12)]);
        assert!(spool.overdue(at(20)).is_empty(), "not twice at a time");
        assert_eq!(keys(&spool.overdue(at(30))), [(1, 10), (1, 12)]);
    }

    #[tokio::test]
    async fn without_an_exchange_few_are_sent_again() {
        let mut spool = open(None, 1);
        for second in 0..500 {
            spool.keep(&report(1, second), at(0)).await;
        }
        assert_eq!(spool.overdue(at(1_000)).len(), limits::METERS_PROBED_MAX);
        spool.heard(at(2_000));
        assert_eq!(spool.overdue(at(2_000)).len(), limits::METERS_RESENT_MAX);
    }

    #[tokio::test]
    async fn the_next_run_takes_over_what_the_last_one_left() {
        let folder = tempfile::tempdir().unwrap();
        let mut killed = open(Some(folder.path()), 1);
        for second in 10..13 {
            killed.keep(&report(1, second), at(second + 1)).await;
        }
        killed.acknowledge(&ack(1, 11), at(13)).await;
        let mut beside = open(Some(folder.path()), 2);
        beside.adopt().await;
        assert!(beside.is_empty(), "the first run lives");
        let torn = folder.path().join("meters-1.jsonl");
        kill(killed).await;
        let mut file = OpenOptions::new().append(true).open(torn).unwrap();
        file.write_all(b"{\"edge\":\"east-1\",\"incarnation\":1,\"second\":\"2026-").unwrap();
        beside.adopt().await;
        // What was acknowledged and is still in the file is sent again: the exchange knows it.
        assert_eq!(keys(&beside.overdue(at(20))), [(1, 10), (1, 11), (1, 12)]);
        assert_eq!(files(folder.path()), ["meters-2.jsonl"]);
        kill(beside).await;
        let mut third = open(Some(folder.path()), 3);
        for second in 10..13 {
            third.acknowledge(&ack(1, second), at(20)).await;
        }
        assert!(third.is_empty());
        third.close().await;
        assert!(files(folder.path()).is_empty());
    }

    #[tokio::test]
    async fn a_file_shrinks_with_what_is_acknowledged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meters-1.jsonl");
        let mut spool = open(Some(folder.path()), 1);
        let line = serde_json::to_vec(&report(1, 0)).unwrap().len();
        let many = u64::try_from(2 * limits::SPOOL_WASTE_MAX / line).unwrap();
        for second in 0..many {
            spool.keep(&report(1, second), at(second)).await;
        }
        for second in 1..many {
            spool.acknowledge(&ack(1, second), at(many)).await;
        }
        let length = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
        assert!(length <= limits::SPOOL_WASTE_MAX + line, "{length}");
        spool.acknowledge(&ack(1, 0), at(many)).await;
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
        spool.keep(&report(1, many), at(many)).await;
        kill(spool).await;
        let mut next = open(Some(folder.path()), 2);
        assert_eq!(keys(&next.overdue(at(many + 10))), [(1, many)]);
    }

    #[test]
    fn the_oldest_goes_when_the_spool_is_full() {
        let mut spool = open(None, 1);
        let line = Bytes::from(vec![b'x'; limits::SPOOL_BYTES_MAX / 4]);
        for second in 0..6 {
            spool.wait((1, second), line.clone(), at(second));
        }
        assert_eq!(spool.waiting.keys().map(|key| key.1).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert_eq!(spool.dropped.get(), 2);
        assert!(spool.bytes <= limits::SPOOL_BYTES_MAX);
    }
}

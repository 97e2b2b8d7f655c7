//! The access log: one JSON line per request, in a file.
//!
//! ```text
//!  serving thread ──lines──► its buffers ──full ones, and all twice a second──► writer ──► file
//! ```
//!
//! A serving thread formats into a buffer of its own and never waits for the file: if the writer
//! is so slow that all buffers are full, lines are dropped and counted. `SIGHUP` makes the writer
//! open the file again, for log rotation. Never logged: what only the visitor may know, such as
//! Authorization and Cookie. The fields are described in `docs/reference/access-log.md`.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    mem,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle, Thread},
    time::Duration,
};

use headroom_units::{EdgeId, Timestamp};
use headroom_wire::Time;
use http::{
    HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{HOST, USER_AGENT},
};
use prometheus_client::metrics::counter::Counter;

use crate::{
    EdgeError, limits,
    meter::Account,
    metrics::Outcome,
    table::ServedSite,
    text::{write_address, write_digits, write_number},
    trace::TraceContext,
};

/// The log of an edge: owns the thread that writes it.
#[derive(Debug)]
pub(crate) struct AccessLogs {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// The log as one serving thread sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog {
    ring: Arc<Ring>,
    writer: Thread,
}

#[derive(Debug)]
struct Shared {
    rings: Vec<Arc<Ring>>,
    stop: AtomicBool,
    reopen: AtomicBool,
    dropped: Counter,
}

/// The lines of one serving thread that are not written yet.
#[derive(Debug)]
struct Ring {
    edge: EdgeId,
    with_query: bool,
    dropped: Counter,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    current: Vec<u8>,
    full: Vec<Vec<u8>>,
    empty: Vec<Vec<u8>>,
    /// The second that was written last, and how.
    second: u64,
    date: String,
}

/// A request as it came. Its parts share memory with the request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    at: Timestamp,
    peer: IpAddr,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    version: Version,
    user_agent: Option<HeaderValue>,
    trace: TraceContext,
}

/// A request and how it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The request.
    pub(crate) asked: &'a Asked,
    /// The site it was for, if the host is known.
    pub(crate) site: Option<&'a ServedSite>,
    /// Whose traffic it is.
    pub(crate) account: Account,
    /// What was answered; nothing if the visitor left before.
    pub(crate) answered: Option<(StatusCode, Outcome)>,
    /// Sent to the visitor, as it is metered.
    pub(crate) bytes: u64,
    /// From the head of the request to the end of the response.
    pub(crate) duration: Duration,
    /// False if the response was cut off.
    pub(crate) complete: bool,
}

/// A request that is not over. It is logged when this is dropped, with what is known by then.
#[derive(Debug)]
pub(crate) struct Record {
    log: AccessLog,
    asked: Asked,
    site: Option<Arc<ServedSite>>,
    account: Account,
    answered: Option<(StatusCode, Outcome)>,
    bytes: u64,
    /// What is still to come of a body whose length is known.
    left: Option<u64>,
    complete: bool,
}

impl AccessLogs {
    /// Opens the file at `path` and starts to write for so many threads; `-` is standard output.
    pub(crate) fn open(
        path: &Path,
        edge: &EdgeId,
        with_query: bool,
        threads: usize,
        dropped: &Counter,
    ) -> Result<Self, EdgeError> {
        let sink = Sink::open(path)
            .map_err(|source| EdgeError::AccessLog { path: path.to_owned(), source })?;
        let ring = || Ring {
            edge: edge.clone(),
            with_query,
            dropped: dropped.clone(),
            lines: Mutex::default(),
        };
        let shared = Arc::new(Shared {
            rings: (0..threads).map(|_| Arc::new(ring())).collect(),
            stop: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            dropped: dropped.clone(),
        });
        let writing = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name(format!("log-{edge}"))
            .spawn(move || writing.write(sink))
            .map_err(|source| EdgeError::Thread { source })?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// The log of serving thread number `thread`.
    pub(crate) fn of_thread(&self, thread: usize) -> Option<AccessLog> {
        let writer = self.writer.as_ref()?.thread().clone();
        Some(AccessLog { ring: Arc::clone(self.shared.rings.get(thread)?), writer })
    }

    /// Opens the file again under its name.
    pub(crate) fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(writer) = &self.writer {
            writer.thread().unpark();
        }
    }
}

impl Drop for AccessLogs {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            tracing::error!("the thread that writes the access log is lost");
        }
    }
}

impl Shared {
    /// Writes until the end, and then what is left.
    fn write(&self, mut sink: Sink) {
        let mut buffers = Vec::new();
        loop {
            let last = self.stop.load(Ordering::Acquire);
            if self.reopen.swap(false, Ordering::AcqRel) {
                sink.reopen();
            }
            for ring in &self.rings {
                ring.lock().take(&mut buffers);
                for buffer in &mut buffers {
                    if let Err(lines) = sink.write(buffer) {
                        self.dropped.inc_by(lines);
                    }
                    buffer.clear();
                }
                ring.lock().give_back(&mut buffers);
            }
            if last {
                return;
            }
            thread::park_timeout(limits::ACCESS_LOG_DELAY);
        }
    }
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// A buffer with room for a line; none if the writer does not keep up. True if there is
    /// something for the writer to do.
    fn room(&mut self) -> (bool, Option<&mut Vec<u8>>) {
        if self.current.len() < limits::ACCESS_LOG_BUFFER_BYTES {
            return (false, Some(&mut self.current));
        }
        if self.full.len() >= limits::ACCESS_LOG_BUFFERS_MAX {
            return (true, None);
        }
        let next = self.empty.pop().unwrap_or_default();
        self.full.push(mem::replace(&mut self.current, next));
        (true, Some(&mut self.current))
    }

    /// The date and time of a second, without its zone.
    fn set_date(&mut self, second: u64) {
        if second != self.second || self.date.is_empty() {
            self.second = second;
            self.date = Time(Timestamp::from_seconds(second)).to_string();
            self.date.truncate(self.date.len() - 1);
        }
    }

    fn take(&mut self, buffers: &mut Vec<Vec<u8>>) {
        buffers.append(&mut self.full);
        if !self.current.is_empty() {
            let next = self.empty.pop().unwrap_or_default();
            buffers.push(mem::replace(&mut self.current, next));
        }
    }

    fn give_back(&mut self, buffers: &mut Vec<Vec<u8>>) {
        self.empty.append(buffers);
        self.empty.truncate(limits::ACCESS_LOG_BUFFERS_MAX);
    }
}

impl AccessLog {
    /// A request begins; whatever becomes of it is logged when the record is dropped.
    pub(crate) fn begin(&self, asked: Asked) -> Record {
        let (log, account) = (self.clone(), Account::Nobody);
        let (site, answered, left) = (None, None, None);
        Record { log, asked, site, account, answered, bytes: 0, left, complete: false }
    }

    /// Logs one request. It does not wait.
    pub(crate) fn record(&self, entry: &Entry<'_>) {
        let mut lines = self.ring.lock();
        lines.set_date(entry.asked.at.seconds());
        let date = mem::take(&mut lines.date);
        let (wake, room) = lines.room();
        match room {
            Some(line) => write_line(line, &date, &self.ring, entry),
            None => {
                self.ring.dropped.inc();
            }
        }
        lines.date = date;
        drop(lines);
        if wake {
            self.writer.unpark();
        }
    }
}

impl Asked {
    /// What the log says of `request`, which came at `at`.
    pub(crate) fn of<B>(
        request: &Request<B>,
        peer: IpAddr,
        at: Timestamp,
        trace: TraceContext,
    ) -> Self {
        Self {
            at,
            peer,
            method: request.method().clone(),
            uri: request.uri().clone(),
            host: request.headers().get(HOST).cloned(),
            version: request.version(),
            user_agent: request.headers().get(USER_AGENT).cloned(),
            trace,
        }
    }
}

impl Record {
    /// The request is for a site, and it is known whose it is.
    pub(crate) fn judged(&mut self, site: &Arc<ServedSite>, account: Account) {
        self.site = Some(Arc::clone(site));
        self.account = account;
    }

    /// The head of the response is made; `bytes` go with it.
    pub(crate) fn answered(&mut self, status: StatusCode, outcome: Outcome, bytes: u64) {
        self.answered = Some((status, outcome));
        self.sent(bytes);
    }

    /// So many bytes of a body are to come.
    pub(crate) fn expects(&mut self, length: Option<u64>) {
        self.left = length;
        self.complete |= length == Some(0);
    }

    /// More is sent. A body of known length ends with its last byte: nobody asks for more of it.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.left = self.left.map(|left| left.saturating_sub(bytes));
        self.complete |= self.left == Some(0);
    }

    /// All is sent.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.log.record(&Entry {
            asked: &self.asked,
            site: self.site.as_deref(),
            account: self.account,
            answered: self.answered,
            bytes: self.bytes,
            duration: headroom_clock::now().since(self.asked.at),
            complete: self.complete,
        });
    }
}

fn write_line(line: &mut Vec<u8>, date: &str, ring: &Ring, entry: &Entry<'_>) {
    let asked = entry.asked;
    line.extend_from_slice(b"{\"time\":\"");
    line.extend_from_slice(date.as_bytes());
    line.push(b'.');
    write_micros(line, asked.at);
    line.extend_from_slice(b"Z\",\"edge\":\"");
    line.extend_from_slice(ring.edge.as_str().as_bytes());
    line.extend_from_slice(b"\",\"request\":\"");
    line.extend_from_slice(&asked.trace.span_id());
    line.extend_from_slice(b"\",\"trace\":\"");
    line.extend_from_slice(&asked.trace.trace_id());
    line.extend_from_slice(b"\",\"peer\":\"");
    write_address(line, asked.peer);
    line.extend_from_slice(b"\",\"site\":");
    write_text(line, entry.site.map(|site| site.id.as_str().as_bytes()));
    line.extend_from_slice(b",\"contract\":\"");
    write_account(line, entry.account);
    line.extend_from_slice(b"\",\"method\":");
    write_text(line, Some(asked.method.as_str().as_bytes()));
    line.extend_from_slice(b",\"host\":");
    let authority = || asked.uri.authority().map(|host| host.as_str().as_bytes());
    write_text(line, asked.host.as_ref().map(HeaderValue::as_bytes).or_else(authority));
    line.extend_from_slice(b",\"target\":");
    let target = asked.uri.path_and_query().filter(|_| ring.with_query);
    let target = target.map_or_else(|| asked.uri.path(), |target| target.as_str());
    write_text(line, Some(target.as_bytes()));
    line.extend_from_slice(b",\"protocol\":\"");
    line.extend_from_slice(protocol(asked.version));
    line.extend_from_slice(b"\",\"status\":");
    match entry.answered {
        Some((status, _)) => write_number(line, u64::from(status.as_u16())),
        None => line.extend_from_slice(b"null"),
    }
    line.extend_from_slice(b",\"outcome\":\"");
    let outcome = entry.answered.map_or("abandoned", |(_, outcome)| outcome.as_str());
    line.extend_from_slice(outcome.as_bytes());
    line.extend_from_slice(b"\",\"bytes\":");
    write_number(line, entry.bytes);
    line.extend_from_slice(b",\"duration_us\":");
    write_number(line, u64::try_from(entry.duration.as_micros()).unwrap_or(u64::MAX));
    line.extend_from_slice(if entry.complete {
        b",\"complete\":true"
    } else {
        b",\"complete\":false"
    });
    line.extend_from_slice(b",\"user_agent\":");
    write_text(line, asked.user_agent.as_ref().map(HeaderValue::as_bytes));
    line.extend_from_slice(b"}\n");
}

fn protocol(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2",
        Version::HTTP_3 => b"HTTP/3",
        _ => b"HTTP/1.1",
    }
}

fn write_account(line: &mut Vec<u8>, account: Account) {
    match account {
        Account::Own => line.extend_from_slice(b"own"),
        Account::Nobody => line.extend_from_slice(b"none"),
        Account::Contract(contract) => write_shown(line, &contract),
    }
}

/// What is made of letters, digits and signs that need no escape.
fn write_shown(line: &mut Vec<u8>, value: &dyn std::fmt::Display) {
    write!(line, "{value}").expect("a buffer takes whatever is written");
}

fn write_micros(line: &mut Vec<u8>, at: Timestamp) {
    let mut digits = [b'0'; 6];
    write_digits(&mut digits, at.nanos() / 1_000 % 1_000_000);
    line.extend_from_slice(&digits);
}

/// Writes a JSON string (RFC 8259 §7), or null. What is not UTF-8 becomes U+FFFD; what is very long
/// is cut.
fn write_text(line: &mut Vec<u8>, text: Option<&[u8]>) {
    let Some(text) = text else { return line.extend_from_slice(b"null") };
    let text = text.get(..limits::LOGGED_FIELD_BYTES_MAX).unwrap_or(text);
    line.push(b'"');
    if text.iter().all(|byte| is_plain(*byte)) {
        line.extend_from_slice(text);
    } else {
        for chunk in text.utf8_chunks() {
            write_escaped(line, chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                line.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    line.push(b'"');
}

/// A printable ASCII character that stands for itself in a JSON string.
const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte < 0x7f && byte != b'"' && byte != b'\\'
}

fn write_escaped(line: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for &byte in text {
        match byte {
            b'"' | b'\\' => line.extend_from_slice(&[b'\\', byte]),
            0..=0x1f | 0x7f => {
                let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
                line.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
            _ => line.push(byte),
        }
    }
}

/// Where lines are written.
#[derive(Debug)]
struct Sink {
    /// None for standard output.
    file: Option<(PathBuf, File)>,
    failing: bool,
}

impl Sink {
    fn open(path: &Path) -> io::Result<Self> {
        let file = match path.as_os_str() == "-" {
            true => None,
            false => Some((path.to_owned(), open(path)?)),
        };
        Ok(Self { file, failing: false })
    }

    fn reopen(&mut self) {
        let Some((path, file)) = &mut self.file else { return };
        match open(path) {
            Ok(again) => *file = again,
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "the access log cannot be opened again: the old file goes on");
            }
        }
    }

    /// Writes whole lines; or how many are lost.
    fn write(&mut self, lines: &[u8]) -> Result<(), u64> {
        // What failed before may have ended within a line.
        let separator: &[u8] = if self.failing { b"\n" } else { b"" };
        let written = match &mut self.file {
            Some((_, file)) => file.write_all(separator).and_then(|()| file.write_all(lines)),
            None => {
                let mut out = io::stdout().lock();
                out.write_all(separator)
                    .and_then(|()| out.write_all(lines))
                    .and_then(|()| out.flush())
            }
        };
        let failed_before = mem::replace(&mut self.failing, written.is_err());
        let Err(error) = written else { return Ok(()) };
        if !failed_before {
            tracing::error!(%error, "the access log cannot be written: lines are dropped");
        }
        let count = lines.iter().filter(|byte| **byte == b'\n').count();
        Err(u64::try_from(count).unwrap_or(u64::MAX))
    }
}

fn open(path: &Path) -> io::Result<File> {
    // Who asked for what is not for everyone.
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests;

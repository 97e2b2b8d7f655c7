//! A running program is replaced by the next, and visitors do not notice.
//!
//! Real processes, one after the other, take the edge over: `all` from nobody, `all` from `all`,
//! `edge` (and `dns`) from `all`, `edge` from `edge`. Visitors ask all the while, over kept and over
//! new connections, in the clear and over TLS. No connection is refused or reset, no request fails,
//! and the process that was replaced ends by itself.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[path = "hot_restart/program.rs"]
mod program;

use std::{
    fs,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use program::{PATIENCE, Program};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs,
    pki_types::ServerName,
};

const HOST: &str = "www.own.example";
/// The ports 28100 to 28199 are this test's.
const CLEAR: &str = "127.0.1.1:28100";
const TLS: &str = "127.0.1.1:28143";
/// How often each visitor asks, at least, between one replacement and the next.
const ASKED_MIN: usize = 50;

#[test]
fn no_visitor_notices_that_a_program_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let tls = set_up(folder.path());
    let mut serving = Program::start(folder.path(), &["all"]);
    let visitor = Visitor { tls: None };
    serving.wait_until_it_serves(|| visitor.ask(None, "/stored", "close").map(drop));
    let visitors: Vec<_> = [None, None, None, Some(&tls), Some(&tls), Some(&tls)]
        .into_iter()
        .map(|tls| Visitor { tls: tls.cloned() }.keep_asking())
        .collect();
    let all = &["all", "--take-over"][..];
    let edge = &["edge", "--id", "east-1", "--take-over"][..];
    let dns = &["dns", "--id", "ns1", "--take-over"][..];
    let mut beside = None;
    for (role, other) in [(all, None), (edge, Some(dns)), (edge, None)] {
        visitors.iter().for_each(|visitor| visitor.wait_for_more(ASKED_MIN));
        let next = Program::start(folder.path(), role);
        // A process ends when all that it serves is handed over.
        beside = other.map(|role| Program::start(folder.path(), role)).or(beside);
        serving.ends_by_itself();
        serving = next;
    }
    for visitor in visitors {
        visitor.wait_for_more(ASKED_MIN);
        visitor.end();
    }
    for mut last in [Some(serving), beside].into_iter().flatten() {
        last.terminate();
        last.ends_by_itself();
    }
    assert!(TcpStream::connect(CLEAR).is_err(), "nobody is left");
}

/// Somebody who asks.
struct Visitor {
    tls: Option<Arc<ClientConfig>>,
}

trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

/// A visitor who asks without a pause.
struct Asking {
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Asking {
    /// Waits until so many more requests are answered.
    fn wait_for_more(&self, count: usize) {
        let until = self.asked.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + PATIENCE;
        while self.asked.load(Ordering::Relaxed) < until {
            assert!(!self.thread.is_finished(), "a visitor failed, see above");
            assert!(Instant::now() < deadline, "a visitor waits");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a visitor is always answered");
    }
}

impl Visitor {
    /// Asks until it is told to end, each time once on a kept connection and once on a new one.
    /// Panics if anything goes wrong.
    fn keep_asking(self) -> Asking {
        let (asked, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut kept = None;
            while !stopped.load(Ordering::Relaxed) {
                kept = self.ask(kept, "/fetched", "keep-alive").expect("on a kept connection");
                let closed = self.ask(None, "/stored", "close").expect("on a new connection");
                assert!(closed.is_none(), "the visitor wanted it closed");
                count.fetch_add(2, Ordering::Relaxed);
            }
        });
        Asking { asked, stop, thread }
    }

    /// One request, on `kept` or on a new connection. Gives the connection if it stays open.
    fn ask(
        &self,
        kept: Option<Box<dyn Connection>>,
        path: &str,
        wish: &str,
    ) -> io::Result<Option<Box<dyn Connection>>> {
        let mut connection = kept.map_or_else(|| self.connect(), Ok)?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: {wish}\r\n\r\n");
        connection.write_all(request.as_bytes())?;
        let expected = format!("this is {path}");
        let mut answer = String::new();
        while !answer.ends_with(&expected) {
            let mut piece = [0; 4096];
            let read = connection.read(&mut piece)?;
            if read == 0 {
                return Err(io::Error::other(format!("it was closed after {answer:?}")));
            }
            answer.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        if !answer.starts_with("HTTP/1.1 200 ") {
            return Err(io::Error::other(answer));
        }
        if !answer.to_ascii_lowercase().contains("connection: close") {
            return Ok(Some(connection));
        }
        match connection.read(&mut [0])? {
            0 => Ok(None),
            _ => Err(io::Error::other("something follows the last response")),
        }
    }

    fn connect(&self) -> io::Result<Box<dyn Connection>> {
        let stream = TcpStream::connect(if self.tls.is_some() { TLS } else { CLEAR })?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(HOST).unwrap();
        let session = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        Ok(Box::new(StreamOwned::new(session, stream)))
    }
}

/// Writes the configuration and a certificate, and starts an origin. Gives what a visitor needs to
/// trust the edge.
fn set_up(folder: &Path) -> Arc<ClientConfig> {
    let certificate = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let path = folder.join("certificates/own");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("fullchain.pem"), certificate.cert.pem()).unwrap();
    fs::write(path.join("privkey.pem"), certificate.signing_key.serialize_pem()).unwrap();
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let configuration = CONFIGURATION.replace("ORIGIN", &origin.local_addr().unwrap().to_string());
    fs::write(folder.join("headroom.toml"), configuration).unwrap();
    thread::spawn(move || {
        for stream in origin.incoming() {
            thread::spawn(move || answer(stream.unwrap()));
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(client)
}

/// The origin's side of a connection: `/stored` may be stored, anything else may not.
fn answer(mut stream: TcpStream) {
    let mut asked = String::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        asked.push_str(&String::from_utf8_lossy(&piece[..read]));
        if !asked.ends_with("\r\n\r\n") {
            continue;
        }
        let path = asked.split(' ').nth(1).unwrap_or_default();
        let control = if path == "/stored" { "max-age=600" } else { "no-store" };
        let body = format!("this is {path}");
        let head = format!("Content-Length: {}\r\nCache-Control: {control}", body.len());
        let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
        asked.clear();
    }
}

const CONFIGURATION: &str = r#"
[network]
zone = "cdn.example"

[[name_servers]]
id = "ns1"
host = "ns1.cdn.example"
addresses = ["127.0.1.53"]

[[regions]]
id = "east"

[[regions.edges]]
id = "east-1"
addresses = ["127.0.1.1"]
capacity = "200 units"

[[own_sites]]
id = "own"
hosts = ["www.own.example"]
origins = ["ORIGIN"]

[exchange]
listen = "127.0.0.1:28101"
data_dir = "data"

[edge]
allow_private_origins = true
certificates = "certificates"
port = 28100
tls_port = 28143
threads = 2

[dns]
port = 28153
"#;

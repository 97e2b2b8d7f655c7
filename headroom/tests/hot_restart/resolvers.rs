//! Resolvers that ask a name server without a pause and without asking twice.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Read, Write},
    net::{TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::program::PATIENCE;

/// The name in the server's certificate.
pub(crate) const SERVER_NAME: &str = "ns1.cdn.example";
const PLAIN: &str = "127.0.2.53:28253";
const TLS: &str = "127.0.2.53:28254";
/// What is asked for, and what the plan says.
const ANSWERS: [(&str, [u8; 4]); 2] =
    [("www.own.example", [127, 0, 2, 1]), (SERVER_NAME, [127, 0, 2, 53])];
/// How many questions are under way at a time over UDP, and over each new connection.
const AT_A_TIME: u16 = 32;
/// The pause after so many.
const PAUSE: Duration = Duration::from_millis(5);
/// The options of RFC 7828 and RFC 7871.
const KEEPALIVE: [u8; 2] = [0, 11];
const CLIENT_SUBNET: [u8; 2] = [0, 8];

/// How a resolver asks.
pub(crate) enum Way {
    /// Datagrams, from a new port each time.
    Udp,
    /// Some questions on a connection, then a new one.
    Tcp,
    /// One connection, for as long as the server likes.
    KeptTcp,
    /// As `Tcp`, encrypted.
    Tls(Arc<ClientConfig>),
}

/// A resolver that asks without a pause.
pub(crate) struct Asking {
    pub(crate) way: &'static str,
    answered: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Asking {
    /// Waits until so many more questions are answered.
    pub(crate) fn wait_for_more(&self, count: usize) {
        let until = self.answered.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + PATIENCE;
        while self.answered.load(Ordering::Relaxed) < until {
            assert!(!self.thread.is_finished(), "a resolver failed, see above");
            assert!(Instant::now() < deadline, "a resolver waits over {}", self.way);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How many questions were asked, all of them answered.
    pub(crate) fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("a resolver is always answered");
        self.answered.load(Ordering::Relaxed)
    }
}

impl Way {
    /// Asks until it is told to end. Panics if anything goes wrong.
    pub(crate) fn keep_asking(self) -> Asking {
        let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped) = (Arc::clone(&answered), Arc::clone(&stop));
        let way = match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::KeptTcp => "a kept TCP connection",
            Self::Tls(_) => "TLS",
        };
        let thread = thread::spawn(move || {
            let (mut kept, mut round) = (None, 0_u16);
            while !stopped.load(Ordering::Relaxed) {
                round = round.wrapping_add(AT_A_TIME);
                self.ask(round, &mut kept).unwrap_or_else(|error| panic!("over {way}: {error}"));
                count.fetch_add(AT_A_TIME.into(), Ordering::Relaxed);
                thread::sleep(PAUSE);
            }
        });
        Asking { way, answered, stop, thread }
    }

    /// Asks [`AT_A_TIME`] questions with ids from `first` on.
    fn ask(&self, first: u16, kept: &mut Option<TcpStream>) -> io::Result<()> {
        let ids = (0..AT_A_TIME).map(|more| first.wrapping_add(more));
        match self {
            Self::Udp => ask_by_datagrams(ids.collect()),
            Self::Tcp => converse(&mut connect(PLAIN)?, ids.collect()),
            Self::Tls(config) => {
                let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
                let session = ClientConnection::new(Arc::clone(config), name);
                let session = session.map_err(io::Error::other)?;
                converse(&mut StreamOwned::new(session, connect(TLS)?), ids.collect())
            }
            Self::KeptTcp => ids.into_iter().try_for_each(|id| {
                let mut stream = kept.take().map_or_else(|| connect(PLAIN), Ok)?;
                stream.write_all(&framed(&query(id, KEEPALIVE, &[])))?;
                let answer = read_framed(&mut stream)?;
                // RFC 7828 §3.2.2: who is told zero asks nothing more there.
                let is_told_to_leave = check(&answer)? == id && said_idle(&answer)? == 0;
                *kept = (!is_told_to_leave).then_some(stream);
                Ok(())
            }),
        }
    }
}

/// One question over UDP.
pub(crate) fn ask_once() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    socket.send_to(&query(0, KEEPALIVE, &[]), PLAIN)?;
    let mut answer = [0; 1_232];
    let length = socket.recv(&mut answer)?;
    check(&answer[..length]).map(drop)
}

fn ask_by_datagrams(mut ids: BTreeSet<u16>) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(PLAIN)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    for id in &ids {
        // Always another client, so that what was decided lately is not all there is.
        let [high, low] = id.to_be_bytes();
        socket.send(&query(*id, CLIENT_SUBNET, &[0, 1, 24, 0, 10, high, low]))?;
    }
    let mut answer = [0; 1_232];
    while !ids.is_empty() {
        let length = socket.recv(&mut answer)?;
        take(&mut ids, &answer[..length])?;
    }
    Ok(())
}

/// Asks all at once, and reads the answers.
fn converse(stream: &mut (impl Read + Write), mut ids: BTreeSet<u16>) -> io::Result<()> {
    let queries: Vec<u8> = ids.iter().flat_map(|id| framed(&query(*id, KEEPALIVE, &[]))).collect();
    stream.write_all(&queries)?;
    stream.flush()?;
    while !ids.is_empty() {
        take(&mut ids, &read_framed(stream)?)?;
    }
    Ok(())
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// An answer to one of `ids`, to which there was none yet.
fn take(ids: &mut BTreeSet<u16>, answer: &[u8]) -> io::Result<()> {
    let id = check(answer)?;
    ids.remove(&id).then_some(()).ok_or_else(|| wrong("it was not asked for", answer))
}

/// What is asked for under an id.
const fn asked(id: u16) -> (&'static str, [u8; 4]) {
    ANSWERS[id as usize % ANSWERS.len()]
}

/// The id of an answer, which has to be right.
fn check(answer: &[u8]) -> io::Result<u16> {
    let header = answer.get(..12).ok_or_else(|| wrong("it is short", answer))?;
    let id = u16::from_be_bytes([header[0], header[1]]);
    let (_, address) = asked(id);
    let is_right = header[2..4] == [0x84, 0] && header[4..8] == [0, 1, 0, 1];
    let has_address = || answer.windows(6).any(|data| data[..2] == [0, 4] && data[2..] == address);
    (is_right && has_address()).then_some(id).ok_or_else(|| wrong("it is wrong", answer))
}

/// How long the connection may be idle.
fn said_idle(answer: &[u8]) -> io::Result<u16> {
    match answer {
        [.., code_high, code_low, 0, 2, high, low] if [*code_high, *code_low] == KEEPALIVE => {
            Ok(u16::from_be_bytes([*high, *low]))
        }
        _ => Err(wrong("it does not say how long a connection may be idle", answer)),
    }
}

fn wrong(why: impl fmt::Display, answer: &[u8]) -> io::Error {
    io::Error::other(format!("{why}: {answer:02x?}"))
}

/// A question for the address of a name, with one option.
fn query(id: u16, option: [u8; 2], data: &[u8]) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut octets = vec![high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in asked(id).0.split('.') {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.extend([0, 0, 1, 0, 1]);
    let length = u8::try_from(data.len()).unwrap();
    octets.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, length + 4]);
    octets.extend(option);
    octets.extend([0, length]);
    octets.extend(data);
    octets
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn read_framed(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

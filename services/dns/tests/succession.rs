//! One process of a name server after the other, over real sockets. Between real processes:
//! `headroom/tests/name_server_restart.rs`.

#![expect(clippy::unwrap_used, reason = "a test may stop at what does not hold")]

use std::{
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use headroom_bus::Bus;
use headroom_dns::{DnsConfig, DnsError, DnsServer, ProtocolConfig, RateLimit, Running, Zone};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);
const ANSWER: [u8; 4] = [203, 0, 113, 1];
const ZONE: &str =
    "$ORIGIN static.example.\n@ 60 SOA ns1 a 1 2 3 4 5\n@ NS ns1\nwww A 203.0.113.1\n";

fn config(folder: &Path, listen: SocketAddr, threads: usize) -> DnsConfig {
    DnsConfig {
        id: Some("ns1".parse().unwrap()),
        threads,
        zones: vec![Zone::parse(ZONE).unwrap()],
        protocol: ProtocolConfig { rate_limit: RateLimit::OFF, ..ProtocolConfig::default() },
        running: Running { handover_socket: Some(folder.join("handover.sock")), take_over: true },
        ..DnsConfig::at(vec![listen])
    }
}

async fn bind(config: DnsConfig) -> Result<DnsServer, DnsError> {
    DnsServer::bind(config, &Bus::in_process(), &mut Registry::default()).await
}

/// A process that serves, until another takes over or it is stopped.
struct Process {
    address: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Process {
    async fn start(config: DnsConfig) -> Self {
        let socket = config.running.handover_socket.clone().unwrap();
        let before = std::fs::metadata(&socket).and_then(|file| file.modified()).ok();
        let server = bind(config).await.unwrap();
        let (address, stop) = (server.local_addresses()[0], CancellationToken::new());
        let running = tokio::spawn(server.run(stop.clone()));
        let ready = async {
            while std::fs::metadata(&socket).and_then(|file| file.modified()).ok() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, ready).await.unwrap();
        Self { address, stop, running }
    }

    async fn has_ended(self) {
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
    }

    async fn stop(self) {
        self.stop.cancel();
        self.has_ended().await;
    }
}

/// A question with a keepalive option.
fn query(id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut octets = vec![high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    octets.extend(b"\x03www\x06static\x07example\0\0\x01\0\x01");
    octets.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 11, 0, 0]);
    octets
}

fn is_right(answer: &[u8], id: u16) -> bool {
    answer.starts_with(&id.to_be_bytes()) && answer.windows(4).any(|data| data == ANSWER)
}

/// Asks over one connection; gives for how long it may be idle, in units of 100 ms.
async fn ask(stream: &mut TcpStream, id: u16) -> u16 {
    let query = query(id);
    stream.write_u16(u16::try_from(query.len()).unwrap()).await.unwrap();
    stream.write_all(&query).await.unwrap();
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(is_right(&answer, id), "{answer:02x?}");
    let [.., high, low] = answer[..] else { panic!("{answer:02x?}") };
    u16::from_be_bytes([high, low])
}

/// Asks over ever new ports until it is told to stop; each question is answered.
async fn resolve(server: SocketAddr, answered: &AtomicUsize, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        for id in 0..16 {
            socket.send(&query(id)).await.unwrap();
        }
        let mut answer = [0; 1_232];
        for _ in 0..16 {
            let received = timeout(PATIENCE, socket.recv(&mut answer)).await;
            received.expect("no answer is lost").expect("somebody listens");
        }
        answered.fetch_add(16, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_datagram_is_lost_whatever_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let mut old = Process::start(config(folder.path(), any, 3)).await;
    let (address, stop) = (old.address, CancellationToken::new());
    let answered: &'static AtomicUsize = Box::leak(Box::default());
    let (resolver, stopping) = (resolve(address, answered, &stop), stop.clone());
    let replacing = async {
        for threads in [1, 4, 4] {
            let so_far = answered.load(Ordering::Relaxed);
            while answered.load(Ordering::Relaxed) < so_far + 100 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let new = Process::start(config(folder.path(), address, threads)).await;
            assert_eq!(new.address, address);
            std::mem::replace(&mut old, new).has_ended().await;
        }
        stopping.cancel();
    };
    tokio::join!(resolver, replacing);
    old.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_connected_is_asked_to_leave_and_answered_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let old = Process::start(config(folder.path(), any, 1)).await;
    let mut kept = TcpStream::connect(old.address).await.unwrap();
    assert_eq!(ask(&mut kept, 1).await, 100);
    let new = Process::start(config(folder.path(), old.address, 1)).await;
    assert_eq!(ask(&mut kept, 2).await, 0, "asked to leave");
    let mut next = TcpStream::connect(new.address).await.unwrap();
    assert_eq!(ask(&mut next, 3).await, 100, "who comes now stays");
    let begun = Instant::now();
    let end = timeout(PATIENCE, kept.read(&mut [0])).await.unwrap().unwrap();
    assert_eq!(end, 0, "closed in order, {:?} later", begun.elapsed());
    old.has_ended().await;
    assert_eq!(ask(&mut next, 4).await, 100);
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_does_not_start_beside_another() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let first = Process::start(config(folder.path(), any, 1)).await;
    let mut second = config(folder.path(), first.address, 1);
    second.running.take_over = false;
    let told = bind(second.clone()).await.unwrap_err().to_string();
    assert!(told.contains("another process serves name-server ns1"), "{told}");
    assert!(told.ends_with("take over from it, or stop it"), "{told}");
    let mut other = config(folder.path(), first.address, 1);
    other.id = Some("ns2".parse().unwrap());
    let told = bind(other).await.unwrap_err().to_string();
    assert!(told.ends_with("it serves name-server ns1, not name-server ns2"), "{told}");
    // Without a hand-over socket the connections' address is taken; no datagram is taken from it.
    second.running = Running::default();
    let error = bind(second.clone()).await.unwrap_err();
    assert!(matches!(error, DnsError::Listen { transport: "TCP", .. }), "{error}");
    second.running.take_over = true;
    assert!(matches!(bind(second).await.unwrap_err(), DnsError::NoHandoverSocket));
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_never_serves_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let process = Process::start(config(folder.path(), any, 2)).await;
    for _ in 0..2 {
        let next = bind(config(folder.path(), process.address, 2)).await.unwrap();
        assert_eq!(next.local_addresses(), [process.address]);
        drop(next);
    }
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    assert_eq!(ask(&mut stream, 1).await, 100);
    assert!(!process.running.is_finished());
    process.stop().await;
}

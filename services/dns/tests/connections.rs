//! Connections over real sockets: pipelining, limits, TLS; and what goes to those over their rate.

#![expect(clippy::unwrap_used, reason = "a test may stop at what does not hold")]

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::Path,
    sync::Arc,
    time::Duration,
};

use headroom_bus::Bus;
use headroom_dns::{
    ConnectionLimit, DnsConfig, DnsServer, ProtocolConfig, RateLimit, TlsConfig, Zone,
};
use prometheus_client::registry::Registry;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);
const ZONE: &str =
    "$ORIGIN static.example.\n@ 60 SOA ns1 a 1 2 3 4 5\n@ NS ns1\nwww A 203.0.113.1\n";
const ADDRESS: [u8; 4] = [203, 0, 113, 1];

struct Running {
    address: SocketAddr,
    tls: Vec<SocketAddr>,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(protocol: ProtocolConfig) -> Self {
        let config = DnsConfig {
            zones: vec![Zone::parse(ZONE).unwrap()],
            protocol,
            ..DnsConfig::at(vec!["127.0.0.1:0".parse().unwrap()])
        };
        let mut registry = Registry::default();
        let server = DnsServer::bind(config, &Bus::in_process(), &mut registry).await.unwrap();
        let (address, tls) = (server.local_addresses()[0], server.local_tls_addresses());
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self { address, tls, registry, stop, task }
    }

    /// A connection from `source`.
    async fn connect(&self, source: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(IpAddr::from(source), 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    fn metric(&self, name: &str) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).trim().to_owned()
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

/// A question for the address of www, with an OPT record that has `options`.
fn query(id: u16, options: &[u8]) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut octets = vec![high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    octets.extend(b"\x03www\x06static\x07example\0\0\x01\0\x01");
    octets.extend([0, 0, 41, 4, 0xd0, 0, 0, 0, 0]);
    octets.extend(u16::try_from(options.len()).unwrap().to_be_bytes());
    octets.extend(options);
    octets
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut message = vec![0; length.into()];
    timeout(PATIENCE, stream.read_exact(&mut message)).await.unwrap().unwrap();
    message
}

fn has_address(message: &[u8]) -> bool {
    message.windows(4).any(|octets| octets == ADDRESS)
}

async fn is_served(stream: &mut TcpStream) -> bool {
    if stream.write_all(&framed(&query(1, &[]))).await.is_err() {
        return false;
    }
    match timeout(PATIENCE, stream.read_u16()).await.unwrap() {
        Ok(length) => {
            stream.read_exact(&mut vec![0; length.into()]).await.unwrap();
            true
        }
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_thousand_queries_go_over_one_connection_that_is_half_closed() {
    let server = Running::start(ProtocolConfig::default()).await;
    let (mut reading, mut writing) = server.connect([127, 0, 0, 1]).await.into_split();
    let asking = async {
        for id in 0..1_000 {
            writing.write_all(&framed(&query(id, &[]))).await.unwrap();
        }
        writing.shutdown().await.unwrap();
    };
    let answered = async {
        for id in 0..1_000_u16 {
            let reply = read(&mut reading).await;
            assert_eq!(reply[..2], id.to_be_bytes());
            assert!(has_address(&reply));
        }
        assert_eq!(reading.read(&mut [0]).await.unwrap(), 0);
    };
    tokio::join!(asking, answered);
    server.stop().await;
}

#[tokio::test]
async fn when_all_connections_are_taken_the_longest_idle_makes_room() {
    let connections = ConnectionLimit { total: 3, per_client: 2 };
    let server = Running::start(ProtocolConfig { connections, ..Default::default() }).await;
    let mut idle = server.connect([127, 0, 0, 1]).await;
    assert!(is_served(&mut idle).await);
    let mut busy = server.connect([127, 0, 0, 2]).await;
    assert!(is_served(&mut busy).await);
    let mut third = server.connect([127, 0, 0, 3]).await;
    assert!(is_served(&mut third).await, "the third of one /24");
    assert!(!is_served(&mut idle).await);
    assert!(is_served(&mut busy).await);
    let (mut other, mut next) =
        (server.connect([127, 0, 1, 1]).await, server.connect([127, 0, 2, 1]).await);
    assert!(is_served(&mut other).await && is_served(&mut next).await);
    assert!(!is_served(&mut third).await, "the fourth of all");
    assert!(is_served(&mut busy).await);
    assert_eq!(server.metric("headroom_dns_tcp_connections_displaced_total"), "2");
    server.stop().await;
}

/// Puts a certificate into `folder`; gives what trusts it.
fn certificate(folder: &Path) -> TlsConnector {
    let made = rcgen::generate_simple_self_signed(vec!["ns1.cdn.example".to_owned()]).unwrap();
    fs::write(folder.join("fullchain.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("privkey.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn dns_is_served_over_tls_with_padding() {
    let folder = tempfile::tempdir().unwrap();
    let connector = certificate(folder.path());
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let tls = Some(TlsConfig { listen, certificate: folder.path().to_owned() });
    let server = Running::start(ProtocolConfig { tls, ..Default::default() }).await;
    let stream = TcpStream::connect(server.tls[0]).await.unwrap();
    let name = ServerName::try_from("ns1.cdn.example").unwrap();
    let mut stream = timeout(PATIENCE, connector.connect(name, stream)).await.unwrap().unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"dot"[..]));
    let padding = [0, 12, 0, 1, 0];
    let both = [framed(&query(1, &padding)), framed(&query(2, &[]))].concat();
    stream.write_all(&both).await.unwrap();
    let padded = read(&mut stream).await;
    assert_eq!(padded.len(), 468);
    assert!(has_address(&padded));
    assert!(read(&mut stream).await.len() < 468);
    assert_eq!(
        server.metric("headroom_dns_queries_total{transport=\"tls\",rcode=\"noerror\"}"),
        "2"
    );

    // One who does not speak TLS is cut off and disturbs nobody.
    let mut plain = TcpStream::connect(server.tls[0]).await.unwrap();
    plain.write_all(&framed(&query(1, &[]))).await.unwrap();
    let mut told = Vec::new();
    timeout(PATIENCE, plain.read_to_end(&mut told)).await.unwrap().unwrap_or_default();
    assert!(!has_address(&told));
    stream.write_all(&framed(&query(3, &[]))).await.unwrap();
    assert!(has_address(&read(&mut stream).await));
    server.stop().await;
}

async fn ask(socket: &UdpSocket, query: &[u8]) -> Vec<u8> {
    socket.send(query).await.unwrap();
    let mut reply = vec![0; 4_096];
    let length = timeout(PATIENCE, socket.recv(&mut reply)).await.unwrap().unwrap();
    reply.truncate(length);
    reply
}

#[tokio::test]
async fn over_its_rate_a_source_has_to_show_that_it_is_real() {
    let rate_limit = RateLimit { per_client: NonZeroU32::new(5), slip: 1, ..RateLimit::default() };
    let server = Running::start(ProtocolConfig { rate_limit, ..Default::default() }).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address).await.unwrap();
    let plain = query(1, &[]);
    let mut truncated = 0;
    for _ in 0..100 {
        let reply = ask(&socket, &plain).await;
        if reply[2] & 2 != 0 {
            truncated += 1;
            assert!(reply.len() <= plain.len() && !has_address(&reply));
        } else {
            assert!(has_address(&reply));
        }
    }
    assert!((50..=95).contains(&truncated), "{truncated}");
    assert_eq!(
        server.metric("headroom_dns_limited_total{action=\"slipped\"}"),
        truncated.to_string()
    );

    // Over TCP it is answered, and gets a cookie, with which it is answered over UDP.
    let client_cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    let mut stream = server.connect([127, 0, 0, 1]).await;
    stream.write_all(&framed(&query(2, &client_cookie))).await.unwrap();
    let reply = read(&mut stream).await;
    assert!(has_address(&reply));
    let cookie = [&[0, 10, 0, 24], &reply[reply.len() - 24..]].concat();
    for _ in 0..100 {
        assert!(has_address(&ask(&socket, &query(3, &cookie)).await));
    }
    // A cookie that is not ours is exchanged for one that is.
    let forged = [&[0, 10, 0, 24], &[9; 24][..]].concat();
    let mut exchanged = 0;
    for _ in 0..20 {
        let reply = ask(&socket, &query(4, &forged)).await;
        exchanged += u32::from(reply[3] & 15 == 7 && !has_address(&reply));
    }
    assert!(exchanged >= 10, "{exchanged}");
    server.stop().await;
}

#[tokio::test]
async fn under_attack_no_answer_is_larger_than_its_question() {
    let rate_limit = RateLimit { per_client: None, slip: 1, unverified: NonZeroU32::new(10) };
    let server = Running::start(ProtocolConfig { rate_limit, ..Default::default() }).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server.address).await.unwrap();
    let asked = query(1, &[]);
    let mut replies = Vec::new();
    for _ in 0..200 {
        replies.push(ask(&socket, &asked).await);
    }
    let large = replies.iter().filter(|reply| reply.len() > asked.len()).count();
    assert!(large >= 10, "the first are answered");
    assert!(large <= 100, "{large}");
    assert!(replies.iter().all(|reply| reply.len() <= asked.len() || has_address(reply)));
    server.stop().await;
}

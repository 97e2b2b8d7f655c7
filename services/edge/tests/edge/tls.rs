//! TLS: which certificate for which name, what is agreed on, and whose requests may come over it.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use headroom_edge::{EdgeConfig, VisitorConfig};
use rustls::{
    AlertDescription, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    harness::{Answer, OWN, Origin, SHOP, World, config, response, say},
    http2,
};

/// A folder of certificates.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// One for each site of the plan.
    pub(crate) fn new() -> Self {
        let certificates = Self { folder: tempfile::tempdir().unwrap() };
        certificates.put("own", &[OWN, "*.own.example"]);
        certificates.put("shop", &[SHOP]);
        certificates
    }

    pub(crate) fn put(&self, name: &str, names: &[&str]) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("fullchain.pem"), made.cert.pem()).unwrap();
        fs::write(path.join("privkey.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// How an edge serves with them.
    pub(crate) fn config(&self) -> EdgeConfig {
        let visitors = VisitorConfig {
            tls_listen: vec!["127.0.0.1:0".parse().unwrap()],
            certificates: Some(self.folder.path().to_owned()),
            ..VisitorConfig::default()
        };
        EdgeConfig { visitors, ..config(None) }
    }

    /// A client that trusts them as they are now.
    pub(crate) fn client(&self, alpn: &[&str]) -> ClientConfig {
        self.client_of(alpn, &[&TLS13, &TLS12])
    }

    fn client_of(
        &self,
        alpn: &[&str],
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            roots.add(chain(&entry.unwrap().path())).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        client
    }
}

fn chain(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path.join("fullchain.pem")).unwrap()
}

pub(crate) async fn connect(
    address: SocketAddr,
    client: ClientConfig,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(client)).connect(name, stream).await
}

/// One request on `stream`, to the end of the connection.
async fn ask(stream: &mut TlsStream<TcpStream>, host: &str, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    Answer::of(&answer)
}

/// The same on a connection that stays open; the answer's body is `hello`.
async fn ask_again(stream: &mut TlsStream<TcpStream>, host: &str) -> String {
    let request = format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("hello") {
        let mut piece = [0; 1024];
        let read = timeout(Duration::from_secs(10), stream.read(&mut piece)).await;
        let read = read.unwrap().unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    answer
}

async fn world(certificates: &Certificates) -> (World, Origin, SocketAddr) {
    let origin = Origin::start(|_, _| response("Cache-Control: max-age=60", "hello")).await;
    let world = World::before_with(certificates.config(), &origin).await;
    let address = world.tls_address.unwrap();
    (world, origin, address)
}

#[tokio::test]
async fn both_versions_and_the_protocol_are_agreed_on() {
    let certificates = Certificates::new();
    let (world, origin, address) = world(&certificates).await;
    for (version, expected) in
        [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)]
    {
        let client = certificates.client_of(&["http/1.1"], &[version]);
        let mut stream = connect(address, client, OWN).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(ask(&mut stream, OWN, "/a").await.body, "hello");
    }
    for (offered, agreed) in [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&[], None)] {
        let stream = connect(address, certificates.client(offered), OWN).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed);
    }
    assert!(connect(address, certificates.client(&["spdy/3"]), OWN).await.is_err());
    let seen = &origin.seen()[0];
    assert!(seen.contains("x-forwarded-proto: https") && seen.contains("proto=https"), "{seen}");
    world.end().await;
}

#[tokio::test]
async fn a_session_is_resumed_by_its_ticket() {
    let certificates = Certificates::new();
    let (world, _origin, address) = world(&certificates).await;
    for version in [&TLS13, &TLS12] {
        let client = certificates.client_of(&["http/1.1"], &[version]);
        let mut stream = connect(address, client.clone(), OWN).await.unwrap();
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        ask(&mut stream, OWN, "/a").await;
        // Each connection may meet another thread.
        for _ in 0..4 {
            let mut stream = connect(address, client.clone(), OWN).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
            assert_eq!(ask(&mut stream, OWN, "/a").await.status, 200);
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a_name_without_certificate_is_refused() {
    let certificates = Certificates::new();
    let (world, _origin, address) = world(&certificates).await;
    let refused = |error: std::io::Error| {
        let error = error.into_inner().unwrap().downcast::<rustls::Error>().unwrap();
        matches!(*error, rustls::Error::AlertReceived(AlertDescription::UnrecognisedName))
    };
    for name in ["www.other.example", "own.example", "a.b.own.example"] {
        let error = connect(address, certificates.client(&[]), name).await.unwrap_err();
        assert!(refused(error), "{name}");
    }
    let mut nameless = certificates.client(&[]);
    nameless.enable_sni = false;
    assert!(refused(connect(address, nameless, OWN).await.unwrap_err()));
    assert!(connect(address, certificates.client(&[]), "b.own.example").await.is_ok());
    let mut nonsense = TcpStream::connect(address).await.unwrap();
    nonsense.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = nonsense.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "no HTTP where TLS is expected");
    world.end().await;
}

#[tokio::test]
async fn a_host_of_another_tenant_is_misdirected() {
    let certificates = Certificates::new();
    let (world, _origin, address) = world(&certificates).await;
    let mut stream = connect(address, certificates.client(&[]), OWN).await.unwrap();
    assert_eq!(ask(&mut stream, SHOP, "/a").await.status, 421);
    let mut stream = connect(address, certificates.client(&[]), OWN).await.unwrap();
    assert_eq!(ask(&mut stream, "www.other.example", "/a").await.status, 421);
    let mut stream = connect(address, certificates.client(&[]), "b.own.example").await.unwrap();
    assert_eq!(ask(&mut stream, OWN, "/a").await.status, 421, "this name is nobody's");
    let mut stream = connect(address, certificates.client(&[]), OWN).await.unwrap();
    assert_eq!(ask(&mut stream, &format!("{OWN}:443"), "/a").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn two_names_of_one_site_may_share_a_connection() {
    let certificates = Certificates::new();
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let mut plan = crate::harness::plan(origin.address);
    let own = plan.sites.get_mut(&"own".parse().unwrap()).unwrap();
    own.hosts.push("b.own.example".parse().unwrap());
    let mut world = World::start_with(certificates.config());
    world.plan(plan).await;
    let address = world.tls_address.unwrap();
    let mut stream = connect(address, certificates.client(&[]), "b.own.example").await.unwrap();
    assert_eq!(ask(&mut stream, OWN, "/a").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn what_came_over_tls_stays_apart_and_goes_on_over_tls() {
    let certificates = Certificates::new();
    let (world, origin, address) = world(&certificates).await;
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    let mut stream = connect(address, certificates.client(&[]), OWN).await.unwrap();
    assert_eq!(ask(&mut stream, OWN, "/a").await.cache(), "headroom; fwd=miss; stored");
    assert_eq!(origin.count(), 2, "http and https are two resources");
    let mut stream = connect(address, certificates.client(&[]), SHOP).await.unwrap();
    let answer = ask(&mut stream, SHOP, "/a").await;
    assert_eq!(answer.field("location"), Some("https://origin.shop.example:8080/a"));
    world.end().await;
}

#[tokio::test]
async fn a_new_certificate_is_used_and_no_connection_is_dropped() {
    let certificates = Certificates::new();
    let (world, _origin, address) = world(&certificates).await;
    // They expire in 4096, which is after the last moment that can be told.
    let last = headroom_units::Timestamp::MAX.seconds().to_string();
    world.until("headroom_edge_certificate_expiry_timestamp_seconds", &last).await;
    let mut old = connect(address, certificates.client(&[]), OWN).await.unwrap();
    assert!(ask_again(&mut old, OWN).await.contains("200 OK"));
    let before = chain(&certificates.path("own"));
    certificates.put("own", &[OWN]);
    certificates.put("new", &["new.own.example"]);
    fs::write(certificates.path("shop").join("privkey.pem"), "broken").unwrap();
    let mut presented = before.clone();
    for _ in 0..100 {
        if let Ok(stream) = connect(address, certificates.client(&[]), OWN).await {
            presented = stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_ne!(presented, before, "the new one is presented");
    assert!(ask_again(&mut old, OWN).await.contains("200 OK"));
    assert!(connect(address, certificates.client(&[]), "new.own.example").await.is_ok());
    assert!(connect(address, certificates.client(&[]), SHOP).await.is_ok(), "the old one stays");
    world.end().await;
}

#[tokio::test]
async fn a_handshake_has_to_end_in_its_time() {
    let certificates = Certificates::new();
    let mut config = certificates.config();
    config.visitors.head_timeout = Duration::from_secs(1);
    let world = World::start_with(config);
    let mut silent = TcpStream::connect(world.tls_address.unwrap()).await.unwrap();
    silent.write_all(&[22, 3, 1, 0]).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), silent.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the edge closes");
    world.end().await;
}

#[tokio::test]
async fn a_large_body_in_memory_is_the_same_by_each_way() {
    let certificates = Certificates::new();
    let large: String = (0..30_000).map(|line| format!("line {line}\n")).collect();
    let body = large.clone();
    let origin = Origin::start(move |_, _| response("Cache-Control: max-age=60", &body)).await;
    let config = EdgeConfig { object_bytes_max: "1 MiB".parse().unwrap(), ..certificates.config() };
    let world = World::before_with(config, &origin).await;
    assert_eq!(world.get(OWN, "/a").await.body, large);
    let stored = world.get(OWN, "/a").await;
    assert!(stored.whole && stored.body == large, "{} bytes", stored.body.len());
    assert_eq!(stored.cache(), "headroom; hit");
    for (range, expected) in [
        ("bytes=100000-299999", &large[100_000..300_000]),
        ("bytes=-70000", &large[large.len() - 70_000..]),
    ] {
        let part = world.ask("GET", OWN, "/a", &[&format!("Range: {range}")]).await;
        assert!(part.status == 206 && part.body == expected, "{} bytes", part.body.len());
    }
    let parts = world.ask("GET", OWN, "/a", &["Range: bytes=0-99999,200000-299999"]).await;
    assert!(
        parts.body.contains(&large[..100_000]) && parts.body.contains(&large[200_000..300_000])
    );
    let head = world.ask("HEAD", OWN, "/a", &[]).await;
    assert_eq!(head.field("content-length"), Some(large.len().to_string().as_str()));
    let get = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n");
    let three = format!("{get}\r\n{get}\r\n{get}Connection: close\r\n\r\n");
    let pipelined = String::from_utf8(say(world.address, &three).await).unwrap();
    assert_eq!(pipelined.matches(&large).count(), 3);
    let address = world.tls_address.unwrap();
    // The first fetches it once more: the scheme is part of the key.
    for _ in 0..2 {
        let mut stream = connect(address, certificates.client(&["http/1.1"]), OWN).await.unwrap();
        let answer = ask(&mut stream, OWN, "/a").await;
        assert!(answer.whole && answer.body == large, "{} bytes", answer.body.len());
    }
    let stream = connect(address, certificates.client(&["h2"]), OWN).await.unwrap();
    let request = http2::get(&format!("https://{OWN}/a"));
    let (_, body) = http2::send(&mut http2::client(stream).await, request).await;
    assert!(body == large, "{} bytes", body.len());
    assert_eq!(origin.count(), 2);
    world.end().await;
}

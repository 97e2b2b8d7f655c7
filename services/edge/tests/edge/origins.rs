//! The way to origins: whom the edge believes, what it denies, which one it asks, how long it waits.

use std::{
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use headroom_edge::EdgeConfig;
use headroom_steer::Plan;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::harness::{OWN, Origin, SHOP, Saying, World, config, nowhere, plan, response};

/// More than the buffers between an origin and a visitor hold.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; 16 * 1024 * 1024].into());
const NO_STORE: &str = "Cache-Control: no-store";

/// A certificate authority whose root the edge is told to believe.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("roots.pem"), root.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), folder }
    }

    fn config(&self) -> EdgeConfig {
        EdgeConfig { origin_ca_file: Some(self.folder.path().join("roots.pem")), ..config(None) }
    }

    fn certificate(&self, name: &str, until_year: i32) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        served(certificate.der().clone(), &key)
    }
}

fn served(certificate: CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

/// An origin that speaks TLS, and HTTP/2 if it is agreed on. It answers with what it was asked.
struct TlsOrigin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl TlsOrigin {
    async fn start(mut config: ServerConfig, protocols: &[&str]) -> Self {
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        count.fetch_add(1, Ordering::Relaxed);
                        serve(stream).await;
                    }
                });
            }
        });
        Self { address, connections, serving }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

impl Drop for TlsOrigin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TlsStream<TcpStream>) {
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let answer =
        hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
            let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
            let authority = request.uri().authority().map(ToString::to_string);
            let (version, path) = (request.version(), request.uri().path().to_owned());
            let said = format!("{version:?} authority {authority:?} host {host:?} {path}");
            let large = path.starts_with("/large");
            if !large {
                // Long enough for others to come meanwhile.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let body = if large { LARGE.clone() } else { Bytes::from(said) };
            let mut response = http::Response::new(Full::new(body));
            response.headers_mut().insert("cache-control", "max-age=60".parse().unwrap());
            Ok::<_, std::convert::Infallible>(response)
        });
    let stream = TokioIo::new(stream);
    // The edge may leave in the middle.
    drop(if h2 {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, answer)
            .await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(stream, answer).await
    });
}

/// A plan whose own site has these origins.
fn plan_to(origins: &[&str]) -> Plan {
    let mut plan = plan("127.0.0.1:1".parse().unwrap());
    let own = plan.sites.get_mut(&"own".parse().unwrap()).unwrap();
    own.origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
    plan
}

async fn world(config: EdgeConfig, origins: &[&str]) -> World {
    let mut world = World::start_with(config);
    world.plan(plan_to(origins)).await;
    world
}

#[tokio::test]
async fn an_origin_is_asked_over_tls() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(authority.certificate("127.0.0.1", 2100), &[]).await;
    let config = EdgeConfig { threads: 1, ..authority.config() };
    let world = world(config, &[&origin.url()]).await;
    for path in ["/a", "/b", "/c"] {
        let answer = world.get(OWN, path).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, format!("HTTP/1.1 authority None host Some(\"{OWN}\") {path}"));
    }
    assert_eq!(origin.connections(), 1, "it is kept");
    assert!(world.get(OWN, "/a").await.cache().contains("hit"));
    world.end().await;
}

#[tokio::test]
async fn an_origin_that_cannot_prove_who_it_is_is_not_asked() {
    let authority = Authority::new();
    let other = Authority::new();
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    for (what, certificate) in [
        ("another name", authority.certificate("origin.shop.example", 2100)),
        ("another address", authority.certificate("127.0.0.2", 2100)),
        ("expired", authority.certificate("127.0.0.1", 2021)),
        ("self-signed", served(own.cert.der().clone(), &own.signing_key)),
        ("another authority", other.certificate("127.0.0.1", 2100)),
    ] {
        let origin = TlsOrigin::start(certificate, &[]).await;
        let world = world(authority.config(), &[&origin.url()]).await;
        assert_eq!(world.get(OWN, "/a").await.status, 502, "{what}");
        assert_eq!(origin.connections(), 0, "{what}");
        world.end().await;
    }
}

#[tokio::test]
async fn http_2_is_spoken_if_the_origin_can() {
    let authority = Authority::new();
    let certificate = authority.certificate("127.0.0.1", 2100);
    let origin = TlsOrigin::start(certificate, &["h2", "http/1.1"]).await;
    let config = EdgeConfig { threads: 1, ..authority.config() };
    let world = world(config, &[&origin.url()]).await;
    let said = |path: &str| format!("HTTP/2.0 authority Some({OWN:?}) host None {path}");
    assert_eq!(world.get(OWN, "/first").await.body, said("/first"));
    let paths: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    let answers = futures_util::future::join_all(paths.iter().map(|path| world.get(OWN, path)));
    for (path, answer) in paths.iter().zip(answers.await) {
        assert_eq!((answer.status, answer.body), (200, said(path)));
    }
    assert_eq!(origin.connections(), 1, "all share one");
    assert!(world.get(OWN, "/7").await.cache().contains("hit"), "its end is known");
    world.end().await;
}

#[tokio::test]
async fn readers_who_take_nothing_do_not_stop_others() {
    let authority = Authority::new();
    let origin = TlsOrigin::start(authority.certificate("127.0.0.1", 2100), &["h2"]).await;
    let config = EdgeConfig { threads: 1, ..authority.config() };
    let world = world(config, &[&origin.url()]).await;
    assert_eq!(world.get(OWN, "/first").await.status, 200);
    let mut stalled = Vec::new();
    for number in 0..80 {
        let mut visitor = TcpStream::connect(world.address).await.unwrap();
        let request = format!("GET /large/{number} HTTP/1.1\r\nHost: {OWN}\r\n\r\n");
        visitor.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        visitor.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stalled.push(visitor);
    }
    assert_eq!(world.get(OWN, "/other").await.status, 200);
    assert_eq!(origin.connections(), 2, "one is full");
    drop(stalled);
    world.end().await;
}

#[tokio::test]
async fn what_lies_inside_the_network_is_denied() {
    let origin = Origin::start(|_, _| response(NO_STORE, "secret")).await;
    let config = EdgeConfig { allow_private_origins: false, ..config(None) };
    let mapped = format!("[::ffff:127.0.0.1]:{}", origin.address.port());
    let world = world(config, &[&origin.address.to_string(), &mapped]).await;
    assert_eq!(world.get(OWN, "/a").await.status, 502);
    assert_eq!(origin.connections(), 0);
    let denied: u64 = world.metric("headroom_edge_origins_denied_total").parse().unwrap();
    assert!(denied >= 2, "{denied}");
    world.end().await;
}

#[tokio::test]
async fn a_dead_origin_is_passed_over() {
    let (one, two) = (nowhere().await.to_string(), nowhere().await.to_string());
    let origin = Origin::start(|_, _| response(NO_STORE, "hello")).await;
    let origins = [one.as_str(), two.as_str(), &origin.address.to_string()];
    let world = world(config(None), &origins).await;
    for number in 0..12 {
        assert_eq!(world.get(OWN, &format!("/{number}")).await.status, 200);
    }
    let post = format!("POST /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n");
    for _ in 0..3 {
        let post = format!("{post}Content-Length: 5\r\n\r\nhello");
        assert_eq!(world.say(&post).await.status, 200, "nothing of it was sent to the dead one");
    }
    assert!(
        origin
            .seen()
            .iter()
            .filter(|seen| seen.starts_with("POST"))
            .all(|post| post.ends_with("hello"))
    );
    world.end().await;
}

#[tokio::test]
async fn an_origin_that_fails_is_set_aside_and_comes_back() {
    let broken = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&broken);
    let one = Origin::start(move |_, _| match says.load(Ordering::Relaxed) {
        true => Saying {
            bytes: "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned(),
            ..Saying::default()
        },
        false => response(NO_STORE, "one"),
    })
    .await;
    let two = Origin::start(|_, _| response(NO_STORE, "two")).await;
    let config = EdgeConfig { threads: 1, ..config(None) };
    let origins = [one.address.to_string(), two.address.to_string()];
    let world = world(config, &[&origins[0], &origins[1]]).await;
    let mut failed = 0;
    for number in 0..20 {
        failed += usize::from(world.get(OWN, &format!("/{number}")).await.status == 503);
    }
    assert_eq!(failed, 3, "then it is set aside");
    assert_eq!(one.count(), 3);
    broken.store(false, Ordering::Relaxed);
    let begun = Instant::now();
    while world.get(OWN, "/again").await.body != "one" {
        assert!(begun.elapsed() < Duration::from_secs(10), "it does not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = one.count();
    for number in 0..10 {
        assert_eq!(world.get(OWN, &format!("/{number}")).await.status, 200);
    }
    assert_eq!(one.count() - before, 5, "they take turns again");
    world.end().await;
}

#[tokio::test]
async fn if_all_are_set_aside_they_are_asked_all_the_same() {
    let broken = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&broken);
    let origin = Origin::start(move |_, _| match says.load(Ordering::Relaxed) {
        true => Saying { close: true, ..Saying::default() },
        false => response(NO_STORE, "hello"),
    })
    .await;
    let world = world(config(None), &[&origin.address.to_string()]).await;
    for _ in 0..5 {
        assert_eq!(world.get(OWN, "/a").await.status, 502);
    }
    broken.store(false, Ordering::Relaxed);
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn a_request_that_was_sent_is_repeated_only_if_it_may_be() {
    let origin = Origin::start(|_, _| Saying { close: true, ..Saying::default() }).await;
    let world = world(config(None), &[&origin.address.to_string()]).await;
    let head = format!("POST /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n");
    assert_eq!(world.say(&format!("{head}Content-Length: 2\r\n\r\nhi")).await.status, 502);
    assert_eq!(origin.count(), 1);
    assert_eq!(world.ask("POST", OWN, "/a", &[]).await.status, 502);
    assert_eq!(origin.count(), 2);
    assert_eq!(world.get(OWN, "/a").await.status, 502);
    assert_eq!(origin.count(), 4, "as often as there are origins, and once more");
    world.end().await;
}

#[tokio::test]
async fn silence_at_each_step_ends() {
    let timely = |begun: Instant| assert!(begun.elapsed() < Duration::from_secs(8));
    // Connections are taken by the system, and nobody says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    for (url, status) in [(format!("https://{address}"), 504), (format!("http://{address}"), 504)] {
        let begun = Instant::now();
        let world = world(config(None), &[&url]).await;
        assert_eq!(world.get(OWN, "/a").await.status, status, "{url}");
        timely(begun);
        world.end().await;
    }
    let begun = Instant::now();
    let world = world(config(None), &[&format!("http://{address}")]).await;
    let much = "x".repeat(32 * 1024 * 1024);
    let head = format!("POST /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n");
    // What the origin does not take cannot be sent either, and the edge may answer before its end.
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!("{head}Content-Length: {}\r\n\r\n{much}", much.len());
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let send = async { drop(writing.write_all(request.as_bytes()).await) };
    let receive = async { drop(reading.read_to_end(&mut answer).await) };
    tokio::select! {
        _ = async { tokio::join!(send, receive) } => {}
        () = tokio::time::sleep(Duration::from_secs(15)) => panic!("an upload never ends"),
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 50"), "{answer:?}");
    timely(begun);
    world.end().await;
}

#[tokio::test]
async fn what_follows_a_response_is_never_given_to_another_request() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let lies = [
        format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{NO_STORE}\r\n\r\ngood{evil}"),
        format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{NO_STORE}\r\n\r\n4\r\ngood\r\n0\r\n\r\n{evil}"
        ),
    ];
    for lie in lies {
        let origin =
            Origin::start(move |_, _| Saying { bytes: lie.clone(), ..Saying::default() }).await;
        let config = EdgeConfig { threads: 1, ..config(None) };
        let world = world(config, &[&origin.address.to_string()]).await;
        for number in 0..20 {
            let answer = world.get(OWN, &format!("/{number}")).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, "good"));
        }
        assert_eq!(origin.connections(), 20, "none is used again");
        world.end().await;
    }
}

#[tokio::test]
async fn a_body_where_none_may_be_poisons_nothing() {
    for (method, lie) in [
        ("HEAD", format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{NO_STORE}\r\n\r\nevil")),
        (
            "GET",
            format!(
                "HTTP/1.1 204 None\r\n{NO_STORE}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            ),
        ),
    ] {
        let origin = Origin::start(move |request, _| match request.contains("/lie") {
            true => Saying { bytes: lie.clone(), ..Saying::default() },
            false => response(NO_STORE, "good"),
        })
        .await;
        let config = EdgeConfig { threads: 1, ..config(None) };
        let world = world(config, &[&origin.address.to_string()]).await;
        for _ in 0..5 {
            let answer = world.ask(method, OWN, "/lie", &[]).await;
            assert!(answer.status / 100 == 2 && answer.body.is_empty(), "{answer:?}");
            assert_eq!(world.get(OWN, "/a").await.body, "good");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn responses_with_two_lengths_are_refused() {
    for fields in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: -4",
        "Content-Length: 4x",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n4\r\nevil\r\n0\r\n\r\n");
        let origin =
            Origin::start(move |_, _| Saying { bytes: bytes.clone(), ..Saying::default() }).await;
        let world = world(config(None), &[&origin.address.to_string()]).await;
        assert_eq!(world.get(OWN, "/a").await.status, 502, "{fields:?}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200));
    for bytes in [long, many] {
        let origin =
            Origin::start(move |_, _| Saying { bytes: bytes.clone(), ..Saying::default() }).await;
        let world = world(config(None), &[&origin.address.to_string()]).await;
        assert_eq!(world.get(OWN, "/a").await.status, 502);
        world.end().await;
    }
}

#[tokio::test]
async fn two_sites_never_share_a_connection() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let origin = Origin::start(move |request, _| {
        log.lock().unwrap().push(request.to_owned());
        response(NO_STORE, "hello")
    })
    .await;
    let config = EdgeConfig { threads: 1, ..config(None) };
    let mut world = World::start_with(config);
    world.plan(crate::harness::plan_with_contract(origin.address, 10_000, -10, 100)).await;
    for number in 0..3 {
        assert_eq!(world.get(OWN, &format!("/{number}")).await.status, 200);
        assert_eq!(world.get(SHOP, &format!("/{number}")).await.status, 200);
    }
    assert_eq!(origin.connections(), 2, "one for each site");
    assert_eq!(seen.lock().unwrap().len(), 6);
    world.end().await;
}

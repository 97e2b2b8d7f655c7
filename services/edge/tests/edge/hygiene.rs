//! Requests that are refused and never repaired, and visitors who are too slow or too many.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use headroom_edge::{EdgeConfig, VisitorConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::harness::{Answer, OWN, Origin, SHOP, Saying, World, config, response, say};

const FRESH: &str = "Cache-Control: max-age=60";

/// An edge that waits a second for heads, two for requests, and one for who takes nothing.
fn impatient() -> EdgeConfig {
    let visitors = VisitorConfig {
        per_client_max: 0,
        head_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(2),
        send_timeout: Duration::from_secs(1),
        ..VisitorConfig::default()
    };
    EdgeConfig { visitors, ..config(None) }
}

#[tokio::test]
async fn what_is_ambiguous_or_malformed_is_refused() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let refused = [
        ("RFC 9112 §6.1 two framings", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        ("§6.1 the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        ("§6.1 apart", "Transfer-Encoding: chunked\r\nA: b\r\nContent-Length: 0"),
        ("§6.3 two equal lengths", "Content-Length: 5\r\nContent-Length: 5"),
        ("§6.3 two lengths", "Content-Length: 5\r\nContent-Length: 6"),
        ("§6.3 a list of lengths", "Content-Length: 5, 5"),
        ("§6.3 a list of two lengths", "Content-Length: 5, 6"),
        ("§6.3 a signed length", "Content-Length: +5"),
        ("§6.3 a negative length", "Content-Length: -5"),
        ("§6.3 a hexadecimal length", "Content-Length: 0x5"),
        ("§6.3 a length too large", "Content-Length: 18446744073709551616"),
        ("§6.3 no length", "Content-Length: "),
        ("§6.3 a quoted length", "Content-Length: \"5\""),
        ("§6.1 another coding", "Transfer-Encoding: gzip"),
        ("§6.1 codings", "Transfer-Encoding: gzip, chunked"),
        ("§6.1 chunked twice", "Transfer-Encoding: chunked, chunked"),
        ("§6.1 chunked in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("§6.1 not chunked", "Transfer-Encoding: xchunked"),
        ("§6.1 no coding", "Transfer-Encoding:"),
        ("§6.1 identity", "Transfer-Encoding: identity"),
        ("§6.1 chunked with a parameter", "Transfer-Encoding: chunked;a=b"),
        ("§6.1 a vertical tab", "Transfer-Encoding: \u{b}chunked"),
        ("§5.2 a folded line", "A: b\r\n c"),
        ("§5.2 a line folded with a tab", "A: b\r\n\tc"),
        ("§5.2 a folded framing", "A: b\r\n Content-Length: 5"),
        ("§5.1 a space before the colon", "A : b"),
        ("§5.1 a tab before the colon", "Content-Length\t: 5"),
        ("§5.1 no name", ": b"),
        ("§5.1 no colon", "A b"),
        ("RFC 9110 §5.5 NUL in a value", "A: b\0c"),
        ("§5.5 a bare CR in a value", "A: b\rc"),
        ("§5.5 DEL in a value", "A: b\x7fc"),
        ("§5.5 a bell in a value", "A: b\x07c"),
        ("§5.1 NUL in a name", "A\0: b"),
        ("§5.1 DEL in a name", "A\x7f: b"),
        ("§5.1 a space in a name", "A b: c"),
        ("§5.1 brackets in a name", "A(b): c"),
        ("RFC 9112 §2.2 a lone LF", "A: b\nC: d"),
        ("§2.2 CR CR LF", "A: b\r\r\nC: d"),
        ("§3.2 a second Host", "Host: www.own.example"),
        ("§3.2 another Host", "host: www.shop.example"),
    ];
    for (why, fields) in refused {
        let request = format!("GET / HTTP/1.1\r\nHost: {OWN}\r\n{fields}\r\n\r\n0\r\n\r\n");
        let answer = world.say(&request).await;
        assert_eq!(answer.status, 400, "{why}: {fields:?}");
        assert!(answer.whole && !answer.body.contains("HTTP/1.1"), "{why}: and closed");
    }
    assert_eq!(origin.count(), 0);
    world.end().await;
}

#[tokio::test]
async fn what_comes_in_pieces_is_refused_all_the_same() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let bad = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\nContent-Length: 1, 1\r\n\r\n");
    for at in [1, 20, 30, 60, bad.len() - 3, bad.len() - 1] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(&bad.as_bytes()[..at]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = stream.write_all(&bad.as_bytes()[at..]).await;
        let mut answer = Vec::new();
        timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(Answer::of(&answer).status, 400, "{at}");
    }
    let good = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n\r\n");
    for at in 1..good.len() {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(&good.as_bytes()[..at]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        stream.write_all(&good.as_bytes()[at..]).await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(Answer::of(&answer).body, "hello", "{at}");
    }
    world.end().await;
}

#[tokio::test]
async fn request_lines_are_plain_or_refused() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let host = format!("Host: {OWN}\r\n\r\n");
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.2",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / http/1.1",
        "GET /",
        "GET / a HTTP/1.1",
        "GET /a\0b HTTP/1.1",
        "GET /a\x7fb HTTP/1.1",
        "GET /a\rb HTTP/1.1",
        "G\0T / HTTP/1.1",
        "GE(T / HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET http://www.shop.example/ HTTP/1.1",
        "GET http://www.own.example:80/ HTTP/1.1",
        "GET http://a@www.own.example/ HTTP/1.1",
        "GET https://www.own.example/ HTTP/1.1",
        "GET ftp://www.own.example/ HTTP/1.1",
        "GET //www.own.example HTTP/1.1 x",
        "PRI * HTTP/2.0",
    ] {
        let answer = world.say(&format!("{line}\r\n{host}")).await;
        assert_eq!(answer.status, 400, "{line:?}");
    }
    for hosts in ["", "Host:\r\n", "Host: a,b\r\n", "Host: a/b\r\n", "Host: www.own.example:8o\r\n"]
    {
        let answer = world.say(&format!("GET / HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(answer.status, 400, "{hosts:?}");
    }
    let old = format!("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n{host}0\r\n\r\n");
    assert_eq!(world.say(&old).await.status, 400, "RFC 9112 §6.1: no chunks in HTTP/1.0");
    for method in ["CONNECT", "TRACE"] {
        let answer = world.say(&format!("{method} {OWN}:80 HTTP/1.1\r\n{host}")).await;
        assert!(matches!(answer.status, 400 | 405), "{method}");
    }
    assert_eq!(origin.count(), 0);
    let good = format!("GET http://{OWN}/a HTTP/1.1\r\nConnection: close\r\n{host}");
    assert_eq!(world.say(&good).await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn content_that_is_malformed_reaches_no_origin_whole() {
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let world = World::before(&origin).await;
    let head = format!("POST /a HTTP/1.1\r\nHost: {OWN}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: {OWN}\r\n\r\n");
    for content in [
        "5\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloxx0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\n\n",
    ] {
        let bytes = say(world.address, &format!("{head}{content}{hidden}")).await;
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("200 OK"), "{content:?}: {text}");
    }
    let asked = origin.seen();
    assert!(asked.iter().all(|request| !request.starts_with("GET /hidden")), "{asked:?}");
    let long = format!("{head}5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(100_000));
    assert!(!say(world.address, &long).await.starts_with(b"HTTP/1.1 200"), "a long extension");
    let good = format!("{head}5;a=\"b\"\r\nhello\r\n0\r\nA: b\r\n\r\n{hidden}").replace(
        "Host: www.own.example\r\n\r\n",
        "Host: www.own.example\r\nConnection: close\r\n\r\n",
    );
    let bytes = say(world.address, &good).await;
    assert_eq!(String::from_utf8_lossy(&bytes).matches("200 OK").count(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_body_nobody_reads_is_not_the_next_request() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n\r\n");
    let length = hidden.len();
    let chunk = format!("{length:x}\r\n{hidden}\r\n0\r\n\r\n");
    // CVE-2025-4366: a hit that is answered before its content is read.
    for (host, framing, content) in [
        (OWN, format!("Content-Length: {length}"), &hidden),
        (OWN, "Transfer-Encoding: chunked".to_owned(), &chunk),
        (SHOP, format!("Content-Length: {length}"), &hidden),
        (SHOP, "Transfer-Encoding: chunked".to_owned(), &chunk),
        ("www.other.example", format!("Content-Length: {length}"), &hidden),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let head = format!("{method} /a HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n\r\n");
            let mut stream = TcpStream::connect(world.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // The content comes when the answer may be on its way already.
            tokio::time::sleep(Duration::from_millis(30)).await;
            let _ = stream.write_all(content.as_bytes()).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
            let text = String::from_utf8_lossy(&answer);
            assert!(text.matches("HTTP/1.1").count() <= 1, "{method} {host} {framing}: {text}");
        }
    }
    let asked = origin.seen();
    assert!(asked.iter().all(|request| !request.starts_with("GET /hidden")), "{asked:?}");
    world.end().await;
}

#[tokio::test]
async fn fields_of_one_hop_and_trailers_go_no_further() {
    let origin = Origin::start(|_, _| Saying {
        bytes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-secret, keep-alive\r\n\
                X-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\
                Trailer: X-Late\r\nTE: trailers\r\n\r\n5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n"
            .to_owned(),
        ..Saying::default()
    })
    .await;
    let world = World::before(&origin).await;
    let request = format!(
        "POST /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 1\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nTE: trailers\r\n\
         Trailer: X-Late\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n"
    );
    let bytes = say(world.address, &request).await;
    let answer = String::from_utf8_lossy(&bytes).to_ascii_lowercase();
    let asked = origin.seen()[0].to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 ok"), "{answer}");
    for text in [&answer, &asked] {
        assert!(text.contains("hello"), "{text}");
        for gone in
            ["x-secret", "x-mine", "keep-alive:", "proxy-", "upgrade:", "x-late", "te:", "trailer:"]
        {
            assert!(!text.lines().any(|line| line.starts_with(gone)), "{gone} in {text}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn slow_heads_get_408_and_idle_connections_are_closed() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before_with(impatient(), &origin).await;
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    let begun = Instant::now();
    let mut answer = Vec::new();
    // A byte now and then does not help.
    for byte in b"GET / HTTP/1.1\r\nHost: www.own.example\r\nA: b" {
        if slow.write_all(&[*byte]).await.is_err() {
            break;
        }
        let mut piece = [0; 256];
        match timeout(Duration::from_millis(150), slow.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(read)) => answer.extend_from_slice(&piece[..read]),
            Err(_) => {}
        }
    }
    assert_eq!(Answer::of(&answer).status, 408);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let mut idle = TcpStream::connect(world.address).await.unwrap();
    idle.write_all(format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let closed = timeout(Duration::from_secs(6), idle.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "idle for too long");
    assert_eq!(Answer::of(&answer).body, "hello");
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let closed = timeout(Duration::from_secs(6), silent.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "never said anything");
    world.until("headroom_edge_connections", "0").await;
    world.end().await;
}

#[tokio::test]
async fn who_takes_nothing_is_cut_off() {
    let large = "x".repeat(64 * 1024 * 1024);
    let origin = Origin::start(move |_, _| response("Cache-Control: no-store", &large)).await;
    // On a busy machine the origin takes its time for so much.
    let config = EdgeConfig { origin_response_timeout: Duration::from_secs(10), ..impatient() };
    let world = World::before_with(config, &origin).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(world.address).await.unwrap();
    stream.write_all(format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n\r\n").as_bytes()).await.unwrap();
    world.until("headroom_edge_connections_cut_total", "1").await;
    world.end().await;
}

#[tokio::test]
async fn a_client_has_only_so_many_connections() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut config = impatient();
    config.visitors = VisitorConfig { per_client_max: 3, ..VisitorConfig::default() };
    let world = World::before_with(config, &origin).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(world.address).await.unwrap());
    }
    world.until("headroom_edge_connections", "3").await;
    let request = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n\r\n");
    let mut fourth = TcpStream::connect(world.address).await.unwrap();
    let _ = fourth.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(5), fourth.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty(), "it is closed at once");
    let mut other = from("127.0.0.2", world.address).await;
    other.write_all(request.as_bytes()).await.unwrap();
    other.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Answer::of(&answer).body, "hello", "another client is not meant");
    drop(held);
    world.until("headroom_edge_connections", "0").await;
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn when_all_connections_are_taken_the_slowest_make_room() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let visitors =
        VisitorConfig { connections_max: 30, per_client_max: 0, ..VisitorConfig::default() };
    let world = World::before_with(EdgeConfig { visitors, ..config(None) }, &origin).await;
    let mut slow = Vec::new();
    for index in 0..30 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let bytes = match index % 3 {
            0 => format!("GET / HTTP/1.1\r\nHost: {OWN}\r\nA: "),
            1 => format!("POST / HTTP/1.1\r\nHost: {OWN}\r\nContent-Length: 9999\r\n\r\nx"),
            _ => String::new(),
        };
        stream.write_all(bytes.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    world.until("headroom_edge_connections", "30").await;
    // Nobody makes room who has just come.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for visit in 1..=40 {
        assert_eq!(world.get(OWN, "/a").await.body, "hello", "visit {visit}");
    }
    // Each visitor leaves when it was served.
    let displaced = world.metric("headroom_edge_connections_displaced_total");
    assert!((1..=30).contains(&displaced.parse().unwrap()), "{displaced} made room");
    drop(slow);
    world.end().await;
}

/// A connection from another loopback address.
async fn from(local: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{local}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

#[tokio::test]
async fn slow_clients_do_not_keep_honest_ones_waiting() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let config = EdgeConfig {
        visitors: VisitorConfig { per_client_max: 0, ..VisitorConfig::default() },
        ..config(None)
    };
    let world = World::before_with(config, &origin).await;
    let mut slow = Vec::new();
    for index in 0..1_000 {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let bytes = match index % 3 {
            0 => format!("GET / HTTP/1.1\r\nHost: {OWN}\r\nA: "),
            1 => format!("POST / HTTP/1.1\r\nHost: {OWN}\r\nContent-Length: 9999\r\n\r\nx"),
            _ => String::new(),
        };
        stream.write_all(bytes.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        assert_eq!(world.get(OWN, "/a").await.body, "hello");
        slowest = slowest.max(begun.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "an honest visitor waited {slowest:?}");
    world.until("headroom_edge_connections", "1000").await;
    drop(slow);
    world.end().await;
}

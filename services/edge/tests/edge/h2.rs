//! HTTP/2: what it serves like HTTP/1.1, what it refuses, and who makes work for nothing.

use std::time::Duration;

use headroom_edge::{EdgeConfig, VisitorConfig};
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{
    harness::{OWN, Origin, SHOP, Saying, World, config, response},
    http2::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, PING,
        PROTOCOL_ERROR, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, client, frame, get, head,
        send,
    },
    tls::{Certificates, connect},
};

const FRESH: &str = "Cache-Control: max-age=60";
async fn world() -> (World, Origin) {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    (world, origin)
}

#[tokio::test]
async fn a_refusal_of_head_has_no_content() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let mut client = client(TcpStream::connect(world.address).await.unwrap()).await;
    let ask = |uri: &str| Request::head(uri).version(Version::HTTP_2).body(Full::default());
    for (uri, status) in [("http://nobody.example/", 421), (&format!("http://{OWN}/"), 200)] {
        let (response, body) = send(&mut client, ask(uri).unwrap()).await;
        assert_eq!((response.status().as_u16(), body.as_str()), (status, ""), "{uri}");
    }
    world.end().await;
}

#[tokio::test]
async fn http2_is_served_over_tls_and_with_prior_knowledge() {
    let certificates = Certificates::new();
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before_with(certificates.config(), &origin).await;
    let mut clear = client(TcpStream::connect(world.address).await.unwrap()).await;
    let tls = connect(world.tls_address.unwrap(), certificates.client(&["h2"]), OWN).await.unwrap();
    let mut secure = client(tls).await;
    for (client, scheme) in [(&mut clear, "http"), (&mut secure, "https")] {
        for cache in ["headroom; fwd=miss; stored", "headroom; hit"] {
            let (response, body) = send(client, get(&format!("{scheme}://{OWN}/a"))).await;
            assert_eq!((response.status().as_u16(), body.as_str()), (200, "hello"));
            assert_eq!(response.version(), Version::HTTP_2);
            assert_eq!(response.headers()["cache-status"], cache);
        }
    }
    assert_eq!(origin.count(), 2);
    // RFC 9113 §9.1.1: a connection may be used for names it has no right to.
    let (response, _) = send(&mut secure, get(&format!("https://{SHOP}/a"))).await;
    assert_eq!(response.status(), 421);
    let (response, _) = send(&mut secure, get(&format!("http://{OWN}/a"))).await;
    assert_eq!(response.status(), 400, "it did not come in the clear");
    let (response, _) = send(&mut clear, get(&format!("http://{SHOP}/a"))).await;
    assert_eq!(response.headers()["location"], "http://origin.shop.example:8080/a");
    world.end().await;
}

#[tokio::test]
async fn authority_and_host_have_to_agree() {
    let (world, _origin) = world().await;
    let mut client = client(TcpStream::connect(world.address).await.unwrap()).await;
    let mut ask = async |host: &str| {
        let mut request = get(&format!("http://{OWN}/a"));
        request.headers_mut().insert("host", host.parse().unwrap());
        send(&mut client, request).await.0.status().as_u16()
    };
    assert_eq!(ask(OWN).await, 200);
    assert_eq!(ask(SHOP).await, 400);
    world.end().await;
}

#[tokio::test]
async fn content_goes_to_the_origin_and_trailers_do_not() {
    let origin = Origin::start(|_, _| Saying {
        bytes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-late\r\n\r\n\
                5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n"
            .to_owned(),
        ..Saying::default()
    })
    .await;
    let world = World::before(&origin).await;
    let mut client = client(TcpStream::connect(world.address).await.unwrap()).await;
    let mut request = get(&format!("http://{OWN}/a"));
    *request.method_mut() = http::Method::POST;
    request.headers_mut().append("cookie", "a=1".parse().unwrap());
    request.headers_mut().append("cookie", "b=2".parse().unwrap());
    *request.body_mut() = Full::from("from the visitor");
    client.ready().await.unwrap();
    let response = client.send_request(request).await.unwrap();
    assert!(!response.headers().contains_key("trailer"));
    let collected = response.into_body().collect().await.unwrap();
    assert!(collected.trailers().is_none());
    assert_eq!(collected.to_bytes(), "hello");
    let seen = origin.seen()[0].clone();
    assert!(seen.ends_with("from the visitor") && seen.contains("cookie: a=1; b=2\r\n"), "{seen}");
    world.end().await;
}

#[tokio::test]
async fn what_http2_may_not_carry_is_refused() {
    let (world, origin) = world().await;
    let refused: [(&str, &[(&str, &str)]); 11] = [
        ("RFC 9113 §8.2.2", &[("connection", "close")]),
        ("§8.2.2", &[("transfer-encoding", "chunked")]),
        ("§8.2.2", &[("upgrade", "websocket")]),
        ("§8.2.2", &[("keep-alive", "1")]),
        ("§8.2.2", &[("proxy-connection", "close")]),
        ("§8.2.2", &[("te", "gzip")]),
        ("§8.2.1 upper case", &[("X-Upper", "1")]),
        ("§8.2.1 a line end", &[("x-line", "a\r\nb: c")]),
        ("§8.2.1 NUL", &[("x-nul", "a\0b")]),
        ("§8.3 a pseudo-field behind a field", &[("x-a", "b"), (":path", "/b")]),
        ("§8.3 an unknown pseudo-field", &[(":unknown", "1")]),
    ];
    for (why, fields) in refused {
        let mut raw = Raw::connect(world.address).await;
        let block = block(&[&head("/a"), fields].concat());
        raw.write(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
        loop {
            let (kind, _, _, payload) = raw.read().await.expect("an answer");
            match kind {
                RST_STREAM => assert_eq!(payload, PROTOCOL_ERROR.to_be_bytes(), "{why}"),
                GOAWAY => assert_eq!(payload[4..8], PROTOCOL_ERROR.to_be_bytes(), "{why}"),
                // 400, as a literal or as an index of the static table.
                HEADERS => assert!(payload.starts_with(&[0x8c]), "{why}: {payload:?}"),
                _ => continue,
            }
            break;
        }
    }
    assert_eq!(origin.count(), 0);
    world.end().await;
}

#[tokio::test]
async fn a_length_that_the_content_does_not_have_is_refused() {
    let (world, origin) = world().await;
    for (length, content) in [("3", "hello"), ("9", "hello")] {
        let mut raw = Raw::connect(world.address).await;
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", OWN),
            (":path", "/a"),
            ("content-length", length),
        ];
        raw.write(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
        raw.write(&frame(DATA, END_STREAM, 1, content.as_bytes())).await;
        let (stream, payload) = raw.until(RST_STREAM).await.expect("a reset");
        assert_eq!((stream, payload), (1, PROTOCOL_ERROR.to_be_bytes().to_vec()), "{length}");
    }
    assert!(origin.seen().iter().all(|request| !request.ends_with("hello")));
    world.end().await;
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let (world, _origin) = world().await;
    let mut raw = Raw::connect(world.address).await;
    let block = block(&head("/a"));
    for index in 0..2_000_u32 {
        let stream = 2 * index + 1;
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        if !raw.write(&bytes).await {
            break;
        }
    }
    assert_eq!(raw.reason().await, Some(ENHANCE_YOUR_CALM));
    // Slowly enough that the library has taken each before it is reset.
    let mut raw = Raw::connect(world.address).await;
    let mut ended = false;
    for index in 0..1_000_u32 {
        let stream = 2 * index + 1;
        ended = !raw.write(&frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        ended |= !raw.write(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
        if ended {
            break;
        }
    }
    assert!(ended, "1,000 resets were taken");
    world.end().await;
}

#[tokio::test]
async fn resets_the_visitor_provokes_end_the_connection() {
    let origin = Origin::start(|_, _| Saying { hang: true, ..Saying::default() }).await;
    let world = World::before(&origin).await;
    let mut raw = Raw::connect(world.address).await;
    let block = block(&head("/a"));
    // MadeYouReset: a window that overflows makes us reset the stream (RFC 9113 §6.9.1).
    for index in 0..2_000_u32 {
        let stream = 2 * index + 1;
        let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
        if !raw.write(&bytes).await {
            break;
        }
    }
    assert_eq!(raw.reason().await, Some(ENHANCE_YOUR_CALM));
    world.end().await;
}

#[tokio::test]
async fn floods_end_the_connection() {
    let (world, _origin) = world().await;
    let opened = frame(HEADERS, END_HEADERS, 1, &block(&head("/a")));
    let priority = [0, 0, 0, 0, 1];
    for (why, before, flood) in [
        ("CONTINUATION", frame(HEADERS, 0, 1, &block(&head("/a"))), frame(CONTINUATION, 0, 1, &[])),
        ("PING", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", Vec::new(), frame(SETTINGS, 0, 0, &[])),
        ("empty DATA", opened, frame(DATA, 0, 1, &[])),
        ("PRIORITY", Vec::new(), frame(2, 0, 3, &priority)),
        ("unknown", Vec::new(), frame(99, 0, 0, &[0; 4])),
    ] {
        let mut raw = Raw::connect(world.address).await;
        raw.write(&before).await;
        for _ in 0..100 {
            if !raw.write(&flood.repeat(100)).await {
                break;
            }
        }
        assert_eq!(raw.reason().await, Some(ENHANCE_YOUR_CALM), "{why}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let (world, origin) = world().await;
    let mut raw = Raw::connect(world.address).await;
    raw.write(&frame(HEADERS, END_STREAM, 1, &block(&head("/a")))).await;
    let value = "x".repeat(120);
    let more = block(&vec![("x-more", value.as_str()); 100]);
    for _ in 0..100 {
        if !raw.write(&frame(CONTINUATION, 0, 1, &more)).await {
            break;
        }
    }
    assert!(raw.reason().await.is_some_and(|reason| reason != 0));
    assert_eq!(origin.count(), 0);
    world.end().await;
}

#[tokio::test]
async fn large_heads_are_refused() {
    let (world, origin) = world().await;
    let mut client = client(TcpStream::connect(world.address).await.unwrap()).await;
    let mut request = get(&format!("http://{OWN}/a"));
    for index in 0..101 {
        let name: http::HeaderName = format!("x-{index}").parse().unwrap();
        request.headers_mut().insert(name, "1".parse().unwrap());
    }
    assert_eq!(send(&mut client, request).await.0.status(), 400);
    let mut request = get(&format!("http://{OWN}/a"));
    request.headers_mut().insert("x-long", "x".repeat(70_000).parse().unwrap());
    client.ready().await.unwrap();
    match client.send_request(request).await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(error.to_string().contains("http2"), "{error}"),
    }
    assert_eq!(origin.count(), 0);
    world.end().await;
}

#[tokio::test]
async fn streams_are_limited() {
    let origin = Origin::start(|_, _| Saying { hang: true, ..Saying::default() }).await;
    let world = World::before(&origin).await;
    let mut raw = Raw::connect(world.address).await;
    let (_, settings) = raw.until(SETTINGS).await.unwrap();
    assert!(settings.chunks(6).any(|entry| entry == [0, 3, 0, 0, 0, 128]), "{settings:?}");
    raw.write(&frame(SETTINGS, ACK, 0, &[])).await;
    let block = block(&head("/a"));
    for index in 0..129_u32 {
        raw.write(&frame(HEADERS, END_STREAM | END_HEADERS, 2 * index + 1, &block)).await;
    }
    let (stream, payload) = raw.until(RST_STREAM).await.unwrap();
    assert_eq!((stream, payload), (257, 7_u32.to_be_bytes().to_vec()), "REFUSED_STREAM");
    world.end().await;
}

#[tokio::test]
async fn idle_connections_end_and_pings_do_not_help() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let visitors =
        VisitorConfig { idle_timeout: Duration::from_secs(1), ..VisitorConfig::default() };
    let world = World::before_with(EdgeConfig { visitors, ..config(None) }, &origin).await;
    let mut raw = Raw::connect(world.address).await;
    raw.write(&frame(SETTINGS, ACK, 0, &[])).await;
    let went = async {
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            raw.write(&frame(PING, 0, 0, &[1; 8])).await;
            let mut piece = [0; 1024];
            let read = timeout(Duration::from_millis(100), raw.0.read(&mut piece)).await;
            // GOAWAY stands in what is read.
            if matches!(read, Ok(Ok(read)) if piece[..read].windows(6).any(|at| at == [8, 7, 0, 0, 0, 0]))
            {
                return true;
            }
        }
        false
    };
    assert!(went.await);
    world.end().await;
}

#[tokio::test]
async fn draining_says_goaway_and_ends_what_is_in_flight() {
    let origin =
        Origin::start(|_, _| Saying { after: Duration::from_millis(400), ..response("", "hello") })
            .await;
    let world = World::before(&origin).await;
    let mut client = client(TcpStream::connect(world.address).await.unwrap()).await;
    let mut raw = Raw::connect(world.address).await;
    raw.write(&frame(SETTINGS, ACK, 0, &[])).await;
    let in_flight =
        tokio::spawn(async move { send(&mut client, get(&format!("http://{OWN}/a"))).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.end().await;
    assert_eq!(in_flight.await.unwrap().1, "hello");
    assert_eq!(raw.reason().await, Some(0));
}

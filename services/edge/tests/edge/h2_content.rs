//! Content over HTTP/2, in both directions: flow control, turns, and what ends early.

use std::time::Duration;

use http::{Method, Request, Version};
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{
    harness::{OWN, Origin, SHOP, Saying, World, plan, response},
    http2::{
        ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS,
        WINDOW_UPDATE, block, client, frame, get, head, send,
    },
};

const FRESH: &str = "Cache-Control: max-age=60";
const LENGTH: usize = 100_000;
/// The preface's window of a connection (RFC 9113 §6.9.2).
const WINDOW: usize = 65_535;

/// Bytes that tell where they are.
fn body(length: usize) -> String {
    (0..length).map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap())).collect()
}

/// An origin whose bodies are as long as their path says, and whether they may be stored.
async fn world() -> (World, Origin) {
    let origin = Origin::start(|request, _| {
        let mut path = request.split(' ').nth(1).unwrap().split('/').skip(1);
        let fields = if path.next() == Some("kept") { FRESH } else { "Cache-Control: no-store" };
        response(fields, &body(path.next().unwrap().parse().unwrap()))
    })
    .await;
    let world = World::before(&origin).await;
    (world, origin)
}

fn ask(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&head(path)))
}

fn window(size: usize) -> Vec<u8> {
    let [a, b, c, d] = u32::try_from(size).unwrap().to_be_bytes();
    frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d])
}

fn update(stream: u32, increment: usize) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &u32::try_from(increment).unwrap().to_be_bytes())
}

impl Raw {
    /// Asks for a sign of life, and collects what content of `stream` comes before it. True with
    /// its end.
    async fn content(&mut self, stream: u32, content: &mut Vec<u8>) -> bool {
        self.write(&frame(PING, 0, 0, b"so far??")).await;
        let mut ended = false;
        loop {
            let (kind, flags, of, payload) = self.read().await.unwrap();
            match kind {
                PING if flags & ACK != 0 => return ended,
                HEADERS if of == stream => ended = flags & END_STREAM != 0,
                DATA if of == stream => {
                    content.extend(payload);
                    ended = flags & END_STREAM != 0;
                }
                RST_STREAM | GOAWAY => panic!("{kind} {payload:?}"),
                _ => {}
            }
        }
    }

    /// The same until there are so many bytes, then a moment longer.
    async fn content_until(&mut self, stream: u32, content: &mut Vec<u8>, length: usize) -> bool {
        let mut ended = false;
        for _ in 0..1_000 {
            ended |= self.content(stream, content).await;
            if content.len() >= length {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        ended | self.content(stream, content).await
    }
}

/// RFC 9113 §5.2, §6.9: no byte more than there is room for, and all of them in the end.
#[tokio::test]
async fn no_more_is_sent_than_the_visitor_has_room_for() {
    let (world, _origin) = world().await;
    let kept = format!("/kept/{LENGTH}");
    world.get(OWN, &kept).await;
    let small = "/kept/5000";
    world.get(OWN, small).await;
    for (path, length) in [
        (kept.as_str(), LENGTH),
        (small, 5_000),
        ("/passed/100000", LENGTH),
        ("/kept/100001", LENGTH + 1),
    ] {
        let mut raw = Raw::connect(world.address).await;
        let mut content = Vec::new();
        raw.write(&[window(10), ask(1, path)].concat()).await;
        assert!(!raw.content_until(1, &mut content, 10).await);
        assert_eq!(content.len(), 10, "{path}");
        raw.write(&update(1, 1_000)).await;
        raw.content_until(1, &mut content, 1_010).await;
        assert_eq!(content.len(), 1_010, "{path}");
        // Less than nothing, then so much that it is nothing.
        raw.write(&window(0)).await;
        raw.write(&update(1, 10)).await;
        raw.content_until(1, &mut content, 0).await;
        assert_eq!(content.len(), 1_010, "{path}");
        raw.write(&update(1, 200_000)).await;
        let ended = raw.content_until(1, &mut content, length.min(WINDOW)).await;
        // The connection has a window of its own.
        assert_eq!((content.len(), ended), (length.min(WINDOW), length < WINDOW), "{path}");
        if length > WINDOW {
            raw.write(&update(0, 200_000)).await;
            assert!(raw.content_until(1, &mut content, length).await, "{path}");
        }
        assert!(content == body(length).as_bytes(), "{path}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_has_no_content_needs_no_room() {
    let (world, _origin) = world().await;
    let mut raw = Raw::connect(world.address).await;
    let mut head = head("/kept/500");
    head[0].1 = "HEAD";
    for stream in [1, 3] {
        let ask = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&head));
        raw.write(&[window(0), ask].concat()).await;
        while let Some((kind, flags, ..)) = raw.read().await {
            assert_ne!(kind, DATA);
            if kind == HEADERS {
                assert_eq!(flags & END_STREAM, END_STREAM);
                break;
            }
        }
        world.get(OWN, "/kept/500").await;
    }
    world.end().await;
}

/// A frame may be as long as the visitor says, but not longer.
#[tokio::test]
async fn frames_are_as_long_as_the_visitor_takes() {
    let (world, _origin) = world().await;
    world.get(OWN, "/kept/50000").await;
    for (max, expected) in [(None, 16_384), (Some(30_000_u32), 30_000)] {
        let mut raw = Raw::connect(world.address).await;
        if let Some(max) = max {
            let [a, b, c, d] = max.to_be_bytes();
            raw.write(&frame(SETTINGS, 0, 0, &[0, 5, a, b, c, d])).await;
        }
        raw.write(&ask(1, "/kept/50000")).await;
        let (mut longest, mut content) = (0, Vec::new());
        while content.len() < 50_000 {
            let (_, payload) = raw.until(DATA).await.unwrap();
            longest = longest.max(payload.len());
            content.extend(payload);
        }
        assert_eq!(longest, expected);
        assert!(content == body(50_000).as_bytes());
    }
    world.end().await;
}

#[tokio::test]
async fn responses_go_on_in_turn() {
    let (world, _origin) = world().await;
    world.get(OWN, "/kept/200000").await;
    let mut raw = Raw::connect(world.address).await;
    raw.write(&window(200_000)).await;
    let streams = [1, 3, 5, 7];
    let asked: Vec<u8> = streams.iter().flat_map(|stream| ask(*stream, "/kept/200000")).collect();
    raw.write(&asked).await;
    let mut turns = Vec::new();
    let mut contents = std::collections::BTreeMap::<u32, Vec<u8>>::new();
    raw.write(&update(0, 1_000_000)).await;
    while contents.values().map(Vec::len).sum::<usize>() < 800_000 {
        let (stream, payload) = raw.until(DATA).await.unwrap();
        turns.push(stream);
        contents.entry(stream).or_default().extend(payload);
    }
    let expected = body(200_000);
    assert!(contents.values().all(|content| content == expected.as_bytes()));
    // None is ahead of another by much: each sends one frame in its turn.
    let mut sent = std::collections::BTreeMap::from(streams.map(|stream| (stream, 0)));
    let middle = turns.len() * 3 / 4;
    for stream in &turns[..middle] {
        *sent.get_mut(stream).unwrap() += 1;
    }
    let (least, most) = (sent.values().min().unwrap(), sent.values().max().unwrap());
    assert!(most - least <= 6, "{sent:?}");
    world.end().await;
}

#[tokio::test]
async fn many_requests_go_over_one_connection() {
    let (world, origin) = world().await;
    let visitor = client(TcpStream::connect(world.address).await.unwrap()).await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..300_usize {
        let mut visitor = visitor.clone();
        asking.spawn(async move {
            let kind = if number % 2 == 0 { "kept" } else { "passed" };
            let length = number % 7 * 20_000;
            let path = format!("http://{OWN}/{kind}/{length}");
            let (response, content) = send(&mut visitor, get(&path)).await;
            assert_eq!(response.status(), 200);
            assert!(content == body(length), "{path}");
        });
    }
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    assert!(origin.count() < 300, "what is kept is asked for once");
    world.end().await;
}

#[tokio::test]
async fn both_protocols_get_the_same_responses() {
    let vary = format!("{FRESH}\r\nVary: Accept-Language\r\nCache-Tag: secret\r\nX-Own: a");
    let origin = Origin::start(move |request, _| match request.split(' ').nth(1).unwrap() {
        "/gone" => Saying {
            bytes: format!("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n{FRESH}\r\n\r\ngone"),
            ..Saying::default()
        },
        "/none" => Saying {
            bytes: "HTTP/1.1 204 No Content\r\nX-Own: b\r\n\r\n".to_owned(),
            ..Saying::default()
        },
        "/unmodified" => response(&format!("{FRESH}\r\nETag: \"a\""), "hello"),
        "/chunked" => Saying {
            bytes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_owned(),
            ..Saying::default()
        },
        "/passed" => response("Connection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1", "hello"),
        _ => response(&vary, "hello"),
    })
    .await;
    let world = World::before(&origin).await;
    let mut visitor = client(TcpStream::connect(world.address).await.unwrap()).await;
    let cases = [
        (OWN, "/a", ""),
        (OWN, "/a", "Cache-Control: max-age=60"),
        (OWN, "/a", "Range: bytes=1-2"),
        (OWN, "/a", "Range: bytes=9-"),
        (OWN, "/gone", ""),
        (OWN, "/none", ""),
        (OWN, "/unmodified", "If-None-Match: \"a\""),
        (OWN, "/chunked", ""),
        (OWN, "/passed", ""),
        (OWN, "/never", "Cache-Control: only-if-cached"),
        (SHOP, "/a", ""),
        ("nobody.example", "/a", ""),
    ];
    for (host, path, field) in cases {
        for method in ["GET", "HEAD"] {
            let fields: Vec<_> =
                Some(field).filter(|field| !field.is_empty()).into_iter().collect();
            // So that what can be stored is stored.
            world.ask(method, host, path, &fields).await;
            let first = world.ask(method, host, path, &fields).await;
            let mut request = Request::builder().method(method).version(Version::HTTP_2);
            if let Some((name, value)) = field.split_once(": ") {
                request = request.header(name, value);
            }
            let request = request.uri(format!("http://{host}{path}")).body(Full::default());
            let (second, content) = send(&mut visitor, request.unwrap()).await;
            let why = format!("{method} {host}{path} {field}");
            assert_eq!(second.status().as_u16(), first.status, "{why}");
            assert_eq!(content, first.body, "{why}");
            let told = |name: &&str| !["date", "age"].contains(name);
            let names = second.headers().keys().map(http::HeaderName::as_str);
            let mut lines: Vec<_> = names
                .filter(told)
                .flat_map(|name| {
                    second.headers().get_all(name).iter().map(move |value| (name, value))
                })
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            lines.sort_unstable();
            // What is about a connection has no place in HTTP/2 (RFC 9113 §8.2.2).
            let hop = ["connection: ", "transfer-encoding: "];
            let mut expected = first.fields();
            expected.retain(|line| !hop.iter().any(|hop| line.starts_with(hop)));
            assert_eq!(lines, expected, "{why}");
            assert!(second.headers().contains_key("date"), "{why}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn content_of_any_length_reaches_the_origin() {
    let origin = Origin::start(|request, _| {
        let content = request.split_once("\r\n\r\n").map_or("", |(_, content)| content);
        let content = content.split_once("\r\n").map_or(content, |(_, chunks)| chunks);
        response("Cache-Control: no-store", &content.matches('x').count().to_string())
    })
    .await;
    let world = World::before(&origin).await;
    let mut visitor = client(TcpStream::connect(world.address).await.unwrap()).await;
    // Beyond the window of a stream, and of the connection in all.
    for length in [1, 200_000, 700_000, 700_000] {
        let uri = format!("http://{OWN}/a");
        let request = Request::post(uri).body(Full::from("x".repeat(length))).unwrap();
        let (response, count) = send(&mut visitor, request).await;
        assert_eq!((response.status().as_u16(), count), (200, length.to_string()));
    }
    // No length is known before.
    let mut raw = Raw::connect(world.address).await;
    let fields = [(":method", "PUT"), (":scheme", "http"), (":authority", OWN), (":path", "/a")];
    raw.write(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
    for _ in 0..3 {
        raw.write(&frame(DATA, 0, 1, &[b'x'; 10])).await;
    }
    raw.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("x-late", "1")]))).await;
    assert_eq!(raw.until(DATA).await.unwrap().1, b"30");
    assert!(!origin.seen().iter().any(|request| request.contains("x-late")));
    world.end().await;
}

/// RFC 9113 §8.1: who is answered before its content is whole is told to stop, and goes on.
#[tokio::test]
async fn content_that_nobody_wants_is_no_error() {
    let (world, origin) = world().await;
    let mut raw = Raw::connect(world.address).await;
    let mut fields = head("/a");
    fields[0].1 = "POST";
    fields[2].1 = "nobody.example";
    raw.write(&frame(HEADERS, END_HEADERS, 1, &block(&fields))).await;
    assert_eq!(raw.until(RST_STREAM).await, Some((1, vec![0; 4])));
    for _ in 0..200 {
        assert!(raw.write(&frame(DATA, 0, 1, &[0; 10_000])).await);
    }
    raw.write(&ask(3, "/kept/5")).await;
    assert_eq!(raw.until(DATA).await.unwrap(), (3, body(5).into_bytes()));
    assert_eq!(origin.count(), 1);
    world.end().await;
}

#[tokio::test]
async fn interim_responses_reach_visitors_over_http2() {
    const EARLY: &str = "HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nKeep-Alive: x\r\n\r\n";
    let origin = Origin::start(|_, _| {
        let last = response(FRESH, "hello");
        Saying { bytes: format!("{EARLY}{}", last.bytes), ..last }
    })
    .await;
    let world = World::before(&origin).await;
    let mut raw = Raw::connect(world.address).await;
    raw.write(&ask(1, "/a")).await;
    let (kind, flags, _, early) = loop {
        let frame = raw.read().await.unwrap();
        if frame.0 == HEADERS {
            break frame;
        }
    };
    assert_eq!((kind, flags), (HEADERS, END_HEADERS));
    let text = String::from_utf8_lossy(&early);
    assert_eq!(early[..5], [8, 3, b'1', b'0', b'3'], "{text}");
    assert!(text.contains("</a.css>") && !text.contains("keep-alive"), "{text}");
    let (_, last) = raw.until(HEADERS).await.unwrap();
    assert_eq!(last[0], 0x88);
    assert!(!String::from_utf8_lossy(&last).contains("</a.css>"));
    assert_eq!(raw.until(DATA).await.unwrap().1, b"hello");
    // A hit has none.
    raw.write(&ask(3, "/a")).await;
    assert_eq!(raw.until(HEADERS).await.unwrap().1[0], 0x88);
    world.end().await;
}

/// Waits for a request, says what is given, and then waits for the end of the connection.
async fn until_left(listener: &TcpListener, says: &[u8]) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut piece = [0; 4096];
    assert!(stream.read(&mut piece).await.unwrap() > 0);
    stream.write_all(says).await.unwrap();
    let left = async { while !matches!(stream.read(&mut piece).await, Ok(0) | Err(_)) {} };
    timeout(Duration::from_secs(10), left).await.expect("the origin is still asked");
}

#[tokio::test]
async fn a_reset_ends_the_work_for_a_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = World::start();
    world.plan(plan(listener.local_addr().unwrap())).await;
    let mut head = head("/a");
    head[0].1 = "DELETE";
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello".as_slice();
    for (says, expected) in [(b"".as_slice(), SETTINGS), (begun, DATA)] {
        let mut raw = Raw::connect(world.address).await;
        let asked = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&head));
        raw.write(&asked).await;
        let visitor = async {
            raw.until(expected).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            raw.write(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await;
        };
        tokio::join!(until_left(&listener, says), visitor);
        // The connection goes on.
        let mut nothing = Vec::new();
        raw.content(3, &mut nothing).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_response_that_is_cut_off_is_no_whole_one() {
    let origin = Origin::start(|_, _| Saying {
        bytes: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello".to_owned(),
        close: true,
        ..Saying::default()
    })
    .await;
    let world = World::before(&origin).await;
    let mut visitor = client(TcpStream::connect(world.address).await.unwrap()).await;
    visitor.ready().await.unwrap();
    let response = visitor.send_request(get(&format!("http://{OWN}/a"))).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert!(format!("{error:?}").contains("INTERNAL_ERROR"), "{error:?}");
    world.end().await;
}

/// RFC 9113 §6.8: first it is said that the end comes, then where it is.
#[tokio::test]
async fn an_end_is_told_twice_and_late_requests_are_answered() {
    let origin =
        Origin::start(|_, _| Saying { after: Duration::from_millis(300), ..response("", "hello") })
            .await;
    let world = World::before(&origin).await;
    let mut raw = Raw::connect(world.address).await;
    world.stop.cancel();
    let (_, first) = raw.until(GOAWAY).await.unwrap();
    assert_eq!(first, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let (_, ping) = raw.until(PING).await.unwrap();
    raw.write(&[ask(1, "/a"), ask(3, "/b")].concat()).await;
    raw.write(&frame(PING, ACK, 0, &ping)).await;
    let (_, second) = raw.until(GOAWAY).await.unwrap();
    assert_eq!(second, [0, 0, 0, 3, 0, 0, 0, 0]);
    raw.write(&ask(5, "/c")).await;
    for _ in [1, 3] {
        let (stream, content) = raw.until(DATA).await.unwrap();
        assert!([1, 3].contains(&stream));
        assert_eq!(content, b"hello");
    }
    assert_eq!(raw.until(HEADERS).await, None, "the connection ends");
    assert_eq!(origin.count(), 2);
    world.end().await;
}

#[tokio::test]
async fn unsafe_methods_go_the_long_way() {
    let (world, origin) = world().await;
    let mut visitor = client(TcpStream::connect(world.address).await.unwrap()).await;
    for method in [Method::DELETE, Method::OPTIONS] {
        let mut request = get(&format!("http://{OWN}/kept/5"));
        *request.method_mut() = method;
        assert_eq!(send(&mut visitor, request).await.0.status(), 200);
    }
    assert_eq!(origin.count(), 2);
    world.end().await;
}

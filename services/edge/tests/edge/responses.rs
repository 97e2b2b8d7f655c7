//! Responses over HTTP/1.1 as origins send them: what is understood, what is refused, and which
//! connections are used again.

use headroom_edge::EdgeConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::harness::{Answer, OWN, Origin, Saying, World, config, plan, response, say};

const NO_STORE: &str = "Cache-Control: no-store";

/// An edge with one thread, so that there is one pool.
async fn world(origin: &Origin) -> World {
    World::before_with(EdgeConfig { threads: 1, ..config(None) }, origin).await
}

#[tokio::test]
async fn a_connection_is_used_again_when_the_response_has_come_whole() {
    for (times, bytes) in [
        (1, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"),
        (1, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (1, "HTTP/1.1 204 None\r\n\r\n"),
        (1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\nA: b\r\n\r\n"),
        (1, "HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (3, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        (3, "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"),
    ] {
        let origin =
            Origin::start(move |_, _| Saying { bytes: bytes.to_owned(), ..Saying::default() })
                .await;
        let world = world(&origin).await;
        for number in 0..3 {
            let answer = world.ask("GET", OWN, &format!("/{number}"), &["Range: bytes=0-"]).await;
            assert!(answer.status / 100 == 2 && answer.whole, "{bytes:?}: {answer:?}");
        }
        assert_eq!(origin.connections(), times, "{bytes:?}");
        world.end().await;
    }
}

#[tokio::test]
async fn connections_are_used_again_with_and_without_content() {
    let origin = Origin::start(|_, _| response(NO_STORE, "hello")).await;
    let world = world(&origin).await;
    let post = format!("POST /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n");
    for _ in 0..5 {
        assert_eq!(world.get(OWN, "/a").await.body, "hello");
        assert_eq!(world.ask("POST", OWN, "/a", &[]).await.body, "hello");
        let content = format!("{post}Content-Length: 2\r\n\r\nhi");
        assert_eq!(world.say(&content).await.body, "hello");
    }
    assert!(origin.connections() <= 3, "{}", origin.connections());
    let seen = origin.seen();
    assert!(seen[0].starts_with(&format!("GET /a HTTP/1.1\r\nhost: {OWN}\r\n")), "{}", seen[0]);
    assert!(seen[1].contains("\r\ncontent-length: 0\r\n") && seen[1].ends_with("\r\n\r\n"));
    assert!(seen[2].ends_with("\r\n\r\nhi"), "{}", seen[2]);
    world.end().await;
}

#[tokio::test]
async fn what_is_not_exactly_of_the_form_is_refused() {
    let good = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nA: b\r\n c\r\n\r\nevil",
        "HTTP/1.1 200 OK\nContent-Length: 4\n\nevil",
        "HTTP/1.1 200 OK\r\nA: b\0\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4 \r\nevil\r\n0\r\n\r\n",
        "HTTP/1.1 999 No\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n",
        &format!("{}{good}", "HTTP/1.1 100 Continue\r\n\r\n".repeat(20)),
    ] {
        let bytes = bad.to_owned();
        let origin =
            Origin::start(move |_, _| Saying { bytes: bytes.clone(), ..Saying::default() }).await;
        let world = world(&origin).await;
        for path in ["/a", "/a"] {
            assert_eq!(world.get(OWN, path).await.status, 502, "{bad:?}");
        }
        assert_eq!(origin.connections(), 2, "none is used again: {bad:?}");
        world.end().await;
    }
}

#[tokio::test]
async fn chunks_that_are_not_sound_are_cut_off_and_not_stored() {
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
    for rest in ["4\r\ngood4\r\nevil\r\n0\r\n\r\n", "4\r\ngood\r\n-4\r\nevil\r\n0\r\n\r\n"] {
        let bytes = format!("{head}{rest}");
        let origin =
            Origin::start(move |_, _| Saying { bytes: bytes.clone(), ..Saying::default() }).await;
        let world = world(&origin).await;
        for times in 1..3 {
            let answer = world.get(OWN, "/a").await;
            assert!(answer.status == 200 && !answer.whole, "{answer:?}");
            assert_eq!(origin.count(), times, "it is not stored");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn large_content_comes_as_it_was_sent() {
    let large: String = (0..300_000).map(|number| format!("{number:x}.")).collect();
    let chunks = |size: usize| {
        let chunk =
            |piece: &[u8]| format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece));
        large.as_bytes().chunks(size).map(chunk).collect::<String>()
    };
    let length = large.len();
    for (fields, body) in [
        (format!("Content-Length: {length}\r\n"), large.clone()),
        (String::new(), large.clone()),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{}0\r\n\r\n", chunks(777))),
        ("Transfer-Encoding: chunked\r\n".to_owned(), format!("{}0\r\n\r\n", chunks(100_000))),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{NO_STORE}\r\n{fields}\r\n{body}");
        let close = fields.is_empty();
        let origin =
            Origin::start(move |_, _| Saying { bytes: bytes.clone(), close, ..Saying::default() })
                .await;
        let world = world(&origin).await;
        for _ in 0..2 {
            let answer = world.get(OWN, "/a").await;
            assert_eq!((answer.status, answer.body.len()), (200, length), "{fields:?}");
            assert!(answer.body == large, "{fields:?}");
        }
        assert_eq!(origin.connections(), if close { 2 } else { 1 });
        world.end().await;
    }
}

async fn until_head_ends(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

#[tokio::test]
async fn what_an_origin_says_unasked_is_no_response() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let says =
        |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{NO_STORE}\r\n\r\n{body}");
    let (good, evil) = (says("good"), says("evil"));
    let (go, told) = oneshot::channel();
    let (said, done) = oneshot::channel();
    let serving = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        until_head_ends(&mut first).await;
        first.write_all(good.as_bytes()).await.unwrap();
        told.await.unwrap();
        first.write_all(evil.as_bytes()).await.unwrap();
        said.send(()).unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        until_head_ends(&mut second).await;
        second.write_all(good.as_bytes()).await.unwrap();
    });
    let mut world = World::start_with(EdgeConfig { threads: 1, ..config(None) });
    world.plan(plan(address)).await;
    assert_eq!(world.get(OWN, "/a").await.body, "good");
    go.send(()).unwrap();
    done.await.unwrap();
    assert_eq!(world.get(OWN, "/a").await.body, "good");
    serving.await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn interim_responses_reach_the_visitor_who_waits_and_nobody_else() {
    const EARLY: &str = "HTTP/1.1 100 Continue\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nKeep-Alive: x\r\n\r\n";
    let origin = Origin::start(|request, _| {
        let caching = if request.contains("/kept") {
            "Cache-Control: max-age=60"
        } else {
            "Cache-Control: no-store"
        };
        let last = response(caching, "hello");
        Saying { bytes: format!("{EARLY}{}", last.bytes), ..last }
    })
    .await;
    let world = World::before(&origin).await;
    for path in ["/kept", "/passed"] {
        let ask = format!("GET {path} HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n\r\n");
        let text = String::from_utf8(say(world.address, &ask).await).unwrap();
        let (early, last) = text.split_once("\r\n\r\n").unwrap();
        assert!(early.starts_with("HTTP/1.1 103 "), "{text}");
        assert!(early.contains("\r\nlink: </a.css>") && early.contains("\r\nvia: "), "{text}");
        assert!(!early.contains("keep-alive") && !text.contains("100 Continue"), "{text}");
        let last = Answer::of(last.as_bytes());
        assert_eq!((last.status, last.body.as_str(), last.whole), (200, "hello", true));
        assert_eq!(last.field("link"), None);
    }
    assert_eq!(world.get(OWN, "/kept").await.status, 200, "a hit has none");
    // What hyper serves gets the final response alone.
    assert_eq!(world.ask("POST", OWN, "/passed", &["Content-Length: 0"]).await.status, 200);
    world.end().await;
}

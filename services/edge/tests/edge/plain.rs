//! Plain HTTP/1.1: what is answered from the buffer it was read into, and what changes to the long
//! way in the middle of a connection.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{Answer, OWN, Origin, World, response, say};

const FRESH: &str = "Cache-Control: max-age=60";

/// An origin that says which target it was asked for, in a body of 1 KiB.
async fn origin() -> Origin {
    Origin::start(|request, _| {
        let target = request.split(' ').nth(1).unwrap();
        response(FRESH, &format!("{target:1024}"))
    })
    .await
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {OWN}\r\n\r\n")
}

/// Reads `count` responses with bodies of 1 KiB.
async fn read(stream: &mut TcpStream, count: usize) -> Vec<Answer> {
    let (mut answers, mut bytes) = (Vec::new(), Vec::new());
    while answers.len() < count {
        let end = bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4 + 1024);
        if let Some(end) = end.filter(|end| *end <= bytes.len()) {
            answers.push(Answer::of(&bytes[..end]));
            bytes.drain(..end);
            continue;
        }
        let mut piece = vec![0; 64 * 1024];
        let read = timeout(Duration::from_secs(10), stream.read(&mut piece)).await;
        let read = read.unwrap_or_else(|_| panic!("{} of {count}", answers.len())).unwrap();
        assert!(read > 0, "closed after {} of {count}", answers.len());
        bytes.extend_from_slice(&piece[..read]);
    }
    assert!(bytes.is_empty(), "{} bytes too many", bytes.len());
    answers
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order() {
    let origin = origin().await;
    let world = World::before(&origin).await;
    world.get(OWN, "/hit").await;
    let mut stream = connect(world.address).await;
    let post = format!("POST /post HTTP/1.1\r\nHost: {OWN}\r\nContent-Length: 3\r\n\r\nabc");
    let paths = ["/hit", "/miss", "/hit", "/miss", "/hit?a"];
    let together: String = paths.iter().map(|path| get(path)).collect();
    stream.write_all(format!("{together}{post}{}", get("/hit")).as_bytes()).await.unwrap();
    let answers = read(&mut stream, 7).await;
    let said: Vec<_> = answers.iter().map(|answer| answer.body.trim()).collect();
    assert_eq!(said, ["/hit", "/miss", "/hit", "/miss", "/hit?a", "/post", "/hit"]);
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.whole));
    let hits: Vec<_> = answers.iter().map(|answer| answer.cache() == "headroom; hit").collect();
    assert_eq!(hits, [true, false, true, true, false, false, true]);
    world.end().await;
}

#[tokio::test]
async fn more_than_fits_in_all_buffers_is_answered_in_order() {
    const COUNT: usize = 5_000;
    let origin = origin().await;
    let world = World::before(&origin).await;
    for path in ["/a", "/b"] {
        world.get(OWN, path).await;
    }
    let (mut reading, mut writing) = connect(world.address).await.into_split();
    let sending = tokio::spawn(async move {
        let both = get("/a") + &get("/b");
        // In pieces that begin and end anywhere.
        let all = both.repeat(COUNT / 2);
        for piece in all.as_bytes().chunks(7_001) {
            writing.write_all(piece).await.unwrap();
        }
        writing
    });
    // The visitor takes nothing at first.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    let (mut count, mut at) = (0, 0);
    while count < COUNT {
        let came = timeout(Duration::from_secs(10), reading.read(&mut piece)).await.unwrap();
        bytes.extend_from_slice(&piece[..came.unwrap()]);
        while let Some(end) = bytes[at..].windows(4).position(|end| end == b"\r\n\r\n") {
            let body = at + end + 4;
            let Some(said) = bytes.get(body..body + 1024) else { break };
            assert!(said.starts_with(if count % 2 == 0 { b"/a " } else { b"/b " }), "{count}");
            (count, at) = (count + 1, body + 1024);
        }
    }
    assert_eq!(at, bytes.len());
    drop(sending.await.unwrap());
    assert_eq!(origin.count(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_head_may_come_byte_by_byte() {
    let origin = origin().await;
    let world = World::before(&origin).await;
    world.get(OWN, "/a").await;
    let mut stream = connect(world.address).await;
    stream.set_nodelay(true).unwrap();
    for path in ["/a", "/b"] {
        for byte in get(path).as_bytes() {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(read(&mut stream, 1).await[0].body.trim(), path);
    }
    world.end().await;
}

#[tokio::test]
async fn the_short_way_says_what_the_long_way_says() {
    let vary = format!("{FRESH}\r\nVary: Accept-Language\r\nCache-Tag: secret\r\nX-Own: a");
    let origin = Origin::start(move |_, _| response(&vary, "hello")).await;
    let world = World::before(&origin).await;
    world.get(OWN, "/a").await;
    for method in ["GET", "HEAD"] {
        let short = world.ask(method, OWN, "/a", &[]).await;
        // Whoever says how old a response may be is looked at more closely.
        let long = world.ask(method, OWN, "/a", &["Cache-Control: max-age=60"]).await;
        assert_eq!((short.status, short.cache()), (200, "headroom; hit"));
        assert_eq!(short.body, long.body);
        assert_eq!(short.fields(), long.fields());
        assert_eq!(short.field("cache-tag"), None);
    }
    let other = world.ask("GET", OWN, "/a", &["Accept-Language: de"]).await;
    assert_eq!(other.cache(), "headroom; fwd=miss; stored");
    let again = world.ask("GET", OWN, "/a", &["Accept-Language: de"]).await;
    assert_eq!(again.cache(), "headroom; hit");
    world.end().await;
}

#[tokio::test]
async fn who_is_answered_last_is_told_so() {
    let origin = origin().await;
    let world = World::before(&origin).await;
    for path in ["/a", "/a"] {
        let asked = get(path).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n") + &get("/b");
        let answer = Answer::of(&say(world.address, &asked).await);
        assert_eq!((answer.field("connection"), answer.whole), (Some("close"), true));
    }
    assert_eq!(origin.count(), 1, "what comes behind it is not answered");
    world.end().await;
}

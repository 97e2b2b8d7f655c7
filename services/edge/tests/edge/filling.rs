//! One fetch for many, and what must not come of it.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet};

use crate::harness::{Answer, OWN, Origin, Saying, World, response, say};

const FRESH: &str = "Cache-Control: max-age=60";

async fn crowd(world: &World, size: usize) -> Vec<Answer> {
    let mut visitors = JoinSet::new();
    for _ in 0..size {
        let address = world.address;
        let ask = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n\r\n");
        visitors.spawn(async move { Answer::of(&say(address, &ask).await) });
    }
    visitors.join_all().await
}

#[tokio::test]
async fn a_crowd_costs_one_fetch() {
    let origin = Origin::start(|_, _| Saying {
        after: Duration::from_millis(200),
        ..response(FRESH, "hello")
    })
    .await;
    let world = World::before(&origin).await;
    let answers = crowd(&world, 100).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == "hello"));
    let collapsed =
        answers.iter().filter(|answer| answer.cache() == "headroom; fwd=miss; collapsed");
    assert!(collapsed.count() > 0);
    assert_eq!(origin.count(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_fill_that_is_cut_off_is_so_for_who_read_along_and_for_nobody_after() {
    let origin = Origin::start(|_, before| match before {
        0 => Saying {
            after: Duration::from_millis(200),
            bytes: format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n{FRESH}\r\n\r\nhel"),
            close: true,
            ..Saying::default()
        },
        _ => response(FRESH, "hello"),
    })
    .await;
    let world = World::before(&origin).await;
    let answers = crowd(&world, 20).await;
    for answer in &answers {
        let cut_off = !answer.whole && "hel".starts_with(&answer.body);
        let served = answer.body == "hello";
        assert!(cut_off || served, "{answer:?}");
    }
    assert_eq!(world.get(OWN, "/a").await.body, "hello");
    world.end().await;
}

#[tokio::test]
async fn what_is_cut_off_is_never_stored() {
    let origin = Origin::start(|request, _| {
        let bytes = if request.starts_with("GET /length") {
            format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n{FRESH}\r\n\r\nhello")
        } else if request.starts_with("GET /chunks") {
            format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{FRESH}\r\n\r\n5\r\nhello\r\n"
            )
        } else {
            // Nothing says where it ends.
            format!("HTTP/1.1 200 OK\r\n{FRESH}\r\n\r\nhello")
        };
        Saying { bytes, close: true, ..Saying::default() }
    })
    .await;
    let world = World::before(&origin).await;
    for (round, path) in
        ["/length", "/length", "/chunks", "/chunks", "/close", "/close"].into_iter().enumerate()
    {
        let answer = world.get(OWN, path).await;
        assert!(!answer.cache().contains("hit"), "{path}: {answer:?}");
        assert_eq!(answer.whole, path == "/close", "{path}: {answer:?}");
        assert_eq!(origin.count(), round + 1);
    }
    assert_eq!(world.metric("headroom_edge_cache_objects"), "0");
    world.end().await;
}

#[tokio::test]
async fn chunks_are_stored_when_they_are_whole() {
    let origin = Origin::start(|_, _| Saying {
        bytes: format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{FRESH}\r\n\r\n\
             5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        ),
        ..Saying::default()
    })
    .await;
    let world = World::before(&origin).await;
    assert_eq!(world.get(OWN, "/a").await.body, "hello world");
    let hit = world.get(OWN, "/a").await;
    assert_eq!((hit.body.as_str(), hit.cache()), ("hello world", "headroom; hit"));
    assert_eq!(hit.field("content-length"), Some("11"));
    world.end().await;
}

#[tokio::test]
async fn what_is_too_large_streams_through() {
    let large = "x".repeat(600 * 1024);
    let body = large.clone();
    let origin = Origin::start(move |request, _| {
        if request.starts_with("GET /known") {
            return response(FRESH, &body);
        }
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{FRESH}\r\n\r\n");
        let chunk = &body[..body.len() / 2];
        let chunk = format!("{:x}\r\n{chunk}\r\n", chunk.len());
        Saying { bytes: format!("{head}{chunk}{chunk}0\r\n\r\n"), ..Saying::default() }
    })
    .await;
    let world = World::before(&origin).await;
    for path in ["/known", "/known", "/unknown", "/unknown"] {
        let answer = world.get(OWN, path).await;
        assert!(answer.whole && answer.body == large, "{path}: {} bytes", answer.body.len());
        assert!(answer.cache().starts_with("headroom; fwd=miss"));
    }
    assert_eq!(origin.count(), 4);
    world.end().await;
}

#[tokio::test]
async fn a_visitor_who_leaves_does_not_stop_the_fill() {
    let origin = Origin::start(|_, _| Saying {
        after: Duration::from_millis(200),
        ..response(FRESH, "hello")
    })
    .await;
    let world = World::before(&origin).await;
    let mut visitor = TcpStream::connect(world.address).await.unwrap();
    let ask = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n\r\n");
    visitor.write_all(ask.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(visitor);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.get(OWN, "/a").await.cache(), "headroom; hit");
    assert_eq!(origin.count(), 1);
    world.end().await;
}

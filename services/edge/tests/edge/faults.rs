//! Bad input, and origins that fail.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use headroom_edge::EdgeConfig;

use crate::harness::{
    Answer, OWN, Origin, SHOP, Saying, World, config, nowhere, plan, response, say,
};

const FRESH: &str = "Cache-Control: max-age=60";

#[tokio::test]
async fn a_host_that_is_not_served_here_is_told_so() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    assert_eq!(world.get("www.other.example", "/").await.status, 421);
    assert_eq!(world.get("127.0.0.1:8080", "/").await.status, 421);
    assert_eq!(world.get(&format!("{OWN}:8080"), "/").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let host = format!("Host: {OWN}\r\n");
    let refused = [
        format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
        format!("POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
        format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{host}{host}\r\n"),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\n{host}\n"),
        format!("GET / HTTP/1.1\r\n{host}A: b\r\n c: d\r\n\r\n"),
        format!("GET http://www.other.example/ HTTP/1.1\r\n{host}\r\n"),
        format!("OPTIONS * HTTP/1.1\r\n{host}\r\n"),
    ];
    for request in refused {
        let answer = world.say(&request).await;
        assert_eq!(answer.status, 400, "{request:?}");
    }
    let connect = format!("CONNECT {OWN}:443 HTTP/1.1\r\nHost: {OWN}:443\r\n\r\n");
    assert_eq!(world.say(&connect).await.status, 405);
    let long = format!("GET / HTTP/1.1\r\n{host}A: {}\r\n\r\n", "x".repeat(70_000));
    assert_eq!(world.say(&long).await.status, 431);
    assert_eq!(origin.count(), 0);
    world.end().await;
}

#[tokio::test]
async fn content_that_was_not_read_is_not_taken_for_a_request() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let hidden = format!("GET /hidden HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n\r\n");
    let host = format!("POST / HTTP/1.1\r\nHost: {SHOP}\r\n");
    let bytes = say(
        world.address,
        &format!("{host}Content-Length: {}\r\nConnection: close\r\n\r\n{hidden}", hidden.len()),
    )
    .await;
    assert_eq!(Answer::of(&bytes).status, 307);
    assert_eq!(String::from_utf8_lossy(&bytes).matches("HTTP/1.1").count(), 1);
    assert_eq!(origin.count(), 0);
    world.end().await;
}

#[tokio::test]
async fn requests_after_an_ambiguous_one_are_not_served() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let good = format!("GET /good HTTP/1.1\r\nHost: {OWN}\r\n\r\n");
    let bad = format!("GET /bad HTTP/1.1\nHost: {OWN}\n\n");
    let bytes = say(world.address, &format!("{good}{bad}{good}")).await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert_eq!(text.matches("HTTP/1.1 400 Bad Request").count(), 1, "{text}");
    assert_eq!(text.matches("HTTP/1.1").count(), 2, "{text}");
    world.end().await;
}

#[tokio::test]
async fn a_dead_origin_is_a_bad_gateway() {
    let mut world = World::start();
    world.plan(plan(nowhere().await)).await;
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        let answer = world.ask(method, OWN, "/a", &[]).await;
        assert_eq!(answer.status, 502, "{method}");
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    world.end().await;
}

#[tokio::test]
async fn the_next_origin_is_asked_if_the_first_is_dead() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let mut plan = plan(nowhere().await);
    plan.sites.get_mut(&"own".parse().unwrap()).unwrap().origins.push(origin.address.into());
    let mut world = World::start();
    world.plan(plan).await;
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    assert_eq!(world.ask("DELETE", OWN, "/a", &[]).await.status, 200);
    assert_eq!(world.ask("POST", OWN, "/a", &[]).await.status, 200, "nothing of it was sent");
    world.end().await;
}

#[tokio::test]
async fn a_connection_that_closes_under_a_request_is_replaced() {
    let origin = Origin::start(|_, before| Saying {
        close: true,
        bytes: if before == 0 { String::new() } else { response(FRESH, "hello").bytes },
        ..Saying::default()
    })
    .await;
    let world = World::before(&origin).await;
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    assert_eq!(origin.count(), 2);
    world.end().await;
}

#[tokio::test]
async fn an_origin_that_hangs_is_a_gateway_timeout() {
    let origin = Origin::start(|_, _| Saying { hang: true, ..Saying::default() }).await;
    let world = World::before(&origin).await;
    let begun = Instant::now();
    assert_eq!(world.get(OWN, "/a").await.status, 504);
    let post = format!("POST /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n");
    let post = format!("{post}Content-Length: 5\r\n\r\nhello");
    assert_eq!(world.say(&post).await.status, 504);
    assert!(begun.elapsed() < Duration::from_secs(5));
    world.end().await;
}

#[tokio::test]
async fn an_origin_that_falls_silent_is_cut_off() {
    let origin = Origin::start(|_, _| Saying {
        bytes: format!("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n{FRESH}\r\n\r\nhello"),
        hang: true,
        ..Saying::default()
    })
    .await;
    let world = World::before(&origin).await;
    for fields in [&[][..], &["Range: bytes=0-"]] {
        let answer = world.ask("GET", OWN, "/a", fields).await;
        assert!(answer.status == 200 && !answer.whole, "{answer:?}");
    }
    assert_eq!(world.metric("headroom_edge_cache_objects"), "0");
    world.end().await;
}

#[tokio::test]
async fn an_origin_that_speaks_nonsense_is_a_bad_gateway() {
    let origin = Origin::start(|request, _| {
        let bytes = if request.starts_with("GET /two") {
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_owned()
        } else if request.starts_with("GET /long") {
            format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(200_000))
        } else {
            "nonsense\r\n\r\n".to_owned()
        };
        Saying { bytes, close: true, ..Saying::default() }
    })
    .await;
    let world = World::before(&origin).await;
    for path in ["/two", "/long", "/nonsense"] {
        assert_eq!(world.get(OWN, path).await.status, 502, "{path}");
    }
    world.end().await;
}

/// Changes one byte of the files in `folder` within a long run of `letter`.
fn damage(folder: &Path, letter: u8) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path, letter);
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(64).position(|run| run.iter().all(|byte| *byte == letter)) {
            bytes[at] = b'x';
            fs::write(&path, bytes).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_lost_a_part_on_disk_is_fetched_anew() {
    let body = ["a", "b", "c"].map(|letter| letter.repeat(1024 * 1024)).concat();
    let answer = response(FRESH, &body);
    let origin = Origin::start(move |_, _| answer.clone()).await;
    let folder = tempfile::tempdir().unwrap();
    let config = EdgeConfig { cache_directory: Some(folder.path().to_owned()), ..config(None) };
    let world = World::before_with(config.clone(), &origin).await;
    assert_eq!(world.get(OWN, "/a").await.body, body);
    world.end().await;
    damage(folder.path(), b'b');

    let world = World::before_with(config, &origin).await;
    // Not known before it is read: this visitor is cut off.
    let cut = world.get(OWN, "/a").await;
    assert_eq!((cut.status, cut.cache(), cut.whole), (200, "headroom; hit", false));
    let again = world.get(OWN, "/a").await;
    assert_eq!((again.status, again.cache()), (200, "headroom; fwd=miss; stored"));
    assert!(again.body == body, "{} bytes", again.body.len());
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let stored = world.get(OWN, "/a").await;
        assert!(stored.body == body, "{} bytes", stored.body.len());
        if stored.cache() == "headroom; hit" {
            break;
        }
        assert!(Instant::now() < deadline, "it is not stored again");
    }
    world.end().await;
}

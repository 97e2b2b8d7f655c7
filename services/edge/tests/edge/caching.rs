//! What is stored, what is sent again, and what never is.

use crate::harness::{OWN, Origin, SHOP, Saying, World, plan, plan_with_contract, response};

const FRESH: &str = "Cache-Control: max-age=60";

#[tokio::test]
async fn a_miss_is_stored_and_hits_follow() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let miss = world.get(OWN, "/a?b=c").await;
    assert_eq!((miss.status, miss.body.as_str()), (200, "hello"));
    assert_eq!(miss.cache(), "headroom; fwd=miss; stored");
    assert_eq!(miss.field("via"), Some("1.1 east-1.headroom"));
    assert_eq!(miss.field("age"), None, "the origin has just made it");
    let hit = world.get(OWN, "/a?b=c").await;
    assert_eq!((hit.status, hit.body.as_str(), hit.cache()), (200, "hello", "headroom; hit"));
    assert_eq!(hit.field("age"), Some("0"));
    assert_eq!(hit.field("via"), Some("1.1 east-1.headroom"));
    assert!(hit.field("date").is_some());
    assert_eq!(origin.count(), 1);
    assert_eq!(world.get(OWN, "/a?b=d").await.cache(), "headroom; fwd=miss; stored");
    assert!(origin.seen()[0].contains("x-forwarded-for: 127.0.0.1"), "{}", origin.seen()[0]);
    world.end().await;
}

#[tokio::test]
async fn head_is_answered_from_what_get_stored() {
    let origin = Origin::start(|request, _| {
        let body = if request.starts_with("HEAD") { "" } else { "hello" };
        Saying {
            bytes: format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{FRESH}\r\n\r\n{body}"),
            ..Saying::default()
        }
    })
    .await;
    let world = World::before(&origin).await;
    let miss = world.ask("HEAD", OWN, "/a", &[]).await;
    assert_eq!((miss.cache(), miss.field("content-length")), ("headroom; fwd=miss", Some("5")));
    assert_eq!(world.get(OWN, "/a").await.body, "hello");
    let hit = world.ask("HEAD", OWN, "/a", &[]).await;
    assert_eq!((hit.status, hit.body.as_str(), hit.cache()), (200, "", "headroom; hit"));
    assert_eq!(hit.field("content-length"), Some("5"));
    assert_eq!(origin.count(), 2);
    world.end().await;
}

#[tokio::test]
async fn what_is_stale_is_validated() {
    let origin = Origin::start(|request, _| {
        if request.contains("if-none-match: \"v1\"") {
            let head = "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nX-New: yes\r\n\r\n";
            return Saying { bytes: head.to_owned(), ..Saying::default() };
        }
        response("Cache-Control: max-age=0\r\nETag: \"v1\"", "hello")
    })
    .await;
    let world = World::before(&origin).await;
    world.get(OWN, "/a").await;
    let validated = world.get(OWN, "/a").await;
    assert_eq!((validated.status, validated.body.as_str()), (200, "hello"));
    assert_eq!(validated.cache(), "headroom; fwd=stale; fwd-status=304; stored");
    assert_eq!(validated.field("x-new"), Some("yes"));
    assert_eq!(origin.count(), 2);
    world.end().await;
}

#[tokio::test]
async fn who_has_it_is_told_so() {
    let origin =
        Origin::start(|_, _| response("Cache-Control: max-age=60\r\nETag: \"v1\"", "hello")).await;
    let world = World::before(&origin).await;
    for cache in ["headroom; fwd=miss; stored", "headroom; hit"] {
        let known = world.ask("GET", OWN, "/a", &["If-None-Match: \"v1\""]).await;
        assert_eq!((known.status, known.body.as_str(), known.cache()), (304, "", cache));
        assert_eq!(known.field("etag"), Some("\"v1\""));
        // The fill goes on after the visitor was answered.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!origin.seen()[0].contains("if-none-match"), "the condition is the visitor's");
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn what_only_the_origin_can_judge_goes_there() {
    let origin = Origin::start(|request, _| {
        if request.contains("if-match: ") || request.contains("if-unmodified-since: ") {
            let bytes = "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n";
            return Saying { bytes: bytes.to_owned(), ..Saying::default() };
        }
        response("Cache-Control: max-age=60\r\nETag: \"v1\"", "hello")
    })
    .await;
    let world = World::before(&origin).await;
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    // RFC 9110 §13.1.1, §13.1.4.
    for field in ["If-Match: \"v2\"", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"] {
        let answer = world.ask("GET", OWN, "/a", &[field]).await;
        assert_eq!((answer.status, answer.cache()), (412, "headroom; fwd=request"), "{field}");
    }
    assert_eq!(world.get(OWN, "/a").await.cache(), "headroom; hit");
    world.end().await;
}

#[tokio::test]
async fn what_is_for_one_visitor_is_not_stored() {
    let origin = Origin::start(|request, _| {
        if request.starts_with("GET /cookie") {
            response("Cache-Control: max-age=60\r\nSet-Cookie: a=b", "mine")
        } else {
            response("Cache-Control: private, max-age=60", "mine")
        }
    })
    .await;
    let world = World::before(&origin).await;
    for path in ["/cookie", "/cookie", "/private", "/private"] {
        assert_eq!(world.get(OWN, path).await.cache(), "headroom; fwd=miss");
    }
    let authorized = &["Authorization: Basic x"];
    assert_eq!(world.ask("GET", OWN, "/b", authorized).await.cache(), "headroom; fwd=miss");
    assert_eq!(origin.count(), 5);
    world.end().await;
}

#[tokio::test]
async fn two_sites_with_the_same_path_share_nothing() {
    let origin = Origin::start(|request, _| {
        let own = request.contains(&format!("host: {OWN}"));
        response(FRESH, if own { "of the operator" } else { "of the shop" })
    })
    .await;
    let mut world = World::start();
    world.plan(plan_with_contract(origin.address, 1_000, -10, 100)).await;
    for _ in 0..2 {
        assert_eq!(world.get(OWN, "/a").await.body, "of the operator");
        assert_eq!(world.get(SHOP, "/a").await.body, "of the shop");
        assert_eq!(world.get(&SHOP.to_uppercase(), "/a").await.body, "of the shop");
    }
    assert_eq!(origin.count(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_change_invalidates() {
    let origin = Origin::start(|request, before| {
        if request.starts_with("POST") {
            assert!(request.ends_with("\r\n\r\nchange"), "{request}");
            assert!(!request.to_lowercase().contains("expect:"));
        }
        response(FRESH, &format!("version {before}"))
    })
    .await;
    let world = World::before(&origin).await;
    world.get(OWN, "/a").await;
    assert_eq!(world.get(OWN, "/a").await.body, "version 0");
    let head = format!("POST /a HTTP/1.1\r\nHost: {OWN}\r\nConnection: close\r\n");
    let posted = world.say(&format!("{head}Content-Length: 6\r\n\r\nchange")).await;
    assert_eq!((posted.status, posted.cache()), (200, "headroom; fwd=method"));
    assert_eq!(world.get(OWN, "/a").await.body, "version 2");
    world.end().await;
}

#[tokio::test]
async fn ranges_pass_by_the_cache_until_it_has_the_whole() {
    let origin = Origin::start(|request, _| {
        if request.contains("range: bytes=0-1") {
            let bytes = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\n\
                         Content-Length: 2\r\nCache-Control: max-age=60\r\n\r\nhe";
            return Saying { bytes: bytes.to_owned(), ..Saying::default() };
        }
        response(FRESH, "hello")
    })
    .await;
    let world = World::before(&origin).await;
    let part = world.ask("GET", OWN, "/a", &["Range: bytes=0-1"]).await;
    assert_eq!((part.status, part.body.as_str()), (206, "he"));
    assert_eq!(world.get(OWN, "/a").await.body, "hello");
    let part = world.ask("GET", OWN, "/a", &["Range: bytes=1-2"]).await;
    assert_eq!((part.status, part.body.as_str(), part.cache()), (206, "el", "headroom; hit"));
    assert_eq!(part.field("content-range"), Some("bytes 1-2/5"));
    let parts = world.ask("GET", OWN, "/a", &["Range: bytes=0-0,-1"]).await;
    assert_eq!((parts.status, parts.whole), (206, true));
    assert!(
        parts.field("content-type").is_some_and(|kind| kind.starts_with("multipart/byteranges"))
    );
    assert!(parts.body.contains("Content-Range: bytes 4-4/5\r\n\r\no\r\n"), "{}", parts.body);
    let beyond = world.ask("GET", OWN, "/a", &["Range: bytes=5-"]).await;
    assert_eq!((beyond.status, beyond.field("content-range")), (416, Some("bytes */5")));
    assert_eq!(origin.count(), 2);
    world.end().await;
}

#[tokio::test]
async fn who_wants_only_what_is_stored_gets_no_more() {
    let origin = Origin::start(|_, _| response(FRESH, "hello")).await;
    let world = World::before(&origin).await;
    let only = &["Cache-Control: only-if-cached"];
    assert_eq!(world.ask("GET", OWN, "/a", only).await.status, 504);
    world.get(OWN, "/a").await;
    assert_eq!(world.ask("GET", OWN, "/a", only).await.status, 200);
    assert_eq!(origin.count(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_varies_is_not_mixed_up() {
    let origin = Origin::start(|request, _| {
        let french = request.contains("accept-language: fr");
        let body = if french { "bonjour" } else { "hello" };
        response("Cache-Control: max-age=60\r\nVary: Accept-Language", body)
    })
    .await;
    let mut world = World::start();
    world.plan(plan(origin.address)).await;
    for (language, body) in [("fr", "bonjour"), ("fr", "bonjour"), ("en", "hello")] {
        let field = format!("Accept-Language: {language}");
        assert_eq!(world.ask("GET", OWN, "/a", &[&field]).await.body, body);
    }
    assert_eq!(origin.count(), 2);
    world.end().await;
}

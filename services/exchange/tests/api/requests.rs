//! Requests that are wrong as HTTP, or end too early.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::json;

use crate::harness::{Answer, House, PATIENCE, until};

const TEN_MEGABYTES: usize = 10_000_000;

/// Sends `head` and `body` to the end, and only then reads the answer.
fn send_all_then_read(house: &House, head: &str, body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(house.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

fn head(path: &str, token: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n{more}\r\n\r\n"
    )
}

#[test]
fn who_sends_ten_megabytes_gets_to_read_why_not() {
    let house = House::start();
    let token = house.shop("shop", 1_000_000);
    let before = house.everything();
    let body = vec![b' '; TEN_MEGABYTES];
    let length = format!("Content-Length: {TEN_MEGABYTES}");
    for path in ["/v1/bids", "/v1/sites", "/v1/purchasers"] {
        let answer = send_all_then_read(&house, &head(path, &token, &length), &body);
        let detail = answer.problem(413, "body-too-large");
        assert!(detail.contains("65536 bytes"), "{detail}");
    }
    let mut chunked = format!("{TEN_MEGABYTES:x}\r\n").into_bytes();
    chunked.extend_from_slice(&body);
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    let more = "Transfer-Encoding: chunked";
    let answer = send_all_then_read(&house, &head("/v1/bids", &token, more), &chunked);
    answer.problem(413, "body-too-large");
    assert_eq!(house.everything(), before);
}

#[test]
fn also_who_is_refused_for_another_reason_gets_to_read_it() {
    let house = House::start();
    let body = vec![b' '; TEN_MEGABYTES];
    let length = format!("Content-Length: {TEN_MEGABYTES}");
    let cases = [
        ("/v1/bids", 401, "unauthorized"),
        ("/v1/nothing", 404, "not-found"),
        ("/v1/ledger", 405, "method-not-allowed"),
    ];
    for (path, status, name) in cases {
        let answer = send_all_then_read(&house, &head(path, "wrong", &length), &body);
        answer.problem(status, name);
    }
}

#[test]
fn bodies_are_json_and_say_so() {
    let house = House::start();
    let token = house.shop("shop", 1_000_000);
    let bid = house.bid("shop").to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let call = house.call("POST", "/v1/bids").token(&token).text(kind, &bid);
        house.refuses(call, 415, "unsupported-media-type", &["Content-Type: application/json"]);
    }
    let none = house.call("POST", "/v1/bids").token(&token);
    house.refuses(none, 415, "unsupported-media-type", &["Content-Type: application/json"]);
    let kind = "Application/JSON; charset=utf-8";
    house.call("POST", "/v1/bids").token(&token).text(kind, &bid).send().ok(201);
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let house = House::start();
    for path in ["/", "/v1", "/v1/", "/v2/bids", "/v1/bids/", "/v1/bids/bid-1/x", "/v1//bids"] {
        let call = house.call("GET", path).token(&house.operator);
        house.refuses(call, 404, "not-found", &["/v1/openapi.json"]);
    }
    for (method, path, allowed) in [
        ("PUT", "/v1/bids", "GET"),
        ("PATCH", "/v1/bids/bid-1", "DELETE"),
        ("DELETE", "/v1/ledger", "GET"),
        ("POST", "/metrics", "GET"),
        ("GET", "/v1/sites/shop/verify", "POST"),
    ] {
        let call = || house.call(method, path).token(&house.operator);
        house.refuses(call(), 405, "method-not-allowed", &["/v1/openapi.json"]);
        let answer = call().send();
        let allow = answer.header("allow");
        assert!(allow.contains(allowed), "{method} {path}: Allow: {allow:?} (RFC 9110 §15.5.6)");
    }
}

#[test]
fn ids_in_paths_that_are_no_ids() {
    let house = House::start();
    let token = house.purchaser("shop");
    for id in ["%ff", "%00", "%2e%2e", "bid-", "bid-18446744073709551616", &"x".repeat(3_000)] {
        for place in ["bids", "contracts", "sites"] {
            let call = house.call("GET", &format!("/v1/{place}/{id}")).token(&token);
            house.refuses(call, 404, "not-found", &["no "]);
        }
    }
}

#[test]
fn queries_that_cannot_be_answered() {
    let house = House::start();
    let invalid = (422, "invalid-request");
    let refuses = |query: &str, (status, name): (u16, &str), says: &[&str]| {
        let call = house.call("GET", &format!("/v1/headroom?{query}")).token(&house.operator);
        house.refuses(call, status, name, says);
    };
    refuses("from=yesterday", invalid, &["yesterday", "RFC 3339"]);
    refuses("until=5", invalid, &["RFC 3339"]);
    refuses("region=north", (404, "not-found"), &["north", "east, west"]);
    refuses("region=", (404, "not-found"), &["east, west"]);
    refuses("region=east&region=west", invalid, &["region"]);
    refuses("regoin=east", invalid, &["regoin", "region"]);
    let (from, until) = ("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z");
    refuses(&format!("from={from}&until={until}"), invalid, &["1 to 2000 slots"]);
    refuses("from=2020-01-01T00:00:00Z&until=2026-01-01T00:00:00Z", invalid, &["1 to 2000 slots"]);
    let path = format!("/v1/headroom?region=east&from={until}&until={from}");
    assert_eq!(house.read(&path), json!([]));
}

#[test]
fn who_hangs_up_in_the_middle_of_a_call_does_no_harm() {
    let house = House::start();
    house.purchaser("shop");
    let credit = r#"{"amount_micro":1}"#;
    let more = format!("Content-Length: {}", credit.len());
    let head = head("/v1/purchasers/shop/credits", &house.operator, &more);
    for round in 0..60 {
        let mut stream = TcpStream::connect(house.address()).unwrap();
        stream.write_all(format!("{head}{credit}").as_bytes()).unwrap();
        thread::sleep(Duration::from_micros(100 * (round % 30)));
        drop(stream);
    }
    house.credit("shop", 1_000);
    let balance = || house.read("/v1/purchasers")[0]["available_micro"].as_u64().unwrap();
    until("all calls to be done", || (house.everything().0 == events(&house)).then_some(()));
    assert!((1_000..=1_060).contains(&balance()), "{}", balance());
    let held = house.assert_books_balance();
    let mut house = house;
    house.restart();
    assert_eq!(house.assert_books_balance(), held, "what is kept is what was shown");
}

/// The events that follow from what the API shows: an account, and one per credit.
fn events(house: &House) -> usize {
    let balance = house.read("/v1/purchasers")[0]["available_micro"].as_u64().unwrap();
    usize::try_from(balance - 1_000).unwrap() + 2
}

//! The log behind the books, invoices, and recalls: who may see what, and what is refused.

use headroom_wire::{Chain, LogLine};
use serde_json::json;

use crate::harness::House;

/// Walks the log by pages; how many events it has, and its head.
fn walked(house: &House) -> (u64, String) {
    let mut chain = Chain::default();
    loop {
        let path = format!("/v1/ledger/events?after={}", chain.events);
        let page = house.get(&path, &house.operator);
        assert_eq!(page.header("content-type"), "application/x-ndjson");
        let before = chain.events;
        for line in page.body.lines() {
            let line: LogLine = serde_json::from_str(line).unwrap();
            chain.go_on(&line).unwrap();
        }
        if chain.events == before {
            return (chain.events, chain.head.to_string());
        }
    }
}

#[test]
fn the_log_leads_to_the_head_that_everyone_is_shown() {
    let mut house = House::start();
    let shop = house.shop("shop", 1_000_000);
    house.post("/v1/bids", &shop, &house.bid("shop")).ok(201);
    let (events, head) = walked(&house);
    assert!(events >= 3, "{events}");
    for token in [&house.operator, &shop] {
        let books = house.get("/v1/ledger", token).ok(200);
        assert_eq!((&books["events"], &books["head"]), (&json!(events), &json!(head)));
    }
    house.restart();
    assert_eq!(walked(&house), (events, head));
    let call = house.call("GET", "/v1/ledger/events").token(&shop);
    house.refuses(call, 403, "forbidden", &["operator"]);
    let call = house.call("GET", "/v1/ledger/events?after=x").token(&house.operator);
    house.refuses(call, 422, "invalid-request", &["after"]);
}

#[test]
fn an_invoice_is_shown_to_whose_it_is() {
    let house = House::start();
    let (shop, other) = (house.shop("shop", 1_000), house.shop("other", 1_000));
    let path = "/v1/invoices/shop/2026-11";
    for token in [&shop, &house.operator] {
        let invoice = house.get(path, token).ok(200);
        assert_eq!(
            (&invoice["number"], &invoice["total_micro"]),
            (&json!("shop-2026-11"), &json!(0))
        );
        assert_eq!(invoice["lines"], json!([]));
    }
    let kind = |format: &str| {
        let answer = house.get(&format!("{path}?format={format}"), &shop);
        (answer.header("content-type").to_owned(), answer.body)
    };
    let (csv, lines) = kind("csv");
    assert!(csv.starts_with("text/csv") && lines.starts_with("invoice,contract,"), "{lines}");
    let (html, page) = kind("html");
    assert!(html.starts_with("text/html") && page.contains("Invoice shop-2026-11"), "{page}");
    house.refuses(house.call("GET", path).token(&other), 404, "not-found", &["shop"]);
    let call = |path: &str| house.call("GET", path).token(&house.operator);
    house.refuses(call("/v1/invoices/nobody/2026-11"), 404, "not-found", &["nobody"]);
    house.refuses(
        call("/v1/invoices/shop/2026-13"),
        422,
        "invalid-request",
        &["2026-13", "such as"],
    );
    house.refuses(call("/v1/invoices/shop/2026-11?format=pdf"), 422, "invalid-request", &["pdf"]);
}

#[test]
fn only_the_operator_recalls_and_only_what_is_interruptible() {
    let house = House::start();
    let shop = house.shop("shop", 1_000);
    let path = "/v1/regions/east/recalls";
    let body = json!({ "slot": house.slot(3), "units": 5 });
    let call = |path: &str, token: &str, body: &serde_json::Value| {
        house.call("POST", path).token(token).json(body)
    };
    house.refuses(call(path, &shop, &body), 403, "forbidden", &["operator"]);
    let operator = &house.operator;
    house.refuses(call(path, operator, &body), 409, "nothing-to-recall", &["east"]);
    let elsewhere = "/v1/regions/mars/recalls";
    house.refuses(call(elsewhere, operator, &body), 404, "not-found", &["mars"]);
    let over = json!({ "slot": "2026-11-22T18:00:00Z", "units": 5 });
    house.refuses(call(path, operator, &over), 409, "recalled-too-late", &["2026-11-22T18:00:00Z"]);
    let between = json!({ "slot": "2026-11-22T18:00:01Z", "units": 5 });
    house.refuses(call(path, operator, &between), 422, "invalid-request", &["nearest"]);
}

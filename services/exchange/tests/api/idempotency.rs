//! A call that is made twice with one key is done once.

use std::thread;

use serde_json::{Value, json};

use crate::harness::{Answer, House, with};

fn bids(house: &House) -> usize {
    house.read("/v1/bids").as_array().unwrap().len()
}

#[test]
fn the_same_call_again_gets_the_same_answer() {
    let mut house = House::start();
    let token = house.shop("shop", 1_000_000);
    let bid = house.bid("shop");
    let place = |house: &House| {
        house.call("POST", "/v1/bids").token(&token).key("order-1").json(&bid).send()
    };
    let first = place(&house);
    first.ok(201);
    house.post("/v1/bids", &token, &bid).ok(201);
    let second = place(&house);
    assert_eq!((second.status, &second.body), (first.status, &first.body));
    assert_eq!(second.header("content-type"), first.header("content-type"));
    let path = format!("/v1/bids/{}", first.ok(201)["id"].as_str().unwrap());
    house.call("DELETE", &path).token(&token).send().ok(200);
    assert_eq!(place(&house).body, first.body, "the answer is that of the call, not of now");
    house.restart();
    assert_eq!(place(&house).body, first.body, "also after a restart");
    assert_eq!(bids(&house), 2);
}

#[test]
fn a_key_is_for_one_call_of_one_caller() {
    let house = House::start();
    let (one, two) = (house.shop("one", 1_000_000), house.shop("two", 1_000_000));
    let bid = house.bid("one");
    let place = |token: &str, body: &Value| {
        house.call("POST", "/v1/bids").token(token).key("key").json(body)
    };
    place(&one, &bid).send().ok(201);
    let more = with(&bid, "units", json!(11));
    let reused = (409, "idempotency-key-reused");
    house.refuses(place(&one, &more), reused.0, reused.1, &["another call", "new one"]);
    place(&two, &house.bid("two")).send().ok(201);
    let credit = |id: &str| {
        let call = house.call("POST", &format!("/v1/purchasers/{id}/credits"));
        call.token(&house.operator).key("key").json(&json!({ "amount_micro": 5 }))
    };
    let first = credit("one").send();
    assert_eq!(first.ok(201)["available_micro"], 1_000_000 - 20_000 + 5);
    house.refuses(credit("two"), reused.0, reused.1, &["another call"]);
    house.credit("one", 7);
    assert_eq!(credit("one").send().body, first.body);
    house.assert_books_balance();
}

#[test]
fn a_refused_call_does_not_use_up_its_key() {
    let house = House::start();
    let token = house.shop("shop", 19_999);
    let bid = house.bid("shop");
    let place = || house.call("POST", "/v1/bids").token(&token).key("key").json(&bid);
    house.refuses(place(), 402, "insufficient-funds", &["add credit"]);
    house.credit("shop", 1);
    place().send().ok(201);
}

#[test]
fn a_malformed_key_is_refused() {
    let house = House::start();
    let token = house.shop("shop", 1_000_000);
    let bid = house.bid("shop");
    for key in ["", " ", "two words", "tab\there", &"k".repeat(101)] {
        let call = house.call("POST", "/v1/bids").token(&token).key(key).json(&bid);
        house.refuses(call, 400, "invalid-request", &["1 to 100 printable ASCII characters"]);
    }
    let longest = "k".repeat(100);
    house.call("POST", "/v1/bids").token(&token).key(&longest).json(&bid).send().ok(201);
}

/// Makes the same call many times at once.
fn at_once(times: usize, call: impl Fn() -> Answer + Sync) -> Vec<Answer> {
    thread::scope(|scope| {
        let calls: Vec<_> = (0..times).map(|_| scope.spawn(&call)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

#[test]
fn the_same_call_at_the_same_moment_is_done_once() {
    let house = House::start();
    // Enough money for one of them, so that a second one could not even be tried.
    let token = house.shop("shop", 20_000);
    let bid = house.bid("shop");
    let answers = at_once(8, || {
        house.call("POST", "/v1/bids").token(&token).key("at-once").json(&bid).send()
    });
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (201, &answers[0].body));
    }
    assert_eq!(bids(&house), 1);
    let credit = json!({ "amount_micro": 5 });
    let answers = at_once(8, || {
        let call = house.call("POST", "/v1/purchasers/shop/credits").token(&house.operator);
        call.key("at-once").json(&credit).send()
    });
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (201, &answers[0].body));
    }
    assert_eq!(house.read("/v1/purchasers")[0]["available_micro"], 5);
}

#[test]
fn credits_at_the_same_moment_are_each_answered_with_a_balance_that_was() {
    let house = House::start();
    house.purchaser("shop");
    let mut balances: Vec<_> = thread::scope(|scope| {
        let credit = |number: usize| {
            let call = house.call("POST", "/v1/purchasers/shop/credits").token(&house.operator);
            let call = call.key(&format!("credit-{number}"));
            call.json(&json!({ "amount_micro": 1 })).send().ok(201)["available_micro"].clone()
        };
        let calls: Vec<_> = (1..=8).map(|number| scope.spawn(move || credit(number))).collect();
        calls.into_iter().map(|call| call.join().unwrap().as_i64().unwrap()).collect()
    });
    balances.sort_unstable();
    assert_eq!(balances, (1..=8).collect::<Vec<_>>());
}

#[test]
fn a_bid_is_cancelled_once_however_often_it_is_asked() {
    let house = House::start();
    let token = house.shop("shop", 1_000_000);
    for _ in 0..5 {
        let bid = house.post("/v1/bids", &token, &house.bid("shop")).ok(201);
        assert_eq!(house.read("/v1/purchasers")[0]["held_micro"], 20_000);
        let path = format!("/v1/bids/{}", bid["id"].as_str().unwrap());
        let cancel = || house.call("DELETE", &path).token(&token).send();
        for answer in at_once(4, cancel) {
            let cancelled = answer.ok(200);
            assert_eq!(cancelled["status"], "cancelled");
            assert_eq!(cancelled["held_micro"], 0);
        }
        assert_eq!(cancel().ok(200)["status"], "cancelled");
        let shop = house.read("/v1/purchasers")[0].clone();
        assert_eq!(shop["available_micro"], 1_000_000);
        assert_eq!(shop["held_micro"], 0);
    }
    house.assert_books_balance();
}

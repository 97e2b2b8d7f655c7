//! Who may do what, and see what.

use serde_json::json;

use crate::harness::{House, site};

/// The calls that are the operator's alone.
const OPERATORS: [(&str, &str); 5] = [
    ("POST", "/v1/purchasers"),
    ("POST", "/v1/purchasers/shop/credits"),
    ("POST", "/v1/purchasers/shop/tokens"),
    ("PUT", "/v1/regions/east/series"),
    ("GET", "/v1/plan"),
];

#[test]
fn who_has_no_good_token_is_told_how_to_send_one() {
    let house = House::start();
    let bearer = |value: &str| house.call("GET", "/v1/bids").header("authorization", value);
    let cases = [
        (house.call("GET", "/v1/bids"), "no token"),
        (bearer("Basic b3BlcmF0b3I6"), "Bearer <token>"),
        (bearer(&house.operator), "Bearer <token>"),
        (bearer("Bearer"), "Bearer <token>"),
        (bearer("Bearer "), "Bearer <token>"),
        (bearer("Bearer hr_operator_00"), "unknown"),
        (bearer(&format!("Bearer {}0", house.operator)), "unknown"),
        (bearer(&format!("Bearer {}", house.operator.to_uppercase())), "unknown"),
    ];
    for (call, says) in cases {
        let answer = call.send();
        let detail = answer.problem(401, "unauthorized");
        assert!(detail.contains(says), "{detail:?} does not say {says:?}");
        assert_eq!(answer.header("www-authenticate"), "Bearer");
    }
    assert_eq!(bearer(&format!("bearer {}", house.operator)).send().status, 200);
}

#[test]
fn nothing_is_done_for_who_has_no_token() {
    let house = House::start();
    house.purchaser("shop");
    let bodies = [
        ("/v1/purchasers", json!({ "id": "thief" })),
        ("/v1/purchasers/shop/credits", json!({ "amount_micro": 5 })),
        ("/v1/purchasers/shop/tokens", json!({})),
        ("/v1/sites", site("shop", "www.shop.example")),
        ("/v1/sites/own/purges", json!({ "all": true })),
        ("/v1/bids", house.bid("shop")),
    ];
    for (path, body) in bodies {
        house.refuses(house.call("POST", path).json(&body), 401, "unauthorized", &["no token"]);
    }
}

#[test]
fn operator_and_purchaser_keep_to_their_own_calls() {
    let house = House::start();
    let token = house.shop("shop", 1_000_000);
    let bodies = [
        json!({ "id": "friend" }),
        json!({ "amount_micro": 5 }),
        json!({}),
        json!({ "points": [] }),
        json!(null),
    ];
    for ((method, path), body) in OPERATORS.into_iter().zip(bodies) {
        let call = house.call(method, path).token(&token);
        let call = if method == "GET" { call } else { call.json(&body) };
        house.refuses(call, 403, "forbidden", &["the operator's", "a purchaser's"]);
    }
    let calls = [
        house.call("POST", "/v1/bids").json(&house.bid("shop")),
        house.call("POST", "/v1/sites").json(&site("ops", "www.ops.example")),
    ];
    for call in calls {
        let call = call.token(&house.operator);
        house.refuses(call, 403, "forbidden", &["a purchaser's", "the operator's"]);
    }
    let bid = house.post("/v1/bids", &token, &house.bid("shop")).ok(201);
    let path = format!("/v1/bids/{}", bid["id"].as_str().unwrap());
    house.refuses(
        house.call("DELETE", &path).token(&house.operator),
        403,
        "forbidden",
        &["a purchaser's"],
    );
}

#[test]
fn a_purchaser_sees_its_own_alone() {
    let house = House::start();
    let (one, two) = (house.shop("one", 50_000), house.shop("two", 70_000));
    let bid = house.post("/v1/bids", &one, &house.bid("one")).ok(201);
    let bid = format!("/v1/bids/{}", bid["id"].as_str().unwrap());
    assert_eq!(house.get(&bid, &one).status, 200);
    assert_eq!(house.get(&bid, &house.operator).status, 200);
    let hidden = |call: crate::harness::Call<'_>, says| {
        house.refuses(call, 404, "not-found", &["you have no", says]);
    };
    hidden(house.call("GET", &bid).token(&two), "bid-1");
    hidden(house.call("DELETE", &bid).token(&two), "bid-1");
    hidden(house.call("GET", "/v1/bids/bid-77").token(&two), "bid-77");
    hidden(house.call("GET", "/v1/bids/77").token(&two), "77");
    hidden(house.call("GET", "/v1/sites/one").token(&two), "one");
    hidden(house.call("POST", "/v1/sites/one/verify").token(&two), "one");
    hidden(house.call("GET", "/v1/contracts/contract-1").token(&two), "contract-1");
    hidden(house.call("GET", "/v1/contracts/contract-1/meters").token(&two), "contract-1");
    for (path, mine) in [("/v1/bids", 0), ("/v1/sites", 1), ("/v1/contracts", 0)] {
        let listed = house.get(path, &two).ok(200);
        assert_eq!(listed.as_array().unwrap().len(), mine, "{path}: {listed}");
    }
    let purchasers = house.get("/v1/purchasers", &two).ok(200);
    assert_eq!(purchasers, json!([{ "id": "two", "available_micro": 70_000, "held_micro": 0 }]));
    let ledger = house.get("/v1/ledger", &two).ok(200);
    let available = json!([{ "id": "purchaser:two:available", "balance_micro": 70_000 }]);
    assert_eq!(ledger["accounts"], available);
    assert_eq!(house.read("/v1/purchasers").as_array().unwrap().len(), 2);
    assert_eq!(house.assert_books_balance()["accounts"].as_array().unwrap().len(), 4);
}

#[test]
fn purchasers_and_their_money() {
    let house = House::start();
    let first = house.purchaser("shop");
    let operator = |path: &str| house.call("POST", path).token(&house.operator);
    let again = operator("/v1/purchasers").json(&json!({ "id": "shop" }));
    house.refuses(again, 409, "account-exists", &["shop", "choose another id"]);
    let odd = operator("/v1/purchasers").json(&json!({ "id": "Shop Inc" }));
    house.refuses(odd, 422, "invalid-request", &["a-z, 0-9 and inner hyphens"]);
    let credits = "/v1/purchasers/shop/credits";
    for amount in [0, -5, i64::MIN] {
        let call = operator(credits).json(&json!({ "amount_micro": amount }));
        house.refuses(call, 422, "rejected", &["above zero"]);
    }
    let all = operator(credits).json(&json!({ "amount_micro": i64::MAX }));
    house.refuses(all, 422, "rejected", &["out of range", "smaller amounts"]);
    for path in ["/v1/purchasers/none/credits", "/v1/purchasers/No%20One/credits"] {
        let call = operator(path).json(&json!({ "amount_micro": 5 }));
        house.refuses(call, 404, "not-found", &["no purchaser"]);
    }
    let call = operator("/v1/purchasers/none/tokens").json(&json!({}));
    house.refuses(call, 404, "not-found", &["no purchaser"]);
    let second = operator("/v1/purchasers/shop/tokens").send().ok(201);
    let second = second["token"].as_str().unwrap();
    assert_ne!(first, second);
    for token in [&first, second] {
        assert_eq!(house.get("/v1/purchasers", token).status, 200, "both tokens are valid");
    }
    assert!(house.read("/v1/purchasers")[0]["token"].is_null(), "a token is shown once");
}

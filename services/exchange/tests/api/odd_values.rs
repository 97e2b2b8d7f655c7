//! Whatever stands in a body: it is accepted, or refused with a reason. It is never our fault.

use serde_json::{Value, json};

use crate::harness::{House, site, with};

fn odd_values() -> Vec<Value> {
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(""),
        json!(" "),
        json!("\u{0}"),
        json!("ü\u{202e}"),
        json!("../../etc/passwd"),
        json!("x".repeat(10_000)),
        json!("2262-04-11T23:47:16.854775807Z"),
        json!("2554-07-21T00:00:00Z"),
        json!("18446744073709551615 req/s"),
        json!("99999999999999999999999 Tbit/s"),
        json!([]),
        json!(["x", "x"]),
        json!({}),
        json!({ "policy": "return" }),
        json!({ "points": [{}] }),
        deep,
    ]
}

#[test]
fn no_value_of_any_field_is_our_fault() {
    let house = House::start();
    let token = house.shop("shop", 1_000_000);
    let point = json!({ "slot": "2020-01-01T00:00:00Z", "requests_per_second": 1.0 });
    let calls = [
        ("POST", "/v1/bids", &token, house.bid("shop")),
        ("POST", "/v1/sites", &token, site("new", "www.new.example")),
        ("POST", "/v1/purchasers", &house.operator, json!({ "id": "new" })),
        ("POST", "/v1/purchasers/shop/credits", &house.operator, json!({ "amount_micro": 1 })),
        ("PUT", "/v1/regions/east/series", &house.operator, json!({ "points": [point] })),
    ];
    for (method, path, token, good) in calls {
        for field in good.as_object().unwrap().keys().map(String::as_str).chain(["class"]) {
            for value in odd_values() {
                let mut body = good.clone();
                body[field] = value.clone();
                let answer = house.call(method, path).token(token).json(&body).send();
                if !(200..300).contains(&answer.status) {
                    let problem: Value = serde_json::from_str(&answer.body).unwrap();
                    let name = problem["type"].as_str().unwrap().rsplit('/').next().unwrap();
                    answer.problem(answer.status, name);
                    let ours = answer.status >= 500;
                    assert!(!ours, "{path} {field} {value}: {}", answer.body);
                }
            }
        }
    }
    house.assert_books_balance();
}

#[test]
fn a_series_with_a_bad_point_is_refused_whole() {
    let house = House::start();
    let good = house.slot_start(house.running().minus(3));
    let series = |slot: &str, load: Value| {
        let point = json!({ "slot": slot, "requests_per_second": load });
        let points = json!([{ "slot": good, "requests_per_second": 5.0 }, point]);
        let call = house.call("PUT", "/v1/regions/east/series").token(&house.operator);
        call.json(&json!({ "points": points }))
    };
    let odd = good.replace(":00Z", ":01Z");
    let now = house.slot(1);
    let invalid = (422, "invalid-request");
    house.refuses(series(&odd, json!(5.0)), invalid.0, invalid.1, &[&odd, "begin at", &good]);
    house.refuses(series(&now, json!(5.0)), invalid.0, invalid.1, &[&now, "not over"]);
    let before = house.slot_start(house.running().minus(2));
    for load in [json!(-1.0), json!(1e13)] {
        let call = series(&before, load);
        house.refuses(call, invalid.0, invalid.1, &[&before, "accepted is 0 to"]);
    }
    let call = house.call("PUT", "/v1/regions/north/series").token(&house.operator);
    house.refuses(call.json(&json!({ "points": [] })), 404, "not-found", &["north", "east, west"]);
    let kept = series(&before, with(&json!({ "x": 5 }), "x", json!(7.5))["x"].clone()).send();
    assert_eq!(kept.ok(200)["points"], 2);
}

//! Purges: who may ask for what, and how they come into the plan.

use headroom_steer::limits::PURGES_PER_SITE_MAX;
use serde_json::{Value, json};

use crate::harness::{House, until};

fn purges_in_plan(house: &House, site: &str) -> Vec<Value> {
    let plan = house.read("/v1/plan");
    let site = plan["sites"].as_array().unwrap().iter().find(|known| known["id"] == site);
    site.and_then(|site| site["purges"].as_array()).cloned().unwrap_or_default()
}

fn newest(purges: &[Value]) -> Option<u64> {
    purges.last()?["sequence"].as_u64()
}

#[test]
fn a_purge_is_numbered_and_stands_in_the_next_plan() {
    let mut house = House::start();
    let token = house.shop("shop", 1);
    let asked = json!({
        "urls": ["https://WWW.shop.example/a?b=c", "http://www.shop.example"],
        "prefixes": ["http://www.shop.example:8080/img/"],
        "tags": ["sale"],
    });
    let answer = house.post("/v1/sites/shop/purges", &token, &asked).ok(202);
    let purges = json!([
        { "sequence": 1, "scope": { "url": "www.shop.example/a?b=c" } },
        { "sequence": 2, "scope": { "url": "www.shop.example/" } },
        { "sequence": 3, "scope": { "prefix": "www.shop.example/img/" } },
        { "sequence": 4, "scope": { "tag": "sale" } },
    ]);
    assert_eq!(answer, json!({ "site": "shop", "purges": purges }));
    until("the purges in the plan", || {
        (json!(purges_in_plan(&house, "shop")) == purges).then_some(())
    });
    house.restart();
    assert_eq!(json!(purges_in_plan(&house, "shop")), purges, "they outlive the exchange");
    let all = house.post("/v1/sites/shop/purges", &token, &json!({ "all": true })).ok(202);
    assert_eq!(all["purges"], json!([{ "sequence": 5, "scope": "all" }]));
    let all = until("the last purge alone", || {
        let purges = purges_in_plan(&house, "shop");
        (newest(&purges) == Some(5)).then_some(purges)
    });
    assert_eq!(json!(all), json!([{ "sequence": 5, "scope": "all" }]));
}

#[test]
fn the_operator_purges_every_site_and_a_purchaser_its_own() {
    let house = House::start();
    let (shop, other) = (house.shop("shop", 1), house.purchaser("other"));
    let call = |site: &str, token: &str| {
        let call = house.call("POST", &format!("/v1/sites/{site}/purges"));
        call.token(token).json(&json!({ "all": true }))
    };
    // Whose a site is, and whether it exists, is not told.
    let unknown = call("nothing", &other).send().problem(404, "not-found");
    for (site, token) in [("shop", &other), ("own", &other), ("own", &shop)] {
        let detail = call(site, token).send().problem(404, "not-found");
        assert_eq!(detail.replace(site, "nothing"), unknown);
    }
    assert_eq!(call("own", &house.operator).send().ok(202)["purges"][0]["sequence"], 1);
    assert_eq!(call("shop", &house.operator).send().ok(202)["purges"][0]["sequence"], 2);
    assert_eq!(call("shop", &shop).send().ok(202)["purges"][0]["sequence"], 3);
    for (site, sequence) in [("own", 1), ("shop", 3)] {
        until("the purge in the plan", || {
            (newest(&purges_in_plan(&house, site)) == Some(sequence)).then_some(())
        });
    }
}

#[test]
fn a_purge_that_names_what_is_not_the_sites_is_refused() {
    let house = House::start();
    let token = house.shop("shop", 1);
    let good = "https://www.shop.example/a";
    let long = format!("{good}{}", "a".repeat(2_048));
    let many: Vec<_> = (0..501).map(|number| format!("t{number}")).collect();
    let cases = [
        (json!({}), "nothing is named"),
        (json!({ "all": false }), "nothing is named"),
        (json!({ "all": true, "urls": [good] }), "stands alone"),
        (json!({ "urls": [good, "https://www.other.example/a"] }), "https://www.other.example/a"),
        (
            json!({ "prefixes": ["https://www.shop.example.other.example/"] }),
            "not one of the site's",
        ),
        (json!({ "urls": ["/a"] }), "http:// or https://"),
        (json!({ "urls": ["ftp://www.shop.example/a"] }), "http:// or https://"),
        (json!({ "urls": ["https://user:word@www.shop.example/a"] }), "user information"),
        (json!({ "urls": ["https://www.shop.example/a#b"] }), "fragment"),
        (json!({ "urls": ["https://www.shop.example/a b"] }), "not a URL"),
        (json!({ "urls": [""] }), "not a URL"),
        (json!({ "urls": [long] }), "longer than 2048"),
        (json!({ "tags": [""] }), "not a tag"),
        (json!({ "tags": ["a b"] }), "not a tag"),
        (json!({ "tags": ["a,b"] }), "not a tag"),
        (json!({ "tags": ["ä"] }), "not a tag"),
        (json!({ "tags": ["t".repeat(129)] }), "not a tag"),
        (json!({ "tags": many }), "accepted are 500"),
    ];
    for (body, says) in cases {
        let call = house.call("POST", "/v1/sites/shop/purges").token(&token).json(&body);
        house.refuses(call, 400, "invalid-purge", &[says]);
    }
    let odd =
        house.call("POST", "/v1/sites/shop/purges").token(&token).json(&json!({ "al": true }));
    house.refuses(odd, 422, "invalid-request", &["unknown field"]);
    let first = house.post("/v1/sites/shop/purges", &token, &json!({ "all": true })).ok(202);
    assert_eq!(first["purges"][0]["sequence"], 1, "nothing was kept of the others");
}

#[test]
fn too_many_purges_become_one_of_everything() {
    let house = House::start();
    let token = house.shop("shop", 1);
    for round in 0..=2 {
        let tags: Vec<_> = (0..500).map(|number| format!("t{round}-{number}")).collect();
        house.post("/v1/sites/shop/purges", &token, &json!({ "tags": tags })).ok(202);
    }
    let purges = until("all purges in the plan", || {
        let purges = purges_in_plan(&house, "shop");
        (newest(&purges) == Some(1_500)).then_some(purges)
    });
    assert_eq!(purges.len(), PURGES_PER_SITE_MAX);
    assert_eq!(purges[0], json!({ "sequence": 501, "scope": "all" }));
    assert_eq!(purges[1]["sequence"], 502);
}

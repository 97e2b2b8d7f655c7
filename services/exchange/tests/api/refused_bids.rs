//! Bids that are refused: with the right status, a reason that helps, and nothing kept.

use serde_json::{Value, json};

use crate::harness::{HORIZON, House, RESERVE, with};

/// A house with a proved site, "shop", of a purchaser with 1 000 000 micro.
struct Market {
    house: House,
    token: String,
    good: Value,
}

impl Market {
    fn open() -> Self {
        let house = House::start();
        let token = house.shop("shop", 1_000_000);
        let good = house.bid("shop");
        Self { house, token, good }
    }

    /// A bid with one field changed, or without it if the value is null, is refused.
    fn refuses(&self, field: &str, value: Value, (status, name): (u16, &str), says: &[&str]) {
        self.refuses_bid(&with(&self.good, field, value), (status, name), says);
    }

    fn refuses_bid(&self, bid: &Value, (status, name): (u16, &str), says: &[&str]) {
        let call = self.house.call("POST", "/v1/bids").token(&self.token).json(bid);
        self.house.refuses(call, status, name, says);
    }
}

const INVALID: (u16, &str) = (422, "invalid-request");

#[test]
fn what_is_no_bid() {
    let market = Market::open();
    let tail = format!("{} tail", market.good);
    for text in ["", "{", "nul", "{\"site\": }", "\u{0}", &tail] {
        let call = market.house.call("POST", "/v1/bids").token(&market.token);
        let call = call.text("application/json", text);
        market.house.refuses(call, 400, "invalid-request", &["line 1", "/v1/openapi.json"]);
    }
    for whole in [json!(null), json!(5), json!("bid")] {
        market.refuses_bid(&whole, INVALID, &["NewBid"]);
    }
    let in_order = json!(["shop", "east", market.house.slot(10), 2, 10, null, null, 1_000, null]);
    market.refuses_bid(&in_order, INVALID, &["a list", "an object"]);
    for field in ["site", "region", "first_slot", "slots", "limit_price_micro"] {
        let missing = format!("missing field `{field}`");
        market.refuses(field, Value::Null, INVALID, &[&missing, "/v1/openapi.json"]);
    }
    market.refuses("price", json!(5), INVALID, &["unknown field `price`", "limit_price_micro"]);
}

#[test]
fn values_of_another_type_or_grammar() {
    let market = Market::open();
    let cases = [
        ("slots", json!("2"), "expected u64"),
        ("slots", json!(-1), "expected u64"),
        ("slots", json!(1.5), "expected u64"),
        ("units", json!("10"), "expected u64"),
        ("units", json!(-10), "expected u64"),
        ("limit_price_micro", json!("1000"), "expected i64"),
        ("limit_price_micro", json!(1e30), "expected i64"),
        ("site", json!(7), "string"),
        ("site", json!("Shop"), "a-z, 0-9 and inner hyphens"),
        ("region", json!("the east"), "a-z, 0-9 and inner hyphens"),
        ("first_slot", json!(1_700_000_000), "string"),
        ("first_slot", json!("tomorrow"), "RFC 3339"),
        ("first_slot", json!("1969-12-31T23:59:00Z"), "from 1970 on"),
        ("first_slot", json!("9999-12-31T00:00:00Z"), "from 1970 on"),
        ("class", json!("best"), "firm"),
        ("requests", json!(300), "string"),
    ];
    for (field, value, says) in cases {
        market.refuses(field, value, INVALID, &[says]);
    }
}

#[test]
fn capacity_that_is_said_twice_not_at_all_or_without_a_unit() {
    let market = Market::open();
    let bare = with(&market.good, "units", Value::Null);
    let requests = with(&bare, "requests", json!("300 req/s"));
    let egress = with(&bare, "egress", json!("100 Mbit/s"));
    let both = with(&with(&market.good, "requests", json!("5 req/s")), "egress", json!("1 Mbit/s"));
    let half = with(&market.good, "requests", json!("5 req/s"));
    for bid in [bare, requests.clone(), egress, both, half] {
        market.refuses_bid(&bid, INVALID, &["either `units`", "\"300 req/s\"", "\"100 Mbit/s\""]);
    }
    let unitless = with(&requests, "egress", json!("100"));
    market.refuses_bid(&unitless, INVALID, &["no unit", "accepted", "Mbit/s"]);
    let unitless = with(&with(&requests, "requests", json!("300")), "egress", json!("1 Mbit/s"));
    market.refuses_bid(&unitless, INVALID, &["no unit", "accepted", "req/s"]);
    let nothing = with(&with(&requests, "requests", json!("0 req/s")), "egress", json!("0 bit/s"));
    market.refuses_bid(&nothing, (422, "rejected"), &["zero units", "1 unit or more"]);
    let huge = with(&requests, "egress", json!("900000 Tbit/s"));
    market.refuses_bid(&huge, INVALID, &["at most 1000000000 units"]);
}

#[test]
fn places_that_are_not_there() {
    let market = Market::open();
    market.refuses("region", json!("north"), (422, "unknown-region"), &["north", "east, west"]);
    market.refuses("site", json!("none"), (404, "not-found"), &["no site \"none\""]);
    let other = market.house.shop("other", 1_000_000);
    let theirs = market.house.bid("shop");
    let call = market.house.call("POST", "/v1/bids").token(&other).json(&theirs);
    market.house.refuses(call, 404, "not-found", &["no site \"shop\""]);
}

#[test]
fn a_site_without_a_proved_name() {
    let market = Market::open();
    let claimed = crate::harness::site("new", "www.new.example");
    market.house.post("/v1/sites", &market.token, &claimed).ok(201);
    market.refuses("site", json!("new"), (409, "not-proved"), &["new", "TXT", "verify"]);
}

#[test]
fn slots_that_cannot_be_bought() {
    let market = Market::open();
    let house = &market.house;
    let gate = (422, "gate-closed");
    let past = house.slot_start(house.running().minus(2));
    market.refuses("first_slot", json!(past), gate, &[&past, "no longer", "still open begins at"]);
    market.refuses("first_slot", json!("1970-01-01T00:00:00Z"), gate, &["still open begins at"]);
    market.refuses("first_slot", json!(house.slot(0)), gate, &["still open begins at"]);
    let beyond = (422, "beyond-horizon");
    let far = house.slot(2 * HORIZON);
    market.refuses("first_slot", json!(far), beyond, &["not for sale yet", "begins at"]);
    market.refuses("slots", json!(2 * HORIZON), beyond, &["not for sale yet", "begins at"]);
    market.refuses("first_slot", json!("2500-01-01T00:00:00Z"), beyond, &["not for sale yet"]);
    let start = house.config.slot_length.start(house.running().plus(10));
    let odd = headroom_wire::Time(start.after(std::time::Duration::from_secs(1))).to_string();
    let near = [house.slot_start(house.running().plus(10)), "nearest begin at".to_owned()];
    market.refuses("first_slot", json!(odd), INVALID, &[&near[0], &near[1]]);
    for slots in [0, 35_137, u64::MAX] {
        market.refuses("slots", json!(slots), INVALID, &["1 to 35136"]);
    }
}

#[test]
fn units_prices_and_sums_out_of_range() {
    let market = Market::open();
    market.refuses("units", json!(0), (422, "rejected"), &["zero units", "1 unit or more"]);
    for units in [1_000_000_001, u64::MAX] {
        market.refuses("units", json!(units), INVALID, &["at most 1000000000 units"]);
    }
    for limit in [-1, i64::MIN, 1_000_000_000_001, i64::MAX] {
        market.refuses("limit_price_micro", json!(limit), INVALID, &["accepted is 0 to"]);
    }
    let low = json!(RESERVE - 1);
    market.refuses("limit_price_micro", low, (422, "below-reserve"), &["reserve price of 0.0001"]);
    let much = json!(1_000_000_000_000_i64);
    market.refuses("limit_price_micro", much, (422, "rejected"), &["highest for so many"]);
    let poor = (402, "insufficient-funds");
    market.refuses("units", json!(501), poor, &["1.002", "1 is available", "add credit"]);
    market.refuses("units", json!(1_000_000_000), poor, &["add credit"]);
}

#[test]
fn a_good_bid_is_kept_and_a_second_one_over_the_account_is_not() {
    let market = Market::open();
    let house = &market.house;
    let all = with(&market.good, "units", json!(500));
    let placed = house.post("/v1/bids", &market.token, &all).ok(201);
    assert_eq!((&placed["status"], &placed["held_micro"]), (&json!("open"), &json!(1_000_000)));
    assert_eq!(placed["class"], "firm");
    let shown = house.get(&format!("/v1/bids/{}", placed["id"].as_str().unwrap()), &market.token);
    assert_eq!(shown.ok(200), placed);
    let least = with(&with(&market.good, "units", json!(1)), "limit_price_micro", json!(RESERVE));
    market.refuses_bid(&least, (402, "insufficient-funds"), &["0 is available"]);
    house.assert_books_balance();
}

#[test]
fn a_bid_may_say_requests_and_egress() {
    let market = Market::open();
    let bare = with(&market.good, "units", Value::Null);
    let bid = with(&with(&bare, "requests", json!("12 req/s")), "egress", json!("10 Mbit/s"));
    let placed = market.house.post("/v1/bids", &market.token, &bid).ok(201);
    assert_eq!(placed["units"], 20, "10 Mbit/s at 0.5 Mbit/s per unit is the larger need");
}

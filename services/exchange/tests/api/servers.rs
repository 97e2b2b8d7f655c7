//! The servers that a remainder is assigned to: what is reported of them, and what is shown.

use std::time::Duration;

use headroom_bus::subjects::{NAME_SERVER_REPORTS, SERVER_REPORTS};
use headroom_wire::{AssignmentMessage, NameServerReport, ServerReportsMessage, Text, Time};
use serde_json::{Value, json};

use crate::harness::{Call, House, site, until, with};

fn assigned(id: &str, remainder: Value) -> Value {
    with(&site(id, &format!("www.{id}.example")), "remainder", remainder)
}

fn ordered() -> Value {
    json!({
        "policy": "assign", "algorithm": "ordered", "check": "tcp:443",
        "servers": [
            { "addresses": ["198.51.100.1", "2001:db8::1"], "weight": 3, "region": "east" },
            { "addresses": ["198.51.100.2"] },
        ],
    })
}

/// A purchaser with an assigned site of the same name.
fn shop(house: &House, id: &str, remainder: Value) -> String {
    let token = house.purchaser(id);
    house.post("/v1/sites", &token, &assigned(id, remainder)).ok(201);
    token
}

fn path(id: &str) -> String {
    format!("/v1/sites/{id}/servers")
}

fn put<'h>(house: &'h House, id: &str, token: &str, body: &Value) -> Call<'h> {
    house.call("PUT", &path(id)).token(token).json(body)
}

fn report(servers: Value) -> Value {
    json!({ "expires_seconds": 600, "servers": servers })
}

#[test]
fn what_is_reported_is_shown_and_reaches_the_name_servers() {
    let house = House::start();
    let mut reports = house.bus.subscribe(&SERVER_REPORTS);
    let token = shop(&house, "shop", ordered());
    let shown = house.get(&path("shop"), &token).ok(200);
    assert_eq!(
        shown,
        json!({
            "site": "shop", "algorithm": "ordered", "check": "tcp:443",
            "servers": [
                { "addresses": ["198.51.100.1", "2001:db8::1"], "weight": 3, "region": "east" },
                { "addresses": ["198.51.100.2"], "weight": 1 },
            ],
        })
    );
    let busy = json!([{ "address": "2001:db8::1", "healthy": false, "load": "99.5 %" }]);
    let told = put(&house, "shop", &token, &report(busy.clone())).send().ok(200);
    let first = &told["servers"][0]["reports"][0];
    assert_eq!((&first["healthy"], &first["load"]), (&json!(false), &json!("99.5 %")));
    assert!(told["servers"][1]["reports"].is_null());
    let sent = house.wait_for("the report", reports.next()).unwrap();
    assert_eq!(sent.sites[0].servers[0].address.to_string(), "2001:db8::1");

    // The other server's report leaves this one's as it is; the same call again changes nothing.
    let second = report(json!([{ "address": "198.51.100.2", "load": "10 %" }]));
    for _ in 0..2 {
        put(&house, "shop", &token, &second).send().ok(200);
    }
    let sent = until("both reports", || {
        let sent: ServerReportsMessage = house.wait_for("reports", reports.next()).unwrap();
        (sent.sites[0].servers.len() == 2).then_some(sent)
    });
    assert_eq!(sent.sites.len(), 1);
    let shown = house.get(&path("shop"), &house.operator).ok(200);
    assert_eq!(shown["servers"][0]["reports"][0]["load"], "99.5 %");
    assert_eq!(shown["servers"][1]["reports"][0]["healthy"], true);
}

#[test]
fn a_report_expires() {
    let house = House::start();
    let token = shop(&house, "shop", ordered());
    let short = with(&report(json!([{ "address": "198.51.100.2" }])), "expires_seconds", json!(1));
    let told = put(&house, "shop", &token, &short).send().ok(200);
    assert!(told["servers"][1]["reports"][0]["expires_at"].is_string());
    until("the end of the report", || {
        let shown = house.get(&path("shop"), &token).ok(200);
        shown["servers"][1]["reports"].is_null().then_some(())
    });
}

#[test]
fn reports_that_make_no_sense_are_refused() {
    let house = House::start();
    let token = shop(&house, "shop", ordered());
    let one = json!([{ "address": "198.51.100.1" }]);
    let many: Vec<_> = (0..513)
        .map(|number| json!({ "address": format!("10.0.{}.{}", number / 256, number % 256) }))
        .collect();
    let lasting = |seconds: Value| with(&report(one.clone()), "expires_seconds", seconds);
    let cases = [
        (report(json!([])), "0 servers are reported"),
        (report(json!(many)), "513 servers are reported"),
        (report(json!([one[0], one[0]])), "stands there twice"),
        (report(json!([{ "address": "198.51.100.3" }])), "no server of this site"),
        (report(json!([{ "address": "origin.shop.example" }])), "IP address"),
        (report(json!([{ "address": "198.51.100.1", "load": 0.5 }])), "string"),
        (report(json!([{ "address": "198.51.100.1", "load": "101 %" }])), "too large"),
        (report(json!([{ "address": "198.51.100.1", "up": true }])), "unknown field"),
        (lasting(json!(0)), "1 to 3600 s"),
        (lasting(json!(3_601)), "1 to 3600 s"),
        (lasting(Value::Null), "missing field"),
    ];
    for (body, says) in cases {
        house.refuses(put(&house, "shop", &token, &body), 422, "invalid-request", &[says]);
    }
    assert!(house.get(&path("shop"), &token).ok(200)["servers"][0]["reports"].is_null());
}

#[test]
fn nobody_reports_of_the_servers_of_another() {
    let house = House::start();
    let (one, two) = (shop(&house, "one", ordered()), shop(&house, "two", ordered()));
    let body = report(json!([{ "address": "198.51.100.1", "healthy": false }]));
    house.refuses(put(&house, "one", &two, &body), 404, "not-found", &["you have no site"]);
    house.get(&path("one"), &two).problem(404, "not-found");
    house.call("PUT", &path("one")).json(&body).send().problem(401, "unauthorized");
    put(&house, "two", &two, &body).send().ok(200);
    let shown = house.get(&path("one"), &one).ok(200);
    assert!(shown["servers"][0]["reports"].is_null(), "the same address at another's site");
    let returned = house.purchaser("three");
    house.post("/v1/sites", &returned, &site("three", "www.three.example")).ok(201);
    let call = put(&house, "three", &returned, &body);
    house.refuses(call, 409, "not-assigned", &["three", "assign-by-dns"]);
}

#[test]
fn it_is_the_same_for_a_site_that_is_in_the_plan() {
    let house = House::start();
    let (one, two) = (shop(&house, "one", ordered()), house.purchaser("two"));
    let made = house.get("/v1/sites/one", &one).ok(200);
    let challenge = |field: &str| made["hosts"][0][field].as_str().unwrap().to_owned();
    house.dns.set(&challenge("challenge_name"), &challenge("challenge_value"));
    house.call("POST", "/v1/sites/one/verify").token(&one).send().ok(200);
    until("the site in the plan", || {
        let plan = house.read("/v1/plan");
        plan["sites"].as_array()?.iter().find(|site| site["id"] == "one").map(|_| ())
    });
    let body = report(json!([{ "address": "198.51.100.1", "healthy": false }]));
    house.refuses(put(&house, "one", &two, &body), 404, "not-found", &["you have no site"]);
    let told = put(&house, "one", &one, &body).send().ok(200);
    assert_eq!(told["servers"][0]["reports"][0]["healthy"], false);
    let own = put(&house, "own", &house.operator, &body);
    house.refuses(own, 404, "not-found", &["you have no site"]);
}

#[test]
fn what_name_servers_tell_is_shown() {
    let house = House::start();
    let by_dns = json!({ "policy": "assign-by-dns", "host": "www.shop.example" });
    let token = shop(&house, "shop", by_dns);
    let shown = house.get(&path("shop"), &token).ok(200);
    assert_eq!(shown, json!({ "site": "shop", "servers": [] }), "nothing is provided yet");
    let tell = |name_server: &str, assignment: AssignmentMessage| {
        let report = NameServerReport {
            name_server: Text(name_server.parse().unwrap()),
            second: Time(headroom_clock::now().before(Duration::from_secs(1))),
            places: Vec::new(),
            assignments: vec![assignment],
        };
        house.bus.publish(&NAME_SERVER_REPORTS, &report).unwrap();
    };
    let text = "v=headroom1; algorithm=region; check=tcp:443; server=198.51.100.1,region=east";
    let site = || Text("shop".parse().unwrap());
    let error = Some("it was silent for 1s".to_owned());
    let checked = vec![("198.51.100.1".parse().unwrap(), false)];
    let provided = Some(text.to_owned());
    tell("ns1", AssignmentMessage { site: site(), provided, error: None, checked });
    let (provided, checked) = (None, Vec::new());
    tell("ns2", AssignmentMessage { site: site(), provided, error, checked });
    let shown = until("what they tell", || {
        let shown = house.get(&path("shop"), &token).ok(200);
        (shown["provided"].as_array()?.len() == 2).then_some(shown)
    });
    assert_eq!(
        shown,
        json!({
            "site": "shop", "algorithm": "region", "check": "tcp:443",
            "servers": [{
                "addresses": ["198.51.100.1"], "weight": 1, "region": "east",
                "checked": [{ "name_server": "ns1", "up": false }],
            }],
            "provided": [
                { "name_server": "ns1", "text": text },
                { "name_server": "ns2", "error": "it was silent for 1s" },
            ],
        })
    );
    let body = report(json!([{ "address": "198.51.100.99" }]));
    put(&house, "shop", &token, &body).send().ok(200);
}

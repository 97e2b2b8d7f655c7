//! Sites, and proofs of control over their host names.

use std::thread;

use serde_json::{Value, json};

use crate::harness::{Answer, House, site, with};

fn verify(house: &House, id: &str, token: &str) -> Answer {
    house.call("POST", &format!("/v1/sites/{id}/verify")).token(token).send()
}

fn challenge(site: &Value) -> (&str, &str) {
    let host = &site["hosts"][0];
    (host["challenge_name"].as_str().unwrap(), host["challenge_value"].as_str().unwrap())
}

#[test]
fn a_site_is_registered_once() {
    let house = House::start();
    let (one, two) = (house.purchaser("one"), house.purchaser("two"));
    let shop = site("shop", "www.shop.example");
    let made = house.post("/v1/sites", &one, &shop).ok(201);
    assert_eq!(made["cname"], "shop.cdn.example");
    assert_eq!(house.post("/v1/sites", &one, &shop).ok(200), made);
    let taken = (409, "site-exists");
    let other = with(&shop, "origins", json!(["198.51.100.2:80"]));
    let call = |token: &str, body: &Value| house.call("POST", "/v1/sites").token(token).json(body);
    house.refuses(call(&one, &other), taken.0, taken.1, &["shop", "choose another"]);
    house.refuses(call(&two, &shop), taken.0, taken.1, &["shop", "choose another"]);
    assert_eq!(house.get("/v1/sites/shop", &one).ok(200), made);
}

#[test]
fn a_site_that_is_registered_at_the_same_moment_is_one_site() {
    let house = House::start();
    let token = house.purchaser("shop");
    for number in 0..4 {
        let new = site(&format!("shop-{number}"), "www.shop.example");
        let answers: Vec<_> = thread::scope(|scope| {
            let calls: Vec<_> =
                (0..4).map(|_| scope.spawn(|| house.post("/v1/sites", &token, &new))).collect();
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(created, 1, "{answers:?}");
        for answer in &answers {
            assert_eq!((answer.status / 100, &answer.body), (2, &answers[0].body));
        }
    }
}

#[test]
fn sites_that_cannot_be_served_are_refused() {
    let house = House::start();
    let token = house.purchaser("shop");
    let good = site("shop", "www.shop.example");
    let hosts: Vec<_> = (0..101).map(|number| format!("h{number}.shop.example")).collect();
    let servers =
        |servers: Value| json!({ "policy": "assign", "algorithm": "weighted", "servers": servers });
    let server = json!({ "addresses": ["192.0.2.1"] });
    let near = |region: &str| with(&server, "region", json!(region));
    let by_dns = |host: &str| json!({ "policy": "assign-by-dns", "host": host });
    let cases = [
        ("hosts", json!([]), "at least one host name"),
        ("hosts", json!(["www.shop.example", "WWW.shop.example."]), "none twice"),
        ("hosts", json!(["shop"]), "single label"),
        ("hosts", json!(["192.0.2.1"]), "an address, not a name"),
        ("hosts", json!(["*.shop.example"]), "labels of letters, digits and inner hyphens"),
        ("hosts", json!(hosts), "101 host names"),
        ("hosts", json!(["x.cdn.example"]), "lies in the network's own zone"),
        ("hosts", json!(["cdn.example"]), "lies in the network's own zone"),
        ("id", json!("edge"), "one of the network's own names"),
        ("id", json!("ns1"), "one of the network's own names"),
        ("id", json!("Shop"), "a-z, 0-9 and inner hyphens"),
        ("fallback", json!("www.shop.example"), "steered itself"),
        ("fallback", json!("www.shop.example:8080"), "steered itself"),
        ("fallback", json!("origin.shop.example:0"), "1 to 65535"),
        ("origins", json!([]), "0 origin servers"),
        (
            "origins",
            json!(["origin.shop.example:80"]),
            "neither an IP address and a port nor a URL",
        ),
        ("origins", json!(["https://shop:word@origin.shop.example"]), "user information"),
        ("origins", json!(["https://origin.shop.example/a"]), "after the host"),
        ("rules", json!({ "query": { "only": [] } }), "has 0 names"),
        ("rules", json!({ "query": "drop" }), "unknown variant"),
        ("rules", json!({ "negative_seconds": 86_401 }), "0 to 86400 s"),
        ("rules", json!({ "upgrade": true }), "unknown field"),
        ("remainder", json!({ "policy": "return", "name": "www.shop.example" }), "steered itself"),
        ("remainder", json!({ "policy": "return", "name": "a.cdn.example" }), "steered itself"),
        ("remainder", json!({ "policy": "return-addresses", "addresses": [] }), "no address"),
        ("remainder", servers(json!([])), "0 servers"),
        ("remainder", servers(json!([{ "addresses": [] }])), "no address"),
        ("remainder", servers(json!([server, server])), "192.0.2.1 stands there twice"),
        ("remainder", servers(json!([near("north")])), "accepted are east, west"),
        ("remainder", with(&servers(json!([server])), "algorithm", json!("random")), "least-load"),
        ("remainder", with(&servers(json!([server])), "check", json!("icmp")), "no port"),
        ("remainder", by_dns("www.other.example"), "no host name of the site"),
        ("remainder", json!({ "policy": "drop" }), "return-addresses"),
        ("over_share", json!("drop"), "pass-through"),
        ("fall-back", json!("x.example"), "unknown field"),
    ];
    for (field, value, says) in cases {
        let call = house.call("POST", "/v1/sites").token(&token).json(&with(&good, field, value));
        house.refuses(call, 422, "invalid-request", &[says]);
    }
    for field in ["id", "hosts", "origins", "remainder", "fallback"] {
        let call = house.call("POST", "/v1/sites").token(&token);
        let call = call.json(&with(&good, field, Value::Null));
        house.refuses(call, 422, "invalid-request", &["missing field", field]);
    }
}

#[test]
fn the_operators_own_sites_are_not_for_purchasers() {
    let house = House::start();
    let token = house.purchaser("shop");
    let call = |body: &Value| house.call("POST", "/v1/sites").token(&token).json(body);
    let own_id = site("own", "www.shop.example");
    house.refuses(call(&own_id), 409, "site-exists", &["own", "choose another"]);
    let own_host = site("shop", "www.operator.example");
    house.refuses(call(&own_host), 409, "host-taken", &["www.operator.example", "another site"]);
}

#[test]
fn a_name_is_proved_by_its_txt_record() {
    let house = House::start();
    let token = house.purchaser("shop");
    let made = house.post("/v1/sites", &token, &site("shop", "www.shop.example")).ok(201);
    let (name, value) = challenge(&made);
    assert_eq!(name, "_headroom-challenge.www.shop.example");
    let unproved = |says: &[&str]| {
        let call = house.call("POST", "/v1/sites/shop/verify").token(&token);
        house.refuses(call, 409, "not-proved", says);
    };
    unproved(&[name, "no TXT record", value]);
    house.dns.set(name, "headroom-site=0000");
    unproved(&[name, value]);
    house.dns.set(name, &value[..value.len() - 1]);
    unproved(&[name, value]);
    house.dns.set("www.shop.example", value);
    unproved(&[name, value]);
    house.dns.add(name, value);
    for _ in 0..2 {
        let proved = verify(&house, "shop", &token).ok(200);
        assert_eq!(proved["hosts"][0]["proved"], true);
    }
    house.dns.set(name, "gone");
    assert_eq!(verify(&house, "shop", &token).status, 200, "what is proved stays proved");
    let sites = crate::harness::until("the site in the plan", || {
        let plan = house.read("/v1/plan");
        plan["sites"].as_array()?.iter().find(|site| site["id"] == "shop").cloned()
    });
    assert_eq!(sites["hosts"], json!(["www.shop.example"]));
}

#[test]
fn of_several_names_each_is_proved_by_itself() {
    let house = House::start();
    let token = house.purchaser("shop");
    let two = with(&site("shop", "x"), "hosts", json!(["a.shop.example", "b.shop.example"]));
    let made = house.post("/v1/sites", &token, &two).ok(201);
    let (name, value) = challenge(&made);
    house.dns.set(name, value);
    let detail = verify(&house, "shop", &token).problem(409, "not-proved");
    assert!(detail.contains("b.shop.example") && !detail.contains("a.shop.example"), "{detail}");
    let shown = house.get("/v1/sites/shop", &token).ok(200);
    let proved: Vec<_> =
        shown["hosts"].as_array().unwrap().iter().map(|host| host["proved"].clone()).collect();
    assert_eq!(proved, [true, false]);
}

#[test]
fn when_no_name_server_answers_nothing_is_proved() {
    let house = House::start_with(|config| {
        // Bound by nobody: a port of this machine that was free a moment ago.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        config.resolvers = vec![socket.local_addr().unwrap()];
    });
    let token = house.purchaser("shop");
    let made = house.post("/v1/sites", &token, &site("shop", "www.shop.example")).ok(201);
    let detail = verify(&house, "shop", &token).problem(409, "not-proved");
    assert!(detail.contains("no answer for") && detail.contains(challenge(&made).1), "{detail}");
}

#[test]
fn of_two_who_claim_a_name_one_can_prove_it() {
    let house = House::start();
    let tokens = ["one", "two"].map(|id| house.purchaser(id));
    let claims: Vec<_> = ["one", "two"]
        .iter()
        .zip(&tokens)
        .map(|(id, token)| house.post("/v1/sites", token, &site(id, "www.shop.example")).ok(201))
        .collect();
    assert_ne!(challenge(&claims[0]).1, challenge(&claims[1]).1, "nobody proves for another");
    house.dns.set(challenge(&claims[0]).0, challenge(&claims[0]).1);
    verify(&house, "two", &tokens[1]).problem(409, "not-proved");
    house.dns.add(challenge(&claims[1]).0, challenge(&claims[1]).1);
    let answers = thread::scope(|scope| {
        let one = scope.spawn(|| verify(&house, "one", &tokens[0]));
        let two = scope.spawn(|| verify(&house, "two", &tokens[1]));
        [one.join().unwrap(), two.join().unwrap()]
    });
    let winner = answers.iter().position(|answer| answer.status == 200).unwrap();
    let detail = answers[1 - winner].problem(409, "not-proved");
    assert!(detail.contains("proved by another site"), "{detail}");
    let shown = house.read("/v1/sites");
    let proved = shown.as_array().unwrap().iter().filter(|s| s["hosts"][0]["proved"] == true);
    assert_eq!(proved.count(), 1);
    let late = house.purchaser("late");
    let call = house.call("POST", "/v1/sites").token(&late).json(&site("late", "www.shop.example"));
    house.refuses(call, 409, "host-taken", &["www.shop.example", "another site"]);
}

//! The life of a slot: measured load, headroom, a bid, a contract, the plan, budgets, meters,
//! settlement; then the same after a restart.

use std::time::Duration;

use headroom_bus::subjects::{BUDGETS, METER_ACKS, METERS, NAME_SERVER_REPORTS, PLAN};
use headroom_units::{RequestRate, Slot, SlotLength, Timestamp};
use headroom_wire::{
    ContractMeterMessage, MappingMeter, MeterReport, NameServerReport, OwnMeter, PlanDocument,
    Text, Time,
};
use serde_json::{Value, json};

use crate::harness::{EDGE_UNITS, House, PENALTY, RESERVE, SEASON, until, with};

const UNITS: i64 = 100;
const CREDIT: i64 = 1_000_000;

/// Slots of two seconds, an auction every quarter of a second, and a past of 100 requests/s.
fn quick_house() -> House {
    let house = House::start_with(|config| {
        config.slot_length = SlotLength::from_seconds(2).unwrap();
        config.auction_every = Duration::from_millis(250);
    });
    let running = house.running();
    let points: Vec<_> = (1..=8 * SEASON)
        .rev()
        .map(|back| {
            let slot = house.slot_start(running.minus(back));
            json!({ "slot": slot, "requests_per_second": 100.0 })
        })
        .collect();
    let call = house.call("PUT", "/v1/regions/east/series").token(&house.operator);
    let kept = call.json(&json!({ "points": points })).send().ok(200);
    assert_eq!(kept["points"], 8 * SEASON);
    house
}

/// What is said of `slot` in the east, once something is offered.
fn offered(house: &House, slot: Slot) -> Value {
    let start = house.slot_start(slot);
    until("headroom", || {
        let slots = house.read(&format!("/v1/headroom?region=east&from={start}&until={start}"));
        slots.as_array()?.iter().find(|slot| slot["offered_units"] != 0).cloned()
    })
}

/// Places a bid for two slots and waits until it is a contract.
fn buy(house: &House, token: &str, site: &str, first: Slot) -> Value {
    let bid = with(&house.bid(site), "first_slot", json!(house.slot_start(first)));
    let bid = with(&bid, "units", json!(UNITS));
    let placed = house.post("/v1/bids", token, &bid).ok(201);
    let path = format!("/v1/bids/{}", placed["id"].as_str().unwrap());
    let filled = until("a contract", || {
        let bid = house.get(&path, token).ok(200);
        (bid["status"] == "filled").then_some(bid)
    });
    assert_eq!(filled["filled_units"], UNITS);
    let contract = filled["contracts"][0].as_str().unwrap();
    house.get(&format!("/v1/contracts/{contract}"), token).ok(200)
}

fn entitlement(plan: &PlanDocument, contract: &str) -> Option<Value> {
    let mut held = plan.sites.iter().flat_map(|site| &site.entitlements);
    let found = held.find(|held| held.contract.0.to_string() == contract)?;
    Some(serde_json::to_value(found).unwrap())
}

/// The report of an edge that was asked 60 times for each contract in a second, and served 40.
fn report(edge: &str, second: Timestamp, contracts: &[(&str, u64)]) -> MeterReport {
    MeterReport {
        edge: Text(edge.parse().unwrap()),
        incarnation: 1,
        second: Time(second),
        generation: 1,
        budget_sequence: 0,
        own: OwnMeter { requests: 7, hits: 0, bytes: 0 },
        contracts: contracts
            .iter()
            .map(|(contract, available)| ContractMeterMessage {
                contract: Text(contract.parse().unwrap()),
                offered: 60,
                served: 40.min(*available),
                refused: 0,
                hits: 0,
                bytes: 0,
                available_millirequests: available * 1_000,
            })
            .collect(),
        clients: Vec::new(),
    }
}

/// Waits until reports of `second` are taken in: a second before it begins.
fn wait_for_second(second: Timestamp) {
    until("the next second", || (headroom_clock::now() >= second.before(SECOND)).then_some(()));
}

const SECOND: Duration = Duration::from_secs(1);

/// Lets two rounds of control pass, and so one of settlement.
fn let_a_round_pass(house: &House) {
    let mut budgets = house.bus.subscribe(&BUDGETS);
    for _ in 0..3 {
        house.wait_for("budgets", budgets.next()).unwrap();
    }
}

#[test]
fn from_measured_load_to_settlement_and_on_after_a_restart() {
    let mut house = quick_house();
    let (shop, other) = (house.shop("shop", CREDIT), house.shop("other", CREDIT));
    let first = house.running().plus(3);
    let slot = offered(&house, first);
    assert_eq!((&slot["capacity_units"], &slot["sold_units"]), (&json!(2 * EDGE_UNITS), &json!(0)));
    let headroom = slot["headroom_units"].as_u64().unwrap();
    assert!((1..=2 * EDGE_UNITS - 100).contains(&headroom), "{slot}");

    let mut plans = house.bus.subscribe(&PLAN);
    let before = house.read("/v1/plan")["generation"].as_u64().unwrap();
    let contract = buy(&house, &shop, "shop", first);
    let id = contract["id"].as_str().unwrap();
    let prices: Vec<i64> = serde_json::from_value(contract["prices_micro"].clone()).unwrap();
    assert_eq!(prices, [RESERVE; 2], "enough is offered at the lowest price");
    is_in_the_plan(&house, &mut plans, &contract, before);
    is_in_the_budgets(&house, id);
    is_one_tenants(&house, &contract, &other);
    deliver(&house, id, first, &shop, &other);

    let path = format!("/v1/contracts/{id}");
    let settlements = until("settlement", || {
        let settlements = house.get(&path, &shop).ok(200)["settlements"].clone();
        (settlements.as_array()?.len() == 2).then_some(settlements)
    });
    let charge = UNITS * RESERVE;
    let amounts = |slot: usize| {
        let amount = |name: &str| settlements[slot][name].as_i64().unwrap();
        (amount("charge_micro"), amount("refund_micro"), amount("penalty_micro"))
    };
    assert_eq!(amounts(0), (charge, 0, 0), "{settlements}");
    assert_eq!(amounts(1), (charge, charge / 2, UNITS * PENALTY / 2), "half was available");
    let left = CREDIT - 2 * charge + charge / 2 + UNITS * PENALTY / 2;
    let mine = house.get("/v1/purchasers", &shop).ok(200);
    assert_eq!(mine, json!([{ "id": "shop", "available_micro": left, "held_micro": 0 }]));

    let settled = house.get(&path, &shop).ok(200);
    assert_eq!((&settled["stage"], &settled["indicative"]), (&json!("settled"), &json!([])));
    let sites_bid = house.get(&format!("/v1/bids/{}", settled["bid"].as_str().unwrap()), &shop);
    assert_eq!(sites_bid.ok(200)["clearing_price_micro"], RESERVE);
    let month = &settled["first_slot"].as_str().unwrap()[..7];
    let invoice = house.get(&format!("/v1/invoices/shop/{month}"), &shop).ok(200);
    let total = 2 * charge - charge / 2 - UNITS * PENALTY / 2;
    // The two slots may lie on both sides of the turn of a month.
    let whole = invoice["lines"][0]["slots"] == 2;
    assert!(!whole || invoice["total_micro"] == total, "{invoice}");

    let books = house.assert_books_balance();
    let totals = ["charged_micro", "refunded_micro", "penalties_micro"].map(|name| &books[name]);
    assert_eq!(totals, [2 * charge, charge / 2, UNITS * PENALTY / 2]);
    let_a_round_pass(&house);
    assert_eq!(house.assert_books_balance(), books, "a slot is settled once");
    late_meters_are_kept_and_told(&house, id, first, &shop);
    survives_a_restart(&mut house);
}

/// What comes after the settlement changes nothing of it.
fn late_meters_are_kept_and_told(house: &House, contract: &str, first: Slot, shop: &str) {
    let before = house.everything();
    let mut acks = house.bus.subscribe(&METER_ACKS);
    let second = house.config.slot_length.start(first);
    let late = MeterReport { incarnation: 2, ..report("east-1", second, &[(contract, 50)]) };
    for _ in 0..2 {
        house.bus.publish(&METERS, &late).unwrap();
        let ack = house.wait_for("an acknowledgement", acks.next()).unwrap();
        assert_eq!((ack.incarnation, ack.second.0), (2, second));
    }
    let meters = house.get(&format!("/v1/contracts/{contract}/meters"), shop).ok(200);
    assert_eq!(meters["seconds"][0]["offered"], 3 * 60, "it is kept, once");
    let_a_round_pass(house);
    assert_eq!(house.everything(), before);
    let metrics = house.call("GET", "/metrics").send().body;
    assert!(metrics.contains("headroom_exchange_late_meters_total 1\n"), "{metrics}");
}

fn is_in_the_plan(
    house: &House,
    plans: &mut headroom_bus::Subscription<PlanDocument>,
    contract: &Value,
    before: u64,
) {
    let id = contract["id"].as_str().unwrap();
    let (generation, held) = house.wait_for("a plan with the contract", async {
        loop {
            let plan = plans.next().await.unwrap();
            if let Some(held) = entitlement(&plan, id) {
                return (plan.generation, held);
            }
        }
    });
    assert!(generation > before);
    assert_eq!(held["from"], contract["first_slot"]);
    assert_eq!((&held["requests"], &held["egress"]), (&json!("100 req/s"), &json!("50 Mbit/s")));
    assert!(house.read("/v1/plan")["generation"].as_u64().unwrap() >= generation);
}

fn is_in_the_budgets(house: &House, contract: &str) {
    let mut budgets = house.bus.subscribe(&BUDGETS);
    house.wait_for("shares of the contract", async {
        loop {
            let message = budgets.next().await.unwrap();
            let mine = message.shares.iter().filter(|s| s.contract.0.to_string() == contract);
            let shares: u64 = mine.map(|share| share.share.0.millirequests_per_second()).sum();
            assert!(shares <= u64::try_from(UNITS * 1_000).unwrap(), "{message:?}");
            if shares > 0 {
                return;
            }
        }
    });
}

fn is_one_tenants(house: &House, contract: &Value, other: &str) {
    let path = format!("/v1/contracts/{}", contract["id"].as_str().unwrap());
    assert_eq!(house.read(&path)["id"], contract["id"], "the operator sees it");
    for path in [path.clone(), format!("{path}/meters")] {
        house.get(&path, other).problem(404, "not-found");
    }
    assert_eq!(house.get("/v1/contracts", other).ok(200), json!([]));
    assert_eq!(house.get("/v1/ledger", other).ok(200)["charged_micro"], 0);
}

/// Plays the edges and a name server: all of the first slot is held available, and half of the
/// second.
fn deliver(house: &House, contract: &str, first: Slot, shop: &str, other: &str) {
    let start = house.config.slot_length.start(first);
    let mut acks = house.bus.subscribe(&METER_ACKS);
    for passed in 0..4 {
        let second = start.after(SECOND * passed);
        wait_for_second(second);
        let one = report("east-1", second, &[(contract, 50)]);
        let two = report("east-2", second, &[(contract, if passed < 2 { 50 } else { 0 })]);
        for report in [&one, &two, &one, &report("nobody", second, &[(contract, 9)])] {
            house.bus.publish(&METERS, report).unwrap();
        }
        for edge in ["east-1", "east-2", "east-1"] {
            let ack = house.wait_for("an acknowledgement", acks.next()).unwrap();
            assert_eq!((ack.edge.0.as_str(), ack.incarnation, ack.second.0), (edge, 1, second));
        }
        if passed == 0 {
            name_server_reports(house, second);
            live_views_are_sent(house, contract, [shop, other]);
        }
    }
    let path = format!("/v1/contracts/{contract}/meters");
    let sum = |meters: &Value, name: &str| {
        let seconds = meters["seconds"].as_array().unwrap().iter();
        seconds.map(|second| second[name].as_u64().unwrap()).sum::<u64>()
    };
    let meters = until("all meters", || {
        let meters = house.get(&path, shop).ok(200);
        (sum(&meters, "offered") >= 8 * 60).then_some(meters)
    });
    let sums = ["offered", "served", "available_millirequests"].map(|name| sum(&meters, name));
    assert_eq!(sums, [8 * 60, 6 * 40, 6 * 50_000], "what is repeated or unknown does not count");
    assert_eq!((&meters["mapping_requests"], &meters["mapped_to_edges"]), (&json!(30), &json!(20)));
}

fn name_server_reports(house: &House, second: Timestamp) {
    let place = MappingMeter {
        site: Text("shop".parse().unwrap()),
        region: Text("east".parse().unwrap()),
        mapping_requests: 30,
        mapped_to_edges: 20,
        leased: Text(RequestRate::from_requests_per_second(5)),
        strangers: Text(RequestRate::ZERO),
    };
    let name_server = Text("ns1".parse().unwrap());
    let (places, assignments) = (vec![place], Vec::new());
    let report = NameServerReport { name_server, second: Time(second), places, assignments };
    house.bus.publish(&NAME_SERVER_REPORTS, &report).unwrap();
}

fn live_views_are_sent(house: &House, contract: &str, [shop, other]: [&str; 2]) {
    let view = until("a live view", || {
        let answer = house.get("/v1/meters", shop);
        let view = (answer.status == 200).then(|| answer.ok(200))?;
        let mine = &view["contracts"][0];
        (mine["mapping_requests"] == 30 && mine["offered"] == 120).then_some(view)
    });
    assert_eq!(view["contracts"][0]["id"], contract);
    assert_eq!(view["regions"][0]["own_requests"], Value::Null, "that is the operator's");
    assert_eq!(house.read("/v1/meters")["regions"][0]["own_requests"], 14);
    assert_eq!(view["regions"][0]["edges_up"], json!(["east-1", "east-2"]));
    let (headers, event) = house.call("GET", "/v1/live").token(shop).first_event();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(event["contracts"][0]["id"], contract);
    let (_, event) = house.call("GET", "/v1/live").token(other).first_event();
    assert_eq!(event["contracts"], json!([]), "a tenant sees its own alone");
}

fn survives_a_restart(house: &mut House) {
    let before = house.everything();
    let generation = house.read("/v1/plan")["generation"].as_u64().unwrap();
    house.restart();
    let mut plans = house.bus.subscribe(&PLAN);
    let plan = house.wait_for("a plan after a restart", plans.next()).unwrap();
    assert!(plan.generation >= generation, "{} after {generation}", plan.generation);
    assert_eq!(house.everything(), before);
    let_a_round_pass(house);
    assert_eq!(house.everything(), before, "nothing is settled again");
}

#[test]
fn a_contract_that_cannot_be_settled_does_not_hold_up_the_others() {
    let house = quick_house();
    let token = house.shop("shop", CREDIT);
    let first = house.running().plus(4);
    offered(&house, first);
    let contracts = [1, 2].map(|_| buy(&house, &token, "shop", first));
    let ids = contracts.each_ref().map(|contract| contract["id"].as_str().unwrap());
    let start = house.config.slot_length.start(first);
    for passed in 0..4 {
        let second = start.after(SECOND * passed);
        wait_for_second(second);
        for edge in ["east-1", "east-2"] {
            let mut report = report(edge, second, &[(ids[0], 50), (ids[1], 50)]);
            report.contracts[0].served = u64::MAX;
            house.bus.publish(&METERS, &report).unwrap();
        }
    }
    until("settlement of the second contract", || {
        let contract = house.get(&format!("/v1/contracts/{}", ids[1]), &token).ok(200);
        (contract["settlements"].as_array()?.len() == 2).then_some(())
    });
    house.assert_books_balance();
}

#[test]
fn a_bid_that_is_not_filled_in_time_expires_and_gives_its_money_back() {
    let house = quick_house();
    let token = house.shop("shop", CREDIT);
    // Nothing is known of the west, so nothing is offered there.
    let bid = with(&house.bid("shop"), "region", json!("west"));
    let bid = with(&bid, "first_slot", json!(house.slot(2)));
    let placed = house.post("/v1/bids", &token, &bid).ok(201);
    let path = format!("/v1/bids/{}", placed["id"].as_str().unwrap());
    let expired = until("the bid to expire", || {
        let bid = house.get(&path, &token).ok(200);
        (bid["status"] != "open").then_some(bid)
    });
    assert_eq!((&expired["status"], &expired["held_micro"]), (&json!("expired"), &json!(0)));
    assert_eq!(house.get("/v1/purchasers", &token).ok(200)[0]["available_micro"], CREDIT);
    let call = house.call("DELETE", &path).token(&token);
    let detail = call.send().problem(409, "bid-not-open");
    assert!(detail.contains("expired"), "{detail}");
}

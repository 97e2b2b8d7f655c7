//! The exchange stops when it is told to, and goes on from what it kept.

use std::{io::Write, net::TcpStream, os::unix::fs::PermissionsExt, thread};

use headroom_bus::{Bus, subjects::PLAN};
use headroom_exchange::{Exchange, OPERATOR_TOKEN_FILE};
use headroom_units::SlotLength;
use prometheus_client::registry::Registry;

use crate::harness::House;

#[test]
fn all_is_there_again_after_a_restart() {
    let mut house = House::start();
    let token = house.shop("shop", 1_000_000);
    house.post("/v1/bids", &token, &house.bid("shop")).ok(201);
    let second = house.post("/v1/bids", &token, &house.bid("shop")).ok(201);
    let path = format!("/v1/bids/{}", second["id"].as_str().unwrap());
    house.call("DELETE", &path).token(&token).send().ok(200);
    let before = house.everything();
    let generation = house.read("/v1/plan")["generation"].as_u64().unwrap();
    for _ in 0..2 {
        house.restart();
        assert_eq!(house.everything(), before);
        assert!(house.read("/v1/plan")["generation"].as_u64().unwrap() >= generation);
        let mut plans = house.bus.subscribe(&PLAN);
        house.wait_for("the plan on the new bus", plans.next()).unwrap();
        assert_eq!(house.get("/v1/bids", &token).status, 200, "the token is still good");
    }
    let third = house.post("/v1/bids", &token, &house.bid("shop")).ok(201);
    assert_eq!(third["id"], "bid-3");
}

#[test]
fn the_operators_token_is_for_its_user_alone() {
    let mut house = House::start();
    let path = house.folder().join(OPERATOR_TOKEN_FILE);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    house.restart();
    assert_eq!(std::fs::read_to_string(path).unwrap().trim(), house.operator);
}

#[test]
fn callers_who_stay_do_not_keep_it_from_stopping() {
    let mut house = House::start();
    house.get("/v1/bids", &house.operator).ok(200);
    let connect = || TcpStream::connect(house.address()).unwrap();
    let silent = connect();
    let mut half = connect();
    half.write_all(b"POST /v1/bids HTTP/1.1\r\nHost: api\r\nAuthoriz").unwrap();
    let mut watching = connect();
    let live = format!(
        "GET /v1/live HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\n\r\n",
        house.operator
    );
    watching.write_all(live.as_bytes()).unwrap();
    let mut sending = connect();
    let head = format!(
        "POST /v1/purchasers HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{",
        house.operator
    );
    sending.write_all(head.as_bytes()).unwrap();
    // All of it has arrived when a later call is answered on a loaded machine too.
    thread::sleep(std::time::Duration::from_millis(100));
    house.get("/v1/bids", &house.operator).ok(200);
    house.stop();
    drop((silent, half, watching, sending));
}

#[test]
fn a_folder_of_other_slots_is_not_gone_on_with() {
    let mut house = House::start();
    house.stop();
    let mut config = house.config.clone();
    config.slot_length = SlotLength::from_seconds(120).unwrap();
    let starting = Exchange::start(config, Bus::in_process(), Registry::default());
    let error = house.wait_for("the start", starting).unwrap_err().to_string();
    assert!(error.contains("slot length") && error.contains("60"), "{error}");
}

//! Upgrades to other protocols: tunnelled after 101, if the site allows it.

use crate::harness::{OWN, Origin, World, response, say};

const ASK: &str = "Connection: Upgrade, close\r\nUpgrade: websocket\r\n";

#[tokio::test]
async fn an_upgrade_that_is_not_allowed_is_ignored() {
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let world = World::before(&origin).await;
    let bytes = say(world.address, &format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n{ASK}\r\n")).await;
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK"));
    assert!(!origin.seen()[0].to_ascii_lowercase().contains("upgrade"));
    world.end().await;
}

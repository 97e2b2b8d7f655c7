//! Starting, restarting, stopping.

use std::time::Duration;

use headroom_bus::Bus;
use headroom_edge::{Edge, EdgeError};
use headroom_units::Generation;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;

use crate::harness::{
    Answer, OWN, Origin, SHOP, Saying, World, config, plan, plan_with_contract, response, say,
};

#[tokio::test]
async fn an_edge_starts_from_its_plan_file_alone() {
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    let mut world = World::start_with(config(Some(path.clone())));
    world.plan(plan_with_contract(origin.address, 100, -10, 100)).await;
    world.end().await;
    let saved = headroom_planfile::load(&path).unwrap().unwrap();
    assert_eq!(saved.generation, Generation::new(1));
    let world = World::start_with(config(Some(path)));
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    assert_eq!(world.get(SHOP, "/a").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn a_plan_file_that_is_broken_does_not_keep_the_edge_from_starting() {
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.json");
    std::fs::write(&path, "{ half a pl").unwrap();
    let mut world = World::start_with(config(Some(path)));
    assert_eq!(world.get(OWN, "/a").await.status, 421);
    world.plan(plan(origin.address)).await;
    assert_eq!(world.get(OWN, "/a").await.status, 200);
    world.end().await;
}

#[tokio::test]
async fn what_is_in_flight_ends_and_nothing_new_begins() {
    let origin =
        Origin::start(|_, _| Saying { after: Duration::from_millis(400), ..response("", "hello") })
            .await;
    let world = World::before(&origin).await;
    let mut meters = world.meters();
    let address = world.address;
    let ask = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n\r\n");
    let in_flight = tokio::spawn(async move { Answer::of(&say(address, &ask).await) });
    let idle = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.end().await;
    assert_eq!(in_flight.await.unwrap().body, "hello");
    drop(idle);
    assert!(TcpStream::connect(address).await.is_err());
    let mut requests = 0;
    while let Ok(Ok(report)) = tokio::time::timeout(Duration::from_millis(100), meters.next()).await
    {
        requests += report.own.requests;
    }
    assert_eq!(requests, 1, "the last meters are sent");
}

#[tokio::test]
async fn an_edge_that_is_dropped_ends() {
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let world = World::before(&origin).await;
    world.running.abort();
    for _ in 0..100 {
        if TcpStream::connect(world.address).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it goes on listening");
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(None);
    config.listen = vec![taken.local_addr().unwrap()];
    let bound = Edge::bind(config, &Bus::in_process(), &mut Registry::default());
    assert!(matches!(bound, Err(EdgeError::Listen { .. })));
}

//! Upgrades to other protocols: tunnelled after the origin's 101, if the site allows it.

use std::{net::SocketAddr, time::Duration};

use headroom_steer::Plan;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::harness::{OWN, Origin, SHOP, World, plan, plan_with_contract, response, say};

const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nX-Key: 1\r\n";
const AGREES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                      Upgrade: websocket\r\nX-Accept: 1\r\n\r\nwelcome ";

/// An origin that answers one head with `answer`, and then says again whatever it hears. What it
/// heard of the head comes first.
async fn echo(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
                assert!(head.contains("connection: upgrade\r\n"), "{head}");
                assert!(head.contains("upgrade: websocket\r\n"), "{head}");
                assert!(head.contains("x-key: 1\r\n"), "{head}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    address
}

/// The same plan, with sites that allow upgrades.
fn allowing(mut plan: Plan) -> Plan {
    plan.sites.values_mut().for_each(|site| site.rules.upgrades = true);
    plan
}

async fn world(plan: Plan) -> World {
    let mut world = World::start();
    world.plan(allowing(plan)).await;
    world
}

async fn ask(world: &World, host: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!("GET /socket HTTP/1.1\r\nHost: {host}\r\n{ASK}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads until `end` came.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let byte = timeout(Duration::from_secs(5), stream.read_u8()).await;
        text.push(char::from(byte.expect("more is to come").unwrap_or_else(|_| panic!("{text}"))));
    }
    text
}

#[tokio::test]
async fn an_upgrade_that_is_not_allowed_is_ignored() {
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let world = World::before(&origin).await;
    let ask = ASK.replace("Upgrade\r\n", "Upgrade, close\r\n");
    let bytes = say(world.address, &format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n{ask}\r\n")).await;
    assert!(bytes.starts_with(b"HTTP/1.1 200 OK"));
    assert!(!origin.seen()[0].to_ascii_lowercase().contains("upgrade"));
    world.end().await;
}

#[tokio::test]
async fn after_101_bytes_go_both_ways_and_are_metered() {
    let origin = echo(AGREES).await;
    let world = world(plan_with_contract(origin, 100, -10, 100)).await;
    let mut meters = world.meters();
    let mut stream = ask(&world, SHOP).await;
    let head = until(&mut stream, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("x-accept: 1\r\n"), "{head}");
    assert_eq!(until(&mut stream, "welcome ").await, "welcome ", "sent with the 101");
    // No HTTP any more: what would be refused there passes.
    let said = "GET / HTTP/1.1\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n\0".repeat(1_000);
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut heard = vec![0; said.len()];
    timeout(Duration::from_secs(5), stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, said.as_bytes());
    assert_eq!(world.metric("headroom_edge_connections"), "1", "a tunnel is a connection");
    drop(stream);
    world.until("headroom_edge_connections", "0").await;
    let mut bytes = 0;
    while let Ok(Ok(report)) = timeout(Duration::from_millis(2_500), meters.next()).await {
        bytes += report.contracts.iter().map(|contract| contract.bytes).sum::<u64>();
        if bytes > 50_000 {
            break;
        }
    }
    assert!(bytes >= u64::try_from(said.len()).unwrap(), "{bytes}");
    world.end().await;
}

#[tokio::test]
async fn without_101_it_is_an_ordinary_response() {
    let refuses = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    let world = world(plan(echo(refuses).await)).await;
    let mut stream = ask(&world, OWN).await;
    let answer = until(&mut stream, "\r\n\r\nno").await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    // The connection goes on as HTTP.
    let next = format!("GET /b HTTP/1.1\nHost: {OWN}\r\n\r\n");
    stream.write_all(next.as_bytes()).await.unwrap();
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 400 Bad Request"));
    world.end().await;
}

#[tokio::test]
async fn an_origin_that_switches_to_something_else_is_not_sound() {
    let other = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n";
    let world = world(plan(echo(other).await)).await;
    let mut stream = ask(&world, OWN).await;
    assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 502 "));
    world.end().await;
}

#[tokio::test]
async fn what_is_said_before_101_reaches_no_origin() {
    let origin = echo(AGREES).await;
    let world = world(plan(origin)).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let early =
        format!("GET /socket HTTP/1.1\r\nHost: {OWN}\r\n{ASK}\r\nGET /hidden HTTP/1.1\r\n\r\n");
    stream.write_all(early.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("hidden"), "the echo has not heard it: {answer}");
    world.end().await;
}

//! Meters that survive a kill, the access log, trace context, hot restart, the end of connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use headroom_bus::{
    Bus,
    subjects::{METER_ACKS, METERS},
};
use headroom_edge::{Edge, EdgeConfig, Running};
use headroom_wire::{MeterAck, MeterReport};
use prometheus_client::registry::Registry;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::harness::{Answer, OWN, Origin, Saying, World, config, plan, response, say};

/// What an exchange keeps: each report once.
type Books = Arc<Mutex<BTreeMap<(u64, u64), MeterReport>>>;

/// Plays the exchange: stores every report once, and acknowledges it.
fn exchange(bus: &Bus, books: &Books) -> JoinHandle<()> {
    let mut meters = bus.subscribe(&METERS);
    let (bus, books) = (bus.clone(), Arc::clone(books));
    tokio::spawn(async move {
        while let Ok(report) = meters.next().await {
            let (edge, incarnation, second) =
                (report.edge.clone(), report.incarnation, report.second);
            books.lock().unwrap().entry((incarnation, second.0.seconds())).or_insert(report);
            bus.publish(&METER_ACKS, &MeterAck { edge, incarnation, second }).unwrap();
        }
    })
}

fn requests(books: &Books) -> u64 {
    books.lock().unwrap().values().map(|report| report.own.requests).sum()
}

fn seconds(books: &Books) -> Vec<u64> {
    books.lock().unwrap().keys().map(|(_, second)| *second).collect()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn spooling(folder: &Path) -> EdgeConfig {
    let running = Running { spool_dir: Some(folder.join("spool")), ..Running::default() };
    EdgeConfig { running, ..config(Some(folder.join("plan.json"))) }
}

#[tokio::test]
async fn a_killed_edge_loses_the_running_second_alone_and_nothing_counts_twice() {
    let origin = Origin::start(|_, _| response("Cache-Control: max-age=60", "hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let books = Books::default();
    // The exchange is away: nobody listens on the bus.
    let mut world = World::start_with(spooling(folder.path()));
    world.plan(plan(origin.address)).await;
    let mut meters = world.meters();
    for _ in 0..20 {
        assert_eq!(world.get(OWN, "/a").await.status, 200);
    }
    let (mut reported, mut told) = (0, BTreeSet::new());
    while reported < 20 {
        let report = meters.next().await.unwrap();
        if told.insert(report.second.0.seconds()) {
            reported += report.own.requests;
        }
    }
    world.running.abort();
    assert!(world.running.await.unwrap_err().is_cancelled());

    let world = World::start_with(spooling(folder.path()));
    let exchange = exchange(&world.bus, &books);
    for _ in 0..5 {
        assert_eq!(world.get(OWN, "/a").await.status, 200);
    }
    until("all reports", || requests(&books) == 25).await;
    assert!(told.iter().all(|second| seconds(&books).contains(second)));
    world.end().await;
    assert_eq!(requests(&books), 25);
    exchange.abort();
    let left = std::fs::read_dir(folder.path().join("spool")).unwrap().count();
    assert_eq!(left, 0, "what is acknowledged is not kept");
}

#[tokio::test]
async fn what_an_exchange_missed_it_gets_when_it_is_back() {
    let origin = Origin::start(|_, _| response("Cache-Control: max-age=60", "hello")).await;
    let books = Books::default();
    // Without a folder: as long as the edge lives.
    let world = World::before(&origin).await;
    let mut meters = world.meters();
    let first = meters.next().await.unwrap().second.0.seconds();
    let before = exchange(&world.bus, &books);
    until("a report", || !books.lock().unwrap().is_empty()).await;
    before.abort();
    for _ in 0..10 {
        assert_eq!(world.get(OWN, "/a").await.status, 200);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let back = exchange(&world.bus, &books);
    until("all reports", || requests(&books) == 10).await;
    let all = seconds(&books);
    let expected: Vec<u64> = (first..=*all.last().unwrap()).collect();
    assert_eq!(all, expected, "every second, once");
    world.end().await;
    back.abort();
}

fn logging(folder: &Path) -> EdgeConfig {
    let running = Running { access_log: Some(folder.join("access.log")), ..Running::default() };
    EdgeConfig { running, ..config(None) }
}

/// The lines in the order of their times: each thread writes its own in turn.
fn logged(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("access.log")).unwrap();
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.sort_by_key(|line| line["time"].to_string());
    lines
}

#[tokio::test]
async fn every_request_is_logged_with_what_became_of_it() {
    let cut_off = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let origin = Origin::start(move |request, _| match request.starts_with("GET /cut-off ") {
        true => Saying { bytes: cut_off.to_owned(), close: true, ..Saying::default() },
        false => response("Cache-Control: max-age=60", "hello"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::start_with(logging(folder.path()));
    world.plan(plan(origin.address)).await;
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    world.ask("GET", OWN, "/a?b=c", &[trace, "User-Agent: a \"b\""]).await;
    world.ask("GET", OWN, "/a?b=c", &[]).await;
    world.ask("HEAD", OWN, "/other", &["Authorization: Basic c2VjcmV0", "Cookie: id=secret"]).await;
    world.ask("GET", OWN, "/cut-off", &[]).await;
    world.ask("GET", "nobody.example", "/", &[]).await;
    world.end().await;
    let lines = logged(folder.path());
    let shown = |line: &Value| {
        let fields = ["site", "contract", "target", "status", "outcome", "complete"];
        fields.map(|field| line[field].to_string().replace('"', "")).join(" ")
    };
    assert_eq!(
        lines.iter().map(shown).collect::<Vec<_>>(),
        [
            "own own /a?b=c 200 miss true",
            "own own /a?b=c 200 hit true",
            "own own /other 200 miss true",
            "own own /cut-off 200 miss false",
            "null none / 421 misdirected true",
        ]
    );
    assert_eq!(lines[0]["trace"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(
        (&lines[0]["user_agent"], &lines[0]["peer"]),
        (&"a \"b\"".into(), &"127.0.0.1".into())
    );
    assert_ne!(lines[0]["request"], lines[1]["request"]);
    assert!(lines[1]["bytes"].as_u64().unwrap() > 5);
    let text = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
    assert!(!text.contains("secret") && !text.contains("c2VjcmV0"), "{text}");
    // The origin sees the trace, and the span that is logged as its parent.
    let seen = origin.seen()[0].to_ascii_lowercase();
    let parent =
        format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{}-01", lines[0]["request"].as_str().unwrap());
    assert!(seen.contains(&format!("traceparent: {parent}")), "{seen}");
}

#[tokio::test]
async fn a_hangup_opens_the_log_again() {
    // Without anyone to hear it, it would end the tests.
    let _heard = signal(SignalKind::hangup()).unwrap();
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let mut world = World::start_with(logging(folder.path()));
    world.plan(plan(origin.address)).await;
    world.get(OWN, "/before").await;
    until("a line", || std::fs::metadata(&path).unwrap().len() > 0).await;
    std::fs::rename(&path, &moved).unwrap();
    until("a new file", || {
        kill_process(getpid(), Signal::HUP).unwrap();
        path.exists()
    })
    .await;
    world.get(OWN, "/after").await;
    world.end().await;
    assert_eq!(logged(folder.path())[0]["target"], "/after");
    assert!(std::fs::read_to_string(moved).unwrap().contains("/before"));
}

#[tokio::test]
async fn a_trace_begins_at_the_edge_if_none_came() {
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let world = World::before(&origin).await;
    world.ask("GET", OWN, "/a", &["traceparent: 00-1-2-01", "tracestate: a=b"]).await;
    world
        .ask(
            "GET",
            OWN,
            "/a",
            &[
                "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "tracestate: a=b,c=d",
            ],
        )
        .await;
    let seen = origin.seen();
    let parent =
        |request: &str| request.lines().filter(|line| line.starts_with("traceparent: ")).count();
    assert_eq!(seen.iter().map(|request| parent(request)).collect::<Vec<_>>(), [1, 1]);
    assert!(!seen[0].contains("tracestate") && !seen[0].contains("00-1-2-01"), "{}", seen[0]);
    assert!(seen[1].contains("tracestate: a=b,c=d"), "{}", seen[1]);
    assert!(!seen[1].contains("00f067aa0ba902b7"), "the parent is our own span: {}", seen[1]);
    world.end().await;
}

#[tokio::test]
async fn what_is_answered_while_an_edge_ends_says_that_the_connection_closes() {
    let origin =
        Origin::start(|_, _| Saying { after: Duration::from_millis(300), ..response("", "hello") })
            .await;
    let world = World::before(&origin).await;
    let address = world.address;
    let ask = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n\r\n");
    let asked = ask.clone();
    let in_flight = tokio::spawn(async move { Answer::of(&say(address, &asked).await) });
    // Connected, and about to ask when the edge is told to stop.
    let mut late = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.stop.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.metric("headroom_edge_draining"), "1");
    late.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    late.read_to_end(&mut answer).await.unwrap();
    for answer in [in_flight.await.unwrap(), Answer::of(&answer)] {
        assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    }
    world.end().await;
}

/// One process of a hot restart: an edge with its own bus and metrics. It asks the one before.
fn start(mut config: EdgeConfig, threads: usize, take_over: bool) -> World {
    config.threads = threads;
    config.running.take_over = take_over;
    World::start_with(config)
}

/// Asks again and again, on a kept and on new connections; counts what succeeded.
async fn visit(address: std::net::SocketAddr, stop: CancellationToken) -> (usize, usize) {
    let (mut kept, mut fresh) = (0, 0);
    let ask = format!("GET /a HTTP/1.1\r\nHost: {OWN}\r\n\r\n");
    let mut stream = None;
    while !stop.is_cancelled() {
        let mut connected = match stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(address).await.expect("no connection is refused"),
        };
        connected.write_all(ask.as_bytes()).await.expect("no connection is reset");
        let mut answer = Vec::new();
        while !answer.ends_with(b"hello") {
            let read = connected.read_buf(&mut answer).await.expect("no connection is reset");
            assert!(read > 0, "closed without an answer: {}", String::from_utf8_lossy(&answer));
        }
        let answer = Answer::of(&answer);
        assert_eq!(answer.status, 200);
        if answer.field("connection") != Some("close") {
            stream = Some(connected);
        }
        kept += 1;
        let once = say(address, &ask.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
        assert_eq!(Answer::of(&once).status, 200);
        fresh += 1;
    }
    (kept, fresh)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_fails_while_an_edge_is_replaced() {
    let origin = Origin::start(|_, _| response("Cache-Control: max-age=60", "hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(Some(folder.path().join("plan.json")));
    config.running.handover_socket = Some(folder.path().join("handover.sock"));
    config.running.spool_dir = Some(folder.path().join("spool"));
    // The plan is on the disk for all of them.
    let mut saved = plan(origin.address);
    saved.generation = headroom_units::Generation::new(1);
    headroom_planfile::save(&folder.path().join("plan.json"), &saved).unwrap();
    let books = Books::default();

    let mut old = start(config.clone(), 3, true);
    let address = old.address;
    config.listen = vec![address];
    let mut exchanges = vec![exchange(&old.bus, &books)];
    let stop = CancellationToken::new();
    let visitors: Vec<_> = (0..8).map(|_| tokio::spawn(visit(address, stop.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Fewer threads, more threads, as many.
    for threads in [1, 4, 4] {
        let new = start(config.clone(), threads, true);
        assert_eq!(new.address, address);
        exchanges.push(exchange(&new.bus, &books));
        timeout(Duration::from_secs(10), old.running).await.unwrap().unwrap().unwrap();
        old = new;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.cancel();
    let mut answered = 0;
    for visitor in visitors {
        let (kept, fresh) = visitor.await.unwrap();
        assert!(kept > 10 && fresh > 10, "{kept} {fresh}");
        answered += kept + fresh;
    }
    old.end().await;
    until("all meters", || requests(&books) == u64::try_from(answered).unwrap()).await;
    exchanges.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_does_not_start_beside_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(None);
    config.running.handover_socket = Some(folder.path().join("handover.sock"));
    let world = World::start_with(config.clone());
    let socket = folder.path().join("handover.sock");
    until("the hand-over socket", || socket.exists()).await;
    let second = Edge::bind(config.clone(), &Bus::in_process(), &mut Registry::default());
    assert!(second.unwrap_err().to_string().contains("another process serves east-1"));
    world.end().await;
    let third = Edge::bind(config, &Bus::in_process(), &mut Registry::default());
    assert!(third.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_never_serves_changes_nothing() {
    let origin = Origin::start(|_, _| response("", "hello")).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(None);
    config.running.handover_socket = Some(folder.path().join("handover.sock"));
    let mut world = World::start_with(config.clone());
    world.plan(plan(origin.address)).await;
    let socket = folder.path().join("handover.sock");
    until("the hand-over socket", || socket.exists()).await;
    config.listen = vec![world.address];
    config.running.take_over = true;
    for _ in 0..2 {
        let next =
            Edge::bind(config.clone(), &Bus::in_process(), &mut Registry::default()).unwrap();
        assert_eq!(next.local_addresses(), [world.address]);
        drop(next);
    }
    assert_eq!(world.get(OWN, "/a").await.body, "hello");
    assert!(!world.running.is_finished());
    world.end().await;
}

//! Kill -9 of the whole program at many moments, and a restart on the same data directory.
//!
//! A purchaser keeps bidding while the program is killed between, and in the middle of, bidding,
//! clearing, settling and planning. An auditor keeps what was answered and checks it against the
//! API after each restart: what was acknowledged is there, unchanged; a repeated call does not act
//! twice; the books agree with the bids, contracts and settlements they come from, to the
//! micro-unit; the plan's generation never falls.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use headroom_bus::Bus;
use headroom_dns::{DnsConfig, DnsServer, Zone};
use headroom_units::{SlotLength, Timestamp};
use headroom_wire::{
    BidView, ContractView, LedgerView, PlanDocument, PurchaserView, SiteView, SlotView, Time,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const ROUNDS: u64 = 30;
const SLOT_SECONDS: u64 = 2;
const API: &str = "127.0.0.1:28001";
const PURCHASER_DNS: ([u8; 4], u16) = ([127, 0, 2, 53], 28_053);
const CREDIT_MICRO: i64 = 1_000_000_000;

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_charged_twice() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("headroom.toml"), CONFIGURATION).unwrap();
    let mut program = Program::start(folder.path());
    let operator = Caller::operator(folder.path());
    let (purchaser, _name_server) = set_up(&operator);
    let mut random = fastrand::Rng::with_seed(7);
    let mut auditor = Auditor::default();
    for round in 0..ROUNDS {
        let alive = Duration::from_millis(random.u64(50..2_500));
        let killed_at = Instant::now() + alive;
        let mut number = 0;
        while Instant::now() + Duration::from_millis(20) < killed_at {
            auditor.bid(&purchaser, &format!("bid-{round}-{number}"), &mut random);
            auditor.generation = auditor.generation.max(generation(&operator).unwrap_or(0));
            number += 1;
            std::thread::sleep(Duration::from_millis(random.u64(0..40)));
        }
        // One call is under way when the program dies: whether it acted is found out by repeating.
        let key = format!("bid-{round}-last");
        let body = Auditor::body(&mut random);
        let under_way = {
            let (purchaser, key, body) = (purchaser.clone(), key.clone(), body.clone());
            std::thread::spawn(move || purchaser.post("/v1/bids", &key, &body))
        };
        std::thread::sleep(Duration::from_micros(random.u64(0..8_000)));
        program.kill();
        let answered = under_way.join().unwrap();
        program = Program::start(folder.path());
        let again = purchaser.post("/v1/bids", &key, &body);
        auditor.compare(&key, answered, again);
        auditor.check(&operator, &purchaser);
    }
    auditor.settled(&operator, &purchaser);
    let (bids, contracts) = (auditor.bids.len(), auditor.contracts.len());
    println!("{ROUNDS} kills, {bids} bids, {contracts} contracts");
    assert!(bids > 100 && contracts > 10, "{bids} bids, {contracts} contracts");
}

/// What was acknowledged.
#[derive(Default)]
struct Auditor {
    bids: BTreeMap<String, BidView>,
    contracts: BTreeMap<String, ContractView>,
    generation: u64,
}

impl Auditor {
    fn body(random: &mut fastrand::Rng) -> Value {
        let slot = SlotLength::from_seconds(SLOT_SECONDS).unwrap();
        let first = slot.slot_at(now()).plus(random.u64(2..5));
        json!({
            "site": "shop", "region": "east", "first_slot": Time(slot.start(first)).to_string(),
            "slots": random.u64(1..4), "units": random.u64(1..60),
            "limit_price_micro": random.i64(200..2_000),
        })
    }

    fn bid(&mut self, purchaser: &Caller, key: &str, random: &mut fastrand::Rng) {
        let body = Self::body(random);
        if let Some((201, answer)) = purchaser.post("/v1/bids", key, &body) {
            self.bids.insert(key.to_owned(), serde_json::from_value(answer).unwrap());
        }
    }

    /// A call that was answered before the kill is answered the same after it; one that was not
    /// may act now, but its key acts once.
    fn compare(&mut self, key: &str, before: Option<(u16, Value)>, after: Option<(u16, Value)>) {
        let (status, answer) = after.expect("the program answers after its restart");
        if let Some((201, before)) = before {
            assert_eq!((201, &answer), (status, &before), "{key} was answered otherwise");
        }
        if status == 201 {
            self.bids.insert(key.to_owned(), serde_json::from_value(answer).unwrap());
        }
    }

    fn check(&mut self, operator: &Caller, purchaser: &Caller) {
        let bids: Vec<BidView> = purchaser.get("/v1/bids");
        let contracts: Vec<ContractView> = purchaser.get("/v1/contracts");
        for (key, known) in &self.bids {
            let found = bids.iter().find(|bid| bid.id == known.id);
            let found = found.unwrap_or_else(|| panic!("{key} = {} is lost", known.id.0));
            let terms =
                |bid: &BidView| (bid.units, bid.first_slot, bid.last_slot, bid.limit_price_micro);
            assert_eq!(terms(found), terms(known), "{key}");
        }
        assert_eq!(bids.len(), self.bids.len(), "each key has made one bid");
        for (id, known) in &self.contracts {
            let found = contracts.iter().find(|contract| contract.id.0.to_string() == *id);
            let found = found.unwrap_or_else(|| panic!("{id} is lost"));
            assert_eq!((found.units, &found.prices_micro), (known.units, &known.prices_micro));
            let settled = known.settlements.len();
            assert_eq!(found.settlements.get(..settled), Some(&known.settlements[..]), "{id}");
        }
        self.contracts =
            contracts.iter().map(|held| (held.id.0.to_string(), held.clone())).collect();
        let generation = generation(operator).expect("there is a plan");
        assert!(generation >= self.generation, "{generation} after {}", self.generation);
        self.generation = generation;
        check_books(operator, purchaser);
    }

    /// Waits until all is settled; then checks a last time.
    fn settled(&mut self, operator: &Caller, purchaser: &Caller) {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            let contracts: Vec<ContractView> = purchaser.get("/v1/contracts");
            let open: Vec<BidView> = purchaser.get("/v1/bids");
            let done =
                contracts.iter().all(|held| held.settlements.len() == held.prices_micro.len())
                    && open.iter().all(|bid| bid.status != "open");
            if done {
                assert!(!contracts.is_empty(), "nothing was ever sold");
                break;
            }
            assert!(Instant::now() < deadline, "not everything was settled");
            std::thread::sleep(Duration::from_millis(200));
        }
        self.check(operator, purchaser);
    }
}

/// The ledger agrees with the bids, contracts and settlements it comes from. All are read again
/// if a slot was settled between the calls.
fn check_books(operator: &Caller, purchaser: &Caller) {
    for _ in 0..50 {
        let before: LedgerView = operator.get("/v1/ledger");
        let bids: Vec<BidView> = purchaser.get("/v1/bids");
        let contracts: Vec<ContractView> = purchaser.get("/v1/contracts");
        let slots: Vec<SlotView> = operator.get("/v1/headroom?region=east");
        let bids_after: Vec<BidView> = purchaser.get("/v1/bids");
        let after: LedgerView = operator.get("/v1/ledger");
        // A bid that became a contract at its limit price moves no money.
        let held = |bids: &[BidView]| bids.iter().map(|bid| bid.held_micro).sum::<i64>();
        if before != after || held(&bids) != held(&bids_after) {
            continue;
        }
        let balance = |id: &str| {
            after.accounts.iter().find(|account| account.id == id).map_or(0, |a| a.balance_micro)
        };
        let settlements = || contracts.iter().flat_map(|contract| &contract.settlements);
        let charged: i64 = settlements().map(|settled| settled.charge_micro).sum();
        let refunded: i64 = settlements().map(|settled| settled.refund_micro).sum();
        let penalties: i64 = settlements().map(|settled| settled.penalty_micro).sum();
        let cost = |contract: &ContractView| {
            let units = i64::try_from(contract.units).unwrap();
            contract.prices_micro.iter().sum::<i64>() * units
        };
        let bought: i64 = contracts.iter().map(cost).sum();
        let open = held(&bids);
        assert_eq!(after.sum_micro, 0);
        assert_eq!(balance("external"), -CREDIT_MICRO);
        assert_eq!(balance("operator:revenue"), charged - refunded);
        assert_eq!(balance("operator:penalties"), -penalties);
        assert_eq!(balance("purchaser:shop-inc:held"), open + bought - charged);
        assert_eq!((after.charged_micro, after.refunded_micro), (charged, refunded));
        for contract in &contracts {
            let mut settled: Vec<_> = contract.settlements.iter().map(|s| s.slot).collect();
            settled.dedup();
            assert_eq!(settled.len(), contract.settlements.len(), "a slot is settled once");
        }
        assert!(slots.iter().all(|slot| slot.sold_units <= slot.capacity_units), "oversold");
        return;
    }
    panic!("the ledger does not come to rest");
}

fn generation(operator: &Caller) -> Option<u64> {
    let (status, plan) = operator.call("GET", "/v1/plan", None, None)?;
    (status == 200).then(|| serde_json::from_value::<PlanDocument>(plan).unwrap().generation)
}

/// The program under test.
struct Program(Child);

impl Program {
    fn start(folder: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_headroom"))
            .args(["all", "--config"])
            .arg(folder.join("headroom.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let program = Self(child);
        let deadline = Instant::now() + Duration::from_secs(30);
        let healthy = || ureq::get(format!("http://{API}/healthz")).call().is_ok();
        while !healthy() {
            assert!(Instant::now() < deadline, "the program does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        program
    }

    /// SIGKILL: nothing of the program runs after this.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Someone who calls the API.
#[derive(Clone)]
struct Caller {
    agent: ureq::Agent,
    token: String,
}

impl Caller {
    fn new(token: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            // A connection to a program that was killed is of no use to the next.
            .max_idle_connections(0)
            .proxy(None);
        Self { agent: config.build().into(), token: token.to_owned() }
    }

    fn operator(folder: &Path) -> Self {
        Self::new(fs::read_to_string(folder.join("data/operator.token")).unwrap().trim())
    }

    /// The status and body, or nothing if the program died meanwhile.
    fn call(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("http://{API}{path}"))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut response = self.agent.run(request.body(body).unwrap()).ok()?;
        let status = response.status().as_u16();
        response.body_mut().read_json().ok().map(|answer| (status, answer))
    }

    fn post(&self, path: &str, key: &str, body: &Value) -> Option<(u16, Value)> {
        self.call("POST", path, Some(key), Some(body))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, answer) = self.call("GET", path, None, None).expect("the program answers");
        assert_eq!(status, 200, "{path}: {answer}");
        serde_json::from_value(answer).unwrap()
    }
}

/// History, an account with money, and a site whose name is proved by a real name server, which
/// runs until the returned value is dropped.
fn set_up(operator: &Caller) -> (Caller, NameServer) {
    let slot = SlotLength::from_seconds(SLOT_SECONDS).unwrap();
    let running = slot.slot_at(now());
    let points: Vec<Value> = (1..=200)
        .rev()
        .map(|ago| {
            let start = Time(slot.start(running.minus(ago)));
            json!({ "slot": start.to_string(), "requests_per_second": 20.0 + (ago % 7) as f64 })
        })
        .collect();
    let imported =
        operator.call("PUT", "/v1/regions/east/series", None, Some(&json!({ "points": points })));
    assert_eq!(imported.unwrap().0, 200);
    let (_, created) = operator.post("/v1/purchasers", "p", &json!({ "id": "shop-inc" })).unwrap();
    let created: PurchaserView = serde_json::from_value(created).unwrap();
    let credit = json!({ "amount_micro": CREDIT_MICRO });
    operator.post("/v1/purchasers/shop-inc/credits", "c", &credit).unwrap();
    let purchaser = Caller::new(&created.token.unwrap());
    let site = json!({
        "id": "shop", "hosts": ["www.shop.example"], "origins": ["127.0.2.1:28000"],
        "remainder": { "policy": "return", "name": "origin.shop.example" },
        "fallback": "origin.shop.example:28000",
    });
    let (status, site) = purchaser.post("/v1/sites", "s", &site).unwrap();
    assert_eq!(status, 201, "{site}");
    let site: SiteView = serde_json::from_value(site).unwrap();
    let name_server = NameServer::start(&site);
    let verified = purchaser.post("/v1/sites/shop/verify", "v", &json!({})).unwrap();
    assert_eq!(verified.0, 200, "{}", verified.1);
    (purchaser, name_server)
}

/// The purchaser's name server, with the proof of control.
struct NameServer {
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl NameServer {
    fn start(site: &SiteView) -> Self {
        let host = &site.hosts[0];
        let zone = Zone::parse(&format!(
            "$ORIGIN shop.example.\n$TTL 60\n@ IN SOA ns1 hostmaster 1 3600 600 86400 60\n\
             @ IN NS ns1\nns1 IN A 127.0.2.53\n{}. IN TXT \"{}\"\n",
            host.challenge_name, host.challenge_value
        ))
        .unwrap();
        let listen = vec![SocketAddr::from(PURCHASER_DNS)];
        let config = DnsConfig { zones: vec![zone], ..DnsConfig::at(listen) };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut registry = prometheus_client::registry::Registry::default();
                let bus = Bus::in_process();
                let server = DnsServer::bind(config, &bus, &mut registry).await.unwrap();
                ready.send(()).unwrap();
                server.run(stopped).await;
            });
        });
        is_ready.recv().expect("the purchaser's name server starts");
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap())
}

const CONFIGURATION: &str = r#"
[network]
zone = "cdn.example"
ttl = "1s"
slot = "2s"

[[name_servers]]
id = "ns1"
host = "ns1.cdn.example"
addresses = ["127.0.1.53"]

[[regions]]
id = "east"
client_prefixes = ["127.20.0.0/16"]

[[regions.edges]]
id = "east-1"
addresses = ["127.0.1.1"]
capacity = "200 units"

[exchange]
listen = "127.0.0.1:28001"
data_dir = "data"
resolvers = ["127.0.2.53:28053"]
settle_delay = "1s"

[forecast]
season = "100s"
horizon = "100s"

[market]
cost = "0.0001 EUR"
penalty = "0.001 EUR"
reserve = "0.0002 EUR"
lead = "1s"
horizon = "60s"
auction_every = "1s"

[edge]
allow_private_origins = true
port = 28000
threads = 1

[dns]
port = 28053
"#;

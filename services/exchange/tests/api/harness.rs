//! An exchange on ports and in a folder of its own, and a client that calls it.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    path::Path,
    time::{Duration, Instant},
};

use headroom_bus::Bus;
use headroom_exchange::{Exchange, ExchangeConfig, OPERATOR_TOKEN_FILE};
use headroom_market::OfferPolicy;
use headroom_steer::{
    Edge, Fleet, NameServer, OverShare, Owner, Region, Remainder, SiteInput, SiteRules,
};
use headroom_store::Store;
use headroom_units::{
    Currency, EdgeId, Fraction, Price, RegionId, Slot, SlotLength, UnitSize, Units,
};
use headroom_wire::Time;
use http::HeaderMap;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use ureq::Agent;

use crate::name_server::NameServerOfTheWorld;

/// How long anything is waited for before it counts as never happening.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What one edge serves; a region has two.
pub(crate) const EDGE_UNITS: u64 = 500;
/// The lowest price.
pub(crate) const RESERVE: i64 = 100;
/// Per undelivered firm unit and slot.
pub(crate) const PENALTY: i64 = 400;
/// How far ahead bids may reach.
pub(crate) const HORIZON: u64 = 100;
/// Slots of one season of the forecast.
pub(crate) const SEASON: u64 = 12;
/// So far away that it does not come during a test.
const NEVER: Duration = Duration::from_secs(30 * 86_400);

/// A running exchange with all that is around it.
pub(crate) struct House {
    pub(crate) config: ExchangeConfig,
    pub(crate) bus: Bus,
    pub(crate) dns: NameServerOfTheWorld,
    pub(crate) operator: String,
    runtime: Runtime,
    agent: Agent,
    api: String,
    store: Store,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
    folder: TempDir,
}

impl House {
    /// Slots of a minute, and no auction during the test.
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// The same, changed in some way.
    pub(crate) fn start_with(change: impl FnOnce(&mut ExchangeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dns = NameServerOfTheWorld::start();
        let mut config = config(folder.path());
        config.resolvers = vec![dns.address];
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let bus = Bus::in_process();
        let stop = CancellationToken::new();
        let (api, task) = run(&runtime, &config, &bus, &stop);
        let operator = fs::read_to_string(folder.path().join(OPERATOR_TOKEN_FILE)).unwrap();
        let store = runtime.block_on(Store::open(&folder.path().join("headroom.db"))).unwrap();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        let operator = operator.trim().to_owned();
        let task = Some(task);
        Self { config, bus, dns, operator, runtime, agent, api, store, stop, task, folder }
    }

    /// Stops the exchange; it must end by itself.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            self.wait_for("the exchange to end", task).unwrap();
        }
    }

    /// Stops the exchange and starts it again on the same folder, with a new bus.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.stop = CancellationToken::new();
        self.bus = Bus::in_process();
        let (api, task) = run(&self.runtime, &self.config, &self.bus, &self.stop);
        (self.api, self.task) = (api, Some(task));
    }

    /// Waits, but not for ever.
    pub(crate) fn wait_for<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        let waited = self.runtime.block_on(async { timeout(PATIENCE, future).await });
        waited.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    pub(crate) fn address(&self) -> &str {
        self.api.trim_start_matches("http://")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    // -- calls

    pub(crate) fn call(&self, method: &str, path: &str) -> Call<'_> {
        let request = http::Request::builder().method(method).uri(format!("{}{path}", self.api));
        Call { house: self, request, body: None }
    }

    pub(crate) fn get(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path).token(token).send()
    }

    pub(crate) fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.call("POST", path).token(token).json(body).send()
    }

    /// What the operator reads at `path`.
    pub(crate) fn read(&self, path: &str) -> Value {
        self.get(path, &self.operator).ok(200)
    }

    /// All that the API shows to the operator, and how many events are kept.
    pub(crate) fn everything(&self) -> (usize, Vec<Value>) {
        let events = self.wait_for("the event log", self.store.events()).unwrap().len();
        let paths = ["/v1/bids", "/v1/contracts", "/v1/ledger", "/v1/sites", "/v1/purchasers"];
        (events, paths.map(|path| self.read(path)).into())
    }

    /// Asserts that `call` is refused so, in words that contain all of `says`, and that nothing is
    /// kept of it.
    pub(crate) fn refuses(&self, call: Call<'_>, status: u16, name: &str, says: &[&str]) {
        let before = self.everything();
        let detail = call.send().problem(status, name);
        for word in says {
            assert!(detail.contains(word), "{detail:?} does not say {word:?}");
        }
        assert_eq!(self.everything(), before, "something is kept of what was refused: {detail}");
    }

    // -- what most tests begin with

    /// A new purchaser's token.
    pub(crate) fn purchaser(&self, id: &str) -> String {
        let made = self.post("/v1/purchasers", &self.operator, &json!({ "id": id })).ok(201);
        made["token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn credit(&self, id: &str, amount_micro: i64) {
        let credit = json!({ "amount_micro": amount_micro });
        self.post(&format!("/v1/purchasers/{id}/credits"), &self.operator, &credit).ok(201);
    }

    /// A purchaser with money and a site whose host name `www.<id>.example` is proved.
    pub(crate) fn shop(&self, id: &str, amount_micro: i64) -> String {
        let token = self.purchaser(id);
        self.credit(id, amount_micro);
        let host = format!("www.{id}.example");
        let made = self.post("/v1/sites", &token, &site(id, &host)).ok(201);
        let challenge = &made["hosts"][0];
        self.dns.set(
            challenge["challenge_name"].as_str().unwrap(),
            challenge["challenge_value"].as_str().unwrap(),
        );
        let proved = self.call("POST", &format!("/v1/sites/{id}/verify")).token(&token).send();
        assert_eq!(proved.ok(200)["hosts"][0]["proved"], true);
        token
    }

    /// The start of the slot that is `ahead` of the running one.
    pub(crate) fn slot(&self, ahead: u64) -> String {
        self.slot_start(self.running().plus(ahead))
    }

    pub(crate) fn running(&self) -> Slot {
        self.config.slot_length.slot_at(headroom_clock::now())
    }

    pub(crate) fn slot_start(&self, slot: Slot) -> String {
        Time(self.config.slot_length.start(slot)).to_string()
    }

    /// A bid that is accepted: 10 units for 2 slots at 1 000 micro, 20 000 micro in all.
    pub(crate) fn bid(&self, site: &str) -> Value {
        json!({
            "site": site, "region": "east", "first_slot": self.slot(10), "slots": 2,
            "units": 10, "limit_price_micro": 1_000,
        })
    }

    /// The sum of the ledger: always 0.
    pub(crate) fn assert_books_balance(&self) -> Value {
        let ledger = self.read("/v1/ledger");
        let accounts = ledger["accounts"].as_array().unwrap();
        let sum: i64 = accounts.iter().map(|held| held["balance_micro"].as_i64().unwrap()).sum();
        assert_eq!((sum, &ledger["sum_micro"]), (0, &json!(0)), "{ledger}");
        ledger
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A call that is being put together.
pub(crate) struct Call<'h> {
    house: &'h House,
    request: http::request::Builder,
    body: Option<Vec<u8>>,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.text("application/json", &body.to_string())
    }

    pub(crate) fn text(self, kind: &str, body: &str) -> Self {
        let mut call = self.header("content-type", kind);
        call.body = Some(body.as_bytes().to_vec());
        call
    }

    pub(crate) fn send(self) -> Answer {
        let agent = &self.house.agent;
        let response = match self.body {
            Some(body) => agent.run(self.request.body(body).unwrap()),
            None => agent.run(self.request.body(()).unwrap()),
        };
        let mut response = response.unwrap();
        let body = response.body_mut().with_config().limit(u64::MAX).read_to_string().unwrap();
        Answer { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    /// The first server-sent event of the answer.
    pub(crate) fn first_event(self) -> (HeaderMap, Value) {
        use std::io::BufRead;
        let response = self.house.agent.run(self.request.body(()).unwrap()).unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let mut lines = std::io::BufReader::new(response.into_body().into_reader()).lines();
        let data = lines.find_map(|line| Some(line.unwrap().strip_prefix("data: ")?.to_owned()));
        (headers, serde_json::from_str(&data.unwrap()).unwrap())
    }
}

/// What a call was answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of a success.
    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The detail of a problem document (RFC 9457 §3), after a look at its other fields.
    pub(crate) fn problem(&self, status: u16, name: &str) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.body);
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["type"], format!("https://headroom.example/problems/{name}"));
        assert_eq!(problem["title"], name.replace('-', " "));
        assert_eq!(problem["status"], status);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.len() > 15, "{detail:?} says too little");
        detail.to_owned()
    }
}

/// Looks again and again until `look` finds something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A site that can be registered.
pub(crate) fn site(id: &str, host: &str) -> Value {
    json!({
        "id": id, "hosts": [host], "origins": ["198.51.100.1:80"],
        "remainder": { "policy": "return", "name": "origin.shop.example" },
        "over_share": "redirect", "fallback": "origin.shop.example",
    })
}

/// `base` with one field set, or left out if the value is null.
pub(crate) fn with(base: &Value, field: &str, value: Value) -> Value {
    let mut changed = base.clone();
    let fields = changed.as_object_mut().unwrap();
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), value);
    }
    changed
}

fn run(
    runtime: &Runtime,
    config: &ExchangeConfig,
    bus: &Bus,
    stop: &CancellationToken,
) -> (String, JoinHandle<()>) {
    let starting = Exchange::start(config.clone(), bus.clone(), Registry::default());
    let exchange = runtime.block_on(starting).unwrap();
    let api = format!("http://{}", exchange.local_address().unwrap());
    (api, runtime.spawn(exchange.run(stop.clone())))
}

fn config(folder: &Path) -> ExchangeConfig {
    let price = |micro| Price::from_micro(micro).unwrap();
    let regions: BTreeMap<RegionId, Region> = [
        ("east".parse().unwrap(), region("10.0.0.0/9", [("east-1", 1), ("east-2", 2)])),
        ("west".parse().unwrap(), region("10.128.0.0/9", [("west-1", 3), ("west-2", 4)])),
    ]
    .into();
    let edges = regions.values().flat_map(|region| region.edges.keys().cloned());
    let capacities = edges.map(|edge| (edge, Units::new(EDGE_UNITS).unwrap())).collect();
    ExchangeConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: folder.to_owned(),
        resolvers: Vec::new(),
        fleet: Fleet {
            zone: "cdn.example".parse().unwrap(),
            name_servers: [(
                "ns1".parse().unwrap(),
                NameServer {
                    host: "ns1.cdn.example".parse().unwrap(),
                    addresses: vec!["192.0.2.53".parse().unwrap()],
                },
            )]
            .into(),
            ttl: Duration::from_secs(20),
            default_region: "east".parse().unwrap(),
            regions,
        },
        capacities,
        own_sites: vec![own_site()],
        currency: Currency::EUR,
        slot_length: SlotLength::from_seconds(60).unwrap(),
        unit: UnitSize::default(),
        forecast: headroom_forecast::Config {
            season_slots: SEASON,
            history_seasons: 8,
            horizon_slots: HORIZON,
        },
        risk: Fraction::from_millionths(50_000).unwrap(),
        offer: OfferPolicy { cost: price(10), penalty: price(PENALTY), reserve: price(RESERVE) },
        lead: Duration::from_secs(1),
        horizon_slots: HORIZON,
        gate: None,
        auction_every: NEVER,
        recall_notice: Duration::from_secs(2),
        settle_delay: Duration::from_secs(1),
        budget_lifetime: Duration::from_secs(3),
        edge_timeout: NEVER,
    }
}

fn region(prefix: &str, edges: [(&str, u8); 2]) -> Region {
    let edges = edges.map(|(id, last)| {
        let addresses = vec![[192, 0, 2, last].into()];
        (id.parse::<EdgeId>().unwrap(), Edge { addresses, healthy: true })
    });
    Region { client_prefixes: vec![prefix.parse().unwrap()], edges: edges.into() }
}

fn own_site() -> SiteInput {
    SiteInput {
        id: "own".parse().unwrap(),
        owner: Owner::Operator,
        hosts: vec![("www.operator.example".parse().unwrap(), true)],
        origins: vec!["198.51.100.9:80".parse().unwrap()],
        remainder: Remainder::ReturnName("origin.operator.example".parse().unwrap()),
        over_share: OverShare::Redirect,
        fallback: "origin.operator.example".parse().unwrap(),
        rules: SiteRules::default(),
        purges: Vec::new(),
    }
}

//! A world of one edge: how to start it, plan it, ask it, and stand behind it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use headroom_bus::{
    Bus, Subscription,
    subjects::{METERS, PLAN},
};
use headroom_edge::{Edge, EdgeConfig, EdgeError, Running, VisitorConfig};
use headroom_steer::{
    Entitlement, NameServer, OverShare, Owner, Plan, Region, Remainder, Site, SiteRules,
};
use headroom_units::{BitRate, Class, ContractId, Generation, RequestRate, Timestamp};
use headroom_wire::{MeterReport, PlanDocument};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub(crate) const OWN: &str = "www.own.example";
pub(crate) const SHOP: &str = "www.shop.example";
pub(crate) const CONTRACT: ContractId = ContractId::new(1);

/// A running edge.
pub(crate) struct World {
    pub(crate) bus: Bus,
    pub(crate) address: SocketAddr,
    /// Where it listens for TLS, if it does.
    pub(crate) tls_address: Option<SocketAddr>,
    pub(crate) registry: Registry,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), EdgeError>>,
    generation: u64,
}

pub(crate) fn config(plan_file: Option<PathBuf>) -> EdgeConfig {
    EdgeConfig {
        id: "east-1".parse().unwrap(),
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        threads: 2,
        cache_bytes: "8 MiB".parse().unwrap(),
        cache_directory: None,
        cache_disk_bytes: "64 MiB".parse().unwrap(),
        burst: Duration::from_millis(250),
        origin_connect_timeout: Duration::from_millis(500),
        origin_response_timeout: Duration::from_millis(500),
        origin_ca_file: None,
        allow_private_origins: true,
        object_bytes_max: "256 KiB".parse().unwrap(),
        plan_file,
        running: Running::default(),
        visitors: VisitorConfig::default(),
    }
}

impl World {
    /// An edge without a plan.
    pub(crate) fn start() -> Self {
        Self::start_with(config(None))
    }

    pub(crate) fn start_with(config: EdgeConfig) -> Self {
        let (bus, mut registry) = (Bus::in_process(), Registry::default());
        let edge = Edge::bind(config, &bus, &mut registry).unwrap();
        let address = edge.local_addresses()[0];
        let tls_address = edge.local_tls_addresses().first().copied();
        let stop = CancellationToken::new();
        let running = tokio::spawn(edge.run(stop.clone()));
        Self { bus, address, tls_address, registry, stop, running, generation: 0 }
    }

    /// An edge whose sites both have their origin at `origin`.
    pub(crate) async fn before(origin: &Origin) -> Self {
        let mut world = Self::start();
        world.plan(plan(origin.address)).await;
        world
    }

    /// The same with another configuration.
    pub(crate) async fn before_with(config: EdgeConfig, origin: &Origin) -> Self {
        let mut world = Self::start_with(config);
        world.plan(plan(origin.address)).await;
        world
    }

    /// Puts a plan in force, under the next generation.
    pub(crate) async fn plan(&mut self, mut plan: Plan) {
        self.generation += 1;
        plan.generation = Generation::new(self.generation);
        self.bus.publish(&PLAN, &PlanDocument::from(&plan)).unwrap();
        for _ in 0..200 {
            if self.metric("headroom_edge_plan_generation") == self.generation.to_string() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the plan is not in force");
    }

    /// The value of a metric that has no labels beside the edge.
    pub(crate) fn metric(&self, name: &str) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or_default().to_owned()
    }

    /// Waits until a metric has a value.
    pub(crate) async fn until(&self, name: &str, value: &str) {
        for _ in 0..200 {
            if self.metric(name) == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{name} is {}, not {value}", self.metric(name));
    }

    pub(crate) fn meters(&self) -> Subscription<MeterReport> {
        self.bus.subscribe(&METERS)
    }

    pub(crate) async fn get(&self, host: &str, path: &str) -> Answer {
        self.ask("GET", host, path, &[]).await
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        host: &str,
        path: &str,
        fields: &[&str],
    ) -> Answer {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        self.say(&format!("{head}{fields}Connection: close\r\n\r\n")).await
    }

    /// Sends bytes as they are and reads until the edge closes.
    pub(crate) async fn say(&self, bytes: &str) -> Answer {
        Answer::of(&say(self.address, bytes).await)
    }

    /// Stops the edge and waits for its end.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(15), self.running).await.unwrap().unwrap().unwrap();
    }
}

pub(crate) async fn say(address: SocketAddr, bytes: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    if timeout(Duration::from_secs(20), reading).await.is_err() {
        panic!("the edge does not close after {bytes:.99}");
    }
    answer
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
    /// False if the content ended before its end.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let mut answer = Self { status, head: head.to_owned(), body: rest.to_owned(), whole: true };
        if answer.field("transfer-encoding").is_some() {
            (answer.body, answer.whole) = unchunked(rest);
        } else if let Some(length) = answer.field("content-length") {
            answer.whole = length == rest.len().to_string();
        }
        answer
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The lines of the head, sorted, without those that tell the time.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let told = |line: &&str| !line.starts_with("date: ") && !line.starts_with("age: ");
        let mut fields: Vec<_> = self.head.lines().skip(1).filter(told).collect();
        fields.sort_unstable();
        fields
    }

    pub(crate) fn cache(&self) -> &str {
        self.field("cache-status").unwrap_or_default()
    }
}

fn unchunked(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, chunk)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        if chunk.len() < size + 2 {
            break;
        }
        body.push_str(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    (body, false)
}

/// What an origin says to a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Saying {
    pub(crate) after: Duration,
    pub(crate) bytes: String,
    /// Closes the connection behind it.
    pub(crate) close: bool,
    /// Says nothing more, and does not close.
    pub(crate) hang: bool,
}

/// A plain response.
pub(crate) fn response(fields: &str, body: &str) -> Saying {
    let length = body.len();
    let fields = if fields.is_empty() { "X-Fields: none" } else { fields };
    let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n\r\n{body}");
    Saying { bytes, ..Saying::default() }
}

/// An origin server that says what the test wants, and remembers what it was asked.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

type Script = dyn Fn(&str, usize) -> Saying + Send + Sync;

impl Origin {
    /// `script` gets each request, head and content, and how many there were before.
    pub(crate) async fn start(
        script: impl Fn(&str, usize) -> Saying + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, log): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(converse(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { address, connections, seen, serving }
    }

    /// How many connections were made to it.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().len()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn converse(mut stream: TcpStream, script: Arc<Script>, log: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        let before = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            log.len() - 1
        };
        let saying = script(&request, before);
        tokio::time::sleep(saying.after).await;
        if stream.write_all(saying.bytes.as_bytes()).await.is_err() || saying.close {
            return;
        }
        if saying.hang {
            std::future::pending::<()>().await;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, content)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            let chunked = head.contains("transfer-encoding: chunked");
            if content.len() >= length && (!chunked || content.ends_with("0\r\n\r\n")) {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&piece[..read]),
            _ => return None,
        }
    }
}

/// An address where nobody listens.
pub(crate) async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A plan with the operator's site and a purchaser's, which has no contract.
pub(crate) fn plan(origin: SocketAddr) -> Plan {
    let edge =
        || headroom_steer::Edge { addresses: vec!["127.0.0.1".parse().unwrap()], healthy: true };
    let region = Region {
        client_prefixes: vec!["10.0.0.0/8".parse().unwrap()],
        edges: [("east-1".parse().unwrap(), edge())].into(),
    };
    let server = NameServer {
        host: "ns1.cdn.example".parse().unwrap(),
        addresses: vec!["192.0.2.53".parse().unwrap()],
    };
    let site = |host: &str, owner| Site {
        owner,
        hosts: vec![host.parse().unwrap()],
        origins: vec![origin.into()],
        remainder: Remainder::ReturnName("origin.shop.example".parse().unwrap()),
        over_share: OverShare::Redirect,
        fallback: "origin.shop.example:8080".parse().unwrap(),
        rules: SiteRules::default(),
        purges: Vec::new(),
        entitlements: Vec::new(),
    };
    let purchaser = Owner::Purchaser("shop-inc".parse().unwrap());
    Plan {
        generation: Generation::ZERO,
        made_at: headroom_clock::now(),
        zone: "cdn.example".parse().unwrap(),
        name_servers: BTreeMap::from([("ns1".parse().unwrap(), server)]),
        ttl: Duration::from_secs(20),
        default_region: "east".parse().unwrap(),
        regions: BTreeMap::from([("east".parse().unwrap(), region)]),
        sites: BTreeMap::from([
            ("own".parse().unwrap(), site(OWN, Owner::Operator)),
            ("shop".parse().unwrap(), site(SHOP, purchaser)),
        ]),
    }
}

/// The same with a contract of so many requests per second, from and until so many seconds from
/// now.
pub(crate) fn plan_with_contract(origin: SocketAddr, requests: u64, from: i64, until: i64) -> Plan {
    let now = headroom_clock::now();
    let at = |seconds: i64| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now.before(distance) } else { now.after(distance) }
    };
    let mut plan = plan(origin);
    shop(&mut plan).entitlements.push(entitlement(requests, at(from), at(until)));
    plan
}

pub(crate) fn shop(plan: &mut Plan) -> &mut Site {
    plan.sites.get_mut(&"shop".parse().unwrap()).unwrap()
}

pub(crate) fn entitlement(requests: u64, from: Timestamp, until: Timestamp) -> Entitlement {
    Entitlement {
        contract: CONTRACT,
        region: "east".parse().unwrap(),
        from,
        until,
        requests: RequestRate::from_requests_per_second(requests),
        egress: BitRate::from_bits_per_second(requests * 500_000),
        class: Class::Firm,
    }
}

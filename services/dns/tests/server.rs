//! The whole server over real sockets, a real bus and a real plan file.

#![expect(clippy::unwrap_used, reason = "a test may stop at what does not hold")]

use std::{net::SocketAddr, path::Path, time::Duration};

use headroom_bus::{
    Bus,
    subjects::{BUDGETS, NAME_SERVER_REPORTS, PLAN},
};
use headroom_dns::{DnsConfig, DnsError, DnsServer, Zone};
use headroom_steer::{
    Edge, Entitlement, Fleet, NameServer, OverShare, Owner, Plan, PlanInput, Region, Remainder,
    SiteInput, SiteRules,
};
use headroom_units::{BitRate, Class, ContractId, Generation, RequestRate};
use headroom_wire::{BudgetsMessage, LeaseBudgetMessage, PlanDocument, Text, Time};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(10);
const A: u16 = 1;
const TXT: u16 = 16;

fn plan(generation: u64, host: &str) -> Plan {
    let now = headroom_clock::now();
    let address = |text: &str| vec![text.parse().unwrap()];
    let name_server =
        NameServer { host: "ns1.cdn.example".parse().unwrap(), addresses: address("127.0.0.1") };
    let edge = Edge { addresses: address("192.0.2.1"), healthy: true };
    let region =
        Region { client_prefixes: vec![], edges: [("east-1".parse().unwrap(), edge)].into() };
    let entitlement = Entitlement {
        contract: ContractId::new(1),
        region: "east".parse().unwrap(),
        from: now.before(Duration::from_secs(10)),
        until: now.after(Duration::from_secs(1_000)),
        requests: RequestRate::from_requests_per_second(50),
        egress: BitRate::from_bits_per_second(25_000_000),
        class: Class::Firm,
    };
    headroom_steer::plan(&PlanInput {
        now,
        generation: Generation::new(generation),
        fleet: Fleet {
            zone: "cdn.example".parse().unwrap(),
            name_servers: [("ns1".parse().unwrap(), name_server)].into(),
            ttl: Duration::from_secs(20),
            default_region: "east".parse().unwrap(),
            regions: [("east".parse().unwrap(), region)].into(),
        },
        down: Default::default(),
        sites: vec![SiteInput {
            id: "shop".parse().unwrap(),
            owner: Owner::Purchaser("shop-inc".parse().unwrap()),
            hosts: vec![(host.parse().unwrap(), true)],
            origins: vec!["198.51.100.1:80".parse().unwrap()],
            remainder: Remainder::ReturnAddresses(address("198.51.100.1")),
            over_share: OverShare::Redirect,
            fallback: "origin.shop.example".parse().unwrap(),
            rules: SiteRules::default(),
            purges: Vec::new(),
        }],
        entitlements: vec![("shop".parse().unwrap(), entitlement)],
    })
}

fn zone() -> Zone {
    let mut text = "$ORIGIN static.example.\n@ 60 SOA ns1 a 1 2 3 4 5\n@ NS ns1\n".to_owned();
    text += "www A 203.0.113.1\n";
    for number in 0..20 {
        text += &format!("big TXT \"{number:0200}\"\n");
    }
    Zone::parse(&text).unwrap()
}

struct Running {
    address: SocketAddr,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(bus: &Bus, plan_file: Option<&Path>) -> Self {
        let config = DnsConfig {
            id: Some("ns1".parse().unwrap()),
            plan_file: plan_file.map(Path::to_owned),
            threads: 2,
            zones: vec![zone()],
            ..DnsConfig::at(vec!["127.0.0.1:0".parse().unwrap()])
        };
        let mut registry = Registry::default();
        let server = DnsServer::bind(config, bus, &mut registry).await.unwrap();
        let address = server.local_addresses()[0];
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self { address, registry, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    async fn ask(&self, name: &str, rtype: u16) -> Vec<u8> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(&query(name, rtype), self.address).await.unwrap();
        let mut reply = vec![0; 65_535];
        let (length, _) = timeout(PATIENCE, socket.recv_from(&mut reply)).await.unwrap().unwrap();
        reply.truncate(length);
        reply
    }

    /// Asks until the answer ends in these octets, as with an address as the last record.
    async fn ask_until(&self, name: &str, end: [u8; 4]) {
        let asking = async {
            while !self.ask(name, A).await.ends_with(&end) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{name} is never at {end:?}"));
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    async fn metric_until(&self, line: &str) {
        let waiting = async {
            while !self.metrics().lines().any(|found| found == line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let in_time = timeout(PATIENCE, waiting).await;
        in_time.unwrap_or_else(|_| panic!("never {line}:\n{}", self.metrics()));
    }
}

const EDGE: [u8; 4] = [192, 0, 2, 1];
const REMAINDER: [u8; 4] = [198, 51, 100, 1];

fn query(name: &str, rtype: u16) -> Vec<u8> {
    let mut octets = vec![0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets.extend(rtype.to_be_bytes());
    octets.extend([0, 1]);
    octets
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

async fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut message = vec![0; length.into()];
    timeout(PATIENCE, stream.read_exact(&mut message)).await.unwrap().unwrap();
    message
}

fn rcode(reply: &[u8]) -> u8 {
    reply[3] & 0xf
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp_and_queries_are_pipelined() {
    let bus = Bus::in_process();
    let server = Running::start(&bus, None).await;
    let reply = server.ask("big.static.example", TXT).await;
    assert!(reply[2] & 2 != 0, "truncated");

    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let small = query("www.static.example", A);
    let pipelined =
        [framed(&query("big.static.example", TXT)), framed(&[0; 3]), framed(&small)].concat();
    for octets in pipelined.chunks(7) {
        stream.write_all(octets).await.unwrap();
        stream.flush().await.unwrap();
    }
    let big = read_framed(&mut stream).await;
    assert!(big.len() > 4_000 && big[2] & 2 == 0);
    assert!(read_framed(&mut stream).await.ends_with(&[203, 0, 113, 1]));

    let text = server.metrics();
    for line in [
        "headroom_dns_queries_total{transport=\"udp\",rcode=\"noerror\"} 1",
        "headroom_dns_queries_total{transport=\"tcp\",rcode=\"noerror\"} 2",
        "headroom_dns_truncated_total{transport=\"udp\"} 1",
        "headroom_dns_ignored_total{transport=\"tcp\"} 1",
        "headroom_dns_tcp_connections 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    server.stop().await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "closed in order");
}

#[tokio::test]
async fn a_message_that_does_not_end_is_cut_off() {
    let server = Running::start(&Bus::in_process(), None).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[0, 40, 1, 2, 3]).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.read(&mut [0])).await.unwrap().unwrap(), 0);
    server.stop().await;
}

#[tokio::test]
async fn plans_come_over_the_bus_are_saved_and_only_go_forward() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    let bus = Bus::in_process();
    let server = Running::start(&bus, Some(&file)).await;
    assert_eq!(rcode(&server.ask("www.shop.example", A).await), 5, "refused without a plan");
    assert_eq!(rcode(&server.ask("www.static.example", A).await), 0);

    bus.publish(&PLAN, &PlanDocument::from(&plan(5, "www.shop.example"))).unwrap();
    server.ask_until("www.shop.example", EDGE).await;
    server.metric_until("headroom_dns_plans_total{outcome=\"installed\"} 1").await;
    let saved = || headroom_planfile::load(&file).unwrap().unwrap().generation.number();
    assert_eq!(saved(), 5);

    bus.publish(&PLAN, &PlanDocument::from(&plan(4, "www.older.example"))).unwrap();
    server.metric_until("headroom_dns_plans_total{outcome=\"not_newer\"} 1").await;
    let mut unsound = plan(6, "www.unsound.example");
    unsound.name_servers.clear();
    bus.publish(&PLAN, &PlanDocument::from(&unsound)).unwrap();
    server.metric_until("headroom_dns_plans_total{outcome=\"unsound\"} 1").await;
    for name in ["www.older.example", "www.unsound.example"] {
        assert_eq!(rcode(&server.ask(name, A).await), 5, "{name}");
    }
    server.ask_until("www.shop.example", EDGE).await;
    assert_eq!(saved(), 5);
    server.stop().await;

    // With everything else gone: a new bus, nobody on it.
    let server = Running::start(&Bus::in_process(), Some(&file)).await;
    assert!(server.ask("www.shop.example", A).await.ends_with(&EDGE));
    server.metric_until("headroom_dns_plan_generation 5").await;
    server.stop().await;
}

#[tokio::test]
async fn a_plan_file_that_is_unusable_does_not_stop_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("plan.json");
    std::fs::write(&file, "{").unwrap();
    let bus = Bus::in_process();
    let server = Running::start(&bus, Some(&file)).await;
    assert_eq!(rcode(&server.ask("www.static.example", A).await), 0);
    bus.publish(&PLAN, &PlanDocument::from(&plan(1, "www.shop.example"))).unwrap();
    server.ask_until("www.shop.example", EDGE).await;
    server.stop().await;
}

#[tokio::test]
async fn a_plan_that_cannot_be_saved_is_in_force_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Bus::in_process();
    let server = Running::start(&bus, Some(&folder.path().join("gone/plan.json"))).await;
    bus.publish(&PLAN, &PlanDocument::from(&plan(1, "www.shop.example"))).unwrap();
    server.ask_until("www.shop.example", EDGE).await;
    server.metric_until("headroom_dns_plans_total{outcome=\"not_saved\"} 1").await;
    server.stop().await;
}

#[tokio::test]
async fn budgets_come_and_reports_go_every_second() {
    let bus = Bus::in_process();
    let mut reports = bus.subscribe(&NAME_SERVER_REPORTS);
    let server = Running::start(&bus, None).await;
    bus.publish(&PLAN, &PlanDocument::from(&plan(1, "www.shop.example"))).unwrap();
    server.ask_until("www.shop.example", EDGE).await;
    let now = headroom_clock::now();
    let nothing = LeaseBudgetMessage {
        site: Text("shop".parse().unwrap()),
        region: Text("east".parse().unwrap()),
        by_name_server: vec![(Text("ns1".parse().unwrap()), Text(RequestRate::ZERO))],
        measured_second: Time(now),
        level: 0,
        brought: Vec::new(),
    };
    let budgets = BudgetsMessage {
        sequence: 1,
        generation: 1,
        issued_at: Time(now),
        expires_at: Time(now.after(Duration::from_secs(60))),
        leases: vec![nothing],
        shares: Vec::new(),
    };
    bus.publish(&BUDGETS, &budgets).unwrap();
    server.ask_until("www.shop.example", REMAINDER).await;

    let (mut asked, mut mapped, mut seconds) = (0, 0, Vec::new());
    while seconds.len() < 3 {
        let report = timeout(PATIENCE, reports.next()).await.unwrap().unwrap();
        assert_eq!(report.name_server.0.as_str(), "ns1");
        seconds.push(report.second.0.seconds());
        for place in report.places {
            asked += place.mapping_requests;
            mapped += place.mapped_to_edges;
        }
    }
    assert!(mapped >= 1 && asked > mapped, "{asked} {mapped}");
    assert!(seconds.is_sorted_by(|a, b| a < b), "{seconds:?}");
    let text = server.metrics();
    assert!(text.contains(&format!("headroom_dns_mappings_total{{target=\"edge\"}} {mapped}\n")));
    server.stop().await;
}

#[tokio::test]
async fn mistakes_are_told_at_the_start() {
    let bus = Bus::in_process();
    let bind = async |listen: Vec<SocketAddr>, zones| {
        let config = DnsConfig { zones, ..DnsConfig::at(listen) };
        DnsServer::bind(config, &bus, &mut Registry::default()).await.unwrap_err()
    };
    assert!(matches!(bind(vec![], vec![]).await, DnsError::NoAddress));
    let any = vec!["127.0.0.1:0".parse().unwrap()];
    assert!(matches!(bind(any, vec![zone(), zone()]).await, DnsError::DuplicateZone { .. }));
    // Another process may have the same port for TCP by chance, and not each time.
    let mut told = Vec::new();
    for _ in 0..10 {
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let error = bind(vec![taken.local_addr().unwrap()], vec![]).await;
        if matches!(error, DnsError::Listen { transport: "UDP", .. }) {
            return;
        }
        told.push(error.to_string());
    }
    panic!("{told:?}");
}

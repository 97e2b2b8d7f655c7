//! How long it takes until a new plan is answered from, over real sockets. Measurements, so they run
//! on request: `cargo test --release -p headroom-dns --test scale -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test may stop at what does not hold")]
#![expect(clippy::print_stdout, reason = "what is measured is printed")]

use std::{
    net::UdpSocket,
    path::Path,
    time::{Duration, Instant},
};

use headroom_bus::{Bus, subjects::PLAN};
use headroom_dns::{
    DnsConfig, DnsServer, DnssecConfig, NameTable, ProtocolConfig, RateLimit, dnssec::KeyFolder,
};
use headroom_steer::{
    Edge, Entitlement, Fleet, NameServer, OverShare, Owner, Plan, PlanInput, Region, Remainder,
    SiteInput, SiteRules,
};
use headroom_units::{BitRate, Class, ContractId, EdgeId, Generation, RequestRate};
use headroom_wire::PlanDocument;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);
/// Between two plans, in which the one before is saved. An exchange makes two a second at most.
const PAUSE: Duration = Duration::from_millis(250);

/// A network of two regions with a site for each number, each with one host; the first has a
/// contract.
fn input(sites: usize) -> PlanInput {
    let region = |id: &str, prefix: &str, address: &str| {
        let edge = Edge { addresses: vec![address.parse().unwrap()], healthy: true };
        let edges = [(format!("{id}-1").parse().unwrap(), edge)].into();
        let client_prefixes = vec![prefix.parse().unwrap()];
        (id.parse().unwrap(), Region { client_prefixes, edges })
    };
    let addresses = vec!["127.0.0.1".parse().unwrap()];
    let server = NameServer { host: "ns1.cdn.example".parse().unwrap(), addresses };
    let site = |number: usize| SiteInput {
        id: format!("site-{number:07}").parse().unwrap(),
        owner: Owner::Purchaser("shop-inc".parse().unwrap()),
        hosts: vec![(format!("www.shop-{number:07}.example").parse().unwrap(), true)],
        origins: vec!["198.51.100.1:80".parse().unwrap()],
        remainder: Remainder::ReturnAddresses(vec!["198.51.100.1".parse().unwrap()]),
        over_share: OverShare::Redirect,
        fallback: format!("origin.shop-{number:07}.example").parse().unwrap(),
        rules: SiteRules::default(),
        purges: Vec::new(),
    };
    let now = headroom_clock::now();
    let contract = Entitlement {
        contract: ContractId::new(1),
        region: "east".parse().unwrap(),
        from: now,
        until: now.after(Duration::from_secs(1_000)),
        requests: RequestRate::from_requests_per_second(50),
        egress: BitRate::from_bits_per_second(25_000_000),
        class: Class::Firm,
    };
    PlanInput {
        now,
        generation: Generation::new(1),
        fleet: Fleet {
            zone: "cdn.example".parse().unwrap(),
            name_servers: [("ns1".parse().unwrap(), server)].into(),
            ttl: Duration::from_secs(20),
            default_region: "east".parse().unwrap(),
            regions: [
                region("east", "10.0.0.0/9", "192.0.2.1"),
                region("west", "10.128.0.0/9", "192.0.2.2"),
            ]
            .into(),
        },
        down: Default::default(),
        sites: (0..sites).map(site).collect(),
        entitlements: vec![("site-0000000".parse().unwrap(), contract)],
    }
}

/// The next plan of the same network: an edge has another address and another health with each, the
/// hosts change with every fifth. Its address tells the plan's number.
fn next(input: &mut PlanInput, number: u64) -> Plan {
    input.generation = Generation::new(number);
    let edge: EdgeId = "east-1".parse().unwrap();
    if !input.down.remove(&edge) {
        input.down.insert(edge.clone());
    }
    let region = input.fleet.regions.get_mut(&"east".parse().unwrap()).unwrap();
    let [.., high, low] = number.to_be_bytes();
    region.edges.get_mut(&edge).unwrap().addresses = vec![[192, 0, high, low].into()];
    if number.is_multiple_of(5) {
        let host = format!("www.renamed-{number}.example").parse().unwrap();
        input.sites.last_mut().unwrap().hosts = vec![(host, true)];
    }
    headroom_steer::plan(input)
}

/// A question for the address of that edge.
fn question() -> Vec<u8> {
    let mut octets = vec![0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    octets.extend(b"\x06east-1\x04edge\x03cdn\x07example\0\0\x01\0\x01");
    octets
}

/// The plan that an answer is from: its address ends it.
fn number(answer: &[u8]) -> Option<u64> {
    let &[high, low] = answer.last_chunk()?;
    (answer[7] == 1).then(|| u16::from_be_bytes([high, low]).into())
}

/// Which names are signed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Signed {
    None,
    /// Those of the network's own zone: one for each site.
    Sites,
    /// The hosts of the sites too, each of them a zone of its own.
    Hosts,
}

impl Signed {
    /// Makes keys in the folder.
    fn config(self, folder: &Path, input: &PlanInput) -> Option<DnssecConfig> {
        let hosts = input.sites.iter().map(|site| &site.hosts[0].0);
        let zones: Vec<_> = match self {
            Self::None => return None,
            Self::Sites => vec![&input.fleet.zone],
            Self::Hosts => hosts.chain([&input.fleet.zone]).collect(),
        };
        let folder = folder.join("keys");
        for (number, zone) in zones.into_iter().enumerate() {
            // Each has a folder until all are there: making a key reads those that are beside it.
            let beside = folder.with_extension(number.to_string());
            KeyFolder::new(beside.clone()).generate(zone, headroom_clock::now()).unwrap();
            std::fs::create_dir_all(&folder).unwrap();
            for file in std::fs::read_dir(&beside).unwrap() {
                let file = file.unwrap();
                std::fs::rename(file.path(), folder.join(file.file_name())).unwrap();
            }
        }
        let validity = Duration::from_secs(14 * 86_400);
        Some(DnssecConfig { folder, validity, zones: None })
    }
}

/// How long it took each of so many plans from its publication until it was answered from.
async fn measure(sites: usize, signed: Signed, plans: u64) -> Vec<Duration> {
    let folder = tempfile::tempdir().unwrap();
    let bus = Bus::in_process();
    let mut input = input(sites);
    let config = DnsConfig {
        id: Some("ns1".parse().unwrap()),
        plan_file: Some(folder.path().join("plan.json")),
        dnssec: signed.config(folder.path(), &input),
        protocol: ProtocolConfig { rate_limit: RateLimit::OFF, ..ProtocolConfig::default() },
        ..DnsConfig::at(vec!["127.0.0.1:0".parse().unwrap()])
    };
    let server = DnsServer::bind(config, &bus, &mut Registry::default()).await.unwrap();
    let (address, stop) = (server.local_addresses()[0], CancellationToken::new());
    let running = tokio::spawn(server.run(stop.clone()));
    let measuring = tokio::task::spawn_blocking(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut took = Vec::new();
        for number in 1..=plans {
            let document = PlanDocument::from(&next(&mut input, number));
            let begun = Instant::now();
            bus.publish(&PLAN, &document).unwrap();
            let mut answer = [0; 512];
            loop {
                socket.send(&question()).unwrap();
                let length = socket.recv(&mut answer).unwrap();
                if crate::number(&answer[..length]) == Some(number) {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "plan {number} is not in force");
                std::thread::sleep(Duration::from_micros(200));
            }
            took.push(begun.elapsed());
            std::thread::sleep(PAUSE);
        }
        took
    });
    let took = measuring.await.unwrap();
    stop.cancel();
    running.await.unwrap();
    took
}

fn told(sites: usize, signed: Signed, took: &[Duration]) {
    // With the first plan all signatures are made.
    let (first, mut others) = (took[0], took[1..].to_vec());
    others.sort();
    let at = |percent: usize| others[(others.len() * percent).div_ceil(100) - 1];
    println!(
        "{sites} sites, signed: {signed:?}: the first plan in force after {first:?}; {} others after \
         {:?} (median), {:?} (p99), {:?} (longest)",
        others.len(),
        at(50),
        at(99),
        at(100),
    );
}

/// The parts of the way of one plan.
#[tokio::test]
#[ignore = "a measurement"]
async fn a_plan_goes_through_these_parts() {
    let folder = tempfile::tempdir().unwrap();
    let (bus, sites) = (Bus::in_process(), 10_000);
    let plan = headroom_steer::plan(&input(sites));
    let mut plans = bus.subscribe(&PLAN);
    let timed =
        |part: &str, begun: Instant| println!("{sites} sites, {part}: {:?}", begun.elapsed());
    let begun = Instant::now();
    bus.publish(&PLAN, &PlanDocument::from(&plan)).unwrap();
    timed("written for the bus", begun);
    let begun = Instant::now();
    let plan = Plan::from(plans.next().await.unwrap());
    timed("read", begun);
    let begun = Instant::now();
    assert!(headroom_steer::check(&plan).is_empty());
    timed("checked", begun);
    let begun = Instant::now();
    drop(NameTable::of_plan(&plan, &[], None));
    timed("its table made anew", begun);
    let begun = Instant::now();
    headroom_planfile::save(&folder.path().join("plan.json"), &plan).unwrap();
    timed("saved", begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn a_new_plan_is_answered_from() {
    for (sites, signed, plans) in [
        (1_000, Signed::None, 101),
        (10_000, Signed::None, 101),
        (20_000, Signed::Sites, 101),
        (10_000, Signed::Hosts, 101),
    ] {
        told(sites, signed, &measure(sites, signed, plans).await);
    }
}

#[test]
#[ignore = "a measurement"]
fn a_million_names_are_laid_out() {
    let plan = headroom_steer::plan(&input(1_000_000));
    let begun = Instant::now();
    let table = NameTable::of_plan(&plan, &[], None);
    println!("a table of a million names: {:?}", begun.elapsed());
    drop(table);
}

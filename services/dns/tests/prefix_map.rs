//! The operator's prefix map: in force from the first answer, and exchanged while the server runs.

#![expect(clippy::unwrap_used, reason = "a test may stop at what does not hold")]

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use headroom_bus::{Bus, subjects::PLAN};
use headroom_dns::{DnsConfig, DnsError, DnsServer};
use headroom_prefixmap::{Form, PrefixFile};
use headroom_steer::{
    Edge, Fleet, NameServer, OverShare, Owner, PlanInput, Region, Remainder, SiteInput, SiteRules,
};
use headroom_units::{Generation, Timestamp};
use headroom_wire::PlanDocument;
use prometheus_client::registry::Registry;
use tokio::{net::UdpSocket, time::timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(20);
const EAST: [u8; 4] = [192, 0, 2, 1];
const WEST: [u8; 4] = [192, 0, 2, 2];

/// Two regions of one edge each, and a site of the operator's.
fn plan() -> PlanDocument {
    let region = |id: &str, address: &str| {
        let edge = Edge { addresses: vec![address.parse().unwrap()], healthy: true };
        let edges = [(format!("{id}-1").parse().unwrap(), edge)].into();
        (id.parse().unwrap(), Region { client_prefixes: Vec::new(), edges })
    };
    let addresses = vec!["127.0.0.1".parse().unwrap()];
    let server = NameServer { host: "ns1.cdn.example".parse().unwrap(), addresses };
    let site = SiteInput {
        id: "own".parse().unwrap(),
        owner: Owner::Operator,
        hosts: vec![("www.own.example".parse().unwrap(), true)],
        origins: vec!["198.51.100.1:80".parse().unwrap()],
        remainder: Remainder::ReturnName("www.own.example".parse().unwrap()),
        over_share: OverShare::PassThrough,
        fallback: "www.own.example".parse().unwrap(),
        rules: SiteRules::default(),
        purges: Vec::new(),
    };
    PlanDocument::from(&headroom_steer::plan(&PlanInput {
        now: Timestamp::EPOCH,
        generation: Generation::new(1),
        fleet: Fleet {
            zone: "cdn.example".parse().unwrap(),
            name_servers: [("ns1".parse().unwrap(), server)].into(),
            ttl: Duration::from_secs(20),
            default_region: "east".parse().unwrap(),
            regions: [region("east", "192.0.2.1"), region("west", "192.0.2.2")].into(),
        },
        down: Default::default(),
        sites: vec![site],
        entitlements: Vec::new(),
    }))
}

fn config(path: &Path) -> DnsConfig {
    let regions = ["east", "west"].map(|id| id.parse().unwrap()).into();
    DnsConfig {
        id: Some("ns1".parse().unwrap()),
        prefix_map: Some(PrefixFile { path: path.to_owned(), form: Form::Csv, regions }),
        ..DnsConfig::at(vec!["127.0.0.1:0".parse().unwrap()])
    }
}

/// Asks for a client in 203.0.113.0/24 until it is sent to `edge`.
async fn is_sent_to(server: SocketAddr, edge: [u8; 4]) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    let mut query = vec![0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend(b"\x03www\x03own\x07example\0\0\x01\0\x01");
    query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 203, 0, 113]);
    let asking = async {
        let mut answer = [0; 1_232];
        loop {
            socket.send(&query).await.unwrap();
            let length = socket.recv(&mut answer).await.unwrap();
            if answer[..length].windows(4).any(|data| data == edge) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never sent to {edge:?}"));
}

fn value(registry: &Registry, name: &str) -> Option<i64> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map(|value| value.trim().parse().unwrap())
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_taken_in_and_a_broken_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients.csv");
    fs::write(&path, "203.0.113.0/24,west\n").unwrap();
    let (bus, mut registry) = (Bus::in_process(), Registry::default());
    let server = DnsServer::bind(config(&path), &bus, &mut registry).await.unwrap();
    let (address, stop) = (server.local_addresses()[0], CancellationToken::new());
    let running = tokio::spawn(server.run(stop.clone()));
    bus.publish(&PLAN, &plan()).unwrap();
    is_sent_to(address, WEST).await;
    let digest = value(&registry, "headroom_dns_prefix_map_digest");

    let loaded = "headroom_dns_prefix_maps_total{outcome=\"loaded\"}";
    let refused = "headroom_dns_prefix_maps_total{outcome=\"refused\"}";
    fs::write(&path, "203.0.113.0/24,nowhere\n").unwrap();
    until("a refusal", || value(&registry, refused) == Some(1)).await;
    is_sent_to(address, WEST).await;
    assert_eq!(value(&registry, "headroom_dns_prefix_map_digest"), digest);
    assert_eq!(value(&registry, loaded), Some(1));

    fs::write(&path, "203.0.112.0/20,east\n198.51.100.0/24,west\n").unwrap();
    is_sent_to(address, EAST).await;
    assert_eq!(value(&registry, "headroom_dns_prefix_map_prefixes"), Some(2));
    assert_ne!(value(&registry, "headroom_dns_prefix_map_digest"), digest);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn a_server_does_not_start_with_a_map_that_it_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients.csv");
    for lines in [None, Some("10.0.0.0/8,nowhere\n"), Some("")] {
        if let Some(lines) = lines {
            fs::write(&path, lines).unwrap();
        }
        let (bus, mut registry) = (Bus::in_process(), Registry::default());
        let error = DnsServer::bind(config(&path), &bus, &mut registry).await.unwrap_err();
        assert!(matches!(error, DnsError::PrefixMap(_)), "{error}");
        assert!(error.to_string().contains("clients.csv"), "{error}");
    }
}

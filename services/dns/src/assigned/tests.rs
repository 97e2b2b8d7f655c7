//! The whole server over real sockets: texts of purchasers' name servers and zones, servers that come
//! and go, reports over the bus.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use domain::{
    base::{Message, MessageBuilder, Rtype},
    rdata::Txt,
};
use headroom_bus::subjects::{NAME_SERVER_REPORTS, SERVER_REPORTS};
use headroom_steer::PlanInput;
use headroom_wire::{ServerReportMessage, ServerReportsMessage, SiteReportsMessage, Text, Time};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{
    DnsConfig, DnssecConfig, ForwardConfig, SecondaryConfig,
    dnssec::KeyFolder,
    testing::{
        self, Query,
        primary::{Manner, Scripted, notify},
        print,
        running::{PATIENCE, Running, until},
    },
};

fn text(last: u8) -> String {
    format!("v=headroom1; algorithm=ordered; server=198.51.100.{last}")
}

/// A purchaser's name server that has these texts at each name, or is silent.
struct Purchasers {
    address: SocketAddr,
    texts: Arc<Mutex<Option<Vec<String>>>>,
    task: JoinHandle<()>,
}

impl Drop for Purchasers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Purchasers {
    async fn start(texts: &[String]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let texts = Arc::new(Mutex::new(Some(texts.to_vec())));
        let said = Arc::clone(&texts);
        let task = tokio::spawn(async move {
            let mut query = [0; 4_096];
            while let Ok((length, source)) = socket.recv_from(&mut query).await {
                let texts = said.lock().unwrap().clone();
                if let Some(texts) = texts {
                    let _ = socket.send_to(&answer(&query[..length], &texts), source).await;
                }
            }
        });
        Self { address, texts, task }
    }

    fn say(&self, texts: Option<&[String]>) {
        *self.texts.lock().unwrap() = texts.map(<[String]>::to_vec);
    }
}

fn answer(query: &[u8], texts: &[String]) -> Vec<u8> {
    let message = Message::from_slice(query).unwrap();
    let question = message.sole_question().unwrap();
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(message.header().id());
    builder.header_mut().set_qr(true);
    let mut builder = builder.question();
    builder.push(question).unwrap();
    let mut builder = builder.answer();
    if question.qtype() == Rtype::TXT {
        for text in texts {
            let data = Txt::<Vec<u8>>::build_from_slice(text.as_bytes()).unwrap();
            builder.push((question.qname(), 1, data)).unwrap();
        }
    }
    builder.finish()
}

fn config(folder: &Path, input: &PlanInput) -> DnsConfig {
    let plan_file = folder.join("plan.json");
    headroom_planfile::save(&plan_file, &headroom_steer::plan(input)).unwrap();
    DnsConfig {
        id: Some("ns1".parse().unwrap()),
        plan_file: Some(plan_file),
        assign: AssignConfig {
            check_every: Duration::from_millis(20),
            allow_private: true,
            file: Some(folder.join("assignments")),
        },
        ..DnsConfig::at(vec!["127.0.0.1:0".parse().unwrap()])
    }
}

/// A plan with a site `www.<id>.example` for each of these.
fn input(sites: &[(&str, Remainder)]) -> PlanInput {
    let mut input = testing::input();
    input.sites = sites
        .iter()
        .map(|(id, remainder)| testing::site(id, &format!("www.{id}.example"), remainder.clone()))
        .collect();
    input.entitlements.clear();
    input
}

fn by_dns(host: &str) -> Remainder {
    Remainder::AssignByDns { host: host.parse().unwrap() }
}

fn forward(zone: &str, server: &Purchasers) -> ForwardConfig {
    ForwardConfig { zone: zone.parse().unwrap(), name_servers: vec![server.address] }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test]
async fn a_text_is_followed_and_nothing_bad_replaces_a_good_one() {
    let folder = folder();
    let server = Purchasers::start(&["v=spf1 -all".to_owned(), text(7)]).await;
    let config = || {
        let input = input(&[("shop", by_dns("www.shop.example"))]);
        let mut config = config(folder.path(), &input);
        config.forwards = vec![forward("shop.example", &server)];
        config
    };
    let running = Running::start(config()).await;
    running.ask_until("www.shop.example A", " A 198.51.100.7\n").await;
    running.ask_until("shop.cdn.example A", " A 198.51.100.7\n").await;

    server.say(Some(&["v=headroom1; algorithm=ordered; server=nowhere".to_owned()]));
    running.metric_until("headroom_dns_assignments_failing 1\n").await;
    running.metric_until("headroom_dns_assignment_texts_total{outcome=\"malformed\"} 1\n").await;
    assert!(running.ask("www.shop.example A").await.contains("198.51.100.7"));

    // Longer than one string of a TXT record.
    let others: Vec<_> = (20..40).map(|last| format!("; server=198.51.100.{last}")).collect();
    server.say(Some(&[format!("{}{}", text(8), others.concat())]));
    running.ask_until("www.shop.example A", " A 198.51.100.8\n").await;
    running.metric_until("headroom_dns_assignments_failing 0\n").await;
    running.stop().await;

    server.say(None);
    let running = Running::start(config()).await;
    running.ask_until("www.shop.example A", " A 198.51.100.8\n").await;
    running.metric_until("headroom_dns_assignment_texts_total{outcome=\"silent\"} 1\n").await;
    assert!(running.ask("www.shop.example A").await.contains("198.51.100.8"));
    running.stop().await;
}

#[tokio::test]
async fn a_text_is_signed_before_it_is_answered_from() {
    let folder = folder();
    let server = Purchasers::start(&[text(7)]).await;
    let input = input(&[("shop", by_dns("www.shop.example"))]);
    let mut config = config(folder.path(), &input);
    config.forwards = vec![forward("shop.example", &server)];
    let keys = folder.path().join("keys");
    let network = "cdn.example".parse().unwrap();
    KeyFolder::new(keys.clone()).generate(&network, headroom_clock::now()).unwrap();
    let validity = Duration::from_secs(14 * 86_400);
    config.dnssec = Some(DnssecConfig { folder: keys, validity, zones: None });
    let running = Running::start(config).await;
    for last in [7, 8] {
        server.say(Some(&[text(last)]));
        until(&format!(" A 198.51.100.{last}\n"), async || {
            let query = Query::parse("127.0.0.1 shop.cdn.example A do").octets();
            let said = print(&running.send(&query).await);
            let is_known = said.contains(" A 198.51.100.");
            assert!(!is_known || said.contains(" RRSIG A 13 3 "), "{said}");
            said
        })
        .await;
    }
    running.stop().await;
}

#[tokio::test]
async fn nobody_provides_for_the_site_of_another() {
    let folder = folder();
    let (shops, thiefs) =
        (Purchasers::start(&[text(7)]).await, Purchasers::start(&[text(66)]).await);
    // The second site names a host that is proved for the first.
    let sites = [
        ("shop", by_dns("www.shop.example")),
        ("thief", by_dns("www.shop.example")),
        ("other", by_dns("www.other.example")),
    ];
    let mut config = config(folder.path(), &input(&sites));
    config.forwards = vec![forward("shop.example", &shops), forward("other.example", &thiefs)];
    let running = Running::start(config).await;
    running.ask_until("www.shop.example A", " A 198.51.100.7\n").await;
    running.ask_until("www.other.example A", " A 198.51.100.66\n").await;
    assert!(!running.ask("www.thief.example A").await.contains("198.51.100"));
    assert!(running.ask("www.shop.example A").await.contains("198.51.100.7"));
    running.stop().await;
}

#[tokio::test]
async fn a_text_in_a_transferred_zone_is_taken_with_it() {
    let zone = |serial: u32, text: &str| {
        format!(
            "$ORIGIN shop.example.\n@ 60 SOA ns1 a {serial} 3600 600 604800 60\n@ NS ns1\n\
             www A 203.0.113.1\n_headroom-assign.www TXT \"{}\" \"{}\"\n",
            &text[..20],
            &text[20..]
        )
    };
    let folder = folder();
    let primary = Scripted::start(Manner::of(&zone(1, &text(7)))).await;
    let mut config = config(folder.path(), &input(&[("shop", by_dns("www.shop.example"))]));
    let primaries = vec![primary.primary(None)];
    config.secondaries = vec![SecondaryConfig { zone: "shop.example".parse().unwrap(), primaries }];
    let running = Running::start(config).await;
    running.ask_until("www.shop.example A", " A 198.51.100.7\n").await;

    primary.behave(Manner::of(&zone(2, &text(8))));
    running.send(&notify("shop.example", None)).await;
    running.ask_until("www.shop.example A", " A 198.51.100.8\n").await;

    primary.behave(Manner::of(&zone(3, "v=headroom1; algorithm=orderly; server=192.0.2.1")));
    running.send(&notify("shop.example", None)).await;
    running.metric_until("headroom_dns_assignments_failing 1\n").await;
    assert!(running.ask("www.shop.example A").await.contains("198.51.100.8"));
    running.stop().await;
}

/// What the name server tells last of a server.
async fn told(
    reports: &mut headroom_bus::Subscription<headroom_wire::NameServerReport>,
    server: &str,
    up: bool,
) {
    let server: IpAddr = server.parse().unwrap();
    let telling = async {
        loop {
            let report = reports.next().await.unwrap();
            let checked = report.assignments.iter().flat_map(|assignment| &assignment.checked);
            if checked.into_iter().any(|told| *told == (server, up)) {
                return;
            }
        }
    };
    timeout(PATIENCE, telling).await.unwrap();
}

#[tokio::test]
async fn the_next_server_is_used_while_the_first_does_not_answer() {
    let folder = folder();
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = first.local_addr().unwrap().port();
    let second = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let text = format!(
        "v=headroom1; algorithm=ordered; check=tcp:{port}; server=127.0.0.1; server=127.0.0.2"
    );
    let remainder = Remainder::Assign(text.parse().unwrap());
    let running = Running::start(config(folder.path(), &input(&[("shop", remainder)]))).await;
    let mut reports = running.bus.subscribe(&NAME_SERVER_REPORTS);
    running.ask_until("www.shop.example A", " A 127.0.0.1\n").await;
    told(&mut reports, "127.0.0.1", true).await;

    drop(first);
    running.ask_until("www.shop.example A", " A 127.0.0.2\n").await;
    told(&mut reports, "127.0.0.1", false).await;
    running.metric_until("headroom_dns_servers_down 1\n").await;

    let first = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    running.ask_until("www.shop.example A", " A 127.0.0.1\n").await;

    drop((first, second));
    running.metric_until("headroom_dns_servers_down 2\n").await;
    running.ask_until("www.shop.example A", " A 127.0.0.1\n").await;
    running.stop().await;
}

#[tokio::test]
async fn what_the_purchaser_reports_counts_until_it_expires() {
    let folder = folder();
    let remainder = Remainder::Assign(format!("{}; server=198.51.100.8", text(7)).parse().unwrap());
    let running = Running::start(config(folder.path(), &input(&[("shop", remainder)]))).await;
    running.ask_until("www.shop.example A", " A 198.51.100.7\n").await;
    let report = |healthy, seconds| {
        let now = headroom_clock::now();
        ServerReportMessage {
            address: "198.51.100.7".parse().unwrap(),
            healthy,
            load: None,
            reported_at: Time(now),
            expires_at: Time(now.after(Duration::from_secs(seconds))),
        }
    };
    let publish = |report| {
        let site = Text("shop".parse().unwrap());
        let sites = vec![SiteReportsMessage { site, servers: vec![report] }];
        running.bus.publish(&SERVER_REPORTS, &ServerReportsMessage { sites }).unwrap();
    };
    publish(report(false, 600));
    running.ask_until("www.shop.example A", " A 198.51.100.8\n").await;
    publish(report(true, 600));
    running.ask_until("www.shop.example A", " A 198.51.100.7\n").await;
    publish(report(false, 2));
    running.ask_until("www.shop.example A", " A 198.51.100.8\n").await;
    running.ask_until("www.shop.example A", " A 198.51.100.7\n").await;
    running.stop().await;
}

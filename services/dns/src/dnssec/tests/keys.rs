//! Keys over time: signatures are renewed, keys exchanged, missed and withdrawn.

use super::*;
use crate::dnssec::{KeyFolder, roll};

#[test]
fn signatures_are_renewed_in_time_and_keys_leave_when_they_may() {
    let (mut signer, checkers) = signer(&["shop.example"]);
    let zone = parse(ZONE);
    let mut checker = checkers.into_iter().next().unwrap();
    let mut responder = responder(signed(&[Arc::clone(&zone)], &mut signer, BEGIN));
    let mut tables = 1;
    for hour in 0..24 * 60 {
        let now = BEGIN + hour * 3_600;
        if signer.is_due(at(now)) {
            responder.replace_table(signed(&[Arc::clone(&zone)], &mut signer, now));
            tables += 1;
        }
        checker.now = u32::try_from(now).unwrap();
        for (asked, rtype) in [("www.shop.example", Rtype::A), ("none.shop.example", Rtype::MX)] {
            let reply = ask(&mut responder, &format!("10.0.0.1 {asked} {rtype} do"), at(now));
            checker.check(&name(asked), rtype, &reply).unwrap();
        }
    }
    assert!((5..300).contains(&tables), "{tables} tables");
}

/// Over the time of an exchange, a validator that knows either key set of its time finds its way.
#[test]
fn an_exchange_of_keys_is_seen_by_nobody() {
    let mut keys = vec![key("shop.example")];
    let begun = BEGIN + 10 * DAY;
    let (_, times) = roll::begin("shop.example", &mut keys, at(begun)).unwrap();
    keys.push(ZoneKey::generate(name("shop.example"), times).unwrap());
    let told = begun + 8_000;
    roll::finish("shop.example", &mut keys, Duration::from_secs(DAY), at(told)).unwrap();
    let dnskeys: Vec<_> = keys.iter().map(|key| key.dnskey().clone()).collect();
    let tags: Vec<u16> = keys.iter().map(ZoneKey::tag).collect();
    let mut signer = signer_of(keys);
    let zone = parse(ZONE);
    let mut responder = responder(signed(&[Arc::clone(&zone)], &mut signer, BEGIN));
    let mut seen = Vec::new();
    for now in (BEGIN..begun + 4 * DAY).step_by(600) {
        if signer.is_due(at(now)) {
            responder.replace_table(signed(&[Arc::clone(&zone)], &mut signer, now));
        }
        let text = |responder: &mut Responder, rtype: &str| {
            testing::print(&ask(responder, &format!("10.0.0.1 shop.example {rtype} tcp"), at(now)))
        };
        let sets = ["DNSKEY", "CDS"].map(|rtype| text(&mut responder, rtype).lines().count());
        let cds = text(&mut responder, "CDS");
        let is_new = cds.contains(&format!("CDS {} 13 2", tags[1]));
        let state = (sets[0], is_new);
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        // Whose key set is an hour old knows these keys, and the records are from now.
        let known: Vec<_> = match now {
            now if now < begun + 3_600 => vec![dnskeys[0].clone()],
            now if now < told + DAY => dnskeys.clone(),
            _ => vec![dnskeys[1].clone()],
        };
        for keys in [known, if now < begun { vec![dnskeys[0].clone()] } else { dnskeys.clone() }] {
            let now = u32::try_from(now).unwrap();
            let checker = Checker { apex: name("shop.example"), keys, now };
            let reply = ask(&mut responder, "10.0.0.1 www.shop.example A do", at(now.into()));
            checker.check_by_any(&name("www.shop.example"), Rtype::A, &reply).unwrap();
        }
    }
    assert_eq!(seen, [(2, false), (3, false), (3, true), (2, true)]);
}

#[test]
fn a_zone_whose_key_is_missing_is_told_and_a_signed_one_stays() {
    let apexes: std::collections::BTreeSet<_> = ["shop.example".parse().unwrap()].into();
    let validity = Duration::from_secs(14 * DAY);
    let config = DnssecConfig { folder: "none".into(), validity, zones: Some(apexes) };
    let mut signer = Signer::new(Some(config), SignerMetrics::default());
    let mut absent = responder(signed(&[parse(ZONE)], &mut signer, BEGIN));
    let reply = testing::print(&ask(&mut absent, "10.0.0.1 www.shop.example A do", at(BEGIN)));
    assert!(reply.starts_with("  SERVFAIL") && reply.contains("error=9"), "{reply}");
    let mut signer = signer.with_keys([key("shop.example")]);
    let before = ask(
        &mut responder(signed(&[parse(ZONE)], &mut signer, BEGIN)),
        "10.0.0.1 www.shop.example A do",
        at(BEGIN),
    );
    let mut signer = signer.with_keys([]);
    let mut kept = responder(signed(&[parse(ZONE)], &mut signer, BEGIN + 60));
    assert_eq!(ask(&mut kept, "10.0.0.1 www.shop.example A do", at(BEGIN)), before);
}

#[test]
fn a_withdrawn_zone_asks_for_no_ds_record() {
    let mut keys = vec![key("shop.example")];
    roll::withdraw("shop.example", &mut keys, true, at(BEGIN)).unwrap();
    let mut signer = signer_of(keys);
    let mut secure = responder(signed(&[parse(ZONE)], &mut signer, BEGIN));
    for (rtype, expected) in [("CDS", "CDS 0 0 0 00"), ("CDNSKEY", "CDNSKEY 0 3 0 AA==")] {
        let reply = ask(&mut secure, &format!("10.0.0.1 shop.example {rtype}"), at(BEGIN));
        assert!(testing::print(&reply).contains(expected));
    }
}

#[test]
fn keys_are_read_when_their_files_change_and_used_on_when_they_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = KeyFolder::new(dir.path().to_owned());
    let validity = Duration::from_secs(14 * DAY);
    let config = DnssecConfig { folder: dir.path().to_owned(), validity, zones: None };
    let mut signer = Signer::new(Some(config), SignerMetrics::default());
    assert!(!signer.read_keys(at(BEGIN)), "there are none");
    let zone = "shop.example".parse().unwrap();
    let made = folder.generate(&zone, at(BEGIN)).unwrap();
    assert!(signer.read_keys(at(BEGIN)) && !signer.read_keys(at(BEGIN)));
    let keys = |signer: &mut Signer, now| {
        let table = signed(&[parse(ZONE)], signer, now);
        let zone = table.zone(&name("shop.example"), Rtype::A).unwrap();
        let node = zone.node(zone.apex()).unwrap();
        node.set(Rtype::DNSKEY).map_or(0, |set| set.data.len())
    };
    assert_eq!(keys(&mut signer, BEGIN), 1);
    folder.begin(&zone, at(BEGIN + 60)).unwrap();
    assert!(signer.read_keys(at(BEGIN + 60)));
    assert_eq!(keys(&mut signer, BEGIN + 60), 2);
    let file = format!("Kshop.example.+013+{:05}.private", made.tag());
    std::fs::remove_file(dir.path().join(file)).unwrap();
    assert!(signer.read_keys(at(BEGIN + 120)));
    assert_eq!(keys(&mut signer, BEGIN + 120), 2, "it is used on");
    assert_eq!(signer.count_faults(), 1);
    let aside = tempfile::tempdir().unwrap();
    std::fs::rename(dir.path(), aside.path().join("keys")).unwrap();
    assert!(!signer.read_keys(at(BEGIN + 180)));
    assert_eq!(keys(&mut signer, BEGIN + 180), 2);
    std::fs::rename(aside.path().join("keys"), dir.path()).unwrap();
    assert!(signer.read_keys(at(BEGIN + 240)), "they are there again");
    assert!(!signer.read_keys(at(BEGIN + 300)));
}

fn config(dnssec: DnssecConfig) -> crate::DnsConfig {
    crate::DnsConfig {
        zones: vec![Zone::parse(ZONE).unwrap()],
        dnssec: Some(dnssec),
        ..crate::DnsConfig::at(vec!["127.0.0.1:0".parse().unwrap()])
    }
}

/// What a server with this configuration says to each of these questions, as soon as it serves.
async fn say(config: crate::DnsConfig, questions: &[&str]) -> Vec<String> {
    let bus = headroom_bus::Bus::default();
    let mut registry = prometheus_client::registry::Registry::default();
    let server = crate::DnsServer::bind(config, &bus, &mut registry).await.unwrap();
    let address = server.local_addresses()[0];
    let stop = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(server.run(stop.clone()));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (mut answer, mut said) = (vec![0; 1_500], Vec::new());
    for question in questions {
        let query = Query::parse(&format!("127.0.0.1 {question}")).octets();
        socket.send_to(&query, address).await.unwrap();
        let length = socket.recv(&mut answer).await.unwrap();
        said.push(testing::print(&answer[..length]));
    }
    stop.cancel();
    task.await.unwrap();
    said
}

#[tokio::test]
async fn a_server_signs_before_it_serves() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("keys");
    let zone = "shop.example".parse().unwrap();
    KeyFolder::new(folder.clone()).generate(&zone, headroom_clock::now()).unwrap();
    let validity = Duration::from_secs(14 * DAY);
    let config = config(DnssecConfig { folder, validity, zones: None });
    let said = say(config, &["www.shop.example A do", "www.shop.example A edns"]).await;
    assert!(said[0].contains("RRSIG A 13 3") && !said[1].contains("RRSIG"), "{said:?}");
}

#[tokio::test]
async fn a_zone_that_has_to_be_signed_is_never_served_without_signatures() {
    let validity = Duration::from_secs(14 * DAY);
    let zones = Some(["shop.example".parse().unwrap()].into());
    let config = config(DnssecConfig { folder: "none".into(), validity, zones });
    let said = say(config, &["www.shop.example A do", "www.shop.example A"]).await;
    assert!(said.iter().all(|said| said.starts_with("  SERVFAIL")), "{said:?}");
}

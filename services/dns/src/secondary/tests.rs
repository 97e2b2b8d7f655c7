//! The whole server as secondary of a scripted primary, over real sockets and files.

use std::{path::Path, time::Duration};

use domain::base::Rtype;

use super::*;
use crate::{
    DnsConfig,
    testing::{
        primary::{Manner, Scripted, compose, notify},
        running::Running,
    },
};

fn key(name: &str) -> Arc<TsigKey> {
    Arc::new(TsigKey::new(name, "hmac-sha256", "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0").unwrap())
}

fn zone(serial: u32, address: &str) -> String {
    format!(
        "$ORIGIN shop.example.\n@ 60 SOA ns1 a {serial} 3600 600 604800 60\n@ NS ns1\n\
         @ MX 10 mail\nwww A {address}\n"
    )
}

async fn start(primary: Primary, folder: &Path) -> Running {
    let zone = "shop.example".parse().unwrap();
    Running::start(DnsConfig {
        secondaries: vec![SecondaryConfig { zone, primaries: vec![primary] }],
        zone_folder: Some(folder.to_owned()),
        ..DnsConfig::at(vec!["127.0.0.1:0".parse().unwrap()])
    })
    .await
}

#[tokio::test]
async fn a_zone_comes_from_its_primary_and_follows_its_changes() {
    let folder = tempfile::tempdir().unwrap();
    let key = key("a.key");
    let manner = |serial, address| Manner {
        key: Some(Arc::clone(&key)),
        ..Manner::of(&zone(serial, address))
    };
    let first = manner(1, "192.0.2.1");
    let before = Some(Arc::clone(&first.zone));
    let primary = Scripted::start(first).await;
    let server = start(primary.primary(Some(Arc::clone(&key))), folder.path()).await;
    server.ask_until("www.shop.example A", "192.0.2.1").await;
    assert!(server.ask("shop.example MX").await.contains("AA\n  answer: shop.example 60 MX 10"));
    assert_eq!(primary.asked(), [Rtype::AXFR]);

    primary.behave(Manner { before, ..manner(2, "192.0.2.2") });
    let now = headroom_clock::now();
    let answer = server.send(&notify("shop.example", Some((&key, now)))).await;
    assert_eq!(answer[2..4], [0xa4, 0], "a response to NOTIFY with authority, without an error");
    server.ask_until("www.shop.example A", "192.0.2.2").await;
    assert_eq!(primary.asked(), [Rtype::SOA, Rtype::IXFR]);
    server.metric_until("headroom_dns_transfers_total{outcome=\"changes\"} 1").await;
    server.metric_until("headroom_dns_notifies_total{outcome=\"taken\"} 1").await;
    server.metric_until("headroom_dns_secondary_zones 1").await;
    server.stop().await;
}

#[tokio::test]
async fn a_zone_that_was_never_had_is_told_and_comes_when_its_primary_does() {
    let folder = tempfile::tempdir().unwrap();
    let primary =
        Scripted::start(Manner::of(&zone(1, "192.0.2.1")).with_habit(|_, _| vec![])).await;
    let server = start(primary.primary(None), folder.path()).await;
    assert_eq!(
        server.ask("www.shop.example A edns").await,
        "  SERVFAIL\n  edns: size=1232 error=14\n"
    );
    server.metric_until("headroom_dns_secondary_zones_missing 1").await;
    server.metric_until("headroom_dns_transfers_total{outcome=\"failed\"} 1").await;
    primary.behave(Manner::of(&zone(1, "192.0.2.1")));
    server.send(&notify("shop.example", None)).await;
    server.ask_until("www.shop.example A", "192.0.2.1").await;
    server.metric_until("headroom_dns_secondary_zones_missing 0").await;
    server.stop().await;
}

/// What a primary may do wrong with a newer zone, in words and in deeds.
fn hostile() -> Vec<(&'static str, Manner)> {
    let newer = || Manner::of(&zone(6, "192.0.2.66"));
    let each = |change: fn(&mut Vec<u8>)| {
        newer().with_habit(move |rtype, mut messages| {
            if rtype != Rtype::SOA {
                messages.iter_mut().for_each(change);
            }
            messages
        })
    };
    let other = |rtype, messages: Vec<Vec<u8>>| {
        let other = "$ORIGIN other.example.\n@ 60 SOA a a 6 2 3 4 5\n@ NS a\n";
        let other = Zone::parse(other).unwrap();
        let id = u16::from_be_bytes([messages[0][0], messages[0][1]]);
        match rtype {
            Rtype::SOA => messages,
            _ => vec![compose(&other, id, rtype, other.records())],
        }
    };
    let nothing = |rtype, messages| if rtype == Rtype::SOA { messages } else { Vec::new() };
    vec![
        ("a serial that goes back", Manner::of(&zone(4, "192.0.2.66"))),
        ("cut short", newer().with_habit(nothing)),
        ("another id", each(|message| message[0] ^= 1)),
        ("refused", each(|message| message[3] = 5)),
        ("fewer records than counted", each(|message| message[7] += 1)),
        ("no last SOA record", each(|message| message[7] -= 1)),
        ("noise", each(|message| message.iter_mut().for_each(|octet| *octet ^= 0x55))),
        ("an empty message", newer().with_habit(|_, _| vec![Vec::new()])),
        ("the zone of another", newer().with_habit(other)),
    ]
}

#[tokio::test]
async fn the_last_good_zone_stays_whatever_the_primary_sends() {
    let folder = tempfile::tempdir().unwrap();
    let primary = Scripted::start(Manner::of(&zone(5, "192.0.2.1"))).await;
    let server = start(primary.primary(None), folder.path()).await;
    server.ask_until("www.shop.example A", "192.0.2.1").await;
    for (index, (what, manner)) in hostile().into_iter().enumerate() {
        primary.behave(manner);
        server.send(&notify("shop.example", None)).await;
        let failed = index + 1;
        let line = format!("headroom_dns_transfers_total{{outcome=\"failed\"}} {failed}");
        server.metric_until(&line).await;
        let answer = server.ask("www.shop.example A").await;
        assert!(answer.contains("192.0.2.1\n"), "{what}: {answer}");
    }
    primary.behave(Manner::of(&zone(6, "192.0.2.66")));
    server.send(&notify("shop.example", None)).await;
    server.ask_until("www.shop.example A", "192.0.2.66").await;
    server.stop().await;
}

#[tokio::test]
async fn a_saved_zone_is_served_without_a_primary_until_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let primary = Scripted::start(Manner::of(&zone(1, "192.0.2.1"))).await;
    let server = start(primary.primary(None), folder.path()).await;
    server.ask_until("www.shop.example A", "192.0.2.1").await;
    let gone = primary.primary(None);
    drop(primary);
    server.stop().await;

    let server = start(gone.clone(), folder.path()).await;
    assert!(server.ask("www.shop.example A").await.contains("192.0.2.1"));
    server.stop().await;

    let file = folder.path().join("shop.example.zone");
    let last = headroom_clock::now().before(Duration::from_secs(604_801));
    keep::confirm(&file, last).unwrap();
    let server = start(gone, folder.path()).await;
    assert_eq!(
        server.ask("www.shop.example A edns").await,
        "  SERVFAIL\n  edns: size=1232 error=24\n"
    );
    server.metric_until("headroom_dns_secondary_zones_missing 1").await;
    server.stop().await;
}

#[tokio::test]
async fn a_zone_expires_while_it_is_served_and_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let primary = Scripted::start(Manner::of(&zone(1, "192.0.2.1"))).await;
    let server = start(primary.primary(None), folder.path()).await;
    server.ask_until("www.shop.example A", "192.0.2.1").await;
    server.stop().await;
    // Two seconds are left of a week.
    let file = folder.path().join("shop.example.zone");
    let last = headroom_clock::now().before(Duration::from_secs(604_798));
    keep::confirm(&file, last).unwrap();
    primary.behave(Manner::of(&zone(1, "192.0.2.1")).with_habit(|_, _| Vec::new()));
    let server = start(primary.primary(None), folder.path()).await;
    assert!(server.ask("www.shop.example A").await.contains("192.0.2.1"));
    server.ask_until("www.shop.example A edns", "SERVFAIL\n  edns: size=1232 error=24").await;
    primary.behave(Manner::of(&zone(1, "192.0.2.1")));
    server.send(&notify("shop.example", None)).await;
    server.ask_until("www.shop.example A", "192.0.2.1").await;
    server.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_left_and_the_zone_transferred_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.example.zone"), "hrzone1\nnoise").unwrap();
    let primary = Scripted::start(Manner::of(&zone(1, "192.0.2.1"))).await;
    let server = start(primary.primary(None), folder.path()).await;
    server.ask_until("www.shop.example A", "192.0.2.1").await;
    server.stop().await;
}

/// The code with which a call is answered, and whether it counts as taken.
fn call(message: &[u8], source: &str, key: Option<Arc<TsigKey>>) -> (u8, bool) {
    let zone = "shop.example".parse().unwrap();
    let primaries = vec![Primary { address: "192.0.2.1:53".parse().unwrap(), key }];
    let configs = [SecondaryConfig { zone, primaries }];
    let secondaries = Secondaries::new(&configs, None, SecondaryMetrics::default());
    let now = Timestamp::from_seconds(1_000);
    let (answer, outcome) = secondaries.hear(message, source.parse().unwrap(), now).unwrap();
    assert_eq!(answer[..2], message[..2]);
    (answer[3] & 15, outcome == notify::NotifyOutcome::Taken)
}

#[test]
fn calls_are_taken_from_primaries_and_from_those_who_sign() {
    let plain = notify("shop.example", None);
    assert_eq!(call(&plain, "192.0.2.1", None), (0, true));
    assert_eq!(call(&plain, "::ffff:192.0.2.1", None), (0, true));
    assert_eq!(call(&plain, "192.0.2.2", None), (5, false));
    assert_eq!(call(&notify("other.example", None), "192.0.2.1", None), (9, false));
    let (a, b) = (key("a.key"), key("b.key"));
    let now = Timestamp::from_seconds(1_000);
    let signed = notify("shop.example", Some((&a, now)));
    assert_eq!(call(&signed, "192.0.2.2", Some(Arc::clone(&a))), (0, true));
    assert_eq!(
        call(&signed, "192.0.2.1", Some(b)),
        (9, false),
        "signed with a key that we have not"
    );
    let late = notify("shop.example", Some((&a, Timestamp::from_seconds(100))));
    assert_eq!(call(&late, "192.0.2.1", Some(a)), (9, false));
}

#[test]
fn calls_that_are_malformed_are_answered_all_the_same() {
    let mut other_type = notify("shop.example", None);
    let at = other_type.len() - 3;
    other_type[at] = 1;
    assert_eq!(call(&other_type, "192.0.2.1", None), (4, false));
    let mut two = notify("shop.example", None);
    two[5] = 2;
    assert_eq!(call(&two, "192.0.2.1", None), (1, false));
    assert_eq!(call(&notify("shop.example", None)[..12], "192.0.2.1", None), (1, false));
    let secondaries = Secondaries::new(&[], None, SecondaryMetrics::default());
    let now = Timestamp::from_seconds(1_000);
    for silent in [&[0xab, 0xcd, 0x20][..], &[0xab; 12], &[0; 12]] {
        assert!(secondaries.hear(silent, "192.0.2.1".parse().unwrap(), now).is_none());
    }
}

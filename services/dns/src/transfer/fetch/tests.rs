//! Whole visits at a primary that behaves, or does not.

use std::time::Duration;

use super::*;
use crate::testing::primary::{Manner, Scripted};

const SECRET: &str = "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0";

fn key(name: &str) -> Arc<TsigKey> {
    Arc::new(TsigKey::new(name, "hmac-sha256", SECRET).unwrap())
}

fn text(serial: u32, address: &str) -> String {
    let mut text = format!("$ORIGIN shop.example.\n@ 60 SOA ns1 a {serial} 2 3 4 5\n@ NS ns1\n");
    text += &format!("www A {address}\n");
    for number in 0..200 {
        text += &format!("n{number} TXT \"{number:0200}\"\n");
    }
    text
}

fn zone(serial: u32, address: &str) -> Arc<Zone> {
    Arc::new(Zone::parse(&text(serial, address)).unwrap())
}

fn quick() -> TransferLimits {
    let (time, idle) = (Duration::from_millis(800), Duration::from_millis(300));
    TransferLimits { time, idle, ..TransferLimits::default() }
}

/// What a visit brings, in words, and what was asked for.
async fn visit(
    manner: Manner,
    held: Option<Arc<Zone>>,
    key: Option<Arc<TsigKey>>,
    limits: TransferLimits,
) -> (String, Vec<Rtype>) {
    let apex = manner.zone.apex().clone();
    let scripted = Scripted::start(manner).await;
    let told = match fetch(&scripted.primary(key), &apex, held, limits).await {
        Ok(Fetched::Current) => "current".to_owned(),
        Ok(Fetched::New { zone, by_changes }) => {
            let count = zone.records().count();
            format!("{} with {count} records, by changes: {by_changes}", zone.soa().serial())
        }
        Err(error) => error.to_string(),
    };
    (told, scripted.asked())
}

async fn told(manner: Manner) -> String {
    visit(manner, None, None, quick()).await.0
}

#[tokio::test]
async fn a_zone_comes_whole_then_by_changes_then_not_at_all() {
    let manner = || Manner::of(&text(2, "192.0.2.2"));
    let limits = TransferLimits::default();
    let whole = "2 with 203 records, by changes: false".to_owned();
    let first = visit(manner(), None, None, limits).await;
    assert_eq!(first, (whole.clone(), vec![Rtype::AXFR]));

    let before = zone(1, "192.0.2.1");
    let changing = Manner { before: Some(Arc::clone(&before)), ..manner() };
    let changes = visit(changing, Some(Arc::clone(&before)), None, limits).await;
    let expected = "2 with 203 records, by changes: true".to_owned();
    assert_eq!(changes, (expected, vec![Rtype::SOA, Rtype::IXFR]));

    // A primary that keeps no changes answers with all of the zone.
    let all = visit(manner(), Some(before), None, limits).await;
    assert_eq!(all, (whole, vec![Rtype::SOA, Rtype::IXFR]));

    let same = visit(manner(), Some(zone(2, "192.0.2.2")), None, limits).await;
    assert_eq!(same, ("current".to_owned(), vec![Rtype::SOA]));
    let newer = visit(manner(), Some(zone(3, "192.0.2.2")), None, limits).await;
    assert_eq!(newer, ("serial 2 is not newer than 3".to_owned(), vec![Rtype::SOA]));
}

#[tokio::test]
async fn changes_that_cannot_be_used_are_followed_by_the_whole_zone() {
    let refuse = |rtype, mut messages: Vec<Vec<u8>>| {
        if rtype == Rtype::IXFR {
            messages.truncate(1);
            messages[0].truncate(12);
            messages[0][3] = 4;
            messages[0][4..].fill(0);
        }
        messages
    };
    // Changes of another zone than ours: it does not have what is taken away.
    let other = Manner { before: Some(zone(1, "192.0.2.77")), ..Manner::of(&text(2, "192.0.2.2")) };
    for manner in [other, Manner::of(&text(2, "192.0.2.2")).with_habit(refuse)] {
        let (told, asked) =
            visit(manner, Some(zone(1, "192.0.2.1")), None, TransferLimits::default()).await;
        assert_eq!(told, "2 with 203 records, by changes: false");
        assert_eq!(asked, [Rtype::SOA, Rtype::IXFR, Rtype::AXFR]);
    }
}

#[tokio::test]
async fn signed_transfers_are_verified() {
    let limits = TransferLimits::default();
    let fine = "1 with 203 records, by changes: false";
    let manner = |key: &str| Manner {
        key: Some(self::key(key)),
        ..Manner::of(&text(1, "::1").replace("www A", "www AAAA"))
    };
    let told = |manner, asked: &'static str| async move {
        visit(manner, None, Some(key(asked)), limits).await.0
    };
    assert_eq!(told(manner("a.key"), "a.key").await, fine);
    let refused = "a message is not taken: the other side refuses our signature: BADKEY(17)";
    assert_eq!(told(manner("b.key"), "a.key").await, refused);
    let unsigned = "a message is not taken: it is not signed";
    assert_eq!(told(Manner { key: None, ..manner("a.key") }, "a.key").await, unsigned);
    let late = "a message is not taken: its signature is expired, or not valid yet";
    assert_eq!(told(Manner { late: 400, ..manner("a.key") }, "a.key").await, late);
}

#[tokio::test]
async fn a_signed_transfer_that_was_changed_on_its_way_is_refused() {
    let (key, limits) = (key("a.key"), TransferLimits::default());
    let manner = Manner { key: Some(Arc::clone(&key)), ..Manner::of(&text(1, "192.0.2.1")) };
    let scripted = Scripted::start(manner).await;
    let between = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let primary = Primary { address: between.local_addr().unwrap(), key: Some(key) };
    let target = scripted.address;
    let meddler = tokio::spawn(async move {
        let (stream, _) = between.accept().await.unwrap();
        let (mut from, mut to) = stream.into_split();
        let (mut back, mut forth) = TcpStream::connect(target).await.unwrap().into_split();
        tokio::spawn(async move { tokio::io::copy(&mut from, &mut forth).await });
        let mut octets = Vec::new();
        back.read_to_end(&mut octets).await.unwrap();
        octets[5_000] ^= 1;
        to.write_all(&octets).await.unwrap();
    });
    let apex: Name = "shop.example".parse().unwrap();
    let error = fetch(&primary, &apex, None, limits).await.unwrap_err();
    meddler.await.unwrap();
    assert_eq!(error.to_string(), "a message is not taken: its signature is wrong");
}

#[tokio::test]
async fn a_primary_that_ends_falls_silent_or_drips_is_left() {
    let manner = || Manner::of(&text(1, "192.0.2.1"));
    let cut = manner().with_habit(|_, mut messages| {
        messages.pop();
        messages
    });
    assert_eq!(told(cut).await, "the transfer was cut short");
    assert_eq!(told(manner().with_habit(|_, _| Vec::new())).await, "the transfer was cut short");
    let slow = Manner { drip: Some(Duration::from_millis(5)), ..manner() };
    assert_eq!(told(slow).await, "the primary was silent for 300ms");

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let primary = Primary { address: silent.local_addr().unwrap(), key: None };
    let apex: Name = "shop.example".parse().unwrap();
    let error = fetch(&primary, &apex, None, quick()).await.unwrap_err();
    assert_eq!(error.to_string(), "the primary was silent for 300ms");
    let address = silent.local_addr().unwrap();
    drop(silent);
    let gone = Primary { address, key: None };
    let error = fetch(&gone, &apex, None, quick()).await.unwrap_err().to_string();
    assert!(error.starts_with("the primary cannot be reached: "), "{error}");
}

#[tokio::test]
async fn a_transfer_of_many_slow_messages_ends_in_time() {
    let zone = "$ORIGIN shop.example.\n@ 60 SOA ns1 a 1 2 3 4 5\n@ NS ns1\n";
    let endless = Manner::of(zone).with_habit(|_, messages| {
        let id = [messages[0][0], messages[0][1]];
        let soa = [&messages[0][..7], &[1], &messages[0][8..]].concat();
        let nothing = [&id[..], &[0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
        std::iter::once(soa).chain(std::iter::repeat_n(nothing, 1_000)).collect()
    });
    let drip = Some(Duration::from_micros(500));
    assert_eq!(told(Manner { drip, ..endless }).await, "the transfer took longer than 800ms");
}

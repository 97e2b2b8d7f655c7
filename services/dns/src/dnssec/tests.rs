//! Zones are signed and asked; what comes back is looked over by a validator of its own.

mod at_once;
mod checker;
mod kept;
mod keys;
mod scale;
mod steered;

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::base::Rtype;
use headroom_units::Timestamp;
use proptest::prelude::*;

use super::{DnssecConfig, KeyTimes, Signer, SignerMetrics, ZoneKey};
use crate::{
    NameTable, Responder, Zone,
    message::{Data, Name},
    testing::{self, Query},
};
use checker::Checker;

/// When the zones of these tests are signed.
const BEGIN: u64 = 1_000_000_000;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn key(zone: &str) -> ZoneKey {
    ZoneKey::generate(name(zone), KeyTimes::first(at(BEGIN))).unwrap()
}

/// A signer with a key for each of these zones, and validators that know these keys.
fn signer(zones: &[&str]) -> (Signer, Vec<Checker>) {
    let keys: Vec<ZoneKey> = zones.iter().map(|zone| key(zone)).collect();
    let checkers = keys.iter().map(|key| Checker {
        apex: key.zone().clone(),
        keys: vec![key.dnskey().clone()],
        now: u32::try_from(BEGIN).unwrap(),
    });
    let checkers = checkers.collect();
    (signer_of(keys), checkers)
}

fn signer_of(keys: Vec<ZoneKey>) -> Signer {
    let validity = Duration::from_secs(14 * DAY);
    let config = DnssecConfig { folder: PathBuf::from("none"), validity, zones: None };
    Signer::new(Some(config), SignerMetrics::default()).with_keys(keys)
}

fn parse(text: &str) -> Arc<Zone> {
    Arc::new(Zone::parse(text).unwrap())
}

/// The table of these zones, signed.
fn signed(zones: &[Arc<Zone>], signer: &mut Signer, now: u64) -> NameTable {
    let mut table = NameTable::of_zones(zones);
    signer.sign(&mut table, None, at(now));
    table
}

fn responder(table: NameTable) -> Responder {
    let mut responder = Responder::new(None, &[]);
    responder.replace_table(table);
    responder
}

fn ask(responder: &mut Responder, line: &str, now: Timestamp) -> Vec<u8> {
    let query = Query::parse(line);
    responder.respond(&query.octets(), (query.source, 5353).into(), query.transport, now).unwrap()
}

/// Asks with DO and has the answer looked over; then the same without DO, which is to be as if the
/// zone were not signed.
fn look_over(
    signed: &mut Responder,
    plain: &mut Responder,
    checkers: &[Checker],
    question: (&str, &str, &str),
    now: Timestamp,
) -> Result<(), String> {
    let (client, asked, rtype) = question;
    let line = |more: &str| format!("{client} {asked} {rtype}{more} tcp");
    let reply = ask(signed, &line(" edns do"), now);
    // Servers take turns: both are asked as often.
    let is_failure = ask(plain, &line(" edns do"), now)[3] & 0x0f == 2;
    let asked_name = name(asked.trim_end_matches('.'));
    let rtype: Rtype = rtype.parse().unwrap();
    let is_near = |checker: &&Checker| !is_failure && asked_name.ends_with(&checker.apex);
    let near = checkers.iter().filter(is_near);
    let wrong = |why| format!("{}: {why}\n{}", line(""), testing::print(&reply));
    if let Some(checker) = near.max_by_key(|checker| checker.apex.len()) {
        checker.check(&asked_name, rtype, &reply).map_err(wrong)?;
    }
    // Aliases lead from one zone to the next.
    checkers.iter().try_for_each(|checker| checker.check_sets(&reply)).map_err(wrong)?;
    let (with, without) = (ask(signed, &line(""), now), ask(plain, &line(""), now));
    if with != without {
        let texts = [with, without].map(|reply| testing::print(&reply)).join("not\n");
        return Err(format!("{}: without DO it is\n{texts}", line("")));
    }
    Ok(())
}

const ZONE: &str = "$ORIGIN shop.example.
$TTL 600
@        SOA ns1 Admin 42 3600 600 604800 120
@        NS ns1
@        NS ns.Other.example.
@        MX 10 Mail
ns1      A 203.0.113.53
mail     A 203.0.113.25
a.deep   A 203.0.113.7
www      A 203.0.113.1
www      A 203.0.113.2
WWW      AAAA 2001:db8::1
alias    CNAME www
far      CNAME www.elsewhere.example.
*.wild   TXT \"any\"
x.wild   A 203.0.113.3
*.star   CNAME www
sub      NS ns.sub
sub      NS ns1
ns.sub   A 203.0.113.9
safe     NS ns1
safe     DS 1 13 2 00
old      DNAME new.elsewhere.example.
here     DNAME deep
b.old    A 203.0.113.10
odd      TYPE65400 \\# 3 010203
loop     CNAME pool
pool     CNAME loop
";

#[test]
fn every_kind_of_answer_is_shown_to_be_right() {
    let (mut signer, checkers) = signer(&["shop.example"]);
    let zone = parse(ZONE);
    let mut secure = responder(signed(&[Arc::clone(&zone)], &mut signer, BEGIN));
    let mut plain = responder(NameTable::of_zones(&[zone]));
    for asked in [
        "shop.example",
        "www.shop.example",
        "wWw.Shop.Example",
        "alias.shop.example",
        "far.shop.example",
        "deep.shop.example",
        "a.deep.shop.example",
        "b.a.deep.shop.example",
        "none.shop.example",
        "zzz.shop.example",
        "0.shop.example",
        "q.wild.shop.example",
        "q.q.wild.shop.example",
        "x.wild.shop.example",
        "y.x.wild.shop.example",
        "*.wild.shop.example",
        "wild.shop.example",
        "q.star.shop.example",
        "sub.shop.example",
        "ns.sub.shop.example",
        "safe.shop.example",
        "x.safe.shop.example",
        "old.shop.example",
        "b.old.shop.example",
        "a.here.shop.example",
        "x.here.shop.example",
        "odd.shop.example",
        "loop.shop.example",
    ] {
        for rtype in ["A", "AAAA", "TXT", "MX", "NS", "SOA", "DS", "CNAME", "TYPE65400", "DNAME"] {
            let question = ("10.0.0.1", asked, rtype);
            look_over(&mut secure, &mut plain, &checkers, question, at(BEGIN)).unwrap();
        }
        for rtype in ["ANY", "NSEC", "DNSKEY", "CDS", "CDNSKEY"] {
            let reply = ask(&mut secure, &format!("10.0.0.1 {asked} {rtype} do tcp"), at(BEGIN));
            let rtype = rtype.parse().unwrap();
            checkers[0].check(&name(asked), rtype, &reply).unwrap();
        }
    }
}

#[test]
fn what_was_changed_on_its_way_is_refused() {
    let (mut signer, checkers) = signer(&["shop.example"]);
    let mut secure = responder(signed(&[parse(ZONE)], &mut signer, BEGIN));
    let asked = name("www.shop.example");
    let reply = ask(&mut secure, "10.0.0.1 www.shop.example A do", at(BEGIN));
    checkers[0].check(&asked, Rtype::A, &reply).unwrap();
    let address = reply.windows(4).position(|octets| octets == [203, 0, 113, 1]).unwrap();
    let mut forged = reply.clone();
    forged[address + 3] = 9;
    assert!(checkers[0].check(&asked, Rtype::A, &forged).unwrap_err().contains("no key made"));
    // Denials of one name do not hold for another.
    let denial = ask(&mut secure, "10.0.0.1 none.shop.example A do", at(BEGIN));
    assert!(checkers[0].check(&name("zone.shop.example"), Rtype::A, &denial).is_err());
    let (_, strangers) = self::signer(&["shop.example"]);
    assert!(strangers[0].check(&asked, Rtype::A, &reply).is_err());
}

#[test]
fn an_answer_with_signatures_that_does_not_fit_is_cut_off() {
    let (mut signer, _) = signer(&["shop.example"]);
    let many: String = (0..40).map(|at| format!("many 60 A 192.0.2.{at}\n")).collect();
    let zone = parse(&format!("{ZONE}{many}"));
    let mut secure = responder(signed(&[zone], &mut signer, BEGIN));
    let truncated = |reply: Vec<u8>| reply[2] & 2 != 0;
    let mut ask = |line: &str| truncated(ask(&mut secure, line, at(BEGIN)));
    assert!(!ask("10.0.0.1 many.shop.example A edns size=800"));
    assert!(ask("10.0.0.1 many.shop.example A edns size=720 do"));
    assert!(!ask("10.0.0.1 many.shop.example A edns size=1232 do"));
    assert!(!ask("10.0.0.1 many.shop.example A edns size=700 do tcp"));
}

/// A zone as its owner signed it.
fn signed_by_its_owner() -> (Arc<Zone>, Checker, Arc<Zone>) {
    let (mut signer, checkers) = signer(&["over.example"]);
    let plain = parse(testing::OVER_ZONE);
    let table = signed(&[Arc::clone(&plain)], &mut signer, BEGIN);
    let zone = table.zone(&name("over.example"), Rtype::A).unwrap();
    let records: Vec<_> = zone.records().collect();
    let transferred = Arc::new(Zone::of_records(&records, 1_000).unwrap());
    (transferred, checkers.into_iter().next().unwrap(), plain)
}

#[test]
fn a_zone_that_its_owner_signed_is_served_as_it_came() {
    let (zone, checker, plain) = signed_by_its_owner();
    let mut secure = responder(NameTable::of_zones(&[zone]));
    let mut plain = responder(NameTable::of_zones(&[plain]));
    let checkers = [checker];
    for asked in ["", "www.", "none.", "x.wild.", "wild.", "x.www."] {
        for rtype in ["A", "AAAA", "TXT", "CAA", "SOA"] {
            let question = ("10.0.0.1", &*format!("{asked}over.example"), rtype);
            look_over(&mut secure, &mut plain, &checkers, question, at(BEGIN)).unwrap();
        }
    }
}

/// Zones that ldns-signzone signed, with NSEC3 records, the second with opt-out.
#[test]
fn a_transferred_zone_with_nsec3_records_shows_what_is_not_there() {
    for text in [include_str!("tests/nsec3.zone"), include_str!("tests/optout.zone")] {
        let zone = parse(text);
        let apex = name("nsec3.example");
        let keys = &zone.node(&apex).unwrap().set(Rtype::DNSKEY).unwrap().data;
        let keys = keys.iter().filter_map(|data| match data {
            Data::Dnskey(key) => Some(key.clone()),
            _ => None,
        });
        let now = 1_800_000_000;
        let checker = Checker { apex: apex.clone(), keys: keys.collect(), now };
        let mut secure = responder(NameTable::of_zones(&[zone]));
        for asked in [
            "",
            "www.",
            "alias.",
            "deep.",
            "a.deep.",
            "b.a.deep.",
            "none.",
            "zzz.none.",
            "q.wild.",
            "q.q.wild.",
            "x.wild.",
            "y.x.wild.",
            "wild.",
            "q.star.",
            "sub.",
            "ns.sub.",
            "safe.",
            "x.safe.",
            "old.",
            "b.old.",
        ] {
            let asked = format!("{asked}nsec3.example");
            for rtype in ["A", "AAAA", "TXT", "MX", "DS", "SOA"] {
                let line = format!("10.0.0.1 {asked} {rtype} edns do tcp");
                let reply = ask(&mut secure, &line, at(now.into()));
                let (asked, rtype) = (name(&asked), rtype.parse().unwrap());
                let wrong = |why| panic!("{line}: {why}\n{}", testing::print(&reply));
                checker.check_sets(&reply).unwrap_or_else(wrong);
                checker::nsec3::check(&apex, &asked, rtype, &reply).unwrap_or_else(wrong);
            }
        }
    }
}

fn label() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c", "*", "B"])
}

/// A name of up to three labels.
fn owner() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 1..=3).prop_map(|labels| labels.join("."))
}

fn record() -> impl Strategy<Value = String> {
    let data = prop::sample::select(vec![
        "A 192.0.2.1",
        "A 192.0.2.2",
        "AAAA 2001:db8::1",
        "TXT x",
        "MX 1 a",
        "NS ns",
        "DS 1 13 2 00",
        "CNAME a",
        "CNAME c.b",
        "CNAME elsewhere.example.",
        "DNAME b",
        "DNAME b.elsewhere.example.",
    ]);
    (owner(), data).prop_map(|(owner, data)| {
        // RFC 4592 §4.2, RFC 6672 §3.3: what a wildcard delegates or renames is not defined.
        let ends = ["NS", "DS", "DNAME"].iter().any(|rtype| data.starts_with(rtype));
        let owner = if ends { owner.replace('*', "a") } else { owner };
        format!("{owner} {data}\n")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn every_answer_of_any_zone_is_shown_to_be_right(
        records in prop::collection::vec(record(), 0..14),
        questions in prop::collection::vec((
            prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "*", "q", "0"]), 0..=4),
            prop::sample::select(vec!["A", "AAAA", "TXT", "NS", "DS", "CNAME", "SOA", "MX"]),
        ), 24),
    ) {
        const HEAD: &str = "$ORIGIN z.example.\n$TTL 60\n@ SOA ns h 1 2 3 4 30\n@ NS ns\nns A 192.0.2.9\n";
        // Records that may not stand beside those before are left out.
        let mut text = HEAD.to_owned();
        for record in records {
            let longer = format!("{text}{record}");
            if Zone::parse(&longer).is_ok() {
                text = longer;
            }
        }
        let zone = parse(&text);
        let (mut signer, checkers) = signer(&["z.example"]);
        let mut secure = responder(signed(&[Arc::clone(&zone)], &mut signer, BEGIN));
        let mut plain = responder(NameTable::of_zones(&[zone]));
        for (labels, rtype) in questions {
            let asked = [labels, vec!["z", "example"]].concat().join(".");
            let question = ("10.0.0.1", asked.as_str(), rtype);
            let result = look_over(&mut secure, &mut plain, &checkers, question, at(BEGIN));
            prop_assert!(result.is_ok(), "{text}{}", result.unwrap_err());
        }
    }
}

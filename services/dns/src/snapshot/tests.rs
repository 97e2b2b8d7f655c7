//! What is answered at once is what the slow path answers.

use std::{net::SocketAddr, sync::Arc};

use domain::base::{Message, ToName as _, iana::Opcode};
use headroom_units::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    Responder, Transport, Zone,
    asked::{CD, DO, RD},
    message::Name,
    testing,
};

const ZONE: &str = "$ORIGIN shop.example.
    @ 3600 SOA ns1 admin 1 2 3 4 60
    @ 3600 NS ns1
    @ 60 A 192.0.2.1
    ns1 60 A 192.0.2.2
    www 60 CNAME web
    web 60 A 192.0.2.3
    web 60 A 192.0.2.4
    web 60 AAAA 2001:db8::1
    out 60 CNAME www.elsewhere.example.
    a.b.deep 60 TXT \"c\"
    *.wild 60 A 192.0.2.5
    sub 60 NS ns.sub
    ns.sub 60 A 192.0.2.6
    old 60 DNAME deep
    hid.old 60 TXT d
    loop1 60 CNAME loop2
    loop2 60 CNAME loop1
    ";
const NAMES: [&str; 16] = [
    "shop.example",
    "ns1.shop.example",
    "www.shop.example",
    "web.shop.example",
    "out.shop.example",
    "b.deep.shop.example",
    "a.b.deep.shop.example",
    "x.wild.shop.example",
    "sub.shop.example",
    "ns.sub.shop.example",
    "old.shop.example",
    "hid.old.shop.example",
    "loop1.shop.example",
    "none.shop.example",
    "example",
    "long.shop.example",
];

/// A, NS, CNAME, SOA, MX, TXT, AAAA, HTTPS, ANY and an unused one.
const TYPES: [u16; 10] = [1, 2, 5, 6, 15, 16, 28, 65, 255, 65_280];

fn zone() -> Arc<Zone> {
    let long = (0..9).map(|at| format!("long 60 TXT \"{at:060}\"\n"));
    let lines = ZONE.lines().map(|line| format!("{}\n", line.trim_start()));
    Arc::new(Zone::parse(&lines.chain(long).collect::<String>()).unwrap())
}

fn query(name: &str, rtype: u16, opt: Option<&[u8]>) -> Vec<u8> {
    let mut query = vec![0xab, 0xcd, RD, CD, 0, 1, 0, 0, 0, 0, 0, u8::from(opt.is_some())];
    query.extend_from_slice(Name::bytes_from_str(name).unwrap().as_slice());
    query.extend_from_slice(&rtype.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    if let Some(options) = opt {
        let length = u16::try_from(options.len()).unwrap().to_be_bytes();
        query.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, DO, 0, length[0], length[1]]);
        query.extend_from_slice(options);
    }
    query
}

fn slowly(query: &[u8]) -> Option<Vec<u8>> {
    let mut responder = Responder::new(None, &[zone()]);
    let source: SocketAddr = "198.51.100.1:53".parse().unwrap();
    responder.respond(query, source, Transport::Udp, Timestamp::EPOCH)
}

fn at_once(query: &[u8]) -> Option<Vec<u8>> {
    let snapshot = Snapshot::of(Source::new(NameTable::of_zones(&[zone()]), None));
    let (answered, answer) = ask(&snapshot, &mut Decisions::new(), query);
    answered.map(|_| answer)
}

fn ask(
    snapshot: &Snapshot,
    decisions: &mut Decisions,
    query: &[u8],
) -> (Option<Answered>, Vec<u8>) {
    let (source, now) = ("198.51.100.1".parse().unwrap(), Timestamp::EPOCH);
    let mut answer = Vec::new();
    (snapshot.answer(query, source, decisions, now, &mut answer), answer)
}

#[test]
fn what_is_the_same_for_everyone_is_answered_at_once() {
    for (name, rtype, expected) in [
        ("web.shop.example", Rtype::A, true),
        ("web.shop.example", Rtype::MX, true),
        ("www.shop.example", Rtype::AAAA, true),
        ("www.shop.example", Rtype::TXT, false),
        ("out.shop.example", Rtype::A, true),
        ("b.deep.shop.example", Rtype::A, true),
        ("shop.example", Rtype::SOA, true),
        ("long.shop.example", Rtype::A, true),
        ("long.shop.example", Rtype::TXT, false),
        ("web.shop.example", Rtype::ANY, false),
        ("web.shop.example", Rtype::DS, false),
        ("sub.shop.example", Rtype::A, false),
        ("ns.sub.shop.example", Rtype::A, false),
        ("x.wild.shop.example", Rtype::A, false),
        ("none.shop.example", Rtype::A, false),
        ("old.shop.example", Rtype::A, true),
        ("hid.old.shop.example", Rtype::TXT, false),
    ] {
        let found = at_once(&query(name, rtype.to_int(), None));
        assert_eq!(found.is_some(), expected, "{name} {rtype}");
    }
}

#[test]
fn steered_names_and_what_leads_to_them_are_not_the_same_for_all() {
    let plan = Arc::new(headroom_steer::plan(&testing::input()));
    let table = NameTable::of_plan(&plan, &testing::zones(), None);
    let snapshot = Snapshot::of(Source::new(table.clone(), Some(&plan)));
    let (mut steered, mut others) = (0, 0);
    let hosts = table.hosts();
    let hosts = hosts.iter().map(|(name, _)| name);
    for name in table.owners().cloned().chain(hosts) {
        for rtype in [Rtype::A, Rtype::AAAA] {
            let question = question(&name, rtype);
            let query = query(&name.to_string(), rtype.to_int(), None);
            let is_in = ask(&snapshot, &mut Decisions::new(), &query).0.is_some();
            match lookup::look_up_unsteered(&table, &question, false) {
                None => steered += 1,
                Some(_) => others += u32::from(is_in),
            }
            assert!(
                !is_in || lookup::look_up_unsteered(&table, &question, false).is_some(),
                "{name}"
            );
        }
    }
    assert!(steered > 2 && others > 2, "{steered} {others}");
}

#[test]
fn hosts_with_a_zone_of_their_own_are_answered_as_the_slow_path_does() {
    let input = testing::input();
    let mut responder = testing::responder_of(&input, &testing::zones());
    let plan = Arc::new(headroom_steer::plan(&input));
    let table = NameTable::of_plan(&plan, &testing::zones(), None);
    let snapshot = Snapshot::of(Source::new(table.clone(), Some(&plan)));
    let mut answered = [0; 2];
    for ((name, site), rtype) in
        table.hosts().iter().flat_map(|host| TYPES.map(|rtype| (host.clone(), rtype)))
    {
        let query = query(&name.to_string(), rtype, Some(&[]));
        if let (Some(found), answer) = ask(&snapshot, &mut Decisions::new(), &query) {
            assert_eq!(found, Answered::SameForAll);
            let source: SocketAddr = "198.51.100.1:53".parse().unwrap();
            let now = Timestamp::EPOCH;
            let slowly = responder.respond(&query, source, Transport::Udp, now).unwrap();
            assert_eq!(testing::print(&answer), testing::print(&slowly), "{name} {rtype}");
            answered[usize::from(snapshot.steered.hosts_by_name(site).unwrap())] += 1;
        }
    }
    // SOA and NS of each, and of those without an alias what they do not have.
    assert!(answered[0] >= 2 * 4 && answered[1] >= 2, "{answered:?}");
}

#[test]
fn what_a_steered_name_is_laid_over_is_answered_as_the_slow_path_does() {
    let mut input = testing::over(&headroom_steer::Remainder::ReturnRecords);
    let deep = "x.b.wild.over.example".parse().unwrap();
    input.sites.last_mut().unwrap().hosts.push((deep, true));
    let zones = [Arc::new(Zone::parse(testing::OVER_ZONE).unwrap())];
    let mut responder = testing::responder_of(&input, &zones);
    let plan = Arc::new(headroom_steer::plan(&input));
    let table = NameTable::of_plan(&plan, &zones, None);
    let snapshot = Snapshot::of(Source::new(table.clone(), Some(&plan)));
    let mut answered = 0;
    for (name, rtype) in table.owners().flat_map(|name| TYPES.map(|rtype| (name, rtype))) {
        let query = query(&name.to_string(), rtype, None);
        if let (Some(_), answer) = ask(&snapshot, &mut Decisions::new(), &query) {
            let source: SocketAddr = "198.51.100.1:53".parse().unwrap();
            let now = Timestamp::EPOCH;
            let slowly = responder.respond(&query, source, Transport::Udp, now).unwrap();
            assert_eq!(answer, slowly, "{name} {rtype}");
            answered += 1;
        }
    }
    assert!(answered > 20, "{answered}");
}

#[test]
fn the_case_of_a_question_is_kept() {
    let answer = at_once(&query("wEb.sHop.Example", 1, None)).unwrap();
    let message = Message::from_octets(answer).unwrap();
    let question = message.sole_question().unwrap();
    assert_eq!(question.qname().to_name::<Vec<u8>>().to_string(), "wEb.sHop.Example");
    assert_eq!(message.header().opcode(), Opcode::QUERY);
    assert_eq!(message.answer().unwrap().count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_paths_say_the_same(
        name in prop::sample::select(&NAMES[..]),
        rtype in prop_oneof![0u16..300, prop::sample::select(&TYPES[..])],
        opt in prop_oneof![
            Just(None),
            Just(Some(vec![])),
            Just(Some(vec![0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2])),
            Just(Some(vec![0, 8, 0, 4, 0, 1, 0, 0])),
            Just(Some(vec![0, 3, 0, 0, 0, 8, 0, 4, 0, 0, 0, 0])),
            prop::collection::vec(0u8..30, 0..24).prop_map(Some),
        ],
        change in prop::option::weighted(0.5, (0usize..80, any::<u8>())),
        cut in prop::option::weighted(0.1, 0usize..80),
    ) {
        let mut query = query(name, rtype, opt.as_deref());
        if let Some((at, octet)) = change && at < query.len() {
            query[at] = octet;
        }
        query.truncate(cut.unwrap_or(query.len()));
        if let Some(answer) = at_once(&query) {
            prop_assert_eq!(Some(answer), slowly(&query));
        }
    }
}

//! What is answered at once, from the snapshot, to those who ask for signatures: in the words of the
//! slow path, and without work.

use std::collections::{BTreeMap, BTreeSet};

use headroom_steer::{Assignment, PlanInput, Remainder};

use super::{
    steered::{STEERED, steered, steering_responder},
    *,
};
use crate::{
    decisions::Decisions,
    limits,
    snapshot::{Answered, Snapshot},
    steered::Source,
};

/// A, NS, CNAME, SOA, MX, TXT, AAAA, DS, RRSIG, NSEC, DNSKEY, CDS, HTTPS and an unused one.
const TYPES: [&str; 14] = [
    "A",
    "NS",
    "CNAME",
    "SOA",
    "MX",
    "TXT",
    "AAAA",
    "DS",
    "RRSIG",
    "NSEC",
    "DNSKEY",
    "CDS",
    "HTTPS",
    "TYPE65280",
];

fn at_once(
    snapshot: &Snapshot,
    decisions: &mut Decisions,
    query: &Query,
    now: Timestamp,
) -> Option<(Answered, Vec<u8>)> {
    let (octets, mut answer) = (query.octets(), Vec::new());
    let answered = snapshot.answer(&octets, query.source, decisions, now, &mut answer)?;
    Some((answered, answer))
}

#[test]
fn what_is_the_same_for_all_is_said_in_the_octets_of_the_slow_path() {
    let (mut signer, _) = signer(&["shop.example"]);
    let long: String = (0..9).map(|at| format!("long TXT \"{at:0>60}\"\n")).collect();
    let outside = parse(
        "$ORIGIN out.example.\n@ 60 SOA ns a 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.9\n\
         in 60 CNAME www.shop.example.\n",
    );
    let by_others = [include_str!("nsec3.zone"), include_str!("optout.zone")].map(parse);
    let [nsec3, optout] = by_others;
    let zones = [parse(&format!("{ZONE}{long}")), outside, nsec3];
    let table = signed(&zones, &mut signer, BEGIN);
    let answered = said_in_its_octets(table);
    for (name, rtype, is_answered) in [
        ("www.shop.example", "A", true),
        ("www.shop.example", "MX", true),
        ("alias.shop.example", "A", true),
        ("in.out.example", "A", true),
        ("ns.out.example", "AAAA", true),
        ("www.nsec3.example", "A", true),
        ("www.nsec3.example", "MX", true),
        ("shop.example", "DNSKEY", true),
        ("long.shop.example", "TXT", true),
        ("www.shop.example", "RRSIG", false),
        ("sub.shop.example", "A", false),
    ] {
        let asked = (name.to_owned(), rtype, "do");
        assert_eq!(answered.contains(&asked), is_answered, "{name} {rtype}");
    }
    assert!(!answered.contains(&("long.shop.example".to_owned(), "TXT", "do size=512")));
    said_in_its_octets(NameTable::of_zones(&[optout]));
}

/// What a snapshot of `table` answers to names of the table, all of it as the slow path does.
fn said_in_its_octets(table: NameTable) -> BTreeSet<(String, &'static str, &'static str)> {
    let snapshot = Snapshot::of(Source::new(table.clone(), None));
    let names: Vec<String> = table.owners().map(ToString::to_string).collect();
    let mut slow = responder(table);
    let mut answered = BTreeSet::new();
    for (name, rtype) in names.iter().flat_map(|name| TYPES.map(|rtype| (name, rtype))) {
        for rest in ["", "edns", "do", "do size=512", "do size=800", "do size=4096"] {
            let line = format!("10.0.0.1 {name} {rtype} {rest}");
            let found = at_once(&snapshot, &mut Decisions::new(), &Query::parse(&line), at(BEGIN));
            if let Some((_, answer)) = found {
                assert_eq!(answer, ask(&mut slow, &line, at(BEGIN)), "{line}");
                answered.insert((name.clone(), rtype, rest));
            }
        }
    }
    answered
}

/// Which zones are signed: all, the network's own alone, all but that.
fn keys_of(which: usize) -> Vec<ZoneKey> {
    let zones =
        STEERED.iter().filter(|zone| which == 0 || (which == 1) == (**zone == "cdn.example"));
    zones.map(|zone| key(zone)).collect()
}

fn inputs() -> [PlanInput; 3] {
    let assignment: Assignment = "v=headroom1; algorithm=weighted; server=198.51.100.1; \
        server=198.51.100.2,2001:db8:5::2,weight=2"
        .parse()
        .unwrap();
    [
        testing::over(&testing::by_name("origin.static.example")),
        testing::over(&Remainder::ReturnAddresses(vec!["198.51.100.9".parse().unwrap()])),
        testing::over(&Remainder::Assign(assignment)),
    ]
}

/// Each query first the slow way, then from what was decided: both say the same.
#[test]
fn what_was_decided_is_said_with_its_signatures_in_the_words_of_the_slow_path() {
    let zones = [testing::STATIC_ZONE, testing::OVER_ZONE].map(parse);
    let mut said: BTreeMap<(usize, bool, bool), usize> = BTreeMap::new();
    for (input, which) in inputs().iter().flat_map(|input| [0, 1, 2].map(|which| (input, which))) {
        let mut signer = signer_of(keys_of(which));
        let (plan, table, _) = steered(input, &zones, &mut signer, BEGIN);
        let snapshot = Snapshot::of(Source::new(table.clone(), Some(&plan)));
        let hosts = table.hosts();
        let hosts = hosts.iter().map(|(name, _)| name.to_string());
        let names = table.owners().map(ToString::to_string);
        let names: Vec<String> = names.chain(hosts).collect();
        let mut slow = steering_responder(&plan, table);
        for (now, client) in [at(1), at(110), at(150)]
            .into_iter()
            .flat_map(|now| ["10.0.1.7", "10.200.1.7", "10.0.9.7"].map(|client| (now, client)))
        {
            let mut decisions = Decisions::new();
            for (name, rest) in names.iter().flat_map(|name| {
                ["A do", "AAAA do", "HTTPS do", "A do subnet=10.0.9.0/24"].map(|rest| (name, rest))
            }) {
                let line = format!("{client} {name} {rest}");
                let query = Query::parse(&line);
                let (octets, source) = (query.octets(), (query.source, 5353).into());
                let mut ask = || slow.handle(&octets, source, query.transport, now).unwrap();
                let Some(decision) = ask().decision else { continue };
                let numbered = snapshot.steered.numbered(&decision).unwrap();
                decisions.remember(numbered, decision.client, decision.hold);
                let slowly = testing::print(&ask().octets);
                match at_once(&snapshot, &mut decisions, &query, now) {
                    Some((found, answer)) => {
                        assert_eq!(found, Answered::Steered);
                        assert_eq!(testing::print(&answer), slowly, "{line}");
                        let has_signatures = slowly.contains(" RRSIG ");
                        let place = (which, has_signatures, decision.edge.is_some());
                        *said.entry(place).or_default() += 1;
                    }
                    None => {
                        let plain = Query::parse(&line.replace(" do", " edns"));
                        let found = at_once(&snapshot, &mut decisions, &plain, now);
                        assert!(found.is_none(), "{line} is left to the slow path");
                    }
                }
            }
        }
    }
    for which in 0..3 {
        for is_edge in [false, true] {
            let count = said.get(&(which, true, is_edge)).copied().unwrap_or_default();
            assert!(count > 20, "{which} {is_edge}: {said:?}");
        }
    }
}

#[test]
fn nothing_is_allocated_for_an_answer_with_signatures() {
    let zones = [testing::STATIC_ZONE, testing::OVER_ZONE].map(parse);
    let mut signer = signer_of(keys_of(0));
    let (plan, table, _) = steered(&inputs()[1], &zones, &mut signer, BEGIN);
    let (snapshot, mut decisions) =
        (Snapshot::of(Source::new(table.clone(), Some(&plan))), Decisions::new());
    let mut slow = steering_responder(&plan, table);
    let mut answer = Vec::with_capacity(limits::UDP_ANSWER_MAX.into());
    for line in ["10.0.1.7 www.over.example A do", "10.0.1.7 origin.static.example A do"] {
        let query = Query::parse(line);
        let (octets, source) = (query.octets(), (query.source, 5353).into());
        let slowly = slow.handle(&octets, source, query.transport, at(110)).unwrap();
        if let Some(decision) = slowly.decision {
            let numbered = snapshot.steered.numbered(&decision).unwrap();
            decisions.remember(numbered, decision.client, decision.hold);
        }
        let mut ask =
            || snapshot.answer(&octets, query.source, &mut decisions, at(110), &mut answer);
        assert!(ask().is_some(), "{line}");
        let counted = allocation_counter::measure(|| {
            (0..1_000).for_each(|_| assert!(ask().is_some()));
        });
        assert_eq!(counted.count_total, 0, "{line}");
    }
}

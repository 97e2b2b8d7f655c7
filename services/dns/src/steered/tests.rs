//! What was decided is said in the words of the slow path.

use headroom_steer::{PlanInput, Steering};
use headroom_units::{Generation, Timestamp};

use super::*;
use crate::{
    ForwardConfig, Transport, Zone,
    decisions::Decisions,
    forward::ForwardMetrics,
    snapshot::{Answered, Snapshot},
    testing,
};

/// A name of a static zone that leads to a steered one.
const ALIAS: &str = "steered.static.example";
/// Names of by-name sites at which no CNAME may stand, or whose remainder is looked up.
const FLATTENED: [&str; 4] =
    ["www.held.example", "over.example", "www.over.example", "a.wild.over.example"];
const CLIENTS: [&str; 3] = ["10.0.1.7", "10.200.3.4", "2001:db8:7::1"];

/// A by-name site and one with the zone's own records, laid over a zone.
fn overlaid() -> (PlanInput, Vec<Arc<Zone>>) {
    let mut input = testing::over(&testing::by_name("origin.over.example"));
    input.sites.push(testing::site("mail", "mail.over.example", Remainder::ReturnRecords));
    let mut entitlement = input.entitlements[0].1.clone();
    entitlement.contract = headroom_units::ContractId::new(10);
    input.entitlements.push(("mail".parse().unwrap(), entitlement));
    let mut zones = testing::zones();
    zones.push(Arc::new(Zone::parse(testing::OVER_ZONE).unwrap()));
    (input, zones)
}

/// What the snapshot says to a client of 10.0.1.0/24, about which `said` is remembered for
/// every site.
fn repeated(
    (input, zones): &(PlanInput, Vec<Arc<Zone>>),
    forwarder: Option<Arc<Forwarder>>,
    name: &str,
    said: Said,
) -> Option<String> {
    let plan = Arc::new(headroom_steer::plan(input));
    let table = NameTable::of_plan(&plan, zones, None);
    let snapshot = Snapshot::of(Source { forwarder, ..Source::new(table, Some(&plan)) });
    let asked = testing::Query::parse(&format!("10.0.1.7 {name} A"));
    let now = Timestamp::from_seconds(110);
    let mut steering = Steering::new("ns1".parse().unwrap(), Arc::clone(&plan));
    let client = "10.0.1.0/24".parse().unwrap();
    let shop = steering.answer(&"shop".parse().unwrap(), client, now).unwrap();
    let mut decisions = Decisions::new();
    for id in plan.sites.keys() {
        let site = snapshot.steered.number(id).unwrap();
        decisions.remember((site, 0, said), client, shop.hold.unwrap());
    }
    let (query, mut answer) = (asked.octets(), Vec::new());
    let found = snapshot.answer(&query, asked.source, &mut decisions, now, &mut answer)?;
    assert_eq!(found, Answered::Steered, "{name}");
    Some(testing::print(&answer))
}

#[test]
fn names_that_do_not_say_what_their_site_says_are_left_to_the_slow_path() {
    let world = overlaid();
    for said in [Said::Edge(0), Said::Remainder] {
        for name in FLATTENED {
            assert_eq!(repeated(&world, None, name, said), None, "{name}");
        }
        let other = repeated(&world, None, "new.over.example", said).unwrap();
        assert!(other.contains("CNAME"), "another host of the same site: {other}");
    }
}

#[test]
fn a_remainder_that_is_asked_for_elsewhere_is_left_to_the_slow_path() {
    let zone = "shop.example".parse().unwrap();
    let config = ForwardConfig { zone, name_servers: vec!["198.51.100.53:53".parse().unwrap()] };
    let metrics = ForwardMetrics::register(&mut prometheus_client::registry::Registry::default());
    let (forwarder, _wishes) = Forwarder::new(&[config], metrics);
    let forwarder = Arc::new(forwarder);
    let world = overlaid();
    for said in [Said::Edge(0), Said::Remainder] {
        assert!(repeated(&world, None, "www.shop.example", said).is_some());
        assert_eq!(repeated(&world, Some(Arc::clone(&forwarder)), "www.shop.example", said), None);
    }
}

#[test]
fn the_remainder_of_a_zone_is_not_repeated_but_its_edges_are() {
    let world = overlaid();
    for name in ["mail.over.example", "mail.cdn.example"] {
        assert_eq!(repeated(&world, None, name, Said::Remainder), None);
        let at_edge = repeated(&world, None, name, Said::Edge(0)).unwrap();
        assert!(at_edge.contains("192.0.2.11"), "{at_edge}");
    }
    let (input, zones) = world;
    let mut responder = testing::responder_of(&input, &zones);
    let mut decided = |name: &str, seconds| {
        let asked = testing::Query::parse(&format!("10.0.1.7 {name} A"));
        let (source, now) = ((asked.source, 5353).into(), Timestamp::from_seconds(seconds));
        responder.handle(&asked.octets(), source, Transport::Udp, now).unwrap().decision
    };
    for name in FLATTENED.into_iter().chain(["mail.over.example", "mail.cdn.example"]) {
        assert!(decided(name, 1).is_none(), "the remainder of {name}");
        assert!(decided(name, 110).unwrap().edge.is_some(), "{name}");
    }
}

/// Each query first the slow way, then from what was decided: both say the same, and the second
/// is no mapping request that the ledgers see.
#[test]
fn what_was_decided_is_said_in_the_words_of_the_slow_path() {
    let (input, zones) = overlaid();
    let mut responder = testing::responder_of(&input, &zones);
    let plan = Arc::new(headroom_steer::plan(&input));
    let table = NameTable::of_plan(&plan, &zones, None);
    let snapshot = Snapshot::of(Source::new(table.clone(), Some(&plan)));
    let hosts = table.hosts();
    let hosts = hosts.iter().map(|(name, _)| name.to_string());
    let names = table.owners().map(ToString::to_string).chain(hosts);
    let names: Vec<_> =
        names.chain(plan.sites.keys().map(|id| format!("{id}.cdn.example"))).collect();
    let mut said = [0; 2];
    for millis in [1_000, 99_000, 110_000, 150_300] {
        let now = Timestamp::from_millis(millis);
        let mut decisions = Decisions::new();
        for ((name, client), rest) in
            names.iter().flat_map(|name| CLIENTS.map(|client| (name, client))).flat_map(|asked| {
                ["A", "AAAA", "HTTPS", "MX", "A edns subnet=10.0.9.0/24"].map(|rest| (asked, rest))
            })
        {
            let asked = testing::Query::parse(&format!("{client} {name} {rest}"));
            let (query, source) = (asked.octets(), (asked.source, 5353).into());
            let ask = |responder: &mut crate::Responder| {
                responder.handle(&query, source, Transport::Udp, now).unwrap()
            };
            let Some(decision) = ask(&mut responder).decision else { continue };
            let numbered = snapshot.steered.numbered(&decision).unwrap();
            decisions.remember(numbered, decision.client, decision.hold);
            let mut answer = Vec::new();
            let found = snapshot.answer(&query, asked.source, &mut decisions, now, &mut answer);
            let slowly = testing::print(&ask(&mut responder).octets);
            match found {
                Some(Answered::Steered) => {
                    said[usize::from(decision.edge.is_some())] += 1;
                    assert_eq!(testing::print(&answer), slowly, "{name} {rest} {client}");
                }
                Some(Answered::SameForAll) => panic!("{name} is steered"),
                None => {
                    let is_elsewhere = name == ALIAS || FLATTENED.contains(&name.as_str());
                    assert!(is_elsewhere, "{name} {rest}: {slowly}");
                }
            }
        }
    }
    assert!(said[0] > 10 && said[1] > 10, "remainder and edges: {said:?}");
}

#[test]
fn nothing_is_allocated_for_an_answer() {
    let input = testing::input();
    let mut responder = testing::responder_of(&input, &testing::zones());
    let plan = Arc::new(headroom_steer::plan(&input));
    let table = NameTable::of_plan(&plan, &testing::zones(), None);
    let (snapshot, mut decisions) =
        (Snapshot::of(Source::new(table.clone(), Some(&plan))), Decisions::new());
    let now = Timestamp::from_millis(110_000);
    let mut answer = Vec::with_capacity(limits::UDP_ANSWER_MAX.into());
    for (asked, expected) in [
        ("10.0.1.7 shop.cdn.example A edns subnet=10.0.9.0/24", Answered::Steered),
        ("10.0.1.7 ns1.cdn.example A", Answered::SameForAll),
    ] {
        let asked = testing::Query::parse(asked);
        let (query, source) = (asked.octets(), (asked.source, 5353).into());
        let slowly = responder.handle(&query, source, Transport::Udp, now).unwrap();
        if let Some(decision) = slowly.decision {
            let numbered = snapshot.steered.numbered(&decision).unwrap();
            decisions.remember(numbered, decision.client, decision.hold);
        }
        let mut ask = || snapshot.answer(&query, asked.source, &mut decisions, now, &mut answer);
        assert_eq!(ask(), Some(expected), "and the counters of the place are there now");
        let counted = allocation_counter::measure(|| {
            (0..1_000).for_each(|_| assert_eq!(ask(), Some(expected)));
        });
        assert_eq!(counted.count_total, 0, "{expected:?}");
    }
}

#[test]
fn a_ttl_is_cut_and_never_raised() {
    let plan = Arc::new(headroom_steer::plan(&testing::input()));
    let table = NameTable::of_plan(&plan, &[], None);
    let answers = SteeredAnswers::of(Source::new(table, Some(&plan)));
    let Told::Records(template) = &answers.to_edges[0].by_name[0] else {
        panic!("an alias and its address");
    };
    let ttls = |ttl| {
        let mut records = vec![0; 5];
        template.write(ttl, &mut records);
        let ttl_at = |(at, _): &(u16, u32)| {
            let at = 5 + usize::from(*at);
            u32::from_be_bytes(records[at..at + 4].try_into().unwrap())
        };
        template.ttls.iter().map(ttl_at).collect::<Vec<_>>()
    };
    assert_eq!(ttls(7), [7, 7]);
    assert_eq!(ttls(1_000_000), [1_000_000, limits::ADDRESS_TTL]);
}

#[test]
fn decisions_of_another_plan_are_not_understood() {
    let mut input = testing::input();
    let mut responder = testing::responder_of(&input, &[]);
    input.generation = Generation::new(8);
    let plan = Arc::new(headroom_steer::plan(&input));
    let answers =
        SteeredAnswers::of(Source::new(NameTable::of_plan(&plan, &[], None), Some(&plan)));
    let site = plan.sites.keys().next().unwrap();
    let asked = testing::Query::parse(&format!("10.0.1.7 {site}.cdn.example A"));
    let (query, source) = (asked.octets(), (asked.source, 5353).into());
    let found = responder.handle(&query, source, Transport::Udp, Timestamp::EPOCH).unwrap();
    assert_eq!(answers.numbered(&found.decision.unwrap()), None);
}

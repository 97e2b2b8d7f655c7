//! Steered names in signed zones.

use std::collections::BTreeSet;

use headroom_steer::{AssignAlgorithm, Assignment, Plan, PlanInput, Remainder, SiteInput};
use headroom_units::{Generation, SiteId};

use super::*;
use crate::{
    assigned::Provided, decisions::Decisions, dnssec::Steered, snapshot::Snapshot, steered::Source,
};

/// The plan of `input`, and the tables of it with and without signatures.
pub(super) fn steered(
    input: &PlanInput,
    zones: &[Arc<Zone>],
    signer: &mut Signer,
    now: u64,
) -> (Arc<Plan>, NameTable, NameTable) {
    steered_from(input, zones, &Provided::new(), signer, now)
}

/// The same, with what sites' own DNS provides.
fn steered_from(
    input: &PlanInput,
    zones: &[Arc<Zone>],
    provided: &Provided,
    signer: &mut Signer,
    now: u64,
) -> (Arc<Plan>, NameTable, NameTable) {
    let plan = Arc::new(headroom_steer::plan(input));
    let plain = NameTable::of_plan(&plan, zones, None);
    let mut table = plain.clone();
    let from = Steered { plan: &plan, forwarder: None, provided };
    signer.sign(&mut table, Some(from), at(now));
    (plan, table, plain)
}

pub(super) fn steering_responder(plan: &Arc<Plan>, table: NameTable) -> Responder {
    let mut responder = Responder::new(Some("ns1".parse().unwrap()), &[]);
    assert!(responder.install(Arc::clone(plan), table));
    responder
}

/// Purchases begin and end at seconds that are near the epoch; signatures are moved there.
fn near_the_epoch(checkers: &mut [Checker]) {
    checkers.iter_mut().for_each(|checker| checker.now = 150);
}

/// The zones of the plan of [`testing::over`], all of which are signed.
pub(super) const STEERED: [&str; 7] = [
    "cdn.example",
    "over.example",
    "static.example",
    "www.held.example",
    "media.example",
    "turns.pool.example",
    "parts.pool.example",
];

#[test]
fn whatever_steering_answers_is_signed() {
    let remainders = [
        Remainder::ReturnRecords,
        testing::by_name("origin.static.example"),
        Remainder::ReturnAddresses(vec!["198.51.100.9".parse().unwrap()]),
    ];
    for remainder in remainders {
        let keys = STEERED
            .map(|zone| ZoneKey::generate(name(zone), KeyTimes::first(Timestamp::EPOCH)).unwrap());
        let mut checkers: Vec<Checker> = keys
            .iter()
            .map(|key| Checker {
                apex: key.zone().clone(),
                keys: vec![key.dnskey().clone()],
                now: 0,
            })
            .collect();
        near_the_epoch(&mut checkers);
        let zones = [testing::STATIC_ZONE, testing::OVER_ZONE]
            .map(|text| Arc::new(Zone::parse(text).unwrap()));
        let input = testing::over(&remainder);
        let mut signer = signer_of(keys.into());
        let (plan, table, plain) = steered(&input, &zones, &mut signer, 0);
        let hosts = table.hosts();
        let hosts = hosts.iter().map(|(name, _)| name.to_string());
        let owners = table.owners().map(ToString::to_string);
        let names: BTreeSet<String> = owners.chain(hosts).collect();
        let mut secure = steering_responder(&plan, table);
        let mut plain = steering_responder(&plan, plain);
        for (at, zone) in STEERED.iter().enumerate() {
            let reply = ask(&mut secure, &format!("10.0.0.1 {zone} DNSKEY do"), Timestamp::EPOCH);
            checkers[at].check(&name(zone), Rtype::DNSKEY, &reply).unwrap();
        }
        for now in [1_000, 99_500, 110_000, 150_000, 190_000, 250_000].map(Timestamp::from_millis) {
            for (client, asked) in names.iter().flat_map(|name| {
                ["10.0.1.7", "10.200.1.7", "10.0.9.7"].map(|client| (client, name))
            }) {
                for rtype in ["A", "AAAA", "HTTPS", "MX", "NS", "SOA", "CNAME"] {
                    let question = (client, asked.as_str(), rtype);
                    look_over(&mut secure, &mut plain, &checkers, question, now).unwrap();
                }
            }
        }
    }
}

#[test]
fn a_type_that_only_some_answers_have_is_denied_and_not_forgotten() {
    let mut input = testing::input();
    let edges = input.fleet.regions.values_mut().flat_map(|region| region.edges.values_mut());
    for edge in edges {
        edge.addresses.retain(std::net::IpAddr::is_ipv4);
    }
    let keys =
        vec![ZoneKey::generate(name("media.example"), KeyTimes::first(Timestamp::EPOCH)).unwrap()];
    let mut checkers = vec![Checker {
        apex: name("media.example"),
        keys: vec![keys[0].dnskey().clone()],
        now: 150,
    }];
    near_the_epoch(&mut checkers);
    let mut signer = signer_of(keys);
    let (plan, table, plain) = steered(&input, &testing::zones(), &mut signer, 0);
    let mut secure = steering_responder(&plan, table);
    let mut plain = steering_responder(&plan, plain);
    for seconds in [1, 110] {
        for rtype in ["A", "AAAA", "MX"] {
            let question = ("10.0.1.7", "media.example", rtype);
            look_over(&mut secure, &mut plain, &checkers, question, at(seconds)).unwrap();
        }
    }
    // The denial of MX must not deny the address that the remainder has.
    let denial = ask(&mut secure, "10.0.1.7 media.example MX do", at(110));
    let text = testing::print(&denial);
    let nsec = text.lines().find(|line| line.contains(" NSEC media")).unwrap();
    assert!(nsec.contains(" A ") && nsec.contains(" AAAA "), "{nsec}");
}

#[test]
fn a_plan_that_changes_little_makes_few_signatures() {
    let mut signer = signer_of(STEERED.map(key).into());
    let made = |signer: &Signer| signer.metrics_made();
    let mut input = testing::over(&Remainder::ReturnRecords);
    let zones =
        [testing::STATIC_ZONE, testing::OVER_ZONE].map(|text| Arc::new(Zone::parse(text).unwrap()));
    let (_, first, _) = steered(&input, &zones, &mut signer, BEGIN);
    let whole = made(&signer);
    assert!(whole > 100, "{whole}");
    input.generation = Generation::new(8);
    let (_, second, _) = steered(&input, &zones, &mut signer, BEGIN + 60);
    assert_eq!(made(&signer), whole, "nothing has changed");
    let serial = |table: &NameTable| {
        table.zone(&name("cdn.example"), Rtype::A).unwrap().soa().serial().into_int()
    };
    assert_eq!((serial(&first), serial(&second)), (7, 7));
    // One site more: its name, its neighbour's NSEC record and the SOA record; and a zone of its own
    // that has no key.
    input.generation = Generation::new(9);
    input.sites.push(testing::site("more", "www.more.example", testing::by_name("o.more.example")));
    let (_, third, _) = steered(&input, &zones, &mut signer, BEGIN + 120);
    assert_eq!(serial(&third), 9);
    assert_eq!(made(&signer) - whole, 4);
}

#[test]
fn a_remainder_that_is_not_known_in_advance_is_told() {
    let input = testing::over(&testing::by_name("somewhere.else.example"));
    let mut signer = signer_of(vec![key("over.example")]);
    let zones = [Arc::new(Zone::parse(testing::OVER_ZONE).unwrap())];
    let (plan, table, _) = steered(&input, &zones, &mut signer, BEGIN);
    let mut secure = steering_responder(&plan, table);
    // At the apex it would be its addresses, which only another name server knows.
    let reply = testing::print(&ask(&mut secure, "10.0.1.7 over.example A do", at(1)));
    assert!(reply.starts_with("  SERVFAIL"), "{reply}");
    let reply = testing::print(&ask(&mut secure, "10.0.1.7 over.example A do", at(150)));
    assert!(reply.contains("RRSIG A 13"), "edges are signed all the same: {reply}");
}

#[test]
fn nothing_is_laid_over_a_zone_that_its_owner_signed() {
    let (zone, checker, _) = signed_by_its_owner();
    let input = testing::over(&Remainder::ReturnRecords);
    // Even with a key of ours.
    let mut signer = signer_of(vec![key("over.example")]);
    let (plan, table, _) = steered(&input, &[zone], &mut signer, BEGIN);
    assert_eq!(table.left_out().len(), 4);
    let mut secure = steering_responder(&plan, table);
    for asked in ["over.example", "www.over.example", "a.wild.over.example", "new.over.example"] {
        let reply = ask(&mut secure, &format!("10.0.1.7 {asked} A do"), at(150));
        checker.check(&name(asked), Rtype::A, &reply).unwrap();
        assert!(!testing::print(&reply).contains("192.0.2."), "no edge");
    }
}

/// Each algorithm, with servers that have other addresses than the edges, and not all of both types.
#[test]
fn whichever_server_is_assigned_is_signed() {
    let servers = "server=198.51.100.1,2001:db8:5::1,region=east; server=198.51.100.2,weight=3; \
                   server=2001:db8:5::3,region=west; server=198.51.100.4,198.51.100.5";
    for algorithm in AssignAlgorithm::ALL.map(|(name, _)| name) {
        let text = format!("v=headroom1; algorithm={algorithm}; {servers}");
        let assignment: Assignment = text.parse().unwrap();
        let mut input = testing::over(&Remainder::Assign(assignment.clone()));
        let by_dns = Remainder::AssignByDns { host: "www.texts.example".parse().unwrap() };
        let texts = testing::site("texts", "www.texts.example", by_dns);
        let fallback = "origin.static.example".parse().unwrap();
        input.sites.push(SiteInput { fallback, ..texts });
        let zones = [testing::STATIC_ZONE, testing::OVER_ZONE].map(parse);
        let apexes = ["cdn.example", "over.example", "www.texts.example"];
        let keys = apexes
            .map(|zone| ZoneKey::generate(name(zone), KeyTimes::first(Timestamp::EPOCH)).unwrap());
        let checker = |key: &ZoneKey| Checker {
            apex: key.zone().clone(),
            keys: vec![key.dnskey().clone()],
            now: 150,
        };
        let checkers: Vec<Checker> = keys.iter().map(checker).collect();
        let id: SiteId = "texts".parse().unwrap();
        // Signed in the moment between the two.
        let provided = Provided::from([(id.clone(), vec![None, Some(assignment.clone())])]);
        let mut signer = signer_of(keys.into());
        let (plan, table, plain) = steered_from(&input, &zones, &provided, &mut signer, 0);
        let mut secure = steering_responder(&plan, table);
        let mut plain = steering_responder(&plan, plain);
        let mut told = BTreeSet::new();
        for is_provided in [false, true] {
            if is_provided {
                for responder in [&mut secure, &mut plain] {
                    responder.assignments_mut().unwrap().provide(id.clone(), assignment.clone());
                }
            }
            for (client, asked) in (0..24).flat_map(|at| {
                ["over.example", "www.texts.example", "over.cdn.example", "texts.cdn.example"]
                    .map(|asked| (format!("10.{}.{at}.7", at % 2 * 200), asked))
            }) {
                for (rtype, now) in [("A", 1), ("AAAA", 1), ("HTTPS", 1), ("A", 150)] {
                    let question = (&*client, asked, rtype);
                    look_over(&mut secure, &mut plain, &checkers, question, at(now)).unwrap();
                    let line = format!("{client} {asked} {rtype} do tcp");
                    let text = testing::print(&ask(&mut secure, &line, at(now)));
                    told.extend(
                        ["203.0.113.1", "198.51.100.1", "2001:db8:5::3", "192.0.2.11"]
                            .into_iter()
                            .filter(|address| text.contains(&format!(" {address}\n"))),
                    );
                }
            }
        }
        assert!(told.contains("198.51.100.1") && told.contains("203.0.113.1"), "{told:?}");
        assert_eq!(signer.count_unsigned(), 0, "{algorithm}");
    }
}

/// A cache that has a CNAME of a name looks for its DNSKEY records where that leads.
#[test]
fn a_host_that_is_an_alias_has_no_keys_beside_it() {
    let mut signer = signer_of(vec![key("www.shop.example"), key("cdn.example")]);
    let (plan, table, _) = steered(&testing::input(), &testing::zones(), &mut signer, BEGIN);
    assert_eq!(signer.failed(), ["www.shop.example"]);
    let mut secure = steering_responder(&plan, table);
    let reply = ask(&mut secure, "10.0.0.1 www.shop.example DNSKEY do", at(BEGIN));
    assert!(!testing::print(&reply).contains("DNSKEY 257"));
    // Its remainder in a zone that is held here makes it one that is answered by address.
    let mut input = testing::input();
    input.generation = Generation::new(8);
    input.sites[0].remainder = testing::by_name("origin.static.example");
    let (plan, table, _) = steered(&input, &testing::zones(), &mut signer, BEGIN);
    assert!(signer.failed().is_empty());
    let mut secure = steering_responder(&plan, table);
    let reply = ask(&mut secure, "10.0.0.1 www.shop.example DNSKEY do", at(BEGIN));
    assert!(testing::print(&reply).contains("DNSKEY 257"));
}

/// Of a million little zones one may be signed, and all others are as they were.
#[test]
fn a_delegated_host_is_signed_among_others_that_are_not() {
    let input = testing::input();
    let mut signer = signer_of(vec![key("media.example"), key("www.none.example")]);
    let (plan, table, plain) = steered(&input, &testing::zones(), &mut signer, BEGIN);
    assert_eq!(table.zones().len(), plain.zones().len() + 1);
    let mut secure = steering_responder(&plan, table.clone());
    let snapshot = Snapshot::of(Source::new(table.clone(), Some(&plan)));
    let hosts = table.hosts();
    for (host, asked) in hosts.iter().flat_map(|(host, _)| {
        ["A", "SOA", "NS", "MX"].map(|rtype| (host.to_string(), format!("{host} {rtype}")))
    }) {
        let reply = ask(&mut secure, &format!("10.0.0.1 {asked} do"), at(BEGIN));
        let has_signatures = testing::print(&reply).contains(" RRSIG ");
        assert_eq!(has_signatures, host == "media.example", "{asked}");
        let reply = ask(&mut secure, &format!("10.0.0.1 {asked} edns"), at(BEGIN));
        let query = Query::parse(&format!("10.0.0.1 {asked} edns"));
        let (mut decisions, mut answer) = (Decisions::new(), Vec::new());
        let octets = query.octets();
        if snapshot.answer(&octets, query.source, &mut decisions, at(BEGIN), &mut answer).is_some()
        {
            assert_eq!(testing::print(&answer), testing::print(&reply), "{asked}");
        }
    }
}

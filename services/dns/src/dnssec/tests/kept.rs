//! Zones that are kept from one plan to the next are those that would be made for it.

use std::collections::BTreeSet;

use headroom_steer::{PlanInput, Remainder};
use headroom_units::Generation;

use super::{
    steered::{STEERED, steered},
    *,
};
use crate::{assigned::Provided, dnssec::Steered};

/// Those of the plan, and of hosts that come and go.
const ZONES: [&str; 9] = {
    let [a, b, c, d, e, f, g] = STEERED;
    [a, b, c, d, e, f, g, "www.added-0.example", "www.added-1.example"]
};

/// What the next plan has other than the one before.
#[derive(Debug, Clone)]
enum Change {
    Nothing,
    Health(bool),
    EdgeAddress(u8),
    Ttl(u64),
    Site(u8),
    Host(u8),
    Remainder(u8, u8),
    Purchase(u8, bool),
    NameServer(u8),
    Later(u64),
}

fn change() -> impl Strategy<Value = Change> {
    let sites = 0u8..4;
    prop_oneof![
        Just(Change::Nothing),
        any::<bool>().prop_map(Change::Health),
        (1u8..3).prop_map(Change::EdgeAddress),
        (20u64..22).prop_map(Change::Ttl),
        (0u8..3).prop_map(Change::Site),
        (0u8..2).prop_map(Change::Host),
        (sites.clone(), 0u8..4).prop_map(|(site, which)| Change::Remainder(site, which)),
        (sites, any::<bool>()).prop_map(|(site, is_west)| Change::Purchase(site, is_west)),
        (1u8..3).prop_map(Change::NameServer),
        (0..6 * DAY).prop_map(Change::Later),
    ]
}

fn apply(change: &Change, input: &mut PlanInput, now: &mut u64) {
    let site_id = |site: u8| ["shop", "held", "media", "over"][usize::from(site)].parse().unwrap();
    let added = |number: u8| format!("added-{number}");
    match *change {
        Change::Nothing => {}
        Change::Health(true) => drop(input.down.insert("east-1".parse().unwrap())),
        Change::Health(false) => input.down.clear(),
        Change::EdgeAddress(last) => {
            let region = input.fleet.regions.get_mut(&"east".parse().unwrap()).unwrap();
            let edge = region.edges.get_mut(&"east-2".parse().unwrap()).unwrap();
            edge.addresses[0] = [192, 0, 2, 200 + last].into();
        }
        Change::Ttl(seconds) => input.fleet.ttl = Duration::from_secs(seconds),
        Change::Site(number) => {
            let before = input.sites.len();
            input.sites.retain(|site| site.id.as_str() != added(number));
            if input.sites.len() == before {
                let host = format!("www.{}.example", added(number));
                let remainder = testing::by_name("origin.static.example");
                input.sites.push(testing::site(&added(number), &host, remainder));
            }
        }
        Change::Host(number) => {
            let media = input.sites.iter_mut().find(|site| site.id.as_str() == "media").unwrap();
            let other = format!("{number}.static.example").parse().unwrap();
            media.hosts = vec![("media.example".parse().unwrap(), true), (other, true)];
        }
        Change::Remainder(site, which) => {
            let id = site_id(site);
            let site = input.sites.iter_mut().find(|site| site.id == id).unwrap();
            site.remainder = match which {
                0 => testing::by_name("origin.static.example"),
                1 => testing::by_name("www.elsewhere.example"),
                2 => Remainder::ReturnAddresses(vec!["198.51.100.8".parse().unwrap()]),
                _ => Remainder::ReturnRecords,
            };
        }
        Change::Purchase(site, is_west) => {
            let id = site_id(site);
            let region = if is_west { "west" } else { "east" };
            for (_, bought) in input.entitlements.iter_mut().filter(|(site, _)| *site == id) {
                bought.region = region.parse().unwrap();
            }
        }
        Change::NameServer(number) => {
            let server = input.fleet.name_servers.get_mut(&"ns2".parse().unwrap()).unwrap();
            server.host = format!("ns{number}.other.example").parse().unwrap();
        }
        Change::Later(seconds) => *now += seconds,
    }
}

/// All that stands in a zone.
fn said(zone: &Zone) -> BTreeSet<String> {
    let records = zone.records().map(|record| format!("{record:?}"));
    let steered = zone.nodes().map(|(name, node)| format!("{name} {:?}", node.variants));
    let chain = format!("{:?} {:?}", zone.chain(), zone.denial());
    records.chain(steered).chain([chain]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All zones are signed once more, with the signatures that they have: if those are the right
    /// ones, no other is needed, and the zones say the same.
    #[test]
    fn what_is_kept_is_what_would_be_made(changes in prop::collection::vec(change(), 1..12)) {
        let zones = [testing::STATIC_ZONE, testing::OVER_ZONE].map(parse);
        let mut signer = signer_of(ZONES.iter().map(|zone| key(zone)).collect());
        let mut input = testing::over(&Remainder::ReturnRecords);
        let mut now = BEGIN;
        for (change, generation) in changes.iter().zip(8..) {
            apply(change, &mut input, &mut now);
            input.generation = Generation::new(generation);
            let plan = headroom_steer::plan(&input);
            let plain = NameTable::of_plan(&plan, &zones, None);
            let provided = Provided::new();
            let from = Steered { plan: &plan, forwarder: None, provided: &provided };
            signer.sign(&mut plain.clone(), Some(from), at(now));
            let all = signer.once_more(&plain, from, at(now));
            prop_assert!(all.len() >= 3);
            for (held, new, made) in all {
                prop_assert_eq!(made, 0, "{} after {:?}", held.name(), change);
                prop_assert_eq!(said(&held), said(&new), "after {:?}", change);
            }
        }
    }
}

#[test]
fn a_plan_that_changes_nothing_is_no_work() {
    let zones = [testing::STATIC_ZONE, testing::OVER_ZONE].map(parse);
    let mut signer = signer_of(ZONES.iter().map(|zone| key(zone)).collect());
    let mut input = testing::over(&Remainder::ReturnRecords);
    let (_, before, _) = steered(&input, &zones, &mut signer, BEGIN);
    input.generation = Generation::new(8);
    let (_, after, _) = steered(&input, &zones, &mut signer, BEGIN + 1);
    for zone in ["cdn.example", "media.example", "over.example"].map(name) {
        assert!(Arc::ptr_eq(&before.zones()[&zone], &after.zones()[&zone]), "{zone}");
    }
    input.sites.push(testing::site("new", "www.new.example", testing::by_name("o.new.example")));
    input.generation = Generation::new(9);
    let (_, last, _) = steered(&input, &zones, &mut signer, BEGIN + 2);
    let network = name("cdn.example");
    let node = |table: &NameTable, at: &str| {
        Arc::clone(table.zones()[&network].shared_node(&name(at)).unwrap())
    };
    let is_kept = |at: &str| Arc::ptr_eq(&node(&after, at), &node(&last, at));
    assert!(is_kept("shop.cdn.example") && is_kept("turns.cdn.example"));
    assert!(!is_kept("media.cdn.example"), "another name comes next");
}

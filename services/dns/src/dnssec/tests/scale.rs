//! How long each part takes of making a large table, signed or not, where one was made before.
//! Measurements, so they run on request:
//! `cargo test --release -p headroom-dns --lib scale -- --ignored --nocapture`.

use std::time::Instant;

use headroom_steer::{PlanInput, Remainder};
use headroom_units::Generation;

use super::*;
use crate::{
    assigned::Provided,
    dnssec::Steered,
    names::Layout,
    snapshot::Snapshot,
    steered::{Source, SteeredAnswers},
};

/// The plan of the other tests with so many sites more, whose remainder goes to a name of their own
/// or to an address.
fn input(sites: usize) -> PlanInput {
    let mut input = testing::input();
    let site = |number: usize| {
        let remainder = match number % 2 {
            0 => Remainder::ReturnAddresses(vec!["198.51.100.1".parse().unwrap()]),
            _ => testing::by_name("origin.static.example"),
        };
        testing::site(&format!("site-{number:07}"), &host(number), remainder)
    };
    input.sites.extend((0..sites).map(site));
    input
}

fn host(number: usize) -> String {
    format!("www.shop-{number:07}.example")
}

fn measure(what: &str, sites: usize, keys: Vec<ZoneKey>) {
    let (mut input, zones) = (input(sites), [parse(testing::STATIC_ZONE)]);
    let mut signer = signer_of(keys);
    let (mut held, mut layout) = (None, None);
    for generation in 1..=5 {
        input.generation = Generation::new(generation);
        let edge = "east-1".parse().unwrap();
        if !input.down.remove(&edge) {
            input.down.insert(edge);
        }
        let plan = Arc::new(headroom_steer::plan(&input));
        let mut parts = Vec::new();
        let begun = Instant::now();
        let mut last = begun;
        let mut done = |part| {
            parts.push(format!("{part} {:?}", last.elapsed()));
            last = Instant::now();
        };
        let layout = layout.get_or_insert_with(|| Layout::of(&plan, &zones));
        done("laid out");
        let mut table = NameTable::of_layout(layout, &plan, &zones, None);
        done("table");
        let provided = Provided::new();
        let steered = Steered { plan: &plan, forwarder: None, provided: &provided };
        signer.sign(&mut table, Some(steered), at(BEGIN + generation));
        done("signed");
        drop(SteeredAnswers::of(Source::new(table.clone(), Some(&plan))));
        done("steered answers, once more");
        let snapshot = Snapshot::of(Source::new(table.clone(), Some(&plan)));
        done("snapshot");
        held = Some((table, snapshot));
        done("the ones before dropped");
        println!("{what}, plan {generation}: {}, all {:?}", parts.join(", "), begun.elapsed());
    }
    drop(held);
}

#[test]
#[ignore = "a measurement"]
fn a_large_table_is_made_in_these_parts() {
    measure("10,000 sites", 10_000, Vec::new());
    measure("20,000 sites' names in a signed zone", 20_000, vec![key("cdn.example")]);
    let hosts = (0..10_000).map(|number| key(&host(number)));
    let keys = hosts.chain([key("cdn.example")]).collect();
    measure("10,000 sites' names, and as many signed zones of hosts", 10_000, keys);
}

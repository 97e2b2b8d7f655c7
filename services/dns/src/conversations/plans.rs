//! Before the first plan, and from one plan to the next.

use std::sync::Arc;

use expect_test::expect;
use headroom_units::Generation;

use crate::{
    NameTable, Responder,
    testing::{check, input, responder, site, zones},
};

#[test]
fn without_a_plan_only_static_zones_are_served() {
    let zones = zones();
    let script = "10.0.1.7 origin.static.example A
         10.0.1.7 steered.static.example A
         10.0.1.7 www.shop.example A
         10.0.1.7 www.shop.example A edns";
    let mut waiting = Responder::new(Some("ns1".parse().unwrap()), &zones);
    check(
        &mut waiting,
        script,
        expect![[r#"
            10.0.1.7 origin.static.example A
              NOERROR AA
              answer: origin.static.example 600 A 203.0.113.1
            10.0.1.7 steered.static.example A
              NOERROR AA
              answer: steered.static.example 600 CNAME shop.cdn.example.
            10.0.1.7 www.shop.example A
              REFUSED
            10.0.1.7 www.shop.example A edns
              REFUSED
              edns: size=1232 error=14
        "#]],
    );
    let mut plain = Responder::new(None, &zones);
    check(
        &mut plain,
        script,
        expect![[r#"
            10.0.1.7 origin.static.example A
              NOERROR AA
              answer: origin.static.example 600 A 203.0.113.1
            10.0.1.7 steered.static.example A
              NOERROR AA
              answer: steered.static.example 600 CNAME shop.cdn.example.
            10.0.1.7 www.shop.example A
              REFUSED
            10.0.1.7 www.shop.example A edns
              REFUSED
              edns: size=1232 error=20
        "#]],
    );
    let plan = Arc::new(headroom_steer::plan(&input()));
    let table = NameTable::of_plan(&plan, &zones, None);
    assert!(!plain.install(plan, table), "without an id it has no plan");
}

#[test]
fn a_plan_is_replaced_only_by_a_newer_one() {
    let mut responder = responder();
    let mut install = |generation, host: &str| {
        let mut input = input();
        input.generation = Generation::new(generation);
        input.sites = vec![site("new", host, input.sites[0].remainder.clone())];
        input.entitlements.clear();
        let plan = Arc::new(headroom_steer::plan(&input));
        let table = NameTable::of_plan(&plan, &[], None);
        responder.install(plan, table)
    };
    assert!(!install(6, "six.example"));
    assert!(!install(7, "seven.example"));
    assert!(install(9, "nine.example"));
    assert!(!install(8, "eight.example"));
    check(
        &mut responder,
        "10.0.1.7 cdn.example SOA
         10.0.1.7 nine.example CNAME
         10.0.1.7 eight.example A
         10.0.1.7 www.shop.example A",
        expect![[r#"
            10.0.1.7 cdn.example SOA
              NOERROR AA
              answer: cdn.example 3600 SOA ns1.cdn.example. hostmaster.cdn.example. 9 3600 600 604800 60
            10.0.1.7 nine.example CNAME
              NOERROR AA
              answer: nine.example 20 CNAME origin.shop.example.
            10.0.1.7 eight.example A
              REFUSED
            10.0.1.7 www.shop.example A
              REFUSED
        "#]],
    );
}

//! Which region a client is answered for, and for which clients the answer holds (RFC 7871 §7.2.1).

use std::sync::Arc;

use expect_test::expect;
use headroom_steer::PrefixMap;
use headroom_units::Timestamp;

use crate::{
    Transport,
    testing::{Query, check, responder},
};

/// 192.0.2.0/24 is west within a /16 that is east; 198.51.100.0/24 is in a region without edges.
fn prefixes() -> Arc<PrefixMap> {
    let regions = ["east", "gone", "west"].map(|id| id.parse().unwrap());
    let prefixes = [("192.0.0.0/16", 0), ("198.51.100.0/24", 1), ("192.0.2.0/24", 2)];
    let prefixes = prefixes.map(|(prefix, region)| (prefix.parse().unwrap(), region));
    Arc::new(PrefixMap::new(regions.into(), prefixes.into()).unwrap())
}

#[test]
fn the_operators_prefixes_say_the_region_where_the_plan_does_not() {
    let mut responder = responder();
    responder.supply_prefixes(prefixes());
    check(
        &mut responder,
        "192.0.2.7 www.operator.example A
         192.0.3.7 www.operator.example A
         10.200.1.7 www.operator.example A
         198.51.100.7 www.operator.example A",
        expect![[r#"
            192.0.2.7 www.operator.example A
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.22
            192.0.3.7 www.operator.example A
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.12
            10.200.1.7 www.operator.example A
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.22
            198.51.100.7 www.operator.example A
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.11
        "#]],
    );
}

#[test]
fn a_client_subnet_of_several_regions_is_told_how_much_more_to_say() {
    let mut responder = responder();
    responder.supply_prefixes(prefixes());
    check(
        &mut responder,
        "10.0.1.7 www.operator.example A edns subnet=192.0.2.0/24
         10.0.1.7 www.operator.example A edns subnet=192.0.2.0/23
         10.0.1.7 www.operator.example A edns subnet=192.0.0.0/16
         10.0.1.7 www.operator.example A edns subnet=192.0.128.0/17
         10.0.1.7 www.operator.example A edns subnet=128.0.0.0/1",
        expect![[r#"
            10.0.1.7 www.operator.example A edns subnet=192.0.2.0/24
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.22
              edns: size=1232 subnet=[[0, 1, 24], [192, 0, 2]] scope=24
            10.0.1.7 www.operator.example A edns subnet=192.0.2.0/23
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.22
              edns: size=1232 subnet=[[0, 1, 23], [192, 0, 2]] scope=24
            10.0.1.7 www.operator.example A edns subnet=192.0.0.0/16
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.11
              edns: size=1232 subnet=[[0, 1, 16], [192, 0]] scope=23
            10.0.1.7 www.operator.example A edns subnet=192.0.128.0/17
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.11
              edns: size=1232 subnet=[[0, 1, 17], [192, 0, 128]] scope=17
            10.0.1.7 www.operator.example A edns subnet=128.0.0.0/1
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.11
              edns: size=1232 subnet=[[0, 1, 1], [128]] scope=2
        "#]],
    );
}

#[test]
fn what_holds_for_a_part_of_a_subnet_is_not_repeated_to_it() {
    let mut responder = responder();
    responder.supply_prefixes(prefixes());
    let mut is_repeated = |subnet: &str| {
        let query = Query::parse(&format!("10.0.1.7 www.operator.example A edns subnet={subnet}"));
        let source = (query.source, 5353).into();
        let now = Timestamp::EPOCH;
        let found = responder.handle(&query.octets(), source, Transport::Udp, now).unwrap();
        found.decision.is_some()
    };
    assert!(is_repeated("192.0.2.0/24") && is_repeated("192.0.128.0/17"));
    assert!(!is_repeated("192.0.2.0/23") && !is_repeated("192.0.0.0/16"));
}

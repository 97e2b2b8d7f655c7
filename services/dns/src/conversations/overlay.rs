//! Steered names laid over a zone that we hold, its apex included, and the remainder from that
//! zone's own records.

use std::sync::Arc;

use domain::base::iana::ExtendedErrorCode;
use expect_test::{Expect, expect};
use headroom_steer::Remainder;

use crate::{
    Responder, Zone,
    testing::{OVER_ZONE, check, input, over, responder_of, site},
};

fn responder(remainder: &Remainder, zone: Zone) -> Responder {
    responder_of(&over(remainder), &[Arc::new(zone)])
}

fn zone() -> Zone {
    Zone::parse(OVER_ZONE).unwrap()
}

#[test]
fn the_remainder_is_answered_with_the_zones_own_records() {
    check(
        &mut responder(&Remainder::ReturnRecords, zone()),
        "@0
         10.0.1.7 over.example A
         10.0.1.7 over.example AAAA
         10.0.1.7 www.over.example A edns subnet=10.0.1.0/24
         10.0.1.7 www.over.example AAAA edns subnet=10.0.1.0/24
         10.0.1.7 a.wild.over.example A
         10.0.1.7 over.cdn.example A
         10.0.1.7 new.over.example A edns",
        expect![[r#"
            @0
            10.0.1.7 over.example A
              NOERROR AA
              answer: over.example 20 A 203.0.113.1
            10.0.1.7 over.example AAAA
              NOERROR AA
              answer: over.example 20 AAAA 2001:db8:a::1
            10.0.1.7 www.over.example A edns subnet=10.0.1.0/24
              NOERROR AA
              answer: www.over.example 10 A 203.0.113.2
              answer: www.over.example 10 A 203.0.113.3
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=24
            10.0.1.7 www.over.example AAAA edns subnet=10.0.1.0/24
              NOERROR AA
              authority: over.example 120 SOA ns1.over.example. admin.over.example. 42 3600 600 604800 120
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0
            10.0.1.7 a.wild.over.example A
              NOERROR AA
              answer: a.wild.over.example 20 A 203.0.113.5
            10.0.1.7 over.cdn.example A
              NOERROR AA
              answer: over.cdn.example 20 A 203.0.113.1
            10.0.1.7 new.over.example A edns
              SERVFAIL
              edns: size=1232 error=0
        "#]],
    );
}

#[test]
fn an_edge_is_answered_at_the_apex_too_and_all_else_is_as_the_zone_has_it() {
    check(
        &mut responder(&Remainder::ReturnRecords, zone()),
        "@100
         10.0.1.7 over.example A
         10.0.1.7 over.example AAAA
         10.0.1.7 over.example HTTPS
         10.0.1.7 over.example CNAME
         10.0.1.7 over.example MX
         10.0.1.7 over.example TXT
         10.0.1.7 over.example NS
         10.0.1.7 over.example SOA
         10.0.1.7 www.over.example CAA
         10.0.1.7 a.wild.over.example A
         10.0.1.7 a.wild.over.example TXT
         10.0.1.7 b.wild.over.example A
         10.0.1.7 x.a.wild.over.example A
         10.0.1.7 new.over.example A
         10.0.1.7 none.over.example A",
        expect![[r#"
            @100
            10.0.1.7 over.example A
              NOERROR AA
              answer: over.example 20 A 192.0.2.11
            10.0.1.7 over.example AAAA
              NOERROR AA
              answer: over.example 20 AAAA 2001:db8:e::11
            10.0.1.7 over.example HTTPS
              NOERROR AA
              authority: over.example 120 SOA ns1.over.example. admin.over.example. 42 3600 600 604800 120
            10.0.1.7 over.example CNAME
              NOERROR AA
              authority: over.example 120 SOA ns1.over.example. admin.over.example. 42 3600 600 604800 120
            10.0.1.7 over.example MX
              NOERROR AA
              answer: over.example 600 MX 10 mail.over.example.
            10.0.1.7 over.example TXT
              NOERROR AA
              answer: over.example 600 TXT "v=spf1 -all"
            10.0.1.7 over.example NS
              NOERROR AA
              answer: over.example 600 NS ns1.over.example.
            10.0.1.7 over.example SOA
              NOERROR AA
              answer: over.example 600 SOA ns1.over.example. admin.over.example. 42 3600 600 604800 120
            10.0.1.7 www.over.example CAA
              NOERROR AA
              answer: www.over.example 600 CAA 0 issue "ca.example"
            10.0.1.7 a.wild.over.example A
              NOERROR AA
              answer: a.wild.over.example 20 A 192.0.2.11
            10.0.1.7 a.wild.over.example TXT
              NOERROR AA
              answer: a.wild.over.example 600 TXT "any"
            10.0.1.7 b.wild.over.example A
              NOERROR AA
              answer: b.wild.over.example 600 A 203.0.113.5
            10.0.1.7 x.a.wild.over.example A
              NOERROR AA
              answer: x.a.wild.over.example 600 A 203.0.113.5
            10.0.1.7 new.over.example A
              NOERROR AA
              answer: new.over.example 20 A 192.0.2.11
            10.0.1.7 none.over.example A
              NXDOMAIN AA
              authority: over.example 120 SOA ns1.over.example. admin.over.example. 42 3600 600 604800 120
        "#]],
    );
}

#[test]
fn where_no_cname_may_stand_its_addresses_are_answered() {
    let by_name = Remainder::ReturnName("origin.over.example".parse().unwrap());
    check(
        &mut responder(&by_name, zone()),
        "@0
         10.0.1.7 over.example A
         10.0.1.7 over.example AAAA
         10.0.1.7 over.example HTTPS
         10.0.1.7 www.over.example A
         10.0.1.7 www.over.example HTTPS
         10.0.1.7 new.over.example A
         @100
         10.0.1.7 over.example A
         10.0.1.7 new.over.example A",
        expect![[r#"
            @0
            10.0.1.7 over.example A
              NOERROR AA
              answer: over.example 20 A 203.0.113.4
            10.0.1.7 over.example AAAA
              NOERROR AA
              authority: over.example 120 SOA ns1.over.example. admin.over.example. 42 3600 600 604800 120
            10.0.1.7 over.example HTTPS
              NOERROR AA
              authority: over.example 120 SOA ns1.over.example. admin.over.example. 42 3600 600 604800 120
            10.0.1.7 www.over.example A
              NOERROR AA
              answer: www.over.example 20 A 203.0.113.4
            10.0.1.7 www.over.example HTTPS
              NOERROR AA
              authority: over.example 120 SOA ns1.over.example. admin.over.example. 42 3600 600 604800 120
            10.0.1.7 new.over.example A
              NOERROR AA
              answer: new.over.example 20 CNAME origin.over.example.
              answer: origin.over.example 20 A 203.0.113.4
            @100
            10.0.1.7 over.example A
              NOERROR AA
              answer: over.example 20 A 192.0.2.11
            10.0.1.7 new.over.example A
              NOERROR AA
              answer: new.over.example 20 CNAME east-1.edge.cdn.example.
              answer: east-1.edge.cdn.example 20 A 192.0.2.11
        "#]],
    );
}

#[test]
fn edges_are_answered_while_the_zone_is_not_there() {
    let absent = Zone::absent("over.example".parse().unwrap(), ExtendedErrorCode::INVALID_DATA);
    check(
        &mut responder(&Remainder::ReturnRecords, absent),
        "@100
         10.0.1.7 www.over.example A
         10.0.1.7 www.over.example MX edns
         10.0.1.7 over.example NS edns
         10.0.1.7 none.over.example A edns
         @201
         10.0.1.7 www.over.example A edns",
        expect![[r#"
            @100
            10.0.1.7 www.over.example A
              NOERROR AA
              answer: www.over.example 20 A 192.0.2.11
            10.0.1.7 www.over.example MX edns
              SERVFAIL
              edns: size=1232 error=24
            10.0.1.7 over.example NS edns
              SERVFAIL
              edns: size=1232 error=24
            10.0.1.7 none.over.example A edns
              SERVFAIL
              edns: size=1232 error=24
            @201
            10.0.1.7 www.over.example A edns
              SERVFAIL
              edns: size=1232 error=24
        "#]],
    );
}

const SUB_ZONE: &str = "\
$ORIGIN sub.shop.example.
@ 600 SOA ns1.cdn.example. hostmaster.cdn.example. 1 3600 600 604800 60
@ 600 NS ns1.cdn.example.
";

/// One host of a sub-zone, with and without a zone of that name in the configuration.
fn below(zones: &[Arc<Zone>], expected: Expect) {
    let mut input = input();
    let addresses = vec!["198.51.100.9".parse().unwrap()];
    let remainder = Remainder::ReturnAddresses(addresses);
    input.sites.push(site("sub", "www.sub.shop.example", remainder));
    check(
        &mut responder_of(&input, zones),
        "10.0.1.7 www.sub.shop.example A
         10.0.1.7 x.www.sub.shop.example A
         10.0.1.7 other.sub.shop.example A
         10.0.1.7 sub.shop.example NS
         10.0.1.7 sub.shop.example A",
        expected,
    );
}

#[test]
fn a_delegated_host_is_all_that_is_known_of_what_is_around_it() {
    below(
        &[],
        expect![[r#"
        10.0.1.7 www.sub.shop.example A
          NOERROR AA
          answer: www.sub.shop.example 20 A 198.51.100.9
        10.0.1.7 x.www.sub.shop.example A
          NXDOMAIN AA
          authority: www.sub.shop.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
        10.0.1.7 other.sub.shop.example A
          REFUSED
        10.0.1.7 sub.shop.example NS
          REFUSED
        10.0.1.7 sub.shop.example A
          REFUSED
    "#]],
    );
}

#[test]
fn a_delegated_sub_zone_denies_what_no_site_has() {
    below(
        &[Arc::new(Zone::parse(SUB_ZONE).unwrap())],
        expect![[r#"
        10.0.1.7 www.sub.shop.example A
          NOERROR AA
          answer: www.sub.shop.example 20 A 198.51.100.9
        10.0.1.7 x.www.sub.shop.example A
          NXDOMAIN AA
          authority: sub.shop.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 1 3600 600 604800 60
        10.0.1.7 other.sub.shop.example A
          NXDOMAIN AA
          authority: sub.shop.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 1 3600 600 604800 60
        10.0.1.7 sub.shop.example NS
          NOERROR AA
          answer: sub.shop.example 600 NS ns1.cdn.example.
        10.0.1.7 sub.shop.example A
          NOERROR AA
          authority: sub.shop.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 1 3600 600 604800 60
    "#]],
    );
}

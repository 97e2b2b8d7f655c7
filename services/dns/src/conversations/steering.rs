//! Who is sent where, when, and by which record type.

use expect_test::expect;
use headroom_steer::{Budgets, LeaseBudget, Remainder};
use headroom_units::{Generation, RequestRate, Timestamp};

use crate::{
    Responder, Transport,
    testing::{Query, check, input, responder, responder_of},
};

#[test]
fn traffic_begins_with_the_first_slot_and_ends_with_the_last() {
    check(
        &mut responder(),
        "@10
         10.0.1.7 shop.cdn.example A
         10.0.1.7 www.shop.example A
         @95.5
         10.0.1.7 www.shop.example A
         @100
         10.0.1.7 www.shop.example A
         10.0.1.7 www.shop.example AAAA
         10.0.1.7 shop.cdn.example AAAA
         10.200.1.7 www.shop.example A
         @190.5
         10.0.1.7 www.shop.example A
         @199.5
         10.0.1.7 www.shop.example A
         @200
         10.0.1.7 www.shop.example A",
        expect![[r#"
            @10
            10.0.1.7 shop.cdn.example A
              NOERROR AA
              answer: shop.cdn.example 20 CNAME origin.shop.example.
            10.0.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 20 CNAME origin.shop.example.
            @95.5
            10.0.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 5 CNAME origin.shop.example.
            @100
            10.0.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 20 CNAME east-1.edge.cdn.example.
              answer: east-1.edge.cdn.example 20 A 192.0.2.11
            10.0.1.7 www.shop.example AAAA
              NOERROR AA
              answer: www.shop.example 20 CNAME east-1.edge.cdn.example.
              answer: east-1.edge.cdn.example 20 AAAA 2001:db8:e::11
            10.0.1.7 shop.cdn.example AAAA
              NOERROR AA
              answer: shop.cdn.example 20 CNAME east-1.edge.cdn.example.
              answer: east-1.edge.cdn.example 20 AAAA 2001:db8:e::11
            10.200.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 20 CNAME origin.shop.example.
            @190.5
            10.0.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 9 CNAME east-1.edge.cdn.example.
              answer: east-1.edge.cdn.example 9 A 192.0.2.11
            @199.5
            10.0.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 20 CNAME origin.shop.example.
            @200
            10.0.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 20 CNAME origin.shop.example.
        "#]],
    );
}

#[test]
fn a_name_returned_by_cname_is_an_alias_for_every_type() {
    check(
        &mut responder(),
        "@100
         10.0.1.7 www.shop.example CNAME
         10.0.1.7 www.shop.example MX
         10.0.1.7 www.shop.example ANY
         10.0.1.7 www.shop.example SOA
         10.0.1.7 www.shop.example NS
         10.0.1.7 x.www.shop.example A
         10.200.1.7 www.shop.example CNAME
         10.200.1.7 www.shop.example HTTPS",
        expect![[r#"
            @100
            10.0.1.7 www.shop.example CNAME
              NOERROR AA
              answer: www.shop.example 20 CNAME east-1.edge.cdn.example.
            10.0.1.7 www.shop.example MX
              NOERROR AA
              answer: www.shop.example 20 CNAME east-1.edge.cdn.example.
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 www.shop.example ANY
              NOERROR AA
              answer: www.shop.example 3600 HINFO "RFC8482" ""
            10.0.1.7 www.shop.example SOA
              NOERROR AA
              answer: www.shop.example 3600 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 www.shop.example NS
              NOERROR AA
              answer: www.shop.example 3600 NS ns1.cdn.example.
              answer: www.shop.example 3600 NS ns.other.example.
            10.0.1.7 x.www.shop.example A
              NXDOMAIN AA
              authority: www.shop.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.200.1.7 www.shop.example CNAME
              NOERROR AA
              answer: www.shop.example 20 CNAME origin.shop.example.
            10.200.1.7 www.shop.example HTTPS
              NOERROR AA
              answer: www.shop.example 20 CNAME origin.shop.example.
        "#]],
    );
}

#[test]
fn a_remainder_name_that_is_held_here_is_followed() {
    check(
        &mut responder(),
        "@90
         10.0.1.7 www.held.example A
         10.0.1.7 held.cdn.example AAAA
         10.0.1.7 held.cdn.example TXT
         @100
         10.0.1.7 www.held.example A",
        expect![[r#"
            @90
            10.0.1.7 www.held.example A
              NOERROR AA
              answer: www.held.example 10 A 203.0.113.1
            10.0.1.7 held.cdn.example AAAA
              NOERROR AA
              answer: held.cdn.example 10 CNAME origin.static.example.
              answer: origin.static.example 10 AAAA 2001:db8:a::1
            10.0.1.7 held.cdn.example TXT
              NOERROR AA
              answer: held.cdn.example 10 CNAME origin.static.example.
              authority: static.example 120 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
            @100
            10.0.1.7 www.held.example A
              NOERROR AA
              answer: www.held.example 20 A 192.0.2.11
        "#]],
    );
}

/// A host that is only a CNAME to us leaves the names below it to the purchaser's name server.
#[test]
fn a_remainder_name_below_the_host_is_not_denied() {
    let mut input = input();
    input.sites[0].remainder = Remainder::ReturnName("origin.www.shop.example".parse().unwrap());
    check(
        &mut responder_of(&input, &[]),
        "10.0.1.7 shop.cdn.example A
         10.0.1.7 www.shop.example A",
        expect![[r#"
            10.0.1.7 shop.cdn.example A
              NOERROR AA
              answer: shop.cdn.example 20 CNAME origin.www.shop.example.
            10.0.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 20 CNAME origin.www.shop.example.
        "#]],
    );
}

#[test]
fn a_name_returned_by_addresses_has_addresses_always() {
    check(
        &mut responder(),
        "@90
         10.0.1.7 media.example A
         10.0.1.7 media.example AAAA
         @100
         10.0.1.7 media.example A
         10.0.1.7 media.example AAAA
         10.0.1.7 media.example CNAME
         10.0.1.7 media.example TXT
         10.0.1.7 media.example ANY",
        expect![[r#"
            @90
            10.0.1.7 media.example A
              NOERROR AA
              answer: media.example 10 A 198.51.100.9
            10.0.1.7 media.example AAAA
              NOERROR AA
              answer: media.example 10 AAAA 2001:db8:f::9
            @100
            10.0.1.7 media.example A
              NOERROR AA
              answer: media.example 20 A 192.0.2.11
            10.0.1.7 media.example AAAA
              NOERROR AA
              answer: media.example 20 AAAA 2001:db8:e::11
            10.0.1.7 media.example CNAME
              NOERROR AA
              authority: media.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 media.example TXT
              NOERROR AA
              authority: media.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 media.example ANY
              NOERROR AA
              answer: media.example 3600 HINFO "RFC8482" ""
        "#]],
    );
}

#[test]
fn the_remainder_is_assigned_by_the_purchasers_algorithm() {
    check(
        &mut responder(),
        "10.0.1.7 turns.pool.example A
         10.0.1.99 turns.pool.example A
         10.0.2.7 turns.pool.example A
         10.0.3.7 turns.pool.example A
         10.0.1.7 turns.pool.example AAAA
         10.0.1.7 parts.pool.example A
         10.0.2.7 parts.pool.example A
         10.0.3.7 parts.pool.example A
         10.0.3.7 parts.cdn.example A edns subnet=10.0.2.0/24",
        expect![[r#"
            10.0.1.7 turns.pool.example A
              NOERROR AA
              answer: turns.pool.example 20 A 198.51.100.2
            10.0.1.99 turns.pool.example A
              NOERROR AA
              answer: turns.pool.example 20 A 198.51.100.2
            10.0.2.7 turns.pool.example A
              NOERROR AA
              answer: turns.pool.example 20 A 198.51.100.3
            10.0.3.7 turns.pool.example A
              NOERROR AA
              answer: turns.pool.example 20 A 198.51.100.2
            10.0.1.7 turns.pool.example AAAA
              NOERROR AA
              authority: turns.pool.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 parts.pool.example A
              NOERROR AA
              answer: parts.pool.example 20 A 198.51.100.2
            10.0.2.7 parts.pool.example A
              NOERROR AA
              answer: parts.pool.example 20 A 198.51.100.3
            10.0.3.7 parts.pool.example A
              NOERROR AA
              answer: parts.pool.example 20 A 198.51.100.3
            10.0.3.7 parts.cdn.example A edns subnet=10.0.2.0/24
              NOERROR AA
              answer: parts.cdn.example 20 A 198.51.100.3
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 2]] scope=24
        "#]],
    );
}

/// The last octets of the addresses that clients of neighbouring networks get.
fn servers(responder: &mut Responder, rtype: &str, clients: u32) -> Vec<u8> {
    let ask = |client: u32| {
        let source = format!("10.{}.{}.7", client / 256, client % 256);
        let query = Query::parse(&format!("{source} parts.pool.example {rtype}"));
        let source = (query.source, 53).into();
        let reply = responder.respond(&query.octets(), source, Transport::Udp, Timestamp::EPOCH);
        *reply.unwrap().last().unwrap()
    };
    (0..clients).map(ask).collect()
}

#[test]
fn weights_are_kept() {
    let mut counts = std::collections::BTreeMap::new();
    for server in servers(&mut responder(), "A", 4_000) {
        *counts.entry(server).or_insert(0_i32) += 1;
    }
    for (server, expected) in [(1, 1_000), (2, 1_000), (3, 2_000)] {
        assert!((counts[&server] - expected).abs() <= 10, "{counts:?}");
    }
}

#[test]
fn both_families_lead_to_the_same_server() {
    let mut input = input();
    for (algorithm, _) in headroom_steer::AssignAlgorithm::ALL {
        let text = format!(
            "v=headroom1; algorithm={algorithm}; server=198.51.100.1,2001:db8::1; \
             server=198.51.100.2,2001:db8::2,weight=3; server=198.51.100.3,2001:db8::3"
        );
        let parts = input.sites.iter_mut().find(|site| site.id.as_str() == "parts").unwrap();
        parts.remainder = Remainder::Assign(text.parse().unwrap());
        let (mut one, mut two) = (responder_of(&input, &[]), responder_of(&input, &[]));
        let v4 = servers(&mut one, "A", 500);
        assert_eq!(v4, servers(&mut one, "AAAA", 500), "{algorithm}");
        assert_eq!(v4, servers(&mut two, "AAAA", 500), "another name server, {algorithm}");
    }
}

#[test]
fn the_operators_own_site_is_at_the_edges_always() {
    check(
        &mut responder(),
        "10.0.1.7 www.operator.example A
         10.0.1.7 www.operator.example AAAA
         10.200.1.7 own.cdn.example A
         10.200.1.7 own.cdn.example MX",
        expect![[r#"
            10.0.1.7 www.operator.example A
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.12
            10.0.1.7 www.operator.example AAAA
              NOERROR AA
              answer: www.operator.example 20 AAAA 2001:db8:e::12
            10.200.1.7 own.cdn.example A
              NOERROR AA
              answer: own.cdn.example 20 A 192.0.2.22
            10.200.1.7 own.cdn.example MX
              NOERROR AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
        "#]],
    );
}

#[test]
fn budgets_say_how_much_is_leased_and_lose_their_force() {
    let mut responder = responder();
    let budgets = |sequence| Budgets {
        sequence,
        generation: Generation::new(7),
        issued_at: Timestamp::from_seconds(100),
        expires_at: Timestamp::from_seconds(103),
        leases: [(
            ("shop".parse().unwrap(), "east".parse().unwrap()),
            LeaseBudget {
                by_name_server: [("ns1".parse().unwrap(), RequestRate::ZERO)].into(),
                ..LeaseBudget::default()
            },
        )]
        .into(),
        shares: Default::default(),
    };
    let now = Timestamp::from_seconds(100);
    assert!(responder.renew(budgets(5), now));
    assert!(!responder.renew(budgets(4), now));
    check(
        &mut responder,
        "@100
         10.0.1.7 www.shop.example CNAME
         @104
         10.0.1.7 www.shop.example CNAME",
        expect![[r#"
            @100
            10.0.1.7 www.shop.example CNAME
              NOERROR AA
              answer: www.shop.example 20 CNAME origin.shop.example.
            @104
            10.0.1.7 www.shop.example CNAME
              NOERROR AA
              answer: www.shop.example 20 CNAME east-1.edge.cdn.example.
        "#]],
    );
}

#[test]
fn what_was_steered_is_reported() {
    let mut responder = responder();
    let ask = |responder: &mut Responder, line: &str, seconds| {
        let query = Query::parse(line);
        let now = Timestamp::from_seconds(seconds);
        responder.respond(&query.octets(), (query.source, 53).into(), query.transport, now);
    };
    ask(&mut responder, "10.0.1.7 www.shop.example A", 90);
    ask(&mut responder, "10.0.1.7 www.shop.example A", 100);
    ask(&mut responder, "10.0.1.7 www.shop.example SOA", 100);
    ask(&mut responder, "10.0.1.7 www.shop.example ANY", 100);
    let report = responder.report(Timestamp::from_seconds(100));
    let counted = report[&("shop".parse().unwrap(), "east".parse().unwrap())];
    assert_eq!((counted.mapping_requests, counted.mapped_to_edges), (2, 1));
    let next = responder.report(Timestamp::from_seconds(101));
    assert!(next.values().all(|place| place.mapping_requests == 0), "told once: {next:?}");
    let leased = next.values().map(|place| place.leased.load).collect::<Vec<_>>();
    assert_eq!(leased, [counted.leased.load], "what is leased out is told each second");
}

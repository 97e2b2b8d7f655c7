//! EDNS, client subnets, the case of names, and what does not fit.

use std::sync::Arc;

use expect_test::expect;

use crate::{
    Responder, Transport, Zone,
    testing::{Query, check, print, responder},
};

#[test]
fn the_client_subnet_decides_and_the_scope_says_how_much_of_it() {
    check(
        &mut responder(),
        "@100
         10.200.1.7 www.operator.example A subnet=10.0.1.0/24
         10.0.1.7 www.operator.example A subnet=10.200.1.77/32
         10.0.1.7 www.operator.example A subnet=10.192.0.0/10
         10.0.1.7 www.operator.example A subnet=2001:db8::/64
         10.200.1.7 www.operator.example A subnet=0.0.0.0/0
         10.200.1.7 www.operator.example A raw-subnet=0,0,0,0
         10.0.1.7 www.shop.example A subnet=10.0.9.0/24
         10.0.1.7 steered.static.example A subnet=10.0.1.0/24",
        expect![[r#"
            @100
            10.200.1.7 www.operator.example A subnet=10.0.1.0/24
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.12
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=24
            10.0.1.7 www.operator.example A subnet=10.200.1.77/32
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.22
              edns: size=1232 subnet=[[0, 1, 32], [10, 200, 1, 77]] scope=24
            10.0.1.7 www.operator.example A subnet=10.192.0.0/10
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.21
              edns: size=1232 subnet=[[0, 1, 10], [10, 192]] scope=10
            10.0.1.7 www.operator.example A subnet=2001:db8::/64
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.11
              edns: size=1232 subnet=[[0, 2, 64], [32, 1, 13, 184, 0, 0, 0, 0]] scope=56
            10.200.1.7 www.operator.example A subnet=0.0.0.0/0
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.22
              edns: size=1232 subnet=[[0, 1, 0], []] scope=0
            10.200.1.7 www.operator.example A raw-subnet=0,0,0,0
              NOERROR AA
              answer: www.operator.example 20 A 192.0.2.22
              edns: size=1232 subnet=[[0, 0, 0], []] scope=0
            10.0.1.7 www.shop.example A subnet=10.0.9.0/24
              NOERROR AA
              answer: www.shop.example 20 CNAME east-1.edge.cdn.example.
              answer: east-1.edge.cdn.example 20 A 192.0.2.11
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 9]] scope=24
            10.0.1.7 steered.static.example A subnet=10.0.1.0/24
              NOERROR AA
              answer: steered.static.example 600 CNAME shop.cdn.example.
              answer: shop.cdn.example 20 CNAME origin.shop.example.
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=24
        "#]],
    );
}

#[test]
fn what_is_the_same_for_all_clients_has_scope_zero() {
    check(
        &mut responder(),
        "10.0.1.7 www.operator.example TXT subnet=10.0.1.0/24
         10.0.1.7 turns.pool.example AAAA subnet=10.0.1.0/24
         10.0.1.7 nobody.cdn.example A subnet=10.0.1.0/24
         10.0.1.7 east-1.edge.cdn.example A subnet=10.0.1.0/24
         10.0.1.7 www.elsewhere.example A subnet=10.0.1.0/24",
        expect![[r#"
            10.0.1.7 www.operator.example TXT subnet=10.0.1.0/24
              NOERROR AA
              authority: www.operator.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0
            10.0.1.7 turns.pool.example AAAA subnet=10.0.1.0/24
              NOERROR AA
              authority: turns.pool.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0
            10.0.1.7 nobody.cdn.example A subnet=10.0.1.0/24
              NXDOMAIN AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0
            10.0.1.7 east-1.edge.cdn.example A subnet=10.0.1.0/24
              NOERROR AA
              answer: east-1.edge.cdn.example 300 A 192.0.2.11
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0
            10.0.1.7 www.elsewhere.example A subnet=10.0.1.0/24
              REFUSED
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0 error=20
        "#]],
    );
}

#[test]
fn a_malformed_client_subnet_is_a_format_error() {
    check(
        &mut responder(),
        "10.0.1.7 shop.cdn.example A raw-subnet=0,1,24,0,10,0
         10.0.1.7 shop.cdn.example A raw-subnet=0,1,20,0,10,0,1
         10.0.1.7 shop.cdn.example A raw-subnet=0,1,40,0,10,0,1,1,1
         10.0.1.7 shop.cdn.example A raw-subnet=0,7,8,0,10
         10.0.1.7 shop.cdn.example A raw-subnet=0",
        expect![[r#"
            10.0.1.7 shop.cdn.example A raw-subnet=0,1,24,0,10,0
              FORMERR
              edns: size=1232
            10.0.1.7 shop.cdn.example A raw-subnet=0,1,20,0,10,0,1
              FORMERR
              edns: size=1232
            10.0.1.7 shop.cdn.example A raw-subnet=0,1,40,0,10,0,1,1,1
              FORMERR
              edns: size=1232
            10.0.1.7 shop.cdn.example A raw-subnet=0,7,8,0,10
              FORMERR
              edns: size=1232
            10.0.1.7 shop.cdn.example A raw-subnet=0
              FORMERR
              edns: size=1232
        "#]],
    );
}

#[test]
fn edns_by_the_book() {
    check(
        &mut responder(),
        "10.0.1.7 ns1.cdn.example A edns
         10.0.1.7 ns1.cdn.example A do
         10.0.1.7 ns1.cdn.example A size=4096
         10.0.1.7 ns1.cdn.example A size=0
         10.0.1.7 ns1.cdn.example A version=1
         10.0.1.7 ns1.cdn.example A version=1 raw-subnet=0
         10.0.1.7 ns1.cdn.example A option=65001 option=5 option=13
         10.0.1.7 ns1.cdn.example A class=3
         10.0.1.7 version.bind TXT class=3
         10.0.1.7 cdn.example AXFR tcp
         10.0.1.7 cdn.example IXFR",
        expect![[r#"
            10.0.1.7 ns1.cdn.example A edns
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
            10.0.1.7 ns1.cdn.example A do
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232 do
            10.0.1.7 ns1.cdn.example A size=4096
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
            10.0.1.7 ns1.cdn.example A size=0
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
            10.0.1.7 ns1.cdn.example A version=1
              BADVERS
              edns: size=1232
            10.0.1.7 ns1.cdn.example A version=1 raw-subnet=0
              BADVERS
              edns: size=1232
            10.0.1.7 ns1.cdn.example A option=65001 option=5 option=13
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
            10.0.1.7 ns1.cdn.example A class=3
              REFUSED
            10.0.1.7 version.bind TXT class=3
              REFUSED
            10.0.1.7 cdn.example AXFR tcp
              REFUSED
            10.0.1.7 cdn.example IXFR
              REFUSED
        "#]],
    );
}

#[test]
fn the_case_of_the_question_is_kept() {
    let mut responder = responder();
    check(
        &mut responder,
        "@100
         10.0.1.7 wWw.ShOp.eXaMpLe A
         10.0.1.7 NS1.cdn.EXAMPLE A
         10.0.1.7 ALIAS.static.example A",
        expect![[r#"
            @100
            10.0.1.7 wWw.ShOp.eXaMpLe A
              NOERROR AA
              answer: wWw.ShOp.eXaMpLe 20 CNAME east-1.edge.cdn.eXaMpLe.
              answer: east-1.edge.cdn.eXaMpLe 20 A 192.0.2.11
            10.0.1.7 NS1.cdn.EXAMPLE A
              NOERROR AA
              answer: NS1.cdn.EXAMPLE 300 A 192.0.2.53
            10.0.1.7 ALIAS.static.example A
              NOERROR AA
              answer: ALIAS.static.example 600 CNAME origin.static.example.
              answer: origin.static.example 600 A 203.0.113.1
        "#]],
    );
    let query = Query::parse("10.0.1.7 wWw.ShOp.eXaMpLe A").octets();
    let source = "10.0.1.7:53".parse().unwrap();
    let now = headroom_units::Timestamp::EPOCH;
    let reply = responder.respond(&query, source, Transport::Udp, now).unwrap();
    assert_eq!(reply[12..query.len()], query[12..]);
}

#[test]
fn what_does_not_fit_is_fetched_over_tcp() {
    let mut text = "$ORIGIN big.example.\n@ 60 SOA ns1 a 1 2 3 4 5\n@ NS ns1\n".to_owned();
    for address in 0..60 {
        text += &format!("mid A 203.0.113.{address}\n");
    }
    for number in 0..100 {
        text += &format!("big TXT \"{number:0250}\"\n");
    }
    let zones = [Arc::new(Zone::parse(&text).unwrap())];
    let mut responder = Responder::new(None, &zones);
    let mut sizes = |line: &str| {
        let query = Query::parse(line);
        let source = (query.source, 53).into();
        let now = headroom_units::Timestamp::EPOCH;
        let reply = responder.respond(&query.octets(), source, query.transport, now).unwrap();
        let is_truncated = reply[2] & 2 != 0;
        assert_eq!(is_truncated, print(&reply).lines().count() <= 2, "a part is never sent");
        (is_truncated, reply.len() <= 512, reply.len() <= 1232)
    };
    assert_eq!(sizes("10.0.1.7 mid.big.example A"), (true, true, true));
    assert_eq!(sizes("10.0.1.7 mid.big.example A size=700"), (true, true, true));
    assert_eq!(sizes("10.0.1.7 mid.big.example A size=1232"), (false, false, true));
    assert_eq!(sizes("10.0.1.7 big.big.example TXT size=65535"), (true, true, true));
    assert_eq!(sizes("10.0.1.7 big.big.example TXT tcp"), (false, false, false));
}

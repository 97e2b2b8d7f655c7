//! What the zones hold: the network's own, static ones, and hosts within them.

use std::sync::Arc;

use expect_test::expect;

use crate::{
    Responder, Zone,
    testing::{check, input, responder, responder_of},
};

#[test]
fn the_networks_own_zone() {
    check(
        &mut responder(),
        "10.0.1.7 cdn.example SOA
         10.0.1.7 cdn.example NS
         10.0.1.7 cdn.example A
         10.0.1.7 ns1.cdn.example A
         10.0.1.7 ns1.cdn.example AAAA
         10.0.1.7 east-1.edge.cdn.example A
         10.0.1.7 west-2.edge.cdn.example AAAA
         10.0.1.7 east-1.edge.cdn.example TXT
         10.0.1.7 edge.cdn.example A
         10.0.1.7 nobody.cdn.example A
         10.0.1.7 x.ns1.cdn.example A
         10.0.1.7 example A
         10.0.1.7 www.elsewhere.example A
         10.0.1.7 www.elsewhere.example A edns
         10.0.1.7 . NS",
        expect![[r#"
            10.0.1.7 cdn.example SOA
              NOERROR AA
              answer: cdn.example 3600 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 cdn.example NS
              NOERROR AA
              answer: cdn.example 3600 NS ns1.cdn.example.
              answer: cdn.example 3600 NS ns.other.example.
            10.0.1.7 cdn.example A
              NOERROR AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 ns1.cdn.example A
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
            10.0.1.7 ns1.cdn.example AAAA
              NOERROR AA
              answer: ns1.cdn.example 300 AAAA 2001:db8::53
            10.0.1.7 east-1.edge.cdn.example A
              NOERROR AA
              answer: east-1.edge.cdn.example 300 A 192.0.2.11
            10.0.1.7 west-2.edge.cdn.example AAAA
              NOERROR AA
              answer: west-2.edge.cdn.example 300 AAAA 2001:db8:e::22
            10.0.1.7 east-1.edge.cdn.example TXT
              NOERROR AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 edge.cdn.example A
              NOERROR AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 nobody.cdn.example A
              NXDOMAIN AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 x.ns1.cdn.example A
              NXDOMAIN AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 example A
              REFUSED
            10.0.1.7 www.elsewhere.example A
              REFUSED
            10.0.1.7 www.elsewhere.example A edns
              REFUSED
              edns: size=1232 error=20
            10.0.1.7 . NS
              REFUSED
        "#]],
    );
}

#[test]
fn records_of_a_static_zone() {
    check(
        &mut responder(),
        "10.0.1.7 static.example SOA
         10.0.1.7 static.example MX
         10.0.1.7 static.example TXT
         10.0.1.7 static.example ANY
         10.0.1.7 svc.static.example HTTPS
         10.0.1.7 odd.static.example TYPE65400
         10.0.1.7 odd.static.example TYPE65401
         10.0.1.7 x.y.wild.static.example TXT
         10.0.1.7 x.y.wild.static.example A
         10.0.1.7 deep.static.example A
         10.0.1.7 none.static.example A",
        expect![[r#"
            10.0.1.7 static.example SOA
              NOERROR AA
              answer: static.example 600 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
            10.0.1.7 static.example MX
              NOERROR AA
              answer: static.example 600 MX 10 mail.static.example.
            10.0.1.7 static.example TXT
              NOERROR AA
              answer: static.example 600 TXT "v=spf1 -all"
            10.0.1.7 static.example ANY
              NOERROR AA
              answer: static.example 3600 HINFO "RFC8482" ""
            10.0.1.7 svc.static.example HTTPS
              NOERROR AA
              answer: svc.static.example 600 HTTPS 1 . alpn=h2
            10.0.1.7 odd.static.example TYPE65400
              NOERROR AA
              answer: odd.static.example 600 TYPE65400 \# 3 01 02 03
            10.0.1.7 odd.static.example TYPE65401
              NOERROR AA
              authority: static.example 120 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
            10.0.1.7 x.y.wild.static.example TXT
              NOERROR AA
              answer: x.y.wild.static.example 600 TXT "any"
            10.0.1.7 x.y.wild.static.example A
              NOERROR AA
              authority: static.example 120 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
            10.0.1.7 deep.static.example A
              NOERROR AA
              authority: static.example 120 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
            10.0.1.7 none.static.example A
              NXDOMAIN AA
              authority: static.example 120 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
        "#]],
    );
}

#[test]
fn aliases_are_followed_within_our_zones() {
    check(
        &mut responder(),
        "10.0.1.7 alias.static.example A
         10.0.1.7 twice.static.example AAAA
         10.0.1.7 twice.static.example CNAME
         10.0.1.7 alias.static.example ANY
         10.0.1.7 alias.static.example MX
         10.0.1.7 away.static.example A
         10.0.1.7 gone.static.example A
         10.0.1.7 loop.static.example A
         10.0.1.7 steered.static.example A",
        expect![[r#"
            10.0.1.7 alias.static.example A
              NOERROR AA
              answer: alias.static.example 600 CNAME origin.static.example.
              answer: origin.static.example 600 A 203.0.113.1
            10.0.1.7 twice.static.example AAAA
              NOERROR AA
              answer: twice.static.example 600 CNAME alias.static.example.
              answer: alias.static.example 600 CNAME origin.static.example.
              answer: origin.static.example 600 AAAA 2001:db8:a::1
            10.0.1.7 twice.static.example CNAME
              NOERROR AA
              answer: twice.static.example 600 CNAME alias.static.example.
            10.0.1.7 alias.static.example ANY
              NOERROR AA
              answer: alias.static.example 600 CNAME origin.static.example.
            10.0.1.7 alias.static.example MX
              NOERROR AA
              answer: alias.static.example 600 CNAME origin.static.example.
              authority: static.example 120 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
            10.0.1.7 away.static.example A
              NOERROR AA
              answer: away.static.example 600 CNAME www.elsewhere.example.
            10.0.1.7 gone.static.example A
              NXDOMAIN AA
              answer: gone.static.example 600 CNAME nowhere.static.example.
              authority: static.example 120 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
            10.0.1.7 loop.static.example A
              NOERROR AA
              answer: loop.static.example 600 CNAME pool.static.example.
              answer: pool.static.example 600 CNAME loop.static.example.
            10.0.1.7 steered.static.example A
              NOERROR AA
              answer: steered.static.example 600 CNAME shop.cdn.example.
              answer: shop.cdn.example 20 CNAME origin.shop.example.
        "#]],
    );
}

#[test]
fn a_chain_of_aliases_ends() {
    let mut text = "$ORIGIN long.example.\n@ 60 SOA ns1 a 1 2 3 4 5\n@ NS ns1\n".to_owned();
    for link in 0..30 {
        text += &format!("a{link} CNAME a{}\n", link + 1);
    }
    let mut responder = Responder::new(None, &[Arc::new(Zone::parse(&text).unwrap())]);
    check(
        &mut responder,
        "10.0.1.7 a0.long.example A",
        expect![[r#"
        10.0.1.7 a0.long.example A
          NOERROR AA
          answer: a0.long.example 60 CNAME a1.long.example.
          answer: a1.long.example 60 CNAME a2.long.example.
          answer: a2.long.example 60 CNAME a3.long.example.
          answer: a3.long.example 60 CNAME a4.long.example.
          answer: a4.long.example 60 CNAME a5.long.example.
          answer: a5.long.example 60 CNAME a6.long.example.
          answer: a6.long.example 60 CNAME a7.long.example.
          answer: a7.long.example 60 CNAME a8.long.example.
          answer: a8.long.example 60 CNAME a9.long.example.
    "#]],
    );
}

#[test]
fn below_a_delegation_there_is_a_referral() {
    check(
        &mut responder(),
        "10.0.1.7 sub.static.example A
         10.0.1.7 www.sub.static.example A subnet=10.0.1.0/24
         10.0.1.7 ns.sub.static.example A
         10.0.1.7 sub.static.example NS
         10.0.1.7 sub.static.example DS
         10.0.1.7 static.example DS",
        expect![[r#"
            10.0.1.7 sub.static.example A
              NOERROR
              authority: sub.static.example 600 NS ns.sub.static.example.
              authority: sub.static.example 600 NS ns1.static.example.
              authority: sub.static.example 600 NS ns.other.example.
              additional: ns.sub.static.example 600 A 203.0.113.99
              additional: ns1.static.example 600 A 203.0.113.53
            10.0.1.7 www.sub.static.example A subnet=10.0.1.0/24
              NOERROR
              authority: sub.static.example 600 NS ns.sub.static.example.
              authority: sub.static.example 600 NS ns1.static.example.
              authority: sub.static.example 600 NS ns.other.example.
              additional: ns.sub.static.example 600 A 203.0.113.99
              additional: ns1.static.example 600 A 203.0.113.53
              edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0
            10.0.1.7 ns.sub.static.example A
              NOERROR
              authority: sub.static.example 600 NS ns.sub.static.example.
              authority: sub.static.example 600 NS ns1.static.example.
              authority: sub.static.example 600 NS ns.other.example.
              additional: ns.sub.static.example 600 A 203.0.113.99
              additional: ns1.static.example 600 A 203.0.113.53
            10.0.1.7 sub.static.example NS
              NOERROR
              authority: sub.static.example 600 NS ns.sub.static.example.
              authority: sub.static.example 600 NS ns1.static.example.
              authority: sub.static.example 600 NS ns.other.example.
              additional: ns.sub.static.example 600 A 203.0.113.99
              additional: ns1.static.example 600 A 203.0.113.53
            10.0.1.7 sub.static.example DS
              NOERROR AA
              answer: sub.static.example 600 DS 1 13 2 00
            10.0.1.7 static.example DS
              NOERROR AA
              authority: static.example 120 SOA ns1.static.example. admin.static.example. 42 3600 600 604800 120
        "#]],
    );
}

/// A parent zone that is served here too has delegated the host to us.
#[test]
fn a_host_delegated_by_a_static_zone_is_a_zone_of_its_own() {
    let parent = "\
$ORIGIN shop.example.
@ 600 SOA ns1 admin 1 2 3 4 60
@ NS ns1.cdn.example.
www NS ns1.cdn.example.
origin A 203.0.113.1
";
    check(
        &mut responder_of(&input(), &[Arc::new(Zone::parse(parent).unwrap())]),
        "@90
         10.0.1.7 www.shop.example A
         10.0.1.7 www.shop.example SOA
         10.0.1.7 www.shop.example DS
         10.0.1.7 origin.shop.example A",
        expect![[r#"
            @90
            10.0.1.7 www.shop.example A
              NOERROR AA
              answer: www.shop.example 10 A 203.0.113.1
            10.0.1.7 www.shop.example SOA
              NOERROR AA
              answer: www.shop.example 3600 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
            10.0.1.7 www.shop.example DS
              NOERROR AA
              authority: shop.example 60 SOA ns1.shop.example. admin.shop.example. 1 2 3 4 60
            10.0.1.7 origin.shop.example A
              NOERROR AA
              answer: origin.shop.example 600 A 203.0.113.1
        "#]],
    );
}

#[test]
fn a_host_within_a_static_zone_is_laid_over_it() {
    let zone = "\
$ORIGIN media.example.
@ 600 SOA ns1 admin 1 2 3 4 60
@ NS ns1.cdn.example.
@ A 203.0.113.2
@ MX 10 mail
mail A 203.0.113.3
";
    check(
        &mut responder_of(&input(), &[Arc::new(Zone::parse(zone).unwrap())]),
        "@90
         10.0.1.7 media.example A
         10.0.1.7 media.example MX
         10.0.1.7 media.example TXT
         10.0.1.7 mail.media.example A
         @100
         10.0.1.7 media.example A",
        expect![[r#"
            @90
            10.0.1.7 media.example A
              NOERROR AA
              answer: media.example 10 A 198.51.100.9
            10.0.1.7 media.example MX
              NOERROR AA
              answer: media.example 600 MX 10 mail.media.example.
            10.0.1.7 media.example TXT
              NOERROR AA
              authority: media.example 60 SOA ns1.media.example. admin.media.example. 1 2 3 4 60
            10.0.1.7 mail.media.example A
              NOERROR AA
              answer: mail.media.example 600 A 203.0.113.3
            @100
            10.0.1.7 media.example A
              NOERROR AA
              answer: media.example 20 A 192.0.2.11
        "#]],
    );
}

#[test]
fn a_host_that_a_static_zone_aliases_to_us_answers_as_alias() {
    let zone = "\
$ORIGIN pool.example.
@ 600 SOA ns1 admin 1 2 3 4 60
@ NS ns1.cdn.example.
turns CNAME turns.cdn.example.
";
    check(
        &mut responder_of(&input(), &[Arc::new(Zone::parse(zone).unwrap())]),
        "10.0.1.7 turns.pool.example A
         10.0.1.7 parts.pool.example A
         10.0.1.7 parts.pool.example TXT",
        expect![[r#"
            10.0.1.7 turns.pool.example A
              NOERROR AA
              answer: turns.pool.example 600 CNAME turns.cdn.example.
              answer: turns.cdn.example 20 A 198.51.100.2
            10.0.1.7 parts.pool.example A
              NOERROR AA
              answer: parts.pool.example 20 A 198.51.100.2
            10.0.1.7 parts.pool.example TXT
              NOERROR AA
              authority: pool.example 60 SOA ns1.pool.example. admin.pool.example. 1 2 3 4 60
        "#]],
    );
}

const RENAMED: &str = "\
$ORIGIN renamed.example.
$TTL 600
@        SOA ns1 admin 42 3600 600 604800 120
@        NS ns1
ns1      A 203.0.113.53
old      DNAME new
old      A 203.0.113.1
x.new    A 203.0.113.2
away     DNAME elsewhere.example.
far      DNAME a-longer-name.elsewhere.example.
";

#[test]
fn names_below_a_dname_are_those_below_another() {
    let zones = [Arc::new(Zone::parse(RENAMED).unwrap())];
    let long = format!("{}far.renamed.example", "twenty.".repeat(32));
    let script = format!(
        "10.0.1.7 old.renamed.example A
         10.0.1.7 x.old.renamed.example A
         10.0.1.7 x.old.renamed.example CNAME
         10.0.1.7 y.old.renamed.example A
         10.0.1.7 x.away.renamed.example A
         10.0.1.7 {long} A tcp"
    );
    check(
        &mut Responder::new(None, &zones),
        &script,
        expect![[r#"
        10.0.1.7 old.renamed.example A
          NOERROR AA
          answer: old.renamed.example 600 A 203.0.113.1
        10.0.1.7 x.old.renamed.example A
          NOERROR AA
          answer: old.renamed.example 600 DNAME new.renamed.example.
          answer: x.old.renamed.example 600 CNAME x.new.renamed.example.
          answer: x.new.renamed.example 600 A 203.0.113.2
        10.0.1.7 x.old.renamed.example CNAME
          NOERROR AA
          answer: old.renamed.example 600 DNAME new.renamed.example.
          answer: x.old.renamed.example 600 CNAME x.new.renamed.example.
        10.0.1.7 y.old.renamed.example A
          NXDOMAIN AA
          answer: old.renamed.example 600 DNAME new.renamed.example.
          answer: y.old.renamed.example 600 CNAME y.new.renamed.example.
          authority: renamed.example 120 SOA ns1.renamed.example. admin.renamed.example. 42 3600 600 604800 120
        10.0.1.7 x.away.renamed.example A
          NOERROR AA
          answer: away.renamed.example 600 DNAME elsewhere.example.
          answer: x.away.renamed.example 600 CNAME x.elsewhere.example.
        10.0.1.7 twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.twenty.far.renamed.example A tcp
          YXDOMAIN AA
          answer: far.renamed.example 600 DNAME a-longer-name.elsewhere.example.
    "#]],
    );
}

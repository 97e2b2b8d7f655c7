//! Kinds of records that are more than data: DNAME, wildcards, HTTPS at steered names, glue.

use std::sync::Arc;

use expect_test::expect;
use headroom_units::Timestamp;
use proptest::prelude::*;

use crate::{
    Responder, Transport, Zone,
    testing::{Query, check, input, print, responder_of},
};

const HEAD: &str = "$TTL 600\n@ SOA ns1 admin 1 2 3 4 300\n@ NS ns1\nns1 A 203.0.113.53\n";

/// A responder for the zone z.example with these records.
fn responder(records: &str) -> Responder {
    let text = format!("$ORIGIN z.example.\n{HEAD}{records}");
    Responder::new(None, &[Arc::new(Zone::parse(&text).unwrap())])
}

#[test]
fn a_dname_record_redirects_what_is_below_it() {
    check(
        &mut responder(
            "old 60 DNAME new\nold A 203.0.113.1\nwww.old TXT \"hidden\"\nwww.new A 203.0.113.2\nout DNAME elsewhere.example.\n\
             ends CNAME www.old\n",
        ),
        "10.0.1.7 www.old.z.example A
         10.0.1.7 WWW.Old.z.example A
         10.0.1.7 www.old.z.example CNAME
         10.0.1.7 www.old.z.example ANY
         10.0.1.7 none.old.z.example A
         10.0.1.7 old.z.example A
         10.0.1.7 old.z.example DNAME
         10.0.1.7 old.z.example TXT
         10.0.1.7 a.b.out.z.example AAAA
         10.0.1.7 ends.z.example A",
        expect![[r#"
            10.0.1.7 www.old.z.example A
              NOERROR AA
              answer: old.z.example 60 DNAME new.z.example.
              answer: www.old.z.example 60 CNAME www.new.z.example.
              answer: www.new.z.example 600 A 203.0.113.2
            10.0.1.7 WWW.Old.z.example A
              NOERROR AA
              answer: Old.z.example 60 DNAME new.z.example.
              answer: WWW.Old.z.example 60 CNAME WWW.new.z.example.
              answer: WWW.new.z.example 600 A 203.0.113.2
            10.0.1.7 www.old.z.example CNAME
              NOERROR AA
              answer: old.z.example 60 DNAME new.z.example.
              answer: www.old.z.example 60 CNAME www.new.z.example.
            10.0.1.7 www.old.z.example ANY
              NOERROR AA
              answer: old.z.example 60 DNAME new.z.example.
              answer: www.old.z.example 60 CNAME www.new.z.example.
            10.0.1.7 none.old.z.example A
              NXDOMAIN AA
              answer: old.z.example 60 DNAME new.z.example.
              answer: none.old.z.example 60 CNAME none.new.z.example.
              authority: z.example 300 SOA ns1.z.example. admin.z.example. 1 2 3 4 300
            10.0.1.7 old.z.example A
              NOERROR AA
              answer: old.z.example 600 A 203.0.113.1
            10.0.1.7 old.z.example DNAME
              NOERROR AA
              answer: old.z.example 60 DNAME new.z.example.
            10.0.1.7 old.z.example TXT
              NOERROR AA
              authority: z.example 300 SOA ns1.z.example. admin.z.example. 1 2 3 4 300
            10.0.1.7 a.b.out.z.example AAAA
              NOERROR AA
              answer: out.z.example 600 DNAME elsewhere.example.
              answer: a.b.out.z.example 600 CNAME a.b.elsewhere.example.
            10.0.1.7 ends.z.example A
              NOERROR AA
              answer: ends.z.example 600 CNAME www.old.z.example.
              answer: old.z.example 60 DNAME new.z.example.
              answer: www.old.z.example 60 CNAME www.new.z.example.
              answer: www.new.z.example 600 A 203.0.113.2
        "#]],
    );
}

#[test]
fn a_dname_record_that_leads_below_itself_ends() {
    check(
        &mut responder("grow DNAME more.grow\n"),
        "10.0.1.7 a.grow.z.example CNAME
         10.0.1.7 a.grow.z.example A",
        expect![[r#"
            10.0.1.7 a.grow.z.example CNAME
              NOERROR AA
              answer: grow.z.example 600 DNAME more.grow.z.example.
              answer: a.grow.z.example 600 CNAME a.more.grow.z.example.
            10.0.1.7 a.grow.z.example A
              NOERROR AA
              answer: grow.z.example 600 DNAME more.grow.z.example.
              answer: a.grow.z.example 600 CNAME a.more.grow.z.example.
              answer: a.more.grow.z.example 600 CNAME a.more.more.grow.z.example.
              answer: a.more.more.grow.z.example 600 CNAME a.more.more.more.grow.z.example.
              answer: a.more.more.more.grow.z.example 600 CNAME a.more.more.more.more.grow.z.example.
              answer: a.more.more.more.more.grow.z.example 600 CNAME a.more.more.more.more.more.grow.z.example.
              answer: a.more.more.more.more.more.grow.z.example 600 CNAME a.more.more.more.more.more.more.grow.z.example.
              answer: a.more.more.more.more.more.more.grow.z.example 600 CNAME a.more.more.more.more.more.more.more.grow.z.example.
              answer: a.more.more.more.more.more.more.more.grow.z.example 600 CNAME a.more.more.more.more.more.more.more.more.grow.z.example.
              answer: a.more.more.more.more.more.more.more.more.grow.z.example 600 CNAME a.more.more.more.more.more.more.more.more.more.grow.z.example.
        "#]],
    );
}

/// RFC 6672 §2.2.
#[test]
fn a_redirected_name_that_is_too_long_is_told_as_such() {
    let label = "a".repeat(63);
    let target = format!("{label}.{label}.{label}.z.example.");
    let mut responder = responder(&format!("d DNAME {target}\n"));
    let ask = |responder: &mut Responder, labels: &str| {
        let query = Query::parse(&format!("10.0.1.7 {labels}.d.z.example A tcp")).octets();
        let source = "10.0.1.7:53".parse().unwrap();
        let reply = responder.respond(&query, source, Transport::Tcp, Timestamp::EPOCH).unwrap();
        print(&reply).lines().next().unwrap().trim().to_owned()
    };
    // 192 octets of labels and 11 of z.example; 255 are allowed.
    assert_eq!(ask(&mut responder, &"b".repeat(51)), "NXDOMAIN AA");
    assert_eq!(ask(&mut responder, &"b".repeat(52)), "YXDOMAIN AA");
}

/// RFC 4592.
#[test]
fn a_wildcard_stands_for_names_that_are_not_there() {
    check(
        &mut responder(
            "*.w CNAME there\nthere A 203.0.113.1\nx.w TXT \"x\"\na.empty.w TXT \"y\"\n\
             *.sub.cut A 203.0.113.2\ncut NS ns.elsewhere.example.\n",
        ),
        "10.0.1.7 any.w.z.example A
         10.0.1.7 two.any.w.z.example A
         10.0.1.7 any.w.z.example CNAME
         10.0.1.7 x.w.z.example A
         10.0.1.7 y.x.w.z.example A
         10.0.1.7 empty.w.z.example A
         10.0.1.7 b.empty.w.z.example A
         10.0.1.7 *.w.z.example CNAME
         10.0.1.7 w.z.example A
         10.0.1.7 any.sub.cut.z.example A",
        expect![[r#"
            10.0.1.7 any.w.z.example A
              NOERROR AA
              answer: any.w.z.example 600 CNAME there.z.example.
              answer: there.z.example 600 A 203.0.113.1
            10.0.1.7 two.any.w.z.example A
              NOERROR AA
              answer: two.any.w.z.example 600 CNAME there.z.example.
              answer: there.z.example 600 A 203.0.113.1
            10.0.1.7 any.w.z.example CNAME
              NOERROR AA
              answer: any.w.z.example 600 CNAME there.z.example.
            10.0.1.7 x.w.z.example A
              NOERROR AA
              authority: z.example 300 SOA ns1.z.example. admin.z.example. 1 2 3 4 300
            10.0.1.7 y.x.w.z.example A
              NXDOMAIN AA
              authority: z.example 300 SOA ns1.z.example. admin.z.example. 1 2 3 4 300
            10.0.1.7 empty.w.z.example A
              NOERROR AA
              authority: z.example 300 SOA ns1.z.example. admin.z.example. 1 2 3 4 300
            10.0.1.7 b.empty.w.z.example A
              NXDOMAIN AA
              authority: z.example 300 SOA ns1.z.example. admin.z.example. 1 2 3 4 300
            10.0.1.7 *.w.z.example CNAME
              NOERROR AA
              answer: *.w.z.example 600 CNAME there.z.example.
            10.0.1.7 w.z.example A
              NOERROR AA
              authority: z.example 300 SOA ns1.z.example. admin.z.example. 1 2 3 4 300
            10.0.1.7 any.sub.cut.z.example A
              NOERROR
              authority: cut.z.example 600 NS ns.elsewhere.example.
        "#]],
    );
}

const OVERLAID: &str = "$ORIGIN media.example.
@ HTTPS 1 . alpn=h3 ipv4hint=203.0.113.2 ipv6hint=2001:db8:a::2
@ SVCB 1 . ipv4hint=203.0.113.2
@ CAA 0 issue \"ca.example\"
other HTTPS 1 . alpn=h2 ipv4hint=203.0.113.4
";

/// RFC 9460 §7.3: the hints of HTTPS are those of A and AAAA, or there are none.
#[test]
fn a_steered_name_never_shows_the_hints_of_the_zone() {
    let zone = OVERLAID.replacen('\n', &format!("\n{HEAD}"), 1);
    check(
        &mut responder_of(&input(), &[Arc::new(Zone::parse(&zone).unwrap())]),
        "@100
         10.0.1.7 media.example A
         10.0.1.7 media.example HTTPS
         10.0.1.7 media.example SVCB
         10.0.1.7 media.example CAA
         10.0.1.7 other.media.example HTTPS
         10.0.1.7 www.shop.example HTTPS",
        expect![[r#"
            @100
            10.0.1.7 media.example A
              NOERROR AA
              answer: media.example 20 A 192.0.2.11
            10.0.1.7 media.example HTTPS
              NOERROR AA
              authority: media.example 300 SOA ns1.media.example. admin.media.example. 1 2 3 4 300
            10.0.1.7 media.example SVCB
              NOERROR AA
              authority: media.example 300 SOA ns1.media.example. admin.media.example. 1 2 3 4 300
            10.0.1.7 media.example CAA
              NOERROR AA
              answer: media.example 600 CAA 0 issue "ca.example"
            10.0.1.7 other.media.example HTTPS
              NOERROR AA
              answer: other.media.example 600 HTTPS 1 . alpn=h2 ipv4hint=203.0.113.4
            10.0.1.7 www.shop.example HTTPS
              NOERROR AA
              answer: www.shop.example 20 CNAME east-1.edge.cdn.example.
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
        "#]],
    );
}

/// RFC 9471: glue is not left out; if it does not fit, the answer is truncated.
#[test]
fn a_referral_whose_glue_does_not_fit_is_truncated() {
    let mut records = String::new();
    for number in 0..20 {
        records += &format!("sub NS ns{number}.sub\nns{number}.sub A 203.0.113.{number}\n");
        records += &format!("ns{number}.sub AAAA 2001:db8::{number}\n");
    }
    let mut responder = responder(&records);
    let mut ask = |line: &str| {
        let query = Query::parse(line);
        let source = (query.source, 53).into();
        let now = Timestamp::EPOCH;
        let reply = responder.respond(&query.octets(), source, query.transport, now).unwrap();
        let text = print(&reply);
        let count = |section: &str| text.lines().filter(|line| line.contains(section)).count();
        (text.contains(" TC"), count("authority:"), count("additional:"))
    };
    assert_eq!(ask("10.0.1.7 www.sub.z.example A"), (true, 0, 0));
    assert_eq!(ask("10.0.1.7 www.sub.z.example A size=1232"), (true, 0, 0));
    assert_eq!(ask("10.0.1.7 www.sub.z.example A tcp"), (false, 20, 40));
}

/// RFC 2308 §3: a denial is cached no longer than the SOA record says, nor than it itself.
#[test]
fn a_denial_is_cached_as_long_as_the_zone_says() {
    for (ttl, minimum, expected) in [(600, 300, 300), (60, 300, 60), (600, 0, 0)] {
        let text = format!(
            "$ORIGIN z.example.\n@ {ttl} SOA ns1 admin 1 2 3 4 {minimum}\n@ {ttl} NS ns1\n"
        );
        let mut responder = Responder::new(None, &[Arc::new(Zone::parse(&text).unwrap())]);
        for asked in ["none.z.example A", "z.example TXT"] {
            let query = Query::parse(&format!("10.0.1.7 {asked}")).octets();
            let source = "10.0.1.7:53".parse().unwrap();
            let now = Timestamp::EPOCH;
            let reply = responder.respond(&query, source, Transport::Udp, now).unwrap();
            let text = print(&reply);
            assert!(text.contains(&format!("authority: z.example {expected} SOA")), "{text}");
        }
    }
}

proptest! {
    /// RFC 3597 §4: what is not known goes out as it came in, names within it not compressed.
    #[test]
    fn records_of_unknown_types_go_out_as_they_came_in(
        rtype in 65_300_u16..65_535,
        data in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let hex: String = data.iter().map(|octet| format!("{octet:02x}")).collect();
        let mut responder = responder(&format!("odd TYPE{rtype} \\# {} {hex}\n", data.len()));
        let query = Query::parse(&format!("10.0.1.7 odd.z.example TYPE{rtype}")).octets();
        let source = "10.0.1.7:53".parse().unwrap();
        let now = Timestamp::EPOCH;
        let reply = responder.respond(&query, source, Transport::Udp, now).unwrap();
        prop_assert!(reply.ends_with(&data));
        let length = u16::try_from(data.len()).unwrap().to_be_bytes();
        prop_assert!(reply[..reply.len() - data.len()].ends_with(&length));
    }
}

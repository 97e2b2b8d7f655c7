//! Cookies, and what else is said in OPT records; what goes to one who is over its rate.

use std::{net::IpAddr, sync::Arc};

use expect_test::expect;
use headroom_units::Timestamp;
use proptest::prelude::*;

use crate::{
    CookieSecret, Responder,
    edns::EdnsPolicy,
    testing::{self, Query, check, print},
};

fn policy() -> EdnsPolicy {
    let secrets = CookieSecret::parse_list("e5e973e5a6b2a43f48e7dc849e37bfcf").unwrap();
    EdnsPolicy::new(&secrets, Some("ns1"))
}

fn responder() -> Responder {
    testing::responder().with(Arc::new(policy()))
}

/// The time of RFC 9018, appendix A.1, whose client, secret and cookies these are.
const AT: u64 = 1_559_731_985;

#[test]
fn a_client_gets_a_cookie_with_its_answer() {
    check(
        &mut responder(),
        "@1559731985
         198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c957
         198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480
         198.51.100.100 none.cdn.example A raw=10:2464c4abcf10c957 raw=10:0000000000000000
         198.51.100.101 ns1.cdn.example A raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480
         198.51.100.100 www.elsewhere.example A raw=10:2464c4abcf10c957",
        expect![[r#"
            @1559731985
            198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c957
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
            198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
            198.51.100.100 none.cdn.example A raw=10:2464c4abcf10c957 raw=10:0000000000000000
              NXDOMAIN AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
              edns: size=1232 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
            198.51.100.101 ns1.cdn.example A raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232 cookie=2464c4abcf10c957010000005cf79f113dee680ff87b4d82
            198.51.100.100 www.elsewhere.example A raw=10:2464c4abcf10c957
              REFUSED
              edns: size=1232 error=20 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
        "#]],
    );
}

#[test]
fn a_malformed_cookie_is_a_format_error() {
    check(
        &mut responder(),
        "10.0.1.7 ns1.cdn.example A raw=10:
         10.0.1.7 ns1.cdn.example A raw=10:01020304050607
         10.0.1.7 ns1.cdn.example A raw=10:010203040506070809
         10.0.1.7 ns1.cdn.example A raw=10:01020304050607080102030405060708010203040506070801020304050607080102030405060708ff",
        expect![[r#"
            10.0.1.7 ns1.cdn.example A raw=10:
              FORMERR
              edns: size=1232
            10.0.1.7 ns1.cdn.example A raw=10:01020304050607
              FORMERR
              edns: size=1232
            10.0.1.7 ns1.cdn.example A raw=10:010203040506070809
              FORMERR
              edns: size=1232
            10.0.1.7 ns1.cdn.example A raw=10:01020304050607080102030405060708010203040506070801020304050607080102030405060708ff
              FORMERR
              edns: size=1232
        "#]],
    );
}

/// RFC 7873 §5.4.
#[test]
fn a_cookie_is_asked_for_or_about_without_a_question() {
    check(
        &mut responder(),
        "@1559731985
         198.51.100.100 . A bare raw=10:2464c4abcf10c957
         198.51.100.100 . A bare raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480
         198.51.100.100 . A bare raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29481
         198.51.100.100 . A bare raw=10:2464c4abcf10c9570102030405060708
         198.51.100.100 . A bare edns
         198.51.100.100 . A bare",
        expect![[r#"
            @1559731985
            198.51.100.100 . A bare raw=10:2464c4abcf10c957
              NOERROR
              edns: size=1232 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
            198.51.100.100 . A bare raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480
              NOERROR
              edns: size=1232 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
            198.51.100.100 . A bare raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29481
              BADCOOKIE
              edns: size=1232 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
            198.51.100.100 . A bare raw=10:2464c4abcf10c9570102030405060708
              BADCOOKIE
              edns: size=1232 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
            198.51.100.100 . A bare edns
              FORMERR
              edns: size=1232
            198.51.100.100 . A bare
              FORMERR
        "#]],
    );
}

#[test]
fn a_server_without_secrets_passes_cookies_over() {
    check(
        &mut testing::responder(),
        "10.0.1.7 ns1.cdn.example A raw=10:2464c4abcf10c957",
        expect![[r#"
            10.0.1.7 ns1.cdn.example A raw=10:2464c4abcf10c957
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
        "#]],
    );
}

#[test]
fn who_asks_is_told_which_server_this_is() {
    check(
        &mut responder(),
        "10.0.1.7 ns1.cdn.example A raw=3:
         10.0.1.7 www.elsewhere.example A raw=3:ff
         10.0.1.7 ns1.cdn.example A edns",
        expect![[r#"
            10.0.1.7 ns1.cdn.example A raw=3:
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232 NSID(3)=[110, 115, 49]
            10.0.1.7 www.elsewhere.example A raw=3:ff
              REFUSED
              edns: size=1232 error=20 NSID(3)=[110, 115, 49]
            10.0.1.7 ns1.cdn.example A edns
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
        "#]],
    );
}

/// RFC 7828 §3.2.1: only over a connection.
#[test]
fn a_connection_is_told_how_long_it_may_be_idle() {
    check(
        &mut responder(),
        "10.0.1.7 ns1.cdn.example A raw=11: tcp
         10.0.1.7 ns1.cdn.example A raw=11: tls
         10.0.1.7 ns1.cdn.example A raw=11:
         10.0.1.7 ns1.cdn.example A edns tcp",
        expect![[r#"
            10.0.1.7 ns1.cdn.example A raw=11: tcp
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232 edns-tcp-keepalive(11)=[0, 100]
            10.0.1.7 ns1.cdn.example A raw=11: tls
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232 edns-tcp-keepalive(11)=[0, 100]
            10.0.1.7 ns1.cdn.example A raw=11:
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
            10.0.1.7 ns1.cdn.example A edns tcp
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
        "#]],
    );
}

/// RFC 7830 §6, RFC 8467 §4.1.
#[test]
fn padding_is_for_encrypted_connections_that_ask_for_it() {
    check(
        &mut responder(),
        "10.0.1.7 ns1.cdn.example A raw=12:00000000 tls
         10.0.1.7 none.cdn.example A raw=12: raw=10:2464c4abcf10c957 tls
         10.0.1.7 ns1.cdn.example A edns tls
         10.0.1.7 ns1.cdn.example A raw=12: tcp
         10.0.1.7 ns1.cdn.example A raw=12:",
        expect![[r#"
            10.0.1.7 ns1.cdn.example A raw=12:00000000 tls
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232 padding=404 of 468
            10.0.1.7 none.cdn.example A raw=12: raw=10:2464c4abcf10c957 tls
              NXDOMAIN AA
              authority: cdn.example 60 SOA ns1.cdn.example. hostmaster.cdn.example. 7 3600 600 604800 60
              edns: size=1232 cookie=2464c4abcf10c95701000000000000003784c5bee5c9383c padding=340 of 468
            10.0.1.7 ns1.cdn.example A edns tls
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
            10.0.1.7 ns1.cdn.example A raw=12: tcp
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
            10.0.1.7 ns1.cdn.example A raw=12:
              NOERROR AA
              answer: ns1.cdn.example 300 A 192.0.2.53
              edns: size=1232
        "#]],
    );
}

#[test]
fn errors_say_more_where_there_is_a_code_for_it() {
    check(
        &mut responder(),
        "10.0.1.7 www.elsewhere.example A edns
         10.0.1.7 version.bind TXT class=3 edns
         10.0.1.7 hostname.bind TXT class=3 edns
         10.0.1.7 cdn.example AXFR edns tcp
         10.0.1.7 cdn.example IXFR edns
         10.0.1.7 ns1.cdn.example A class=255 edns",
        expect![[r#"
            10.0.1.7 www.elsewhere.example A edns
              REFUSED
              edns: size=1232 error=20
            10.0.1.7 version.bind TXT class=3 edns
              REFUSED
              edns: size=1232 error=21
            10.0.1.7 hostname.bind TXT class=3 edns
              REFUSED
              edns: size=1232 error=21
            10.0.1.7 cdn.example AXFR edns tcp
              REFUSED
              edns: size=1232 error=18
            10.0.1.7 cdn.example IXFR edns
              REFUSED
              edns: size=1232 error=18
            10.0.1.7 ns1.cdn.example A class=255 edns
              REFUSED
              edns: size=1232 error=21
        "#]],
    );
    let mut query = Query::parse("10.0.1.7 cdn.example SOA edns").octets();
    query[2] |= 0x28;
    let source = "10.0.1.7:53".parse().unwrap();
    let reply =
        responder().respond(&query, source, crate::Transport::Udp, Timestamp::EPOCH).unwrap();
    assert_eq!(
        print(&reply),
        "  NOTIMP
  edns: size=1232 error=21
"
    );
}

fn slip(query: &[u8], source: &str) -> Option<Vec<u8>> {
    policy().slip(query, source.parse().unwrap(), Timestamp::from_seconds(AT))
}

#[test]
fn one_who_is_over_its_rate_is_invited_to_prove_that_it_is_real() {
    let mut printed = String::new();
    for line in [
        "198.51.100.100 ns1.cdn.example A",
        "198.51.100.100 ns1.cdn.example A edns",
        "198.51.100.100 ns1.cdn.example A subnet=10.0.1.0/24 raw=3:",
        "198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c957",
        "198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29481",
        "198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c9570102030405060708",
        "198.51.100.100 ns1.cdn.example A raw-subnet=0",
    ] {
        let query = Query::parse(line).octets();
        let reply = slip(&query, "198.51.100.100").unwrap();
        assert!(reply.len() <= query.len(), "{line}");
        printed += &format!("{line}\n{}", print(&reply));
    }
    expect![[r#"
        198.51.100.100 ns1.cdn.example A
          NOERROR TC
        198.51.100.100 ns1.cdn.example A edns
          NOERROR TC
          edns: size=1232
        198.51.100.100 ns1.cdn.example A subnet=10.0.1.0/24 raw=3:
          NOERROR TC
          edns: size=1232 subnet=[[0, 1, 24], [10, 0, 1]] scope=0
        198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c957
          NOERROR TC
          edns: size=1232
        198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29481
          BADCOOKIE
          edns: size=1232 cookie=2464c4abcf10c957010000005cf79f111f8130c3eee29480
        198.51.100.100 ns1.cdn.example A raw=10:2464c4abcf10c9570102030405060708
          NOERROR TC
          edns: size=1232
        198.51.100.100 ns1.cdn.example A raw-subnet=0
          FORMERR
          edns: size=1232
    "#]]
    .assert_eq(&printed);
    let mut response = Query::parse("198.51.100.100 ns1.cdn.example A").octets();
    response[2] |= 0x80;
    assert_eq!(slip(&response, "198.51.100.100"), None);
}

proptest! {
    /// So it is of no use to one who forges the source.
    #[test]
    fn what_goes_to_one_over_its_rate_is_never_larger_than_the_query(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        source in any::<IpAddr>(),
    ) {
        let mut query = Query::parse([
            "10.0.1.7 www.shop.example A subnet=10.0.1.0/24",
            "10.0.1.7 a.wild.static.example TXT raw=10:2464c4abcf10c957 raw=3:",
            "10.0.1.7 b.static.example A raw=10:2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            "10.0.1.7 . NS bare raw=10:2464c4abcf10c957",
        ][which]).octets();
        for (index, octet) in changes {
            let index = index.index(query.len());
            query[index] = octet;
        }
        if let Some(reply) = slip(&query, &source.to_string()) {
            prop_assert!(reply.len() <= query.len());
            prop_assert_eq!(&reply[..2], &query[..2]);
            prop_assert!(reply[2] & 0x80 != 0);
        }
    }
}

//! Queries nobody sane would send: an answer where an RFC wants one, silence where it does not,
//! and never a panic.

use headroom_units::Timestamp;
use proptest::prelude::*;

use crate::{
    Responder, Transport, limits, message,
    testing::{Query, print, responder},
};

fn respond(responder: &mut Responder, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let now = Timestamp::from_seconds(100);
    responder.respond(query, "10.0.1.7:5353".parse().unwrap(), transport, now)
}

fn good() -> Vec<u8> {
    Query::parse("10.0.1.7 www.shop.example A subnet=10.0.1.0/24").octets()
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut query = good();
    change(&mut query);
    let reply = respond(&mut responder(), &query, Transport::Udp);
    reply.map_or("silence".to_owned(), |reply| {
        let text = print(&reply);
        text.lines().next().unwrap_or_default().trim().to_owned()
    })
}

#[test]
fn each_kind_of_malformed_query() {
    let plain = |query: &mut Vec<u8>| {
        *query = Query::parse("10.0.1.7 www.shop.example A").octets();
    };
    assert_eq!(changed(|_| {}), "NOERROR AA");
    assert_eq!(changed(|query| query[2] |= 0x80), "silence", "a response");
    assert_eq!(changed(|query| query.truncate(11)), "silence", "no header");
    assert_eq!(changed(|query| query.truncate(12)), "FORMERR", "no question");
    assert_eq!(changed(|query| query.truncate(20)), "FORMERR", "half a name");
    assert_eq!(changed(|query| query.truncate(31)), "FORMERR", "half a question");
    assert_eq!(changed(|query| query.truncate(40)), "FORMERR", "half an OPT");
    assert_eq!(changed(|query| query[5] = 0), "FORMERR", "no question");
    assert_eq!(changed(|query| query[5] = 2), "FORMERR", "two questions");
    assert_eq!(changed(|query| query[4] = 255), "FORMERR", "very many questions");
    assert_eq!(changed(|query| query[11] = 2), "FORMERR", "a record is missing");
    assert_eq!(changed(|query| query[2] |= 0x10), "NOTIMP", "STATUS");
    assert_eq!(changed(|query| query[2] |= 0x20), "NOTIMP", "NOTIFY");
    assert_eq!(changed(|query| query[2] |= 0x78), "NOTIMP", "opcode 15");
    assert_eq!(
        changed(|query| {
            query.truncate(12);
            query[2] |= 0x78;
            query[5] = 0;
        }),
        "NOTIMP",
        "a header alone is known by its opcode"
    );
    assert_eq!(changed(|query| query[12] = 0xc0), "FORMERR", "a name that points into the header");
    assert_eq!(changed(|query| query[12] = 64), "FORMERR", "a label type that is not");
    assert_eq!(
        changed(|query| {
            plain(query);
            query.splice(12..30, [0xc0, 12]);
        }),
        "FORMERR",
        "a name that points to itself"
    );
    assert_eq!(
        changed(|query| {
            plain(query);
            query.splice(12..12, [63].into_iter().chain([b'a'; 63]).cycle().take(64 * 4));
        }),
        "FORMERR",
        "a name of more than 255 octets"
    );
    assert_eq!(
        changed(|query| {
            let opt = query[34..].to_vec();
            query.extend(opt);
            query[11] = 2;
        }),
        "FORMERR",
        "two OPT records"
    );
    assert_eq!(
        changed(|query| {
            query.splice(34..35, [1, b'a', 0]);
        }),
        "FORMERR",
        "an OPT record below the root"
    );
    assert_eq!(changed(|query| query.extend([1, 2, 3])), "NOERROR AA", "octets to spare");
}

/// RFC 8906 §3.1.3, §3.2.3: what is not known is ignored, and does not come back.
#[test]
fn unknown_flags_are_passed_over() {
    let plain = respond(&mut responder(), &good(), Transport::Udp);
    let opt = good().len() - 11 - 11;
    assert_eq!(good()[opt..opt + 3], [0, 0, 41]);
    for (at, flag) in [
        (2, 0x02),
        (2, 0x04),
        (3, 0x80),
        (3, 0x40),
        (3, 0x20),
        (3, 0x0f),
        (opt + 7, 0x7f),
        (opt + 8, 0xff),
    ] {
        let mut query = good();
        query[at] |= flag;
        assert_eq!(respond(&mut responder(), &query, Transport::Udp), plain, "{at} {flag:#x}");
    }
}

/// RFC 8906 §3.1.4: known by its opcode alone.
#[test]
fn every_unknown_opcode_is_told() {
    for opcode in 1..16_u8 {
        for length in [12, 20, good().len()] {
            let mut query = good();
            query.truncate(length);
            query[2] |= opcode << 3;
            let reply = respond(&mut responder(), &query, Transport::Udp).unwrap();
            assert_eq!((reply[2] & 0x78, reply[3] & 15), (opcode << 3, 4), "opcode {opcode}");
        }
    }
}

/// RFC 6891 §6.1.3: whatever else the record holds.
#[test]
fn every_other_version_of_edns_is_told() {
    let opt = good().len() - 11 - 11;
    for version in 1..=255 {
        assert_eq!(changed(|query| query[opt + 6] = version), "BADVERS", "{version}");
    }
}

#[test]
fn lengths_that_lie_are_format_errors() {
    let opt = good().len() - 11 - 11;
    assert_eq!(changed(|query| query[opt + 10] += 1), "FORMERR", "an OPT that goes on");
    assert_eq!(changed(|query| query[opt + 9] = 255), "FORMERR", "and on");
    assert_eq!(changed(|query| query[opt + 10] -= 1), "FORMERR", "an option that does not fit");
    assert_eq!(changed(|query| query[opt + 10] = 3), "FORMERR", "half an option");
    assert_eq!(changed(|query| query[opt + 10] = 0), "NOERROR AA", "no options, octets to spare");
    assert_eq!(changed(|query| query[opt + 14] = 8), "FORMERR", "an option that goes on");
    assert_eq!(changed(|query| query[opt + 14] = 6), "FORMERR", "one that ends early");
    assert_eq!(changed(|query| query[7] = 1), "FORMERR", "an answer that is not there");
    assert_eq!(changed(|query| query[9] = 1), "FORMERR", "an authority that is not there");
    assert_eq!(changed(|query| query[10] = 255), "FORMERR", "very many records");
    for length in 12..good().len() {
        let reply = changed(|query| query.truncate(length));
        assert_eq!(reply, "FORMERR", "cut off at {length}");
    }
}

/// RFC 1035 §4.1.4 lets a name point backwards, to a name; in a question there is none before it.
#[test]
fn names_that_point_anywhere_are_format_errors() {
    for target in (0..12).chain([13, 20, 30, 34, 45, 60, 0x3fff]) {
        for labels in [&[][..], &[1, b'a'], &[63]] {
            let [high, low] = (0xc000_u16 | target).to_be_bytes();
            let mut query = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend(labels);
            if labels == [63] {
                query.extend([b'x'; 63]);
            }
            query.extend([high, low, 0, 1, 0, 1]);
            let reply = respond(&mut responder(), &query, Transport::Udp).unwrap();
            let rcode = reply[3] & 15;
            // What happens to be a name in the header may be asked for.
            assert!(rcode == 1 || (target < 12 && rcode == 5), "{target} {labels:?}: {rcode}");
        }
    }
}

#[test]
fn labels_that_are_too_long_are_format_errors() {
    for length in 64..=255 {
        let reply = changed(|query| query[12] = length);
        assert!(reply == "FORMERR", "{length}: {reply}");
    }
}

#[test]
fn hundreds_of_options_are_passed_over() {
    let mut line = "10.0.1.7 ns1.cdn.example A".to_owned();
    for code in 0..500 {
        line += &format!(" option={}", 1_000 + code);
    }
    let reply = respond(&mut responder(), &Query::parse(&line).octets(), Transport::Udp).unwrap();
    assert!(print(&reply).contains("192.0.2.53"));
}

#[test]
fn the_longest_name_is_answered() {
    let label = "a".repeat(63);
    let name = format!("{label}.{label}.{label}.{}.cdn.example", "a".repeat(49));
    let query = Query::parse(&format!("10.0.1.7 {name} A subnet=10.0.1.0/24")).octets();
    let reply = respond(&mut responder(), &query, Transport::Udp).unwrap();
    assert!(print(&reply).starts_with("  NXDOMAIN AA"));
}

#[test]
fn a_defect_is_told_as_a_server_failure() {
    let reply = message::server_failure(&good()).unwrap();
    assert_eq!(print(&reply), "  SERVFAIL\n");
    assert!(message::server_failure(&[1, 2]).is_none());
}

/// The rules that hold for whatever comes.
fn hold_the_rules(responder: &mut Responder, query: &[u8]) {
    let is_query = query.len() >= 12 && query[2] & 0x80 == 0;
    for (transport, most) in
        [(Transport::Udp, usize::from(limits::UDP_ANSWER_MAX)), (Transport::Tcp, 65_535)]
    {
        let reply = respond(responder, query, transport);
        assert_eq!(reply.is_some(), is_query);
        if let Some(reply) = reply {
            assert!(reply.len() <= most);
            assert_eq!(reply[..2], query[..2], "the id");
            assert_eq!(reply[2] & 0xf8, query[2] & 0x78 | 0x80, "QR and the opcode");
        }
    }
}

proptest! {
    #[test]
    fn random_octets(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        hold_the_rules(&mut responder(), &octets);
    }

    #[test]
    fn mutated_queries(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut query = Query::parse([
            "10.0.1.7 www.shop.example A subnet=10.0.1.0/24",
            "10.0.1.7 a.b.wild.static.example TXT edns",
            "10.0.1.7 www.sub.static.example AAAA do option=10",
            "10.0.1.7 loop.static.example ANY",
        ][which]).octets();
        for (index, octet) in changes {
            let index = index.index(query.len());
            query[index] = octet;
        }
        if cut {
            query.truncate(length.index(query.len()));
        }
        hold_the_rules(&mut responder(), &query);
    }
}

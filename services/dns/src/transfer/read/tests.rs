//! Transfers as they should be and as they should not: each line a message, records in text.

use domain::{
    base::MessageBuilder,
    zonefile::inplace::{Entry, Zonefile},
};
use expect_test::{Expect, expect};

use super::*;
use crate::{Zone, transfer::apply::apply};

pub(super) const SOA_1: &str = "@ SOA ns a 1 2 3 4 5";
const SOA_2: &str = "@ SOA ns a 2 2 3 4 5";
const SOA_3: &str = "@ SOA ns a 3 2 3 4 5";
const NS: &str = "@ NS ns";

fn record(text: &str) -> Record {
    let mut file = Zonefile::new();
    file.set_default_class(Class::IN);
    file.extend_from_slice(format!("$ORIGIN shop.example.\n$TTL 60\n{text}\n").as_bytes());
    let Ok(Some(Entry::Record(record))) = file.next_entry() else { panic!("{text}") };
    record.flatten_into()
}

fn message(id: u16, rtype: Rtype, records: &[&str]) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_qr(true);
    let mut question = builder.question();
    question.push((Name::bytes_from_str("shop.example").unwrap(), rtype)).unwrap();
    let mut answer = question.answer();
    for text in records {
        answer.push(record(text)).unwrap();
    }
    answer.finish()
}

fn held() -> Zone {
    let records = [SOA_1, NS, "www A 192.0.2.1", "old A 192.0.2.2"].map(record);
    Zone::of_records(&records, 10).unwrap()
}

/// Reads messages until the last, and prints the zone that came of them, or what is wrong.
fn read(held: Option<&Zone>, messages: Vec<Vec<u8>>, limits: TransferLimits) -> String {
    let serial = held.map(|zone| zone.soa().serial().into_int());
    let mut reader = Reader::new(Name::bytes_from_str("shop.example").unwrap(), 7, serial, limits);
    for message in messages {
        match reader.read(message) {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => return error.to_string(),
        }
    }
    let zone = reader.finish().and_then(|brought| apply(brought, held, &limits));
    match zone {
        Err(error) => error.to_string(),
        Ok(None) => "current".to_owned(),
        Ok(Some(zone)) => {
            let others = zone.records().skip(1);
            let mut lines: Vec<_> =
                others.map(|record| format!("{} {}", record.owner(), record.data())).collect();
            lines.sort();
            format!("{}: {}", zone.soa().serial(), lines.join(", "))
        }
    }
}

fn axfr(messages: &[&[&str]], expected: Expect) {
    let messages = messages.iter().map(|records| message(7, Rtype::AXFR, records)).collect();
    expected.assert_eq(&read(None, messages, TransferLimits::default()));
}

fn ixfr(messages: &[&[&str]], expected: Expect) {
    let messages = messages.iter().map(|records| message(7, Rtype::IXFR, records)).collect();
    expected.assert_eq(&read(Some(&held()), messages, TransferLimits::default()));
}

fn with_limits(change: impl Fn(&mut TransferLimits), expected: Expect) {
    let mut limits = TransferLimits::default();
    change(&mut limits);
    let text = format!("txt TXT {}", "\"0123456789\" ".repeat(20));
    let records = [SOA_1, NS, "a.b.c A 192.0.2.1", &text, SOA_1];
    expected.assert_eq(&read(None, vec![message(7, Rtype::AXFR, &records)], limits));
}

#[test]
fn a_whole_zone_in_one_message_or_many() {
    axfr(
        &[&[SOA_1, NS, "ns A 192.0.2.1", SOA_1]],
        expect!["1: ns.shop.example 192.0.2.1, shop.example ns.shop.example."],
    );
    axfr(
        &[&[SOA_1], &[NS], &[], &["ns A 192.0.2.1"], &[SOA_1]],
        expect!["1: ns.shop.example 192.0.2.1, shop.example ns.shop.example."],
    );
}

#[test]
fn records_of_any_type_come_as_they_are() {
    axfr(
        &[&[SOA_1, NS, "x TYPE65400 \\# 3 010203", "*.w TXT \"a\"", "d DNAME e.example.", SOA_1]],
        expect![[
            r#"1: *.w.shop.example "a", d.shop.example e.example., shop.example ns.shop.example., x.shop.example \# 3 01 02 03"#
        ]],
    );
}

#[test]
fn changes_in_one_step_or_many() {
    ixfr(
        &[&[SOA_2, SOA_1, "old A 192.0.2.2", SOA_2, "new A 192.0.2.3", SOA_2]],
        expect![
            "2: new.shop.example 192.0.2.3, shop.example ns.shop.example., www.shop.example 192.0.2.1"
        ],
    );
    ixfr(
        &[
            &[SOA_3, SOA_1, "old A 192.0.2.2", SOA_2],
            &["new A 192.0.2.3", SOA_2, "new A 192.0.2.3"],
            &[SOA_3, "new A 192.0.2.4", SOA_3],
        ],
        expect![
            "3: new.shop.example 192.0.2.4, shop.example ns.shop.example., www.shop.example 192.0.2.1"
        ],
    );
    ixfr(
        &[&[SOA_2, NS, "www A 192.0.2.9", SOA_2]],
        expect!["2: shop.example ns.shop.example., www.shop.example 192.0.2.9"],
    );
    ixfr(&[&[SOA_1]], expect!["current"]);
}

#[test]
fn a_transfer_that_is_cut_short_brings_nothing() {
    axfr(&[], expect!["the transfer was cut short"]);
    axfr(&[&[]], expect!["the transfer was cut short"]);
    axfr(&[&[SOA_1, NS], &["www A 192.0.2.1"]], expect!["the transfer was cut short"]);
    ixfr(&[&[SOA_2, SOA_1, "old A 192.0.2.2", SOA_2]], expect!["the transfer was cut short"]);
    ixfr(&[&[SOA_2]], expect!["the transfer was cut short"]);
}

#[test]
fn soa_records_stand_at_both_ends_and_agree() {
    axfr(&[&[NS, SOA_1]], expect!["the transfer does not begin with the zone's SOA record"]);
    axfr(&[&[SOA_1, NS, SOA_2]], expect!["the SOA records at its begin and end differ"]);
    axfr(
        &[&[SOA_1, NS, "@ SOA ns b 1 2 3 4 5"]],
        expect!["the SOA records at its begin and end differ"],
    );
    axfr(
        &[&[SOA_1, NS, "sub SOA ns a 1 2 3 4 5", SOA_1]],
        expect!["a SOA record stands within the zone, or below its name"],
    );
    axfr(
        &[&[SOA_1, NS, SOA_1, "www A 192.0.2.1", SOA_1]],
        expect!["records follow the last SOA record"],
    );
    axfr(
        &[&["sub SOA ns a 1 2 3 4 5"]],
        expect!["a SOA record stands within the zone, or below its name"],
    );
}

#[test]
fn what_does_not_belong_to_the_zone_is_refused() {
    axfr(
        &[&[SOA_1, NS, "www.other.example. A 192.0.2.1", SOA_1]],
        expect!["www.other.example is not within the zone"],
    );
    axfr(
        &[&[SOA_1, NS, "www.notshop.example. A 192.0.2.1", SOA_1]],
        expect!["www.notshop.example is not within the zone"],
    );
    axfr(
        &[&[SOA_1, SOA_1]],
        expect![
            "it is not a zone: shop.example has no NS record; accepted is a zone that names its name servers"
        ],
    );
    axfr(
        &[&[SOA_1, NS, "www CNAME a", "www A 192.0.2.1", SOA_1]],
        expect![
            "it is not a zone: www.shop.example has a CNAME beside other records, or two of them"
        ],
    );
    for rtype in ["TYPE41", "TYPE250", "TYPE255", "TYPE128", "TYPE0"] {
        let text = format!("x {rtype} \\# 0");
        let records = [SOA_1, NS, &text, SOA_1];
        let told = read(None, vec![message(7, Rtype::AXFR, &records)], TransferLimits::default());
        assert!(told.ends_with("which no zone holds"), "{told}");
    }
}

#[test]
fn a_record_of_another_class_is_refused() {
    let mut octets = message(7, Rtype::AXFR, &[SOA_1, "www A 192.0.2.1"]);
    let at = octets.len() - 12;
    assert_eq!(octets[at..at + 2], [0, 1]);
    octets[at + 1] = 3;
    let told = read(None, vec![octets], TransferLimits::default());
    assert_eq!(told, "www.shop.example is of class CH; accepted is IN");
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    ixfr(
        &[&[SOA_3, SOA_2, SOA_3, SOA_3]],
        expect!["the changes do not join: one begins at serial 2 instead of 1"],
    );
    ixfr(
        &[&[SOA_3, SOA_1, SOA_2, SOA_1, SOA_3, SOA_3]],
        expect!["the changes do not join: one begins at serial 1 instead of 2"],
    );
    ixfr(
        &[&[SOA_2, SOA_1, "none A 192.0.2.2", SOA_2, SOA_2]],
        expect!["a change takes away what none.shop.example does not have"],
    );
    ixfr(
        &[&[SOA_2, SOA_1, "old A 192.0.2.9", SOA_2, SOA_2]],
        expect!["a change takes away what old.shop.example does not have"],
    );
    ixfr(
        &[&[SOA_2, SOA_1, NS, SOA_2, SOA_2]],
        expect![
            "it is not a zone: shop.example has no NS record; accepted is a zone that names its name servers"
        ],
    );
    ixfr(
        &[&[SOA_2, SOA_1, "@ SOA ns b 2 2 3 4 5", SOA_2]],
        expect!["the SOA records at its begin and end differ"],
    );
    ixfr(&[&["@ SOA ns a 4294967295 2 3 4 5"]], expect!["serial 4294967295 is not newer than 1"]);
}

#[test]
fn serials_go_round() {
    assert!(is_newer(1, 0) && is_newer(0, u32::MAX) && is_newer(0x8000_0000, 1));
    assert!(!is_newer(0, 0) && !is_newer(0, 1) && !is_newer(u32::MAX, 0));
    assert!(!is_newer(0x8000_0000, 0) && !is_newer(0, 0x8000_0000), "not to be compared");
}

#[test]
fn another_message_is_not_taken() {
    let good = || message(7, Rtype::AXFR, &[SOA_1, NS, SOA_1]);
    let read = |message: Vec<u8>| read(None, vec![message], TransferLimits::default());
    assert!(read(good()).starts_with("1: "));
    let other = "a message does not belong to what was asked";
    assert_eq!(read(message(8, Rtype::AXFR, &[SOA_1, NS, SOA_1])), other);
    assert_eq!(read(message(7, Rtype::A, &[SOA_1, NS, SOA_1])), other);
    for (at, octet, told) in [
        (2, 0x00, other),
        (2, 0x82, other),
        (2, 0xa0, other),
        (3, 0x05, "the primary answers REFUSED"),
        (3, 0x09, "the primary answers NOTAUTH"),
        (5, 0, other),
        (5, 2, other),
        (7, 4, "a message is malformed"),
        (15, b'x', other),
    ] {
        let mut octets = good();
        octets[at] = octet;
        assert_eq!(read(octets), told, "{at} {octet}");
    }
    assert_eq!(read(good()[..40].to_vec()), "a message is malformed");
    assert_eq!(read(vec![0; 5]), "a message is malformed");
}

#[test]
fn names_may_be_as_long_as_names_get_and_no_longer() {
    let labels = "x".repeat(63);
    let rest = "y".repeat(255 - 64 * 3 - b"\x04shop\x07example\0".len() - 1);
    let name = format!("{labels}.{labels}.{labels}.{rest}");
    let text = format!("{name} A 192.0.2.1");
    let records = [SOA_1, NS, &text, SOA_1];
    let octets = message(7, Rtype::AXFR, &records);
    assert!(read(None, vec![octets], TransferLimits::default()).contains(&name));
    // The same with one octet more; the name is written in full.
    let mut octets = message(7, Rtype::AXFR, &[SOA_1, NS]);
    octets[7] = 3;
    for label in [&labels, &labels, &labels, &format!("{rest}y"), "shop", "example"] {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend_from_slice(label.as_bytes());
    }
    octets.extend_from_slice(&[0, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    assert_eq!(read(None, vec![octets], TransferLimits::default()), "a message is malformed");
}

#[test]
fn names_that_point_to_themselves_are_malformed() {
    let mut octets = message(7, Rtype::AXFR, &[SOA_1, NS]);
    octets[7] = 3;
    let here = u16::try_from(octets.len()).unwrap() | 0xc000;
    octets.extend_from_slice(&here.to_be_bytes());
    octets.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    assert_eq!(read(None, vec![octets], TransferLimits::default()), "a message is malformed");
}

#[test]
fn a_transfer_is_bounded() {
    with_limits(
        |_| {},
        expect![[
            r#"1: a.b.c.shop.example 192.0.2.1, shop.example ns.shop.example., txt.shop.example "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789" "0123456789""#
        ]],
    );
    with_limits(|limits| limits.octets = 300, expect!["the transfer is larger than 300 octets"]);
    with_limits(|limits| limits.records = 4, expect!["the transfer holds more than 4 records"]);
    with_limits(
        |limits| limits.names = 4,
        expect!["it is not a zone: the zone holds more than 4 names"],
    );
    with_limits(
        |limits| limits.record_data = 200,
        expect!["txt.shop.example has a record of 220 octets; accepted are 200"],
    );
}

#[test]
fn an_endless_transfer_ends_at_its_limit() {
    let limits = TransferLimits { records: 1_000, ..TransferLimits::default() };
    let first = std::iter::once(message(7, Rtype::AXFR, &[SOA_1, NS]));
    let more = (0..2_000).map(|_| message(7, Rtype::AXFR, &["www A 192.0.2.1"]));
    let told = read(None, first.chain(more).collect(), limits);
    assert_eq!(told, "the transfer holds more than 1000 records");
}

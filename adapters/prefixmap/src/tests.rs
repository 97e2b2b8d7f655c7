//! Files of both forms: what they say, and what is refused.

use expect_test::{Expect, expect};

use super::*;
use crate::testing::{Value, database};

fn regions() -> Vec<RegionId> {
    ["east", "west"].map(|id| id.parse().unwrap()).into()
}

fn file(folder: &Path, octets: &[u8], form: Form) -> PrefixFile {
    let path = folder.join("clients");
    fs::write(&path, octets).unwrap();
    PrefixFile { path, form, regions: regions() }
}

/// What a map says: where each range begins, and its region.
fn told(loaded: &Loaded) -> String {
    let ranges = loaded.map.ranges();
    let ranges =
        ranges.map(|(start, region)| format!("{start} {}\n", region.map_or("-", RegionId::as_str)));
    let notes = loaded.notes.iter().map(|note| format!("note: {note}\n"));
    ranges.chain(notes).collect()
}

fn check(octets: &[u8], form: Form, expected: Expect) {
    let folder = tempfile::tempdir().unwrap();
    let text = match file(folder.path(), octets, form).load() {
        Ok(loaded) => told(&loaded),
        Err(error) => error.to_string().replace(&folder.path().display().to_string(), "/base"),
    };
    expected.assert_eq(&text);
}

#[test]
fn lines_say_which_prefix_is_where() {
    let text = "\u{feff}# Our clients\r\nprefix, region\r\n\r\n10.0.0.0/8,east\r\n\
                10.1.0.0/16 , west # a customer\r\n2001:db8::/32,west\r\n";
    check(
        text.as_bytes(),
        Form::Csv,
        expect![[r#"
            0.0.0.0 -
            10.0.0.0 east
            10.1.0.0 west
            10.2.0.0 east
            11.0.0.0 -
            :: -
            2001:db8:: west
            2001:db9:: -
        "#]],
    );
}

#[test]
fn every_mistake_of_a_file_is_told_with_its_line() {
    let text = "10.0.0.0/8,east\nprefix,region\n10.0.0.1/8,east\n10.0.0.0,east\n10.1.0.0/16\n\
                10.2.0.0/16,north\n10.3.0.0/25,east\n10.0.0.0/8,west\n10.4.0.0/16,east,1\n";
    check(
        text.as_bytes(),
        Form::Csv,
        expect![[
            r#"/base/clients is no prefix map: line 2: "prefix" is not a prefix, such as 10.0.0.0/8; line 3: 10.0.0.1/8 has bits beyond its length; accepted is 10.0.0.0/8; line 4: "10.0.0.0" is not a prefix, such as 10.0.0.0/8; line 5: "10.1.0.0/16" is not a prefix and a region, such as 10.0.0.0/8,east; line 6: there is no region "north"; accepted are east, west; line 7: 10.3.0.0/25 is finer than clients are told apart; accepted are prefixes up to /24 of IPv4 and /56 of IPv6; line 9: "10.4.0.0/16,east,1" is not a prefix and a region, such as 10.0.0.0/8,east; line 8: 10.0.0.0/8 stands in line 1 already"#
        ]],
    );
}

#[test]
fn a_file_of_nonsense_is_told_in_short() {
    let folder = tempfile::tempdir().unwrap();
    let said = |octets: &[u8]| {
        let error = file(folder.path(), octets, Form::Csv).load().unwrap_err().to_string();
        error.rsplit("prefix map: ").next().unwrap().to_owned()
    };
    assert_eq!(said(b""), "it holds no prefix");
    assert_eq!(said(b"# nothing\n\n"), "it holds no prefix");
    assert_eq!(said(b"10.0.0.0/8,east\n\xff\n"), "line 2: it is not text in UTF-8");
    let many = said("x\n".repeat(10_000).as_bytes());
    assert!(many.ends_with("; and 9980 more") && many.len() < 5_000, "{many}");
    let long = said("x".repeat(100_000).as_bytes());
    assert!(long.len() < 1_000, "{long}");
    let gone = PrefixFile { path: folder.path().join("gone"), form: Form::Csv, regions: regions() };
    assert!(gone.load().unwrap_err().to_string().contains("cannot be read: No such file"));
}

fn country(code: &'static str) -> Value {
    Value::Map(vec![
        ("continent", Value::Map(vec![("code", Value::Text("XX"))])),
        ("country", Value::Map(vec![("iso_code", Value::Text(code)), ("id", Value::Number(7))])),
    ])
}

fn by(field: &str, values: &[(&str, &str)]) -> Form {
    let values = values.iter().map(|(value, id)| ((*value).to_owned(), id.parse().unwrap()));
    Form::MaxMind { field: field.parse().unwrap(), values: values.collect() }
}

#[test]
fn a_database_says_it_by_the_value_of_a_field() {
    let records = [
        ("10.0.0.0/8", country("US")),
        ("11.0.0.0/8", country("CA")),
        ("12.0.0.0/8", country("DE")),
        ("13.0.0.0/8", country("ZZ")),
        ("14.0.0.0/8", Value::Map(Vec::new())),
        ("2001:db8::/32", country("DE")),
    ];
    check(
        &database(6, &records),
        by("country.iso_code", &[("US", "east"), ("CA", "east"), ("DE", "west"), ("UK", "west")]),
        expect![[r#"
            0.0.0.0 -
            10.0.0.0 east
            12.0.0.0 west
            13.0.0.0 -
            :: -
            2001:db8:: west
            2001:db9:: -
            note: country.iso_code is never UK
        "#]],
    );
}

#[test]
fn a_value_may_be_a_number_or_the_region_itself() {
    let system = |number| Value::Map(vec![("autonomous_system_number", Value::Number(number))]);
    let records = [("10.0.0.0/8", system(64_500)), ("11.0.0.0/8", system(64_501))];
    check(
        &database(4, &records),
        by("autonomous_system_number", &[("64500", "west")]),
        expect![[r#"
            0.0.0.0 -
            10.0.0.0 west
            11.0.0.0 -
        "#]],
    );
    let region = |id| Value::Map(vec![("region", Value::Text(id))]);
    let records = [("10.0.0.0/8", region("east")), ("11.0.0.0/8", region("north"))];
    check(
        &database(4, &records),
        by("region", &[]),
        expect![[r#"
            0.0.0.0 -
            10.0.0.0 east
            11.0.0.0 -
        "#]],
    );
}

#[test]
fn a_client_in_parts_is_where_most_of_it_is() {
    let records = [
        ("10.0.0.0/25", country("US")),
        ("10.0.0.128/26", country("DE")),
        ("10.0.0.192/26", country("ZZ")),
        ("10.0.1.0/26", country("DE")),
        ("10.0.2.0/26", country("DE")),
        ("10.0.2.64/26", country("US")),
        ("2001:db8::/57", country("DE")),
    ];
    check(
        &database(6, &records),
        by("country.iso_code", &[("US", "east"), ("DE", "west")]),
        expect![[r#"
            0.0.0.0 -
            10.0.0.0 east
            10.0.1.0 -
            :: -
            2001:db8:: west
            2001:db8:0:100:: -
            note: 4 client prefixes have records for parts of them: each is where most of its addresses are
        "#]],
    );
}

#[test]
fn a_database_of_no_use_is_told() {
    let records = [("10.0.0.0/8", country("US")), ("11.0.0.0/8", country("CA"))];
    check(
        &database(4, &records),
        by("country.iso_code", &[("UK", "west")]),
        expect![
            "/base/clients is no prefix map: no value of country.iso_code belongs to a region; among the values are CA, US"
        ],
    );
    check(
        &database(4, &records),
        by("country.code", &[]),
        expect!["/base/clients is no prefix map: no record has a text or a number at country.code"],
    );
    let folder = tempfile::tempdir().unwrap();
    let whole = database(4, &records);
    for octets in [&b""[..], b"10.0.0.0/8,east", &whole[..whole.len() / 2], &whole[20..]] {
        let form = by("country.iso_code", &[("US", "west")]);
        let error = file(folder.path(), octets, form).load().unwrap_err().to_string();
        assert!(error.contains("is no prefix map: "), "{error}");
    }
    assert!("".parse::<Field>().is_err() && "a..b".parse::<Field>().is_err());
}

#[test]
fn any_octets_are_a_map_or_a_mistake() {
    let records = [("10.0.0.0/8", country("US")), ("2001:db8::/32", country("CA"))];
    let (whole, field) = (database(6, &records), "country.iso_code".parse().unwrap());
    let (values, regions) = ([("US".to_owned(), regions()[0].clone())].into(), regions());
    for at in 0..whole.len() {
        for octet in [0, 1, 0x7f, 0xff] {
            let mut broken = whole.clone();
            broken[at] = octet;
            drop(mmdb::read(&broken, &field, &values, &regions));
        }
    }
}

#[test]
fn the_digest_is_of_what_a_file_says_and_not_of_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let digest = |octets: &[u8], form| file(folder.path(), octets, form).load().unwrap().digest;
    let lines = digest(b"10.0.0.0/8,east\n11.0.0.0/8,west\n", Form::Csv);
    assert_eq!(digest(b"# b\n11.0.0.0/8,west\n10.0.0.0/8,east\n", Form::Csv), lines);
    let records = [("10.0.0.0/8", country("US")), ("11.0.0.0/8", country("DE"))];
    let values = by("country.iso_code", &[("US", "east"), ("DE", "west")]);
    assert_eq!(digest(&database(4, &records), values), lines);
    let other = digest(b"10.0.0.0/8,east\n11.0.0.0/8,east\n", Form::Csv);
    assert_ne!(other, lines);
    assert!(lines.number() > 0 && lines.number() < 1 << 48);
    assert_eq!(format!("{:012x}", lines.number()), lines.to_string());
}

#[test]
fn the_entry_behind_an_answer_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = ["10.1.2.3", "10.2.3.4", "192.0.2.1", "2001:db8::1"];
    let addresses = addresses.map(|address| address.parse().unwrap());
    let of = |file: &PrefixFile| {
        let entries = file.entries(&addresses).unwrap().into_iter();
        let told = |entry: Option<Entry>| {
            entry.map_or_else(|| "-".to_owned(), |entry| format!("{} {}", entry.prefix, entry.at))
        };
        entries.map(told).collect::<Vec<_>>()
    };
    let lines = b"10.0.0.0/8,east\n10.1.0.0/16,west\n";
    let csv = file(folder.path(), lines, Form::Csv);
    assert_eq!(of(&csv), ["10.1.0.0/16 line 2", "10.0.0.0/8 line 1", "-", "-"]);
    let records = [("10.0.0.0/8", country("US"))];
    let form = by("country.iso_code", &[("US", "east")]);
    let database = file(folder.path(), &database(4, &records), form);
    let found = "10.0.0.0/8 country.iso_code = US";
    assert_eq!(of(&database), [found, found, "-", "-"]);
}

//! Blocks as they go over the wire: the examples of RFC 7541, what breaks a rule, and anything.

use proptest::prelude::*;

use super::{huffman::tests::encode, *};
use crate::limits::H2_TABLE_BYTES_MAX;

fn octets(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn shown(fields: &Fields) -> String {
    let field = |(name, value)| {
        format!("{}: {}\n", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    };
    fields.iter().map(field).collect()
}

/// Decodes blocks one after the other on one connection: what they say, and the table after.
fn decode(blocks: &[&str]) -> (Vec<String>, (usize, Vec<String>)) {
    let (mut decoder, mut fields) = (Decoder::default(), Fields::default());
    let mut said = Vec::new();
    for block in blocks {
        fields.clear();
        decoder.decode(&octets(block), &mut fields).unwrap();
        said.push(shown(&fields));
    }
    (said, decoder.table.shown())
}

fn is_unsound(block: &[u8]) -> bool {
    Decoder::default().decode(block, &mut Fields::default()).is_err()
}

/// RFC 7541 §C.2.
#[test]
fn each_representation_is_read() {
    let key = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    let (said, table) = decode(&[key]);
    assert_eq!(said, ["custom-key: custom-header\n"]);
    assert_eq!(table, (55, vec!["custom-key: custom-header".to_owned()]));
    let (said, table) = decode(&["040c 2f73 616d 706c 652f 7061 7468"]);
    assert_eq!((said, table.0), (vec![":path: /sample/path\n".to_owned()], 0));
    let (said, table) = decode(&["1008 7061 7373 776f 7264 0673 6563 7265 74"]);
    assert_eq!((said, table.0), (vec!["password: secret\n".to_owned()], 0));
    assert_eq!(decode(&["82"]).0, [":method: GET\n"]);
}

/// RFC 7541 §C.3 and §C.4: the same requests without the Huffman code and with it.
#[test]
fn requests_of_one_connection_are_read() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let coded = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let get = ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n";
    let (said, table) = decode(&plain);
    assert_eq!(said[0], get);
    assert_eq!(said[1], format!("{get}cache-control: no-cache\n"));
    assert_eq!(
        said[2],
        ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
         custom-key: custom-value\n"
    );
    let entries =
        ["custom-key: custom-value", "cache-control: no-cache", ":authority: www.example.com"];
    assert_eq!(table, (164, entries.map(str::to_owned).to_vec()));
    assert_eq!(decode(&coded), (said, table));
}

/// RFC 7541 §C.5 and §C.6: in a table of 256 octets, so that entries give way.
#[test]
fn entries_give_way_to_newer_ones() {
    let plain = [
        "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
         2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 \
         6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 \
         677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 \
         553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let coded = [
        "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
         2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
         4ee5 b106 3d50 07",
    ];
    let (said, table) = decode(&plain);
    let entries = [
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
        "content-encoding: gzip",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
    ];
    assert_eq!(table, (215, entries.map(str::to_owned).to_vec()));
    assert_eq!(
        said[2],
        ":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\n\
         location: https://www.example.com\ncontent-encoding: gzip\n\
         set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n"
    );
    assert_eq!(decode(&coded), (said, table));
}

#[test]
fn what_breaks_a_rule_is_unsound() {
    for (why, block) in [
        ("§6.1 index 0", &[0x80][..]),
        ("§2.3.3 an index behind both tables", &[0xbe]),
        ("§2.3.3 a name behind both tables", &[0x7f, 0x00, 0x01, b'a']),
        ("§5.1 a number without end", &[0xff]),
        ("§5.1 a number that overflows", &[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("§5.1 a number of too many octets", &[0xff, 0x80, 0x80, 0x80, 0x80, 0x00]),
        ("§5.2 a string behind the end", &[0x00, 0x05, b'a']),
        ("§5.2 no value", &[0x00, 0x01, b'a']),
        ("§5.2 padding with a zero", &[0x00, 0x81, 0b0000_0110, 0x00]),
        ("§5.2 padding of an octet", &[0x00, 0x82, 0b0000_0111, 0xff, 0x00]),
        ("§5.2 EOS", &[0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00]),
        ("§6.3 a table larger than allowed", &[0x3f, 0xe2, 0x1f]),
        ("§4.2 a new size behind a field", &[0x82, 0x20]),
    ] {
        assert!(is_unsound(block), "{why}");
    }
    assert!(!is_unsound(&[0x3f, 0xe1, 0x1f, 0x82]), "4,096 octets are allowed");
    assert!(!is_unsound(&[0x20, 0x3f, 0xe1, 0x1f, 0x82]), "two new sizes at the beginning");
    assert!(!is_unsound(&[]));
}

#[test]
fn what_is_too_large_is_not_kept_but_the_table_is() {
    let mut block = vec![0x40, 1, b'a', 0x7f, 0xe1, 0x0e];
    block.extend([b'x'; 2_000]);
    // The same 2,000 octets a hundred times.
    block.extend([0xbe; 100]);
    block.extend([0x40, 1, b'b', 1, b'c']);
    let (mut decoder, mut fields) = (Decoder::default(), Fields::default());
    decoder.decode(&block, &mut fields).unwrap();
    assert!(fields.is_too_large());
    assert!(fields.bytes().len() <= crate::limits::HEAD_BYTES_MAX);
    assert_eq!(decoder.table.shown().1[0], "b: c");
}

/// A literal as others write it.
fn literal(form: u8, (name, value): &(Vec<u8>, Vec<u8>), coded: bool) -> Vec<u8> {
    let mut block = vec![form];
    for text in [name, value] {
        let text = if coded { encode(text) } else { text.clone() };
        let begin = block.len();
        write_string(&mut block, &text);
        block[begin] |= if coded { 0x80 } else { 0 };
    }
    block
}

proptest! {
    #[test]
    fn fields_come_as_they_were_sent(
        sent in prop::collection::vec(
            (
                (prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..300)),
                prop::sample::select(vec![0x00, 0x10, 0x40]),
                any::<bool>(),
                any::<bool>(),
            ),
            0..30,
        ),
    ) {
        let (mut decoder, mut fields) = (Decoder::default(), Fields::default());
        let mut expected: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for (field, form, coded, again) in &sent {
            let mut block = literal(*form, field, *coded);
            let count = if *form == 0x40 && *again { 2 } else { 1 };
            block.resize(block.len() + count - 1, 0xbe);
            expected.extend(std::iter::repeat_n(field.clone(), count));
            decoder.decode(&block, &mut fields).unwrap();
        }
        let came: Vec<_> = fields.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        prop_assert_eq!(came, expected);
        prop_assert!(decoder.memory() <= 3 * H2_TABLE_BYTES_MAX);
    }

    #[test]
    fn what_is_written_is_read(
        status in 100_u16..600,
        fields in prop::collection::vec(("[a-z-]{1,20}", prop::collection::vec(any::<u8>(), 0..300)), 0..20),
        number in any::<u64>(),
    ) {
        let mut block = Vec::new();
        write_no_table(&mut block);
        write_status(&mut block, StatusCode::from_u16(status).unwrap());
        write_number_field(&mut block, b"age", number);
        fields.iter().for_each(|(name, value)| write_field(&mut block, name.as_bytes(), value));
        let (mut decoder, mut read) = (Decoder::default(), Fields::default());
        decoder.decode(&block, &mut read).unwrap();
        let mut expected = vec![(":status".to_owned(), status.to_string().into_bytes())];
        expected.push(("age".to_owned(), number.to_string().into_bytes()));
        expected.extend(fields);
        let read: Vec<_> = read
            .iter()
            .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec()))
            .collect();
        prop_assert_eq!(read, expected);
        prop_assert_eq!(decoder.memory(), 0);
    }

    #[test]
    fn any_octets_are_fields_or_unsound(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..10)) {
        let (mut decoder, mut fields) = (Decoder::default(), Fields::default());
        for block in blocks {
            fields.clear();
            let _ = decoder.decode(&block, &mut fields);
            prop_assert!(decoder.memory() <= 3 * H2_TABLE_BYTES_MAX);
            prop_assert_eq!(fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= fields.bytes().len(), true);
        }
    }
}

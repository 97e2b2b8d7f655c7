//! Writes small MaxMind DBs (format 2.0), so that no test needs a file from elsewhere.

use std::net::IpAddr;

use ipnet::IpNet;

/// What stands in a record.
pub(crate) enum Value {
    Text(&'static str),
    Number(u32),
    Map(Vec<(&'static str, Self)>),
}

/// What one side of a node leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Nothing,
    Node(usize),
    Data(usize),
}

/// A database with one record for each prefix; none may hold another. IPv4 prefixes of a database
/// of version 6 stand in `::/96`.
pub(crate) fn database(ip_version: u16, records: &[(&str, Value)]) -> Vec<u8> {
    let (mut nodes, mut data) = (vec![[Slot::Nothing; 2]], Vec::new());
    for (prefix, value) in records {
        let offset = data.len();
        write(value, &mut data);
        let (bits, length) = path(prefix.parse().unwrap(), ip_version);
        let (mut at, last) = (0, length - 1);
        for depth in 0..=last {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth == last {
                assert!(nodes[at][side] == Slot::Nothing, "{prefix} is beside others");
                nodes[at][side] = Slot::Data(offset);
            } else {
                at = match nodes[at][side] {
                    Slot::Node(next) => next,
                    Slot::Nothing => {
                        nodes.push([Slot::Nothing; 2]);
                        let next = nodes.len() - 1;
                        nodes[at][side] = Slot::Node(next);
                        next
                    }
                    Slot::Data(_) => panic!("{prefix} is within another"),
                };
            }
        }
    }
    assemble(ip_version, &nodes, &data)
}

/// The bits that lead to a prefix, and how many they are.
fn path(prefix: IpNet, ip_version: u16) -> (u128, u32) {
    let length = u32::from(prefix.prefix_len());
    match prefix.addr() {
        IpAddr::V6(address) => (address.to_bits(), length),
        IpAddr::V4(address) if ip_version == 6 => (address.to_bits().into(), 96 + length),
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, length),
    }
}

fn assemble(ip_version: u16, nodes: &[[Slot; 2]], data: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    for slot in nodes.iter().flatten() {
        let number = match slot {
            Slot::Nothing => nodes.len(),
            Slot::Node(next) => *next,
            Slot::Data(offset) => nodes.len() + 16 + offset,
        };
        octets.extend(u32::try_from(number).unwrap().to_be_bytes());
    }
    octets.extend([0; 16]);
    octets.extend(data);
    octets.extend(b"\xab\xcd\xefMaxMind.com");
    octets.push(0xe0 | 9);
    let number = |key, number: u32, kind, octets: &mut Vec<u8>| {
        write(&Value::Text(key), octets);
        write_number(number, kind, octets);
    };
    number("binary_format_major_version", 2, 5, &mut octets);
    number("binary_format_minor_version", 0, 5, &mut octets);
    // An unsigned number of 64 bits has an extended type.
    write(&Value::Text("build_epoch"), &mut octets);
    octets.extend([1, 2, 1]);
    write(&Value::Text("database_type"), &mut octets);
    write(&Value::Text("Test"), &mut octets);
    write(&Value::Text("description"), &mut octets);
    write(&Value::Map(Vec::new()), &mut octets);
    number("ip_version", ip_version.into(), 5, &mut octets);
    // A list has one too.
    write(&Value::Text("languages"), &mut octets);
    octets.extend([0, 4]);
    number("node_count", u32::try_from(nodes.len()).unwrap(), 6, &mut octets);
    number("record_size", 32, 5, &mut octets);
    octets
}

fn write(value: &Value, octets: &mut Vec<u8>) {
    let short = |length: usize| u8::try_from(length).ok().filter(|length| *length < 29).unwrap();
    match value {
        Value::Text(text) => {
            octets.push(2 << 5 | short(text.len()));
            octets.extend(text.as_bytes());
        }
        Value::Number(number) => write_number(*number, 6, octets),
        Value::Map(entries) => {
            octets.push(7 << 5 | short(entries.len()));
            for (key, value) in entries {
                write(&Value::Text(key), octets);
                write(value, octets);
            }
        }
    }
}

fn write_number(number: u32, kind: u8, octets: &mut Vec<u8>) {
    let all = number.to_be_bytes();
    let first = all.iter().position(|octet| *octet != 0).unwrap_or(all.len());
    octets.push(kind << 5 | u8::try_from(all.len() - first).unwrap());
    octets.extend(&all[first..]);
}

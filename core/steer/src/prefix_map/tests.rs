//! The map against a linear scan, and how far its answers hold.

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::prelude::*;

use super::*;
use crate::{client_prefix, plan::testing};

fn region(name: &str) -> RegionId {
    name.parse().unwrap()
}

fn regions() -> Vec<RegionId> {
    ["a", "b", "c"].map(region).into()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn map(prefixes: &[(&str, u16)]) -> Result<PrefixMap, PrefixMapError> {
    let prefixes = prefixes.iter().map(|(prefix, region)| (net(prefix), *region));
    PrefixMap::new(regions(), prefixes.collect())
}

#[test]
fn the_longest_prefix_wins() {
    let map = map(&[("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("2001:db8::/32", 2)]).unwrap();
    let of = |client: &str| {
        let found = map.find(net(client));
        (found.region.map_or("-", RegionId::as_str).to_owned(), found.length)
    };
    assert_eq!(of("10.1.2.0/24"), ("b".into(), 16));
    assert_eq!(of("10.2.2.0/24"), ("a".into(), 15));
    assert_eq!(of("10.128.0.0/9"), ("a".into(), 9));
    assert_eq!(of("11.0.0.0/8"), ("-".into(), 8));
    assert_eq!(of("192.0.2.0/24"), ("-".into(), 1));
    assert_eq!(of("2001:db8:1::/56"), ("c".into(), 32));
    assert_eq!(of("2001:db9::/56"), ("-".into(), 32));
    assert_eq!(of("8000::/56"), ("-".into(), 1));
    let empty = PrefixMap::default();
    assert_eq!(empty.find(net("10.0.0.0/8")), Match { region: None, length: 0 });
}

#[test]
fn everything_may_belong_to_one_region() {
    let map = map(&[("0.0.0.0/0", 0), ("::/0", 1)]).unwrap();
    assert_eq!(map.find(net("203.0.113.0/24")), Match { region: Some(&region("a")), length: 0 });
    assert_eq!(map.find(net("2001:db8::/48")), Match { region: Some(&region("b")), length: 0 });
    assert_eq!(map.ranges().count(), 2);
}

#[test]
fn what_is_no_map_is_refused() {
    let refused = |prefixes: &[(&str, u16)]| map(prefixes).unwrap_err();
    assert_eq!(refused(&[("10.0.0.0/25", 0)]), PrefixMapError::TooFine(net("10.0.0.0/25")));
    assert_eq!(refused(&[("2001:db8::/57", 0)]), PrefixMapError::TooFine(net("2001:db8::/57")));
    let twice = [("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("10.0.0.0/8", 1)];
    assert_eq!(refused(&twice), PrefixMapError::Duplicate(net("10.0.0.0/8")));
    assert_eq!(refused(&[("10.0.0.0/8", 3)]), PrefixMapError::UnknownRegion(net("10.0.0.0/8")));
    let many = vec![(net("10.0.0.0/8"), 0); limits::PREFIXES_MAX + 1];
    assert_eq!(PrefixMap::new(regions(), many).unwrap_err(), PrefixMapError::TooMany);
}

#[test]
fn what_the_plan_says_goes_before_what_stands_beside_it() {
    let plan = crate::plan(&testing::input(headroom_units::Timestamp::EPOCH));
    let mut found = ClientRegions::of(&plan);
    let of = |found: &ClientRegions, client: &str| {
        let found = found.find(&plan, net(client));
        (found.region.to_string(), found.length)
    };
    // By the plan 10.0.0.0/9 is east, 10.128.0.0/9 west, the default east.
    let before = of(&found, "10.200.1.0/24");
    assert_eq!(before.0, "west");
    let supplied = [("10.200.1.0/24", 0), ("192.0.2.0/24", 0), ("198.51.100.0/24", 1)];
    let supplied = supplied.map(|(prefix, region)| (net(prefix), region));
    let supplied = PrefixMap::new(vec![region("west"), region("gone")], supplied.into()).unwrap();
    found.supply(Arc::new(supplied));
    assert_eq!(of(&found, "10.200.1.0/24"), before, "however long the prefix beside it is");
    assert_eq!(of(&found, "192.0.2.0/24"), ("west".into(), 24));
    assert_eq!(of(&found, "192.0.3.0/24"), ("east".into(), 24), "not the whole /23");
    assert_eq!(of(&found, "198.51.100.0/24").0, "east", "the plan has no such region");
    found.replan(&plan);
    assert_eq!(of(&found, "192.0.2.0/24"), ("west".into(), 24), "it outlives the plan");
}

/// Any prefix, often within or beside another.
fn any_prefix() -> impl Strategy<Value = IpNet> {
    let v4 = (0..=limits::CLIENT_PREFIX_V4, any::<u32>(), any::<bool>()).prop_map(
        |(length, bits, is_near)| {
            let bits = if is_near { 0x0a00_0000 | bits & 0x0003_ffff } else { bits };
            IpNet::V4(Ipv4Net::new(bits.into(), length).unwrap())
        },
    );
    let v6 = (0..=limits::CLIENT_PREFIX_V6, any::<u128>(), any::<bool>()).prop_map(
        |(length, bits, is_near)| {
            let near = 0x2001_0db8_u128 << 96 | bits & (0x3ff << 72);
            let bits = if is_near { near } else { bits };
            IpNet::V6(Ipv6Net::new(bits.into(), length).unwrap())
        },
    );
    prop_oneof![v4, v6].prop_map(|prefix| prefix.trunc())
}

/// Each prefix once.
fn any_prefixes() -> impl Strategy<Value = Vec<(IpNet, u16)>> {
    prop::collection::vec((any_prefix(), 0_u16..3), 0..40).prop_map(|mut prefixes| {
        prefixes.sort();
        prefixes.dedup_by_key(|(prefix, _)| *prefix);
        prefixes
    })
}

/// The region of an address, by looking at every prefix.
fn scan(prefixes: &[(IpNet, u16)], client: IpNet) -> Option<u16> {
    let holding = prefixes.iter().filter(|(prefix, _)| prefix.contains(&client.addr()));
    holding.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, region)| *region)
}

/// One that shares `length` bits with `client`, and has its others from `bits`.
fn relative(client: IpNet, length: u8, bits: u128) -> IpNet {
    let bits = bits.checked_shr(length.into()).unwrap_or_default();
    let address = match client {
        IpNet::V4(net) => {
            let bits = u32::try_from(bits >> 96).unwrap_or_default();
            Ipv4Addr::from(net.addr().to_bits() | bits).into()
        }
        IpNet::V6(net) => Ipv6Addr::from(net.addr().to_bits() | bits).into(),
    };
    client_prefix(address, u8::MAX)
}

proptest! {
    #[test]
    fn a_look_up_finds_what_a_scan_finds(
        prefixes in any_prefixes(),
        clients in prop::collection::vec(any_prefix(), 1..40),
    ) {
        let map = PrefixMap::new(regions(), prefixes.clone()).unwrap();
        let ends = prefixes.iter().map(|(prefix, _)| client_prefix(prefix.broadcast(), u8::MAX));
        let begins = prefixes.iter().map(|(prefix, _)| *prefix);
        for client in clients.into_iter().chain(begins).chain(ends) {
            let expected = scan(&prefixes, client).map(|number| &map.regions[usize::from(number)]);
            prop_assert_eq!(map.find(client).region, expected, "{}", client);
        }
    }

    /// RFC 7871 §7.2.1: what is said of a prefix is right for every address in it. And no shorter
    /// prefix would do.
    #[test]
    fn all_that_share_so_many_bits_belong_to_one_region(
        prefixes in any_prefixes(),
        client in any_prefix(),
        others in prop::collection::vec(any::<u128>(), 20),
    ) {
        let map = PrefixMap::new(regions(), prefixes.clone()).unwrap();
        let found = map.find(client);
        prop_assert!(found.length <= finest(client));
        let block = client_prefix(client.addr(), found.length);
        for bits in others {
            let other = relative(block, found.length, bits);
            prop_assert!(block.contains(&other.addr()));
            prop_assert_eq!(map.find(other).region, found.region, "{} in {}", other, block);
        }
        if let Some(shorter) = block.supernet() {
            let within = prefixes.iter().map(|(prefix, _)| *prefix);
            let ends = within.clone().map(|prefix| client_prefix(prefix.broadcast(), u8::MAX));
            let beside = within.clone().flat_map(|prefix| [before(prefix), after(prefix)]);
            let mut places = within.chain(ends).chain(beside.flatten());
            prop_assert!(
                places.any(|place| {
                    shorter.contains(&place.addr()) && map.find(place).region != found.region
                }),
                "{} is of one region as well",
                shorter,
            );
        }
    }
}

/// The client behind the last of a prefix.
fn after(prefix: IpNet) -> Option<IpNet> {
    let address: IpAddr = match prefix.broadcast() {
        IpAddr::V4(address) => Ipv4Addr::from(address.to_bits().checked_add(1)?).into(),
        IpAddr::V6(address) => Ipv6Addr::from(address.to_bits().checked_add(1)?).into(),
    };
    Some(client_prefix(address, u8::MAX))
}

/// The client before the first of a prefix.
fn before(prefix: IpNet) -> Option<IpNet> {
    let address: IpAddr = match prefix.network() {
        IpAddr::V4(address) => Ipv4Addr::from(address.to_bits().checked_sub(1)?).into(),
        IpAddr::V6(address) => Ipv6Addr::from(address.to_bits().checked_sub(1)?).into(),
    };
    Some(client_prefix(address, u8::MAX))
}

/// A million prefixes, of both families, none beside another.
#[test]
fn a_million_prefixes_take_16_bytes_each_at_most() {
    let v4 = (0..500_000_u32).map(|at| Ipv4Net::new((at << 9).into(), 24).unwrap().into());
    let v6 = (0..500_000_u128).map(|at| Ipv6Net::new((at << 73).into(), 56).unwrap().into());
    let prefixes: Vec<(IpNet, u16)> = v4.chain(v6).zip((0..3).cycle()).collect();
    let count = prefixes.len();
    let map = PrefixMap::new(regions(), prefixes.clone()).unwrap();
    let bytes = map.v4.starts.capacity() * 4 + map.v6.starts.capacity() * 8;
    let bytes = bytes + (map.v4.regions.capacity() + map.v6.regions.capacity()) * 2;
    assert!(bytes <= count * 16, "{bytes} bytes for {count} prefixes");
    for (prefix, number) in prefixes.into_iter().step_by(997) {
        assert_eq!(map.find(prefix).region, Some(&map.regions[usize::from(number)]));
    }
}

//! Which client is meant, and which region it belongs to.

use std::{collections::BTreeMap, net::IpAddr};

use headroom_units::RegionId;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{Plan, limits};

/// The client prefix that leases and weights are kept for: `address` cut to `length` bits, and
/// never finer than [`limits::CLIENT_PREFIX_V4`] or [`limits::CLIENT_PREFIX_V6`].
#[must_use]
pub fn client_prefix(address: IpAddr, length: u8) -> IpNet {
    let net = match address.to_canonical() {
        IpAddr::V4(address) => {
            let length = length.min(limits::CLIENT_PREFIX_V4);
            IpNet::V4(Ipv4Net::new(address, length).expect("at most 24 of 32 bits"))
        }
        IpAddr::V6(address) => {
            let length = length.min(limits::CLIENT_PREFIX_V6);
            IpNet::V6(Ipv6Net::new(address, length).expect("at most 56 of 128 bits"))
        }
    };
    net.trunc()
}

/// Longest-prefix match from clients to regions.
#[derive(Debug, Clone)]
pub struct PrefixMap {
    regions: BTreeMap<IpNet, RegionId>,
    default: RegionId,
}

impl PrefixMap {
    /// The map of a plan. Where two regions claim the same prefix, the first by name has it.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut regions = BTreeMap::new();
        for (id, region) in &plan.regions {
            for prefix in &region.client_prefixes {
                regions.entry(prefix.trunc()).or_insert_with(|| id.clone());
            }
        }
        Self { regions, default: plan.default_region.clone() }
    }

    /// The region of a client prefix: the longest match, else the default.
    #[must_use]
    pub fn region(&self, client: IpNet) -> &RegionId {
        let mut candidate = Some(client.trunc());
        while let Some(net) = candidate {
            if let Some(region) = self.regions.get(&net) {
                return region;
            }
            candidate = net.supernet();
        }
        &self.default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_by_24_or_56_bits() {
        let cut = |address: &str, length| client_prefix(address.parse().unwrap(), length);
        assert_eq!(cut("192.0.2.77", 32), "192.0.2.0/24".parse().unwrap());
        assert_eq!(cut("192.0.2.77", 20), "192.0.0.0/20".parse().unwrap());
        assert_eq!(cut("2001:db8:0:12ff::1", 128), "2001:db8:0:1200::/56".parse().unwrap());
        assert_eq!(cut("::ffff:192.0.2.77", 128), "192.0.2.0/24".parse().unwrap());
    }

    #[test]
    fn the_longest_prefix_wins() {
        let region = |name: &str| name.parse::<RegionId>().unwrap();
        let map = PrefixMap {
            regions: [
                ("10.0.0.0/8".parse().unwrap(), region("wide")),
                ("10.1.0.0/16".parse().unwrap(), region("narrow")),
            ]
            .into(),
            default: region("default"),
        };
        let of = |net: &str| map.region(net.parse().unwrap()).as_str().to_owned();
        assert_eq!(of("10.1.2.0/24"), "narrow");
        assert_eq!(of("10.2.2.0/24"), "wide");
        assert_eq!(of("10.0.0.0/7"), "default");
        assert_eq!(of("2001:db8::/56"), "default");
    }
}

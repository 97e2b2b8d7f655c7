//! Which client is meant.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::limits;

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

/// True if `prefix` tells clients apart that are one client here: it is finer than
/// [`limits::CLIENT_PREFIX_V4`] or [`limits::CLIENT_PREFIX_V6`].
#[must_use]
pub fn is_too_fine(prefix: IpNet) -> bool {
    prefix.prefix_len() > finest(prefix)
}

/// How many bits of an address of the same family tell clients apart.
pub(crate) const fn finest(prefix: IpNet) -> u8 {
    match prefix {
        IpNet::V4(_) => limits::CLIENT_PREFIX_V4,
        IpNet::V6(_) => limits::CLIENT_PREFIX_V6,
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
    fn a_prefix_within_a_client_is_too_fine() {
        let is_fine = |prefix: &str| is_too_fine(prefix.parse().unwrap());
        assert!(!is_fine("192.0.2.0/24") && is_fine("192.0.2.0/25"));
        assert!(!is_fine("2001:db8::/56") && is_fine("2001:db8::/57"));
    }
}

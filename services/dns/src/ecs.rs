//! EDNS client subnet (RFC 7871): whose network a resolver asks for, and how much of it we used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use headroom_steer::{Answer, client_prefix, limits as steer_limits};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The address family numbers of IANA that the option may carry.
const FAMILY_NONE: u16 = 0;
const FAMILY_V4: u16 = 1;
const FAMILY_V6: u16 = 2;

/// The option as it came, kept so that it goes back exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientSubnet {
    family: u16,
    source: u8,
    address: IpAddr,
}

/// The option breaks RFC 7871 §6 or §7.1.2: the query gets FORMERR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl ClientSubnet {
    /// The option's code (RFC 7871 §6).
    pub(crate) const CODE: [u8; 2] = [0, 8];

    /// The option that tells of this network.
    pub(crate) fn of(net: IpNet) -> Self {
        let net = net.trunc();
        let family = if net.addr().is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        Self { family, source: net.prefix_len(), address: net.addr() }
    }

    /// Reads the option's data. Refused are: an unknown family, a prefix longer than an address,
    /// a length that does not fit the prefix, host bits that are not zero, a scope in a query.
    pub(crate) fn read(data: &[u8]) -> Result<Self, Malformed> {
        let [family_high, family_low, source, scope, octets @ ..] = data else {
            return Err(Malformed);
        };
        let family = u16::from_be_bytes([*family_high, *family_low]);
        if octets.len() != usize::from(source.div_ceil(8)) || *scope != 0 {
            return Err(Malformed);
        }
        let address = match family {
            FAMILY_V4 => IpAddr::V4(Ipv4Addr::from(padded(octets)?)),
            FAMILY_V6 => IpAddr::V6(Ipv6Addr::from(padded(octets)?)),
            // Nothing of the client is told, so there is no family to tell.
            FAMILY_NONE if *source == 0 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            _ => return Err(Malformed),
        };
        let net = IpNet::new(address, *source).map_err(|_| Malformed)?;
        if net.trunc().addr() != address {
            return Err(Malformed);
        }
        Ok(Self { family, source: *source, address })
    }

    /// The option's data as it goes back: as it came, with `scope`.
    pub(crate) fn write(self, scope: u8, data: &mut Vec<u8>) {
        data.extend(self.family.to_be_bytes());
        data.extend([self.source, scope]);
        let length = usize::from(self.source.div_ceil(8));
        match self.address {
            IpAddr::V4(address) => data.extend(address.octets().iter().take(length)),
            IpAddr::V6(address) => data.extend(address.octets().iter().take(length)),
        }
    }

    fn prefix(self) -> Option<IpNet> {
        if self.source == 0 {
            return None;
        }
        let net = match self.address {
            IpAddr::V4(address) => {
                let length = self.source.min(steer_limits::CLIENT_PREFIX_V4);
                IpNet::V4(Ipv4Net::new(address, length).ok()?)
            }
            IpAddr::V6(address) => {
                let length = self.source.min(steer_limits::CLIENT_PREFIX_V6);
                IpNet::V6(Ipv6Net::new(address, length).ok()?)
            }
        };
        Some(net.trunc())
    }
}

fn padded<const LENGTH: usize>(octets: &[u8]) -> Result<[u8; LENGTH], Malformed> {
    let mut whole = [0; LENGTH];
    whole.get_mut(..octets.len()).ok_or(Malformed)?.copy_from_slice(octets);
    Ok(whole)
}

/// For whom a query is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// The prefix that steering goes by.
    pub(crate) prefix: IpNet,
    /// What a steered answer says of it: how many bits of the client subnet were used.
    pub(crate) scope: u8,
}

impl Client {
    /// The client subnet if it tells anything, else the network of who sent the query.
    pub(crate) fn of(subnet: Option<ClientSubnet>, source: IpAddr) -> Self {
        match subnet.and_then(ClientSubnet::prefix) {
            Some(prefix) => Self { prefix, scope: prefix.prefix_len() },
            None => Self { prefix: client_prefix(source, u8::MAX), scope: 0 },
        }
    }

    /// What `answer` says of the client subnet: more bits than came with the query, if clients that
    /// differ in those belong to other regions (RFC 7871 §7.2.1). Nothing if none came.
    pub(crate) fn scope_of(&self, answer: &Answer) -> u8 {
        if self.scope == 0 { 0 } else { self.scope.max(answer.scope) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_goes_back_as_it_came() {
        for data in [
            &[0, 1, 24, 0, 192, 0, 2][..],
            &[0, 1, 20, 0, 192, 0, 0x20],
            &[0, 1, 32, 0, 192, 0, 2, 1],
            &[0, 1, 0, 0],
            &[0, 0, 0, 0],
            &[0, 2, 56, 0, 0x20, 1, 0x0d, 0xb8, 0, 0, 1],
        ] {
            let mut written = Vec::new();
            ClientSubnet::read(data).unwrap().write(0, &mut written);
            assert_eq!(written, data);
        }
    }

    #[test]
    fn what_breaks_the_rules_is_malformed() {
        for (data, why) in [
            (&[0, 1, 24][..], "too short"),
            (&[0, 1, 24, 0, 192, 0], "an octet is missing"),
            (&[0, 1, 24, 0, 192, 0, 2, 0], "an octet too many"),
            (&[0, 1, 20, 0, 192, 0, 0x21], "a host bit"),
            (&[0, 1, 33, 0, 192, 0, 2, 1, 0], "beyond the family"),
            (&[0, 2, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "beyond v6"),
            (&[0, 3, 8, 0, 10], "an unknown family"),
            (&[0, 0, 8, 0, 10], "no family"),
            (&[0, 1, 24, 24, 192, 0, 2], "a scope in a query"),
        ] {
            assert_eq!(ClientSubnet::read(data), Err(Malformed), "{why}");
        }
    }

    #[test]
    fn the_client_is_the_subnet_or_else_the_sender() {
        let of = |data: Option<&[u8]>| {
            let subnet = data.map(|data| ClientSubnet::read(data).unwrap());
            let client = Client::of(subnet, "198.51.100.7".parse().unwrap());
            (client.prefix.to_string(), client.scope)
        };
        assert_eq!(of(None), ("198.51.100.0/24".into(), 0));
        assert_eq!(of(Some(&[0, 1, 0, 0])), ("198.51.100.0/24".into(), 0));
        assert_eq!(of(Some(&[0, 1, 32, 0, 192, 0, 2, 1])), ("192.0.2.0/24".into(), 24));
        assert_eq!(of(Some(&[0, 1, 8, 0, 10])), ("10.0.0.0/8".into(), 8));
        let mapped = [0, 2, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        assert_eq!(of(Some(&mapped)), ("::/56".into(), 56));
    }
}

//! Addresses that are not of the public internet: those that are reached from inside a network only.
//!
//! A purchaser names its servers, and edges and name servers connect to them. Without a list, they
//! would be a way into the operator's own network for whoever buys one unit. Addresses for
//! documentation are not in it: nobody is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why nobody outside connects to `address`; `None` if it is an ordinary one of the public internet.
#[must_use]
pub fn why_not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => reason_v4(address),
        IpAddr::V6(address) => reason_v6(address),
    }
}

fn reason_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [first, second, third, _] = address.octets();
    match first {
        0 => Some("it is unspecified"),
        127 => Some("it is this machine's own (loopback)"),
        10 => Some("it is private (RFC 1918)"),
        172 if second & 0xf0 == 16 => Some("it is private (RFC 1918)"),
        192 if second == 168 => Some("it is private (RFC 1918)"),
        192 if (second, third) == (0, 0) => Some("it is for protocols (RFC 6890)"),
        169 if second == 254 => Some("it is link-local"),
        100 if second & 0xc0 == 64 => Some("it is shared by a carrier (RFC 6598)"),
        198 if second & 0xfe == 18 => Some("it is for benchmarks (RFC 2544)"),
        224..=239 => Some("it is multicast"),
        240..=255 => Some("it is reserved"),
        _ => None,
    }
}

fn reason_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if address.is_unspecified() {
        return Some("it is unspecified");
    }
    if address.is_loopback() {
        return Some("it is this machine's own (loopback)");
    }
    if let Some(inner) = embedded(segments) {
        return reason_v4(inner);
    }
    match segments[0] {
        0xff00..=0xffff => Some("it is multicast"),
        0xfe80..=0xfebf => Some("it is link-local"),
        0xfec0..=0xfeff => Some("it is site-local"),
        0xfc00..=0xfdff => Some("it is private (RFC 4193)"),
        0x0064 if segments[1] == 0xff9b => Some("it is a translator's own (RFC 8215)"),
        0x2001 if segments[1] == 0 => Some("it is a tunnel's (Teredo)"),
        _ => None,
    }
}

/// The IPv4 address that a packet to this address comes to: mapped (RFC 4291 §2.5.5.2),
/// compatible (§2.5.5.1), translated by NAT64 (RFC 6052) or tunnelled by 6to4 (RFC 3056).
fn embedded(segments: [u16; 8]) -> Option<Ipv4Addr> {
    let at = |index: usize| {
        let ([a, b], [c, d]) = (segments[index].to_be_bytes(), segments[index + 1].to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] => at(6),
        [0, 0, 0, 0, 0xffff, 0, _, _] => at(6),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => at(6),
        [0x2002, ..] => at(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_inside_a_network_is_denied_in_every_notation() {
        for denied in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.0.0.8",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
        ] {
            assert!(why_not_public(denied.parse().unwrap()).is_some(), "{denied}");
            let v4: Ipv4Addr = denied.parse().unwrap();
            let [a, b, c, d] = v4.octets();
            let tunnelled = format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1");
            for prefix in ["::ffff:", "::ffff:0:", "64:ff9b::", "::"] {
                let text = format!("{prefix}{denied}");
                assert!(why_not_public(text.parse().unwrap()).is_some(), "{text}");
            }
            assert!(why_not_public(tunnelled.parse().unwrap()).is_some(), "{tunnelled}");
        }
        for denied in [
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "64:ff9b:1::1",
            "2001::1",
        ] {
            assert!(why_not_public(denied.parse().unwrap()).is_some(), "{denied}");
        }
    }

    #[test]
    fn what_lies_in_the_public_internet_is_not() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.2.1",
            "192.167.0.1",
            "192.169.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "223.255.255.255",
            "2001:db8::1",
            "2606:4700::1",
            "2001:4860:4860::8888",
            "::ffff:192.0.2.1",
            "64:ff9b::192.0.2.1",
            "2002:c000:201::1",
        ] {
            assert_eq!(why_not_public(public.parse().unwrap()), None, "{public}");
        }
    }
}

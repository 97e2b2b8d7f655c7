//! Origin servers: where a site's content is fetched from, and how.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use crate::{HostName, ParseError, Scheme};

/// An origin server: a scheme, a host and a port (RFC 6454 §4).
///
/// Written as `http://192.0.2.10:80`; an IP address with a port alone is HTTP in the clear.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// In the clear, or over TLS.
    pub scheme: Scheme,
    /// Who.
    pub host: OriginHost,
    /// The TCP port, never 0.
    pub port: u16,
}

/// The host of an origin: a name that is resolved, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OriginHost {
    /// Resolved when a connection is made.
    Name(HostName),
    /// Connected to as it is.
    Address(IpAddr),
}

impl Origin {
    /// The address, if it is one and not a name.
    #[must_use]
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self.host {
            OriginHost::Address(address) => Some(SocketAddr::new(address, self.port)),
            OriginHost::Name(_) => None,
        }
    }
}

impl From<SocketAddr> for Origin {
    /// HTTP in the clear at `address`.
    fn from(address: SocketAddr) -> Self {
        let host = OriginHost::Address(address.ip());
        Self { scheme: Scheme::Http, host, port: address.port() }
    }
}

impl fmt::Display for OriginHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl FromStr for Origin {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        read(text).map_err(|reason| {
            ParseError::new(
                "an origin server",
                text,
                reason,
                "an IP address and a port such as \"192.0.2.1:8080\", \
                 \"http://origin.shop.example\" or \"https://origin.shop.example:8443\"",
            )
        })
    }
}

fn read(text: &str) -> Result<Origin, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let address: SocketAddr =
            text.parse().map_err(|_| "it is neither an IP address and a port nor a URL")?;
        return checked(Scheme::Http, OriginHost::Address(address.ip()), address.port());
    };
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => Scheme::Http,
        _ if scheme.eq_ignore_ascii_case("https") => Scheme::Https,
        _ => return Err("its scheme is neither http nor https".to_owned()),
    };
    if rest.contains(['/', '?', '#']) {
        return Err("it goes on after the host: paths are taken from the requests".to_owned());
    }
    if rest.contains('@') {
        return Err("it has user information".to_owned());
    }
    let (host, port) = match rest.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']').ok_or("its bracket is not closed")?;
            let address: Ipv6Addr =
                address.parse().map_err(|_| "what is in brackets is not an IPv6 address")?;
            let port = match port {
                "" => None,
                _ => Some(port.strip_prefix(':').ok_or("after the bracket comes no port")?),
            };
            (OriginHost::Address(address.into()), port)
        }
        None => {
            let (host, port) = match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            };
            (host_of(host)?, port)
        }
    };
    let port = match port {
        None => scheme.default_port(),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map_err(|_| "its port is not a number from 1 to 65535")?
        }
        Some(_) => return Err("its port is not a number from 1 to 65535".to_owned()),
    };
    checked(scheme, host, port)
}

fn host_of(text: &str) -> Result<OriginHost, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(OriginHost::Address(address));
    }
    text.parse().map(OriginHost::Name).map_err(|error: ParseError| error.reason)
}

fn checked(scheme: Scheme, host: OriginHost, port: u16) -> Result<Origin, String> {
    if port == 0 {
        return Err("its port is zero".to_owned());
    }
    Ok(Origin { scheme, host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_canonical_form() {
        for (text, canonical) in [
            ("192.0.2.10:80", "http://192.0.2.10:80"),
            ("[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
            ("http://192.0.2.10", "http://192.0.2.10:80"),
            ("https://[2001:DB8::1]", "https://[2001:db8::1]:443"),
            ("HTTPS://Origin.Shop.Example.", "https://origin.shop.example:443"),
            ("http://origin.shop.example:8080", "http://origin.shop.example:8080"),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.to_string(), canonical);
            assert_eq!(canonical.parse::<Origin>().unwrap(), origin);
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", "neither an IP address"),
            ("origin.shop.example:80", "neither an IP address"),
            ("192.0.2.10", "neither an IP address"),
            ("192.0.2.10:0", "port is zero"),
            ("ftp://origin.shop.example", "neither http nor https"),
            ("://origin.shop.example", "neither http nor https"),
            ("http://", "single label"),
            ("http://localhost", "single label"),
            ("http://origin.shop.example/", "after the host"),
            ("http://origin.shop.example?a", "after the host"),
            ("http://user:word@origin.shop.example", "user information"),
            ("http://origin.shop.example:", "1 to 65535"),
            ("http://origin.shop.example:0", "port is zero"),
            ("http://origin.shop.example:+80", "1 to 65535"),
            ("http://origin.shop.example:65536", "1 to 65535"),
            ("http://[2001:db8::1", "not closed"),
            ("http://[2001:db8::1]80", "no port"),
            ("http://[192.0.2.1]:80", "not an IPv6 address"),
            ("http://2001:db8::1:80", "single label"),
            ("http://192.0.2.256", "address, not a name"),
        ] {
            let error = text.parse::<Origin>().unwrap_err();
            assert!(error.reason.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn an_address_alone_is_http() {
        let address: SocketAddr = "192.0.2.1:8080".parse().unwrap();
        assert_eq!(Origin::from(address), "192.0.2.1:8080".parse().unwrap());
        assert_eq!(Origin::from(address).socket_address(), Some(address));
    }
}

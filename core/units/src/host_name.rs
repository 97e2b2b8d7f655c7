//! Host names and authorities, in the one form that is compared.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{ParseError, limits};

/// A fully qualified host name in lower case without the final dot (RFC 1123 §2.1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    /// The name as text: lower case, no final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if this name is `zone` or below it.
    #[must_use]
    pub fn is_within(&self, zone: &Self) -> bool {
        self.0
            .strip_suffix(zone.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name `label` below this one.
    ///
    /// # Errors
    /// If the label is malformed or the whole becomes too long.
    pub fn child(&self, label: &str) -> Result<Self, ParseError> {
        format!("{label}.{}", self.0).parse()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for HostName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let refuse = |reason: &str| {
            Err(ParseError::new(
                "a host name",
                text,
                reason.to_owned(),
                "labels of letters, digits and inner hyphens, at least two, such as \"www.shop.example\"",
            ))
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.len() > limits::HOST_NAME_LEN_MAX {
            return refuse("it is longer than 253 characters");
        }
        if !name.contains('.') {
            return refuse("it has a single label");
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > limits::LABEL_LEN_MAX {
                return refuse("a label is empty or longer than 63 characters");
            }
            if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return refuse("a label has a character that is not allowed");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return refuse("a label begins or ends with a hyphen");
            }
        }
        if name.rsplit('.').next().is_some_and(|top| top.bytes().all(|b| b.is_ascii_digit())) {
            return refuse("it is an address, not a name");
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

/// A host name with an optional port, as in a URL (RFC 3986 §3.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authority {
    /// The host.
    pub host: HostName,
    /// The port, if it is not the scheme's own.
    pub port: Option<u16>,
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => self.host.fmt(f),
        }
    }
}

impl FromStr for Authority {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let Some((host, port)) = text.rsplit_once(':') else {
            return Ok(Self { host: text.parse()?, port: None });
        };
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        match port.parse() {
            Ok(port) if digits && port > 0 => Ok(Self { host: host.parse()?, port: Some(port) }),
            _ => Err(ParseError::new(
                "an authority",
                text,
                "the port is not a number from 1 to 65535",
                "a host name and an optional port, such as \"origin.shop.example:8080\"",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_one_form() {
        let name: HostName = "WWW.Shop.Example.".parse().unwrap();
        assert_eq!(name.as_str(), "www.shop.example");
        assert!(name.is_within(&"shop.example".parse().unwrap()));
        assert!(name.is_within(&name));
        assert!(!name.is_within(&"hop.example".parse().unwrap()));
        assert_eq!(name.child("img").unwrap().as_str(), "img.www.shop.example");
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        for bad in ["", ".", "a", "a..b", "-a.b", "a-.b", "a b.c", "a_b.c", "127.0.0.1", &long] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_authority_has_a_real_port() {
        assert_eq!("a.example:80".parse::<Authority>().unwrap().port, Some(80));
        assert_eq!("a.example".parse::<Authority>().unwrap().to_string(), "a.example");
        for bad in ["a.example:", "a.example:0", "a.example:99999", "a.example:+8", "[::1]:80"] {
            assert!(bad.parse::<Authority>().is_err(), "{bad:?}");
        }
    }
}

//! Ids: names that people choose, and numbers that the market counts.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{ParseError, limits};

const NAME_ACCEPTED: &str = "1 to 40 of a-z, 0-9 and inner hyphens, such as \"shop-1\"";

fn check_name(what: &'static str, text: &str) -> Result<(), ParseError> {
    let refuse = |reason: &str| Err(ParseError::new(what, text, reason.to_owned(), NAME_ACCEPTED));
    if text.is_empty() || text.len() > limits::NAME_ID_LEN_MAX {
        return refuse("its length is out of range");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return refuse("it has a character that is not allowed");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return refuse("it begins or ends with a hyphen");
    }
    Ok(())
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text. It is a valid DNS label.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                check_name($what, text)?;
                Ok(Self(text.into()))
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The id with this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!(concat!($prefix, "-{}"), self.0))
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .map(Self)
                    .ok_or_else(|| {
                        ParseError::new(
                            $what,
                            text,
                            "the form is unknown",
                            concat!("the id as it was given out, such as \"", $prefix, "-7\""),
                        )
                    })
            }
        }
    };
}

name_id!(
    /// A group of edges that are one place for the market and for steering.
    RegionId,
    "a region id"
);
name_id!(
    /// One caching reverse proxy of the network.
    EdgeId,
    "an edge id"
);
name_id!(
    /// One DNS server of the network.
    NameServerId,
    "a name server id"
);
name_id!(
    /// A purchaser's host names, origins and policies; also an operator's own site.
    SiteId,
    "a site id"
);
name_id!(
    /// Who buys capacity.
    PurchaserId,
    "a purchaser id"
);
number_id!(
    /// One order of a purchaser.
    BidId,
    "a bid id",
    "bid"
);
number_id!(
    /// What was bought.
    ContractId,
    "a contract id",
    "contract"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["east", "shop-1", "7"] {
            assert_eq!(good.parse::<SiteId>().unwrap().as_str(), good);
        }
        for bad in ["", "East", "-a", "a-", "a.b", "a b", "ü", &"x".repeat(41)] {
            assert!(bad.parse::<SiteId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_round_trip() {
        assert_eq!("bid-12".parse::<BidId>().unwrap(), BidId::new(12));
        assert_eq!(ContractId::new(3).to_string(), "contract-3");
        for bad in ["12", "bid-", "bid-+1", "contract-x", "bid-99999999999999999999"] {
            assert!(bad.parse::<BidId>().is_err(), "{bad:?}");
        }
    }
}

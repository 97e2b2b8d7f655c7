//! Requests per second, bits per second, bytes.

use std::{fmt, iter::Sum, ops::Add, str::FromStr};

use crate::{ParseError, error};

/// A rate of requests, kept in thousandths of a request per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RequestRate(u64);

impl RequestRate {
    /// No requests.
    pub const ZERO: Self = Self(0);

    /// `count` requests per second.
    #[must_use]
    pub const fn from_requests_per_second(count: u64) -> Self {
        Self(count.saturating_mul(1_000))
    }

    /// `count` thousandths of a request per second.
    #[must_use]
    pub const fn from_millirequests_per_second(count: u64) -> Self {
        Self(count)
    }

    /// The nearest rate to a measured one; zero for negative or undefined values.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer casts saturate; negative and undefined values are zero"
    )]
    pub fn from_f64(requests_per_second: f64) -> Self {
        Self((requests_per_second * 1_000.0).round() as u64)
    }

    /// The rate in thousandths of a request per second.
    #[must_use]
    pub const fn millirequests_per_second(self) -> u64 {
        self.0
    }

    /// The rate in requests per second.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate beyond 2^53 mreq/s needs no more digits"
    )]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    /// `self - other`, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for RequestRate {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for RequestRate {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for RequestRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        error::write_decimal(f, self.0, 1_000)?;
        f.write_str(" req/s")
    }
}

impl FromStr for RequestRate {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const GRAMMAR: error::Grammar = error::Grammar {
            what: "a request rate",
            accepted: "a number and req/s or kreq/s, such as \"300 req/s\"",
            units: &[("req/s", 1_000), ("kreq/s", 1_000_000)],
            max: u64::MAX,
        };
        GRAMMAR.parse(text).map(Self)
    }
}

/// A rate of bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BitRate(u64);

impl BitRate {
    /// No bits.
    pub const ZERO: Self = Self(0);

    /// `count` bits per second.
    #[must_use]
    pub const fn from_bits_per_second(count: u64) -> Self {
        Self(count)
    }

    /// The rate in bits per second.
    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// `self * factor`, stopping at the largest rate.
    #[must_use]
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add for BitRate {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for BitRate {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (factor, unit) = match self.0 {
            0..1_000 => (1, "bit/s"),
            1_000..1_000_000 => (1_000, "kbit/s"),
            1_000_000..1_000_000_000 => (1_000_000, "Mbit/s"),
            _ => (1_000_000_000, "Gbit/s"),
        };
        error::write_decimal(f, self.0, factor)?;
        write!(f, " {unit}")
    }
}

impl FromStr for BitRate {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const GRAMMAR: error::Grammar = error::Grammar {
            what: "a bit rate",
            accepted: "a number and bit/s, kbit/s, Mbit/s, Gbit/s or Tbit/s, such as \"10 Gbit/s\"",
            units: &[
                ("bit/s", 1),
                ("kbit/s", 1_000),
                ("Mbit/s", 1_000_000),
                ("Gbit/s", 1_000_000_000),
                ("Tbit/s", 1_000_000_000_000),
            ],
            max: u64::MAX,
        };
        GRAMMAR.parse(text).map(Self)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(u64);

impl Bytes {
    /// `count` bytes.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (factor, unit) = match self.0 {
            0..1_000 => (1, "B"),
            1_000..1_000_000 => (1_000, "kB"),
            1_000_000..1_000_000_000 => (1_000_000, "MB"),
            _ => (1_000_000_000, "GB"),
        };
        error::write_decimal(f, self.0, factor)?;
        write!(f, " {unit}")
    }
}

impl FromStr for Bytes {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const GRAMMAR: error::Grammar = error::Grammar {
            what: "a number of bytes",
            accepted: "a number and B, kB, MB, GB, KiB, MiB or GiB, such as \"64 MiB\"",
            units: &[
                ("B", 1),
                ("kB", 1_000),
                ("MB", 1_000_000),
                ("GB", 1_000_000_000),
                ("KiB", 1 << 10),
                ("MiB", 1 << 20),
                ("GiB", 1 << 30),
            ],
            max: u64::MAX,
        };
        GRAMMAR.parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_without_a_unit_is_refused() {
        for text in ["300", "300 ", "req/s", "", "-1 req/s", "3e2 req/s", "300 requests", "1..2 B"]
        {
            assert!(text.parse::<RequestRate>().is_err(), "{text:?}");
        }
        assert!("10".parse::<BitRate>().is_err());
        assert!("64".parse::<Bytes>().is_err());
    }

    #[test]
    fn units_are_exact() {
        assert_eq!("10 Gbit/s".parse::<BitRate>().unwrap().bits_per_second(), 10_000_000_000);
        assert_eq!("0.5Mbit/s".parse::<BitRate>().unwrap().bits_per_second(), 500_000);
        assert_eq!("64 KiB".parse::<Bytes>().unwrap().count(), 65_536);
        assert!("0.5 bit/s".parse::<BitRate>().is_err());
        assert!("99999999999 Tbit/s".parse::<BitRate>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in any::<u64>()) {
            let rate = RequestRate(value);
            prop_assert_eq!(rate.to_string().parse::<RequestRate>().unwrap(), rate);
            let bits = BitRate(value);
            prop_assert_eq!(bits.to_string().parse::<BitRate>().unwrap(), bits);
            let bytes = Bytes(value);
            prop_assert_eq!(bytes.to_string().parse::<Bytes>().unwrap(), bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<RequestRate>();
            let _ = text.parse::<BitRate>();
            let _ = text.parse::<Bytes>();
        }
    }
}

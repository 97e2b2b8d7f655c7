//! Capacity: how much a proxy network can serve, in whole units.

use std::{fmt, iter::Sum, ops::Add, str::FromStr};

use crate::{BitRate, ParseError, RequestRate, limits};

/// Whole units of capacity. One unit is 1 request/s sustained plus the egress of [`UnitSize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Units(u64);

impl Units {
    /// No capacity.
    pub const ZERO: Self = Self(0);
    /// The most that one order or offer may carry.
    pub const MAX: Self = Self(limits::UNITS_MAX);

    /// `count` units, or `None` above [`limits::UNITS_MAX`].
    #[must_use]
    pub const fn new(count: u64) -> Option<Self> {
        if count <= limits::UNITS_MAX { Some(Self(count)) } else { None }
    }

    /// `count` units, or [`Units::MAX`] if that is less.
    #[must_use]
    pub const fn saturating(count: u64) -> Self {
        if count <= limits::UNITS_MAX { Self(count) } else { Self::MAX }
    }

    /// The whole units that a measured or forecast rate in requests/s leaves room for, rounded
    /// down; zero for negative or undefined rates.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is checked to be positive and capped before the cast"
    )]
    pub fn from_requests_per_second(rate: f64) -> Self {
        if rate.is_nan() || rate <= 0.0 { Self::ZERO } else { Self::saturating(rate as u64) }
    }

    /// The number of units.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }

    /// True for no units at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `self - other`, or zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Units {
    type Output = Self;
    /// Adds, stopping at [`Units::MAX`].
    fn add(self, other: Self) -> Self {
        Self::saturating(self.0.saturating_add(other.0))
    }
}

impl Sum for Units {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, if self.0 == 1 { "unit" } else { "units" })
    }
}

impl FromStr for Units {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const GRAMMAR: crate::error::Grammar = crate::error::Grammar {
            what: "a number of units",
            accepted: "a whole number and its unit, such as \"300 units\"",
            units: &[("unit", 1), ("units", 1)],
            max: limits::UNITS_MAX,
        };
        GRAMMAR.parse(text).map(Self)
    }
}

/// What one unit stands for: 1 request/s and this much egress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitSize {
    egress: BitRate,
}

impl UnitSize {
    /// One unit with `egress` beside its request per second; `None` if `egress` is zero.
    #[must_use]
    pub fn new(egress: BitRate) -> Option<Self> {
        (egress > BitRate::ZERO).then_some(Self { egress })
    }

    /// The egress allowance of one unit.
    #[must_use]
    pub const fn egress(self) -> BitRate {
        self.egress
    }

    /// The units an order for both figures needs: the larger need, rounded up. `None` if that is
    /// more than [`limits::UNITS_MAX`].
    #[must_use]
    pub fn units_for(self, requests: RequestRate, egress: BitRate) -> Option<Units> {
        let by_requests = requests.millirequests_per_second().div_ceil(1_000);
        let by_egress = egress.bits_per_second().div_ceil(self.egress.bits_per_second());
        Units::new(by_requests.max(by_egress))
    }

    /// The sustained request rate of `units`.
    #[must_use]
    pub const fn requests(self, units: Units) -> RequestRate {
        RequestRate::from_requests_per_second(units.0)
    }

    /// The sustained egress of `units`.
    #[must_use]
    pub fn egress_of(self, units: Units) -> BitRate {
        self.egress.saturating_mul(units.0)
    }
}

impl Default for UnitSize {
    /// 0.5 Mbit/s beside each request per second.
    fn default() -> Self {
        Self { egress: BitRate::from_bits_per_second(500_000) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_takes_the_larger_need_rounded_up() {
        let size = UnitSize::default();
        let units = |requests: &str, egress: &str| {
            size.units_for(requests.parse().unwrap(), egress.parse().unwrap()).unwrap().count()
        };
        assert_eq!(units("300 req/s", "10 Mbit/s"), 300);
        assert_eq!(units("300.001 req/s", "10 Mbit/s"), 301);
        assert_eq!(units("1 req/s", "1 Gbit/s"), 2_000);
        assert_eq!(units("1 req/s", "500.001 kbit/s"), 2);
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        let error = "300".parse::<Units>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"300\" is not a number of units: the number has no unit; \
             accepted is a whole number and its unit, such as \"300 units\""
        );
        assert_eq!("300 units".parse::<Units>().unwrap().count(), 300);
        assert!("1.5 units".parse::<Units>().is_err());
    }
}

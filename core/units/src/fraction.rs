//! A part of a whole.

use std::{fmt, str::FromStr};

use crate::{ParseError, error};

/// A part of a whole, from 0 to 1, kept in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fraction(u32);

impl Fraction {
    const WHOLE: u32 = 1_000_000;
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(Self::WHOLE);

    /// `millionths` of the whole, or `None` above one million.
    #[must_use]
    pub const fn from_millionths(millionths: u32) -> Option<Self> {
        if millionths <= Self::WHOLE { Some(Self(millionths)) } else { None }
    }

    /// `part / whole`, rounded down; [`Fraction::ZERO`] of nothing, never more than one.
    #[must_use]
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 {
            return Self::ZERO;
        }
        let millionths = u128::from(part.min(whole)) * u128::from(Self::WHOLE) / u128::from(whole);
        Self(u32::try_from(millionths).expect("part is at most whole, so at most one million"))
    }

    /// The fraction in millionths of the whole.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// The fraction as a number from 0.0 to 1.0.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::WHOLE)
    }

    /// This part of `value`, rounded down.
    #[must_use]
    pub fn of_value(self, value: u64) -> u64 {
        let part = u128::from(value) * u128::from(self.0) / u128::from(Self::WHOLE);
        u64::try_from(part).expect("a part is at most the whole")
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        error::write_decimal(f, u64::from(self.0), 10_000)?;
        f.write_str(" %")
    }
}

impl FromStr for Fraction {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const GRAMMAR: error::Grammar = error::Grammar {
            what: "a fraction",
            accepted: "a number from 0 to 100 and a percent sign, such as \"1 %\"",
            units: &[("%", 10_000)],
            max: Fraction::WHOLE as u64,
        };
        let millionths = GRAMMAR.parse(text)?;
        Ok(Self(u32::try_from(millionths).expect("the grammar caps at one million")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_round_trips() {
        for text in ["0 %", "1 %", "0.5 %", "12.3456 %", "100 %"] {
            assert_eq!(text.parse::<Fraction>().unwrap().to_string(), text);
        }
        assert!("0.01".parse::<Fraction>().is_err());
        assert!("101 %".parse::<Fraction>().is_err());
    }

    #[test]
    fn a_part_is_never_more_than_the_whole() {
        assert_eq!(Fraction::of(3, 2), Fraction::ONE);
        assert_eq!(Fraction::of(1, 0), Fraction::ZERO);
        assert_eq!(Fraction::of(u64::MAX / 2, u64::MAX).millionths(), 499_999);
        assert_eq!(Fraction::of(1, 4).of_value(1_000), 250);
    }
}

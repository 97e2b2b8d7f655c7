//! Money: whole micro-units of one currency, and prices per unit and slot.

use std::{fmt, str::FromStr};

use crate::{ParseError, Units, error, limits};

const MICRO: u64 = 1_000_000;

/// The currency an exchange keeps its books in: three capital letters (ISO 4217).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The euro.
    pub const EUR: Self = Self(*b"EUR");

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a currency is three ASCII letters")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.as_bytes() {
            &[a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => Err(ParseError::new(
                "a currency",
                text,
                "it is not a code of three capital letters",
                "an ISO 4217 code, such as \"EUR\"",
            )),
        }
    }
}

/// An amount in micro-units of the exchange's currency. May be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `micro` millionths of the currency.
    #[must_use]
    pub const fn from_micro(micro: i64) -> Self {
        Self(micro)
    }

    /// The amount in millionths of the currency.
    #[must_use]
    pub const fn micro(self) -> i64 {
        self.0
    }

    /// The sum, or `None` if it cannot be kept.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(micro) => Some(Self(micro)),
            None => None,
        }
    }

    /// The difference, or `None` if it cannot be kept.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(micro) => Some(Self(micro)),
            None => None,
        }
    }

    /// The amount with its sign changed, or `None` for the one value that has no counterpart.
    #[must_use]
    pub const fn checked_neg(self) -> Option<Self> {
        match self.0.checked_neg() {
            Some(micro) => Some(Self(micro)),
            None => None,
        }
    }

    /// Reads "12.50 EUR"; the currency must be the exchange's own.
    ///
    /// # Errors
    /// If the number is malformed or finer than a micro-unit, or the currency is another one.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, ParseError> {
        const ACCEPTED: &str = "a number and the exchange's currency, such as \"12.50 EUR\"";
        let refuse =
            |reason: String| Err(ParseError::new("an amount of money", text, reason, ACCEPTED));
        let Some((number, code)) = text.trim().rsplit_once(' ') else {
            return refuse("the number has no currency".to_owned());
        };
        if code != currency.as_str() {
            return refuse(format!("this exchange keeps its books in {currency}"));
        }
        let number = number.trim();
        let (negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number),
        };
        let micro = match error::scaled_decimal(digits, MICRO) {
            Ok(micro) => micro,
            Err(reason) => return refuse(reason.to_owned()),
        };
        let Ok(micro) = i64::try_from(micro) else {
            return refuse("it is too large".to_owned());
        };
        Ok(Self(if negative { -micro } else { micro }))
    }

    /// The amount written with its currency, "12.5 EUR".
    #[must_use]
    pub fn display(self, currency: Currency) -> String {
        format!("{self} {currency}")
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        error::write_decimal(f, self.0.unsigned_abs(), MICRO)
    }
}

/// A price per unit and slot, in micro-units of the currency; never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Price(i64);

impl Price {
    /// Free of charge.
    pub const ZERO: Self = Self(0);
    /// The highest price that is accepted.
    pub const MAX: Self = Self(limits::PRICE_MICRO_MAX);

    /// `micro` millionths per unit and slot, or `None` below zero or above
    /// [`limits::PRICE_MICRO_MAX`].
    #[must_use]
    pub const fn from_micro(micro: i64) -> Option<Self> {
        if micro >= 0 && micro <= limits::PRICE_MICRO_MAX { Some(Self(micro)) } else { None }
    }

    /// The price in millionths of the currency per unit and slot.
    #[must_use]
    pub const fn micro(self) -> i64 {
        self.0
    }

    /// The cost of `units` for one slot, or `None` if it cannot be kept.
    #[must_use]
    pub fn of(self, units: Units) -> Option<Money> {
        self.of_slots(units, 1)
    }

    /// The cost of `units` for `slots` slots, or `None` if it cannot be kept.
    #[must_use]
    pub fn of_slots(self, units: Units, slots: u64) -> Option<Money> {
        let micro = i128::from(self.0)
            .checked_mul(i128::from(units.count()))?
            .checked_mul(i128::from(slots))?;
        i64::try_from(micro).ok().map(Money)
    }

    /// Reads "0.0005 EUR" per unit and slot.
    ///
    /// # Errors
    /// As [`Money::parse`], and for amounts out of a price's range.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, ParseError> {
        let money = Money::parse(text, currency)?;
        Self::from_micro(money.micro()).ok_or_else(|| {
            ParseError::new(
                "a price per unit and slot",
                text,
                "it is out of range",
                "an amount from 0 to 1000000 of the exchange's currency, such as \"0.0005 EUR\"",
            )
        })
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Money(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn money_is_exact_and_needs_its_currency() {
        let parse = |text| Money::parse(text, Currency::EUR);
        assert_eq!(parse("12.50 EUR").unwrap().micro(), 12_500_000);
        assert_eq!(parse("-0.000001 EUR").unwrap().micro(), -1);
        for bad in ["12.50", "12.50 USD", "EUR", "1e3 EUR", "0.0000001 EUR", "1. EUR", ". EUR"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sums_that_cannot_be_kept_say_so() {
        assert_eq!(Money::from_micro(i64::MAX).checked_add(Money::from_micro(1)), None);
        assert_eq!(Money::from_micro(i64::MIN).checked_neg(), None);
        assert_eq!(Price::MAX.of_slots(Units::MAX, limits::SLOTS_MAX), None);
        assert_eq!(Price(3).of_slots(Units::saturating(4), 5), Some(Money(60)));
    }

    proptest! {
        #[test]
        fn money_round_trips(micro in (i64::MIN + 1)..=i64::MAX) {
            let text = Money(micro).display(Currency::EUR);
            prop_assert_eq!(Money::parse(&text, Currency::EUR).unwrap(), Money(micro));
        }
    }
}

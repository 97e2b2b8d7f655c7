//! One error for every text that does not parse, and the decimal reader behind all quantities.

use crate::limits::TEXT_LEN_MAX;

/// A text that is not what was asked for, with what would have been accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: {reason}; accepted is {accepted}")]
pub struct ParseError {
    /// What was asked for, with its article: "a request rate".
    pub what: &'static str,
    /// The text as it was given, cut to a sane length.
    pub text: String,
    /// Why it was refused.
    pub reason: String,
    /// What would be accepted, by example.
    pub accepted: &'static str,
}

impl ParseError {
    pub(crate) fn new(
        what: &'static str,
        text: &str,
        reason: impl Into<String>,
        accepted: &'static str,
    ) -> Self {
        let text = text.chars().take(TEXT_LEN_MAX).collect();
        Self { what, text, reason: reason.into(), accepted }
    }
}

/// How one kind of quantity is written.
pub(crate) struct Grammar {
    pub(crate) what: &'static str,
    pub(crate) accepted: &'static str,
    /// Unit names with the power of ten, or the factor, that one of them stands for.
    pub(crate) units: &'static [(&'static str, u64)],
    /// The greatest value in base units.
    pub(crate) max: u64,
}

impl Grammar {
    /// Reads "12.5 Mbit/s" into base units, exactly.
    pub(crate) fn parse(&self, text: &str) -> Result<u64, ParseError> {
        let refuse =
            |reason: &str| Err(ParseError::new(self.what, text, reason.to_owned(), self.accepted));
        let trimmed = text.trim();
        let number_len = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(number_len);
        if number.is_empty() {
            return refuse("it does not begin with a number");
        }
        let unit = unit.trim();
        if unit.is_empty() {
            return refuse("the number has no unit");
        }
        let Some(&(_, factor)) = self.units.iter().find(|(name, _)| *name == unit) else {
            return refuse("the unit is unknown");
        };
        match scaled_decimal(number, factor) {
            Ok(value) if value <= self.max => Ok(value),
            Ok(_) => refuse("it is too large"),
            Err(reason) => refuse(reason),
        }
    }
}

/// Reads a non-negative decimal number times `factor` as a whole number.
pub(crate) fn scaled_decimal(number: &str, factor: u64) -> Result<u64, &'static str> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.chars().filter(|c| *c != '_').collect::<String>();
    let (whole, fraction) = (digits(whole), digits(fraction));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) {
        return Err("the number is incomplete");
    }
    let whole: u64 = whole.parse().map_err(|_| "the number is malformed or too large")?;
    let mut value = whole.checked_mul(factor).ok_or("it is too large")?;
    if !fraction.is_empty() {
        let places = u32::try_from(fraction.len()).map_err(|_| "it has too many decimals")?;
        let scale = 10u128.checked_pow(places).ok_or("it has too many decimals")?;
        let parts: u128 = fraction.parse().map_err(|_| "the number is malformed")?;
        let scaled = parts.checked_mul(u128::from(factor)).ok_or("it has too many decimals")?;
        if scaled % scale != 0 {
            return Err("it is finer than can be kept exactly");
        }
        let scaled = u64::try_from(scaled / scale).map_err(|_| "it is too large")?;
        value = value.checked_add(scaled).ok_or("it is too large")?;
    }
    Ok(value)
}

/// Writes `value / factor` as a decimal number without trailing zeros. `factor` is a power of ten.
pub(crate) fn write_decimal(
    f: &mut std::fmt::Formatter<'_>,
    value: u64,
    factor: u64,
) -> std::fmt::Result {
    let (whole, rest) = (value / factor, value % factor);
    if rest == 0 {
        return write!(f, "{whole}");
    }
    let places = usize::try_from(factor.ilog10()).expect("a u64 has at most 19 decimals");
    let fraction = format!("{rest:0places$}");
    write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
}

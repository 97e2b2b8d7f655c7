//! Invoices: what a purchaser owes for the slots of one month.

use std::{fmt, str::FromStr};

use headroom_units::{Class, ContractId, PurchaserId, RegionId, SiteId, Timestamp};
use jiff::{civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Text, Time};

/// A calendar month in UTC, written as `2026-11`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Month(Date);

impl Month {
    /// Its first moment.
    #[must_use]
    pub fn start(self) -> Timestamp {
        moment(self.0)
    }

    /// The first moment after it.
    #[must_use]
    pub fn end(self) -> Timestamp {
        moment(self.0.last_of_month().tomorrow().unwrap_or(Date::MAX))
    }
}

fn moment(date: Date) -> Timestamp {
    let nanos = date.to_zoned(TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_nanosecond());
    Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

impl FromStr for Month {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!("{text:?} is not a month; accepted is one from 1970-01 on, such as \"2026-11\"")
        };
        let (year, month) = text.split_once('-').ok_or_else(refuse)?;
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if year.len() != 4 || month.len() != 2 || !digits(year) || !digits(month) {
            return Err(refuse());
        }
        let year: i16 = year.parse().map_err(|_| refuse())?;
        let month: i8 = month.parse().map_err(|_| refuse())?;
        if year < 1970 {
            return Err(refuse());
        }
        Date::new(year, month, 1).map(Self).map_err(|_| refuse())
    }
}

/// In which form an invoice is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum InvoiceFormat {
    /// The document of this shape.
    #[default]
    Json,
    /// A line for each contract.
    Csv,
    /// A page to read and to print.
    Html,
}

/// What is asked of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct InvoiceQuery {
    /// Its form.
    #[serde(default)]
    pub format: InvoiceFormat,
}

/// What a purchaser owes for the slots that began in one month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceView {
    /// Its number: the purchaser and the month.
    pub number: String,
    /// Whose it is.
    #[schema(value_type = String)]
    pub purchaser: Text<PurchaserId>,
    /// The month, in UTC.
    #[schema(value_type = String)]
    pub month: Text<Month>,
    /// The currency of all amounts.
    pub currency: String,
    /// True if the month is over and every slot of it is settled: nothing will change any more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Slots of the month that were bought and are not settled yet.
    pub unsettled_slots: u64,
    /// One line for each contract with settled slots in the month.
    pub lines: Vec<InvoiceLine>,
    /// The sum of all charges.
    pub charge_micro: i64,
    /// The sum of all refunds.
    pub refund_micro: i64,
    /// The sum of all penalties that the operator pays.
    pub penalty_micro: i64,
    /// Charges less refunds and penalties. It was taken from the purchaser's account as the slots
    /// were settled.
    pub total_micro: i64,
}

/// What one contract came to in the month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceLine {
    /// The contract.
    #[schema(value_type = String)]
    pub contract: Text<ContractId>,
    /// For which site.
    #[schema(value_type = String)]
    pub site: Text<SiteId>,
    /// Where.
    #[schema(value_type = String)]
    pub region: Text<RegionId>,
    /// Its class.
    #[schema(value_type = String)]
    pub class: Text<Class>,
    /// The start of the first settled slot of the month.
    #[schema(value_type = String)]
    pub first_slot: Time,
    /// The start of the last.
    #[schema(value_type = String)]
    pub last_slot: Time,
    /// How many were settled.
    pub slots: u64,
    /// Units bought in each.
    pub units: u64,
    /// Requests served.
    pub served: u64,
    /// Charged.
    pub charge_micro: i64,
    /// Refunded.
    pub refund_micro: i64,
    /// Paid by the operator as penalties.
    pub penalty_micro: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_from_its_first_moment_to_that_of_the_next() {
        let month: Month = "2026-12".parse().unwrap();
        assert_eq!(Time(month.start()).to_string(), "2026-12-01T00:00:00Z");
        assert_eq!(Time(month.end()).to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(month.to_string(), "2026-12");
        let leap: Month = "2028-02".parse().unwrap();
        assert_eq!(Time(leap.end()).to_string(), "2028-03-01T00:00:00Z");
        for wrong in ["2026", "2026-13", "2026-1", "26-11", "+202-11", "1969-12", "2026-11-01"] {
            let error = wrong.parse::<Month>().unwrap_err();
            assert!(error.contains("such as"), "{error}");
        }
    }
}

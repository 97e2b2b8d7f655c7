//! The class of a bid and its contract.

use std::{fmt, str::FromStr};

use crate::ParseError;

/// What was promised with a purchase. `Firm` sorts first: it is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Class {
    /// Promised; a shortfall is penalised.
    #[default]
    Firm,
    /// May be recalled with notice; a shortfall is refunded, not penalised.
    Interruptible,
}

impl Class {
    /// The word used in the API, in files and in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firm => "firm",
            Self::Interruptible => "interruptible",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Class {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "firm" => Ok(Self::Firm),
            "interruptible" => Ok(Self::Interruptible),
            _ => Err(ParseError::new(
                "a class",
                text,
                "the word is unknown",
                "\"firm\" or \"interruptible\"",
            )),
        }
    }
}

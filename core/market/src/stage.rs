//! The life of a contract, in steps that each are an event.
//!
//! ```text
//!  sold ─► primed ─► active ─► ramping down ─► settled
//!            └─────────┴─ recalled ─┘
//! ```

use std::{fmt, str::FromStr};

use headroom_units::Timestamp;

/// How far a contract is. The stages are in the order in which they are entered; some may be left
/// out: who buys the running minute is never primed for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It was made, and its money is held.
    Sold,
    /// The plan in force carries it; no traffic yet.
    Primed,
    /// Its slots run.
    Active,
    /// It is interruptible, and was told when it ends instead.
    Recalled,
    /// No lease is handed out that would outlive it.
    RampingDown,
    /// Every slot of it is settled.
    Settled,
}

impl Stage {
    /// All stages, in their order.
    pub const ALL: [Self; 6] =
        [Self::Sold, Self::Primed, Self::Active, Self::Recalled, Self::RampingDown, Self::Settled];

    /// Its name, as it is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sold => "sold",
            Self::Primed => "primed",
            Self::Active => "active",
            Self::Recalled => "recalled",
            Self::RampingDown => "ramping-down",
            Self::Settled => "settled",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a stage of a contract; accepted is such as \"sold\" or \"ramping-down\"")]
pub struct UnknownStage(String);

impl FromStr for Stage {
    type Err = UnknownStage;

    fn from_str(text: &str) -> Result<Self, UnknownStage> {
        let named = Self::ALL.into_iter().find(|stage| stage.as_str() == text);
        named.ok_or_else(|| UnknownStage(text.to_owned()))
    }
}

/// A stage that a contract has entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entered {
    /// Which.
    pub stage: Stage,
    /// When it was noticed.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_its_word() {
        for stage in Stage::ALL {
            assert_eq!(stage.to_string().parse(), Ok(stage));
        }
        assert!(Stage::ALL.is_sorted());
        let error = "Sold".parse::<Stage>().unwrap_err().to_string();
        assert!(error.contains("\"Sold\"") && error.contains("\"sold\""), "{error}");
    }
}

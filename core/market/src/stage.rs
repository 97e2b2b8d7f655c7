//! The life of a contract, in steps that each are an event.
//!
//! ```text
//!  sold ─► primed ─► active ─► ramping down ─► settled
//!            └─────────┴─ recalled ─┘
//! ```

use std::fmt;

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

/// A stage that a contract has entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entered {
    /// Which.
    pub stage: Stage,
    /// When it was noticed.
    pub at: Timestamp,
}

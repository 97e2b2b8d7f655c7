//! The limits of simulated worlds.

use std::time::Duration;

/// Time goes on in steps of this; arrivals, questions and admissions have their own exact moments
/// within it, messages are delivered at its start.
pub const STEP: Duration = Duration::from_millis(100);
/// The auditor counts in bins of this.
pub const BIN: Duration = Duration::from_millis(10);
/// The most seeds of one comparison.
pub const SEEDS_MAX: u64 = 10_000;
/// The smallest load share of the heaviest hundredth of the askers: all are alike.
pub const TOP_SHARE_MIN: f64 = 0.01;
/// The largest: beyond it a handful of askers is the whole world.
pub const TOP_SHARE_MAX: f64 = 0.8;
/// The longest a world goes on.
pub const SECONDS_MAX: u64 = 86_400;
/// The shortest that can be judged.
pub const SECONDS_MIN: u64 = 60;
/// How late reports may be: the controller forgets what is older.
pub const REPORT_DELAY: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(25));
/// How long budgets may last.
pub const BUDGET_LIFETIME: (Duration, Duration) =
    (Duration::from_secs(2), Duration::from_secs(120));
/// How long an edge may be silent.
pub const EDGE_TIMEOUT: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// How long it may take until it is known that an edge stopped.
pub const FENCE: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(60));

const _: () = assert!(STEP.as_millis().is_multiple_of(BIN.as_millis()));
const _: () = assert!(1_000 % STEP.as_millis() == 0);
const _: () = assert!(SECONDS_MIN < SECONDS_MAX);

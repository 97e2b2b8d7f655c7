//! The largest values that are believed, and how they relate.

use std::time::Duration;

/// The most seconds a directive or an `Age` can say; more counts as this (RFC 9111 §1.2.2).
pub const DELTA_SECONDS_MAX: u64 = 1 << 31;
/// The longest freshness that is guessed (RFC 9111 §4.2.2 leaves it open).
pub const HEURISTIC_MAX: Duration = Duration::from_hours(24);
/// The guess is the time since the last modification divided by this (RFC 9111 §4.2.2).
pub const HEURISTIC_DIVISOR: u32 = 10;
/// The most request fields one response may vary on.
pub const VARY_FIELDS_MAX: usize = 16;

const _: () = assert!(HEURISTIC_MAX.as_secs() < DELTA_SECONDS_MAX);
const _: () = assert!(HEURISTIC_DIVISOR > 0);

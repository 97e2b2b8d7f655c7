//! The largest values that are believed, and how they relate.

use std::time::Duration;

/// The most seconds a directive or an `Age` can say; more counts as this (RFC 9111 §1.2.2).
pub const DELTA_SECONDS_MAX: u64 = 1 << 31;
/// The length of the longest directive that is known, in bytes.
pub const DIRECTIVE_NAME_MAX: usize = "stale-while-revalidate".len();
/// The longest freshness that is guessed (RFC 9111 §4.2.2 leaves it open).
pub const HEURISTIC_MAX: Duration = Duration::from_hours(24);
/// The guess is the time since the last modification divided by this (RFC 9111 §4.2.2).
pub const HEURISTIC_DIVISOR: u32 = 10;
/// The most request fields one response may vary on.
pub const VARY_FIELDS_MAX: usize = 16;
/// How long a response may have been stale that is used because the origin cannot be reached
/// (RFC 9111 §4.2.4 leaves it open), where nobody says how long.
pub const DISCONNECTED_STALE_MAX: Duration = Duration::from_hours(24);
/// The most ranges of one request that are looked at; with more it is given the whole
/// (RFC 9110 §14.2).
pub const RANGES_MAX: usize = 32;
/// The most pairs of overlapping ranges one request may ask for (RFC 9110 §14.2: two).
pub const RANGES_OVERLAPPING_MAX: usize = 2;
/// How often a range of one request may lie before the one it follows (RFC 9110 §14.2).
pub const RANGES_DESCENDING_MAX: usize = 2;

const _: () = assert!(HEURISTIC_MAX.as_secs() < DELTA_SECONDS_MAX);
const _: () = assert!(HEURISTIC_DIVISOR > 0);
const _: () = assert!(RANGES_OVERLAPPING_MAX < RANGES_MAX && RANGES_DESCENDING_MAX < RANGES_MAX);

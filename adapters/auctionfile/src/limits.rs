//! The limits of the files of an auction. Those of what stands in them are the market's.

use headroom_units::limits::{PRICE_MICRO_MAX, UNITS_MAX};

/// More mistakes or violations are counted, not told.
pub const TOLD_MAX: usize = 50;
/// The longest id of a bid, name of a group or list of regions, in bytes.
pub const TEXT_BYTES_MAX: usize = 200;
/// The highest number of a slot.
pub const SLOT_NUMBER_MAX: u64 = u32::MAX as u64 - 1;
/// The most that a seller can receive for a slot, in micro-units.
pub const RECEIPTS_MICRO_MAX: u128 = UNITS_MAX as u128 * PRICE_MICRO_MAX.unsigned_abs() as u128;
/// The most bids of a file.
pub const BIDS_MAX: usize = 100_000_000;
/// The most bids a market is generated with.
pub const GENERATED_MAX: u32 = 100_000_000;

// Rows are kept in 32 bits.
const _: () = assert!(UNITS_MAX <= u32::MAX as u64);
const _: () = assert!(BIDS_MAX < u32::MAX as usize);

//! The largest values the market accepts, and how they relate.

use headroom_units::limits::{PRICE_MICRO_MAX, SLOT_SECONDS_MAX, SLOTS_MAX, UNITS_MAX};

/// The most bids a purchaser may have open at once.
pub const OPEN_BIDS_MAX: usize = 10_000;
/// The most slots one auction sells.
pub const AUCTION_SLOTS_MAX: usize = 35_136;
/// So many flagged orders of a region are tried again after they were left out.
pub const READMISSIONS_MAX: usize = 256;
/// So often others may be left out while one is tried again.
pub const READMISSION_ROUNDS_MAX: usize = 4;
/// So often it is tried to move groups of several regions after their first place.
pub const MOVES_MAX: usize = 16;
/// The longest name of who credited an account, in bytes.
pub const CREDITED_BY_LEN_MAX: usize = 200;
/// The most money, in micro-units, that may ever come into the purchasers' accounts, by credits
/// and penalties together. No balance can be further from zero than this.
pub const INFLOW_MICRO_MAX: i64 = i64::MAX / 2;
/// The most requests one settlement may report as served or as refused.
pub const DELIVERY_REQUESTS_MAX: u64 = 1_000_000_000_000_000;
/// The most thousandths of a request one settlement may report as available.
pub const DELIVERY_MILLIREQUESTS_MAX: u64 = 1_000_000_000_000_000_000;

// An order may span everything that one auction sells.
const _: () = assert!(SLOTS_MAX <= AUCTION_SLOTS_MAX as u64);
// Balances and their differences stay in range.
const _: () = assert!(INFLOW_MICRO_MAX <= i64::MAX / 2);
// What a contract can be due in a slot can be reported.
const _: () = assert!(UNITS_MAX * SLOT_SECONDS_MAX <= DELIVERY_REQUESTS_MAX);
const _: () = assert!(UNITS_MAX * SLOT_SECONDS_MAX * 1_000 <= DELIVERY_MILLIREQUESTS_MAX);
const _: () = assert!(DELIVERY_REQUESTS_MAX <= u64::MAX / 1_000);
// Refunds and penalties are computed as price * units * thousandths of a request.
const _: () = assert!(
    i128::MAX / PRICE_MICRO_MAX as i128
        >= UNITS_MAX as i128 * UNITS_MAX as i128 * SLOT_SECONDS_MAX as i128 * 1_000
);
// Distances of the auction's graph: each slot adds at most one price, and the search adds three.
// The solver's heights have 64 bits above what breaks ties, and each slot adds at most one price.
const _: () =
    assert!((PRICE_MICRO_MAX as i128 + 1) * (AUCTION_SLOTS_MAX as i128) < i64::MAX as i128 / 8);

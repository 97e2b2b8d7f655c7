//! The limits of the database.

/// The most connections of the pool: one writes, the others read.
pub const CONNECTIONS_MAX: u32 = 4;
/// The longest idempotency key.
pub const IDEMPOTENCY_KEY_LEN_MAX: usize = 100;
/// How many plans are kept for looking back.
pub const PLANS_KEPT: u64 = 1_000;

const _: () = assert!(CONNECTIONS_MAX >= 2);
const _: () = assert!(PLANS_KEPT >= 1);

//! The largest values the types here accept, and how they relate.

/// The most units one order, contract or offer step may carry.
pub const UNITS_MAX: u64 = 1_000_000_000;
/// The highest price per unit and slot, in micro-units of the currency.
pub const PRICE_MICRO_MAX: i64 = 1_000_000_000_000;
/// The longest run of slots one order may span: a year of 15-minute slots.
pub const SLOTS_MAX: u64 = 35_136;
/// The longest id that people choose. It must fit into one DNS label (RFC 1035 §2.3.4: 63 octets).
pub const NAME_ID_LEN_MAX: usize = 40;
/// The longest host name in presentation form without the final dot (RFC 1035 §2.3.4).
pub const HOST_NAME_LEN_MAX: usize = 253;
/// The longest DNS label (RFC 1035 §2.3.4).
pub const LABEL_LEN_MAX: usize = 63;
/// What an error keeps of a text that does not parse, in characters.
pub const TEXT_LEN_MAX: usize = 80;
/// The shortest slot.
pub const SLOT_SECONDS_MIN: u64 = 1;
/// The longest slot: one day.
pub const SLOT_SECONDS_MAX: u64 = 86_400;

const _: () = assert!(NAME_ID_LEN_MAX <= LABEL_LEN_MAX);
const _: () = assert!(LABEL_LEN_MAX < HOST_NAME_LEN_MAX);
const _: () = assert!(SLOT_SECONDS_MIN > 0 && SLOT_SECONDS_MIN < SLOT_SECONDS_MAX);

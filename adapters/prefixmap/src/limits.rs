//! The limits of a prefix map's file.

/// The most bytes of a file: a database of cities, several times.
pub const FILE_BYTES_MAX: u64 = 512 << 20;
/// The most mistakes that are told of one file; the others are counted.
pub const MISTAKES_TOLD_MAX: usize = 20;
/// The most bytes of a text that is shown in a mistake.
pub const SHOWN_BYTES_MAX: usize = 80;
/// The most steps of a field, such as the two of `country.iso_code`.
pub const FIELD_STEPS_MAX: usize = 8;
/// The most networks of a MaxMind DB that are looked at, with a region or without. One that is broken
/// may lead to the same ones again and again.
pub const NETWORKS_MAX: usize = 50_000_000;

const _: () = assert!(NETWORKS_MAX > headroom_steer::limits::PREFIXES_MAX);

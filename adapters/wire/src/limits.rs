//! The largest messages that are accepted.

/// The longest body of an API request, in bytes.
pub const REQUEST_BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest body of an imported series, in bytes.
pub const SERIES_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest message on the bus, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(REQUEST_BODY_BYTES_MAX < SERIES_BODY_BYTES_MAX);
const _: () = assert!(SERIES_BODY_BYTES_MAX <= MESSAGE_BYTES_MAX);

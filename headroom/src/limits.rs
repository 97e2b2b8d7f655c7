//! The limits of the program around the services. Those of the configuration stand in
//! `config/limits.rs`.

use std::time::Duration;

/// How long roles may take to stop before they are left behind. Edges drain in that time.
pub(crate) const STOP_TIME_MAX: Duration = Duration::from_secs(20);
/// A call to the API that takes longer has failed.
pub(crate) const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest answer of the API that is read, in bytes.
pub(crate) const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Of an answer that is no problem document, so much is shown.
pub(crate) const EXCERPT_CHARS_MAX: usize = 200;
/// More wrong lines of an imported file are counted, not shown.
pub(crate) const SHOWN_MAX: usize = 20;

const _: () = assert!(STOP_TIME_MAX.as_millis() > headroom_edge::limits::DRAIN_MAX.as_millis());
const _: () = assert!(ANSWER_BYTES_MAX > headroom_wire::limits::MESSAGE_BYTES_MAX as u64);

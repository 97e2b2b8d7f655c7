//! The limits of a hand-over.

use std::time::Duration;

/// How long each side of a hand-over waits for the other.
pub const HANDOVER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long to wait after somebody asked in vain, so that a lasting fault does not spin.
pub const REST: Duration = Duration::from_millis(50);
/// The most sockets of one message: below what the kernel passes at a time (253), and below
/// `REFUSED`, which stands where their number does.
pub const BATCH_MAX: usize = 64;
/// The most bytes of a line that one side says: a role, its id and some words.
pub const LINE_BYTES_MAX: usize = 512;

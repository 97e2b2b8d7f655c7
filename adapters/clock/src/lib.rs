//! The wall clock as a [`Timestamp`] that never goes back within one process.
//!
//! The one place of the program that asks for the time of day: core takes `now` as an argument,
//! services get it here. A clock that is set back stands still until the old time is reached
//! again, so that token buckets, leases and slots never run twice.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use headroom_units::Timestamp;

static LATEST: AtomicU64 = AtomicU64::new(0);

/// The present moment; never earlier than one that was returned before.
#[must_use]
pub fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
    Timestamp::from_nanos(LATEST.fetch_max(nanos, Ordering::Relaxed).max(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let moments: Vec<_> = (0..1_000).map(|_| now()).collect();
        assert!(moments.is_sorted());
        assert!(moments[0].seconds() > 1_700_000_000);
    }
}

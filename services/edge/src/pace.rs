//! How slowly content may come: a silence that is too long ends it, and so does a trickle.
//!
//! A visitor has so much patience to use up. Waiting takes from it, bytes give back to it, up to
//! what it was. Only the time in which somebody waits for it counts: an origin that takes the
//! content slowly is not the visitor's fault.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::UPLOAD_BYTES_PER_SECOND_MIN;

/// The patience that is left with one who sends content.
#[derive(Debug)]
pub(crate) struct Pace {
    max: Duration,
    left: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(max: Duration) -> Self {
        Self { max, left: max, waiting_since: None }
    }

    /// Begins to wait, or goes on. Says how long in all since it began.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.waiting_since.get_or_insert(now);
        self.left
    }

    /// Takes in bytes that came.
    pub(crate) fn came(&mut self, bytes: usize, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self.left.saturating_sub(now.saturating_duration_since(since));
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let back = Duration::from_secs(1).saturating_mul(bytes) / UPLOAD_BYTES_PER_SECOND_MIN;
        self.left = self.left.saturating_add(back).min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes-and-seconds pass before the patience is at its end, or that it never is.
    fn patience(bytes: usize, every: Duration) -> Option<usize> {
        let (mut now, mut pace) = (Instant::now(), Pace::new(Duration::from_secs(30)));
        (0..1_000).find(|_| {
            let left = pace.wait(now);
            now += every;
            pace.came(bytes, now);
            left < every
        })
    }

    #[test]
    fn a_trickle_is_too_slow_and_a_slow_line_is_not() {
        assert_eq!(patience(1, Duration::from_secs(31)), Some(0), "silence");
        assert_eq!(patience(1, Duration::from_secs(10)), Some(3));
        assert_eq!(patience(239, Duration::from_secs(1)), None, "about the least there may be");
        assert_eq!(patience(2_400, Duration::from_secs(10)), None);
        assert_eq!(patience(120, Duration::from_secs(1)), Some(59));
    }

    #[test]
    fn the_time_nobody_waits_does_not_count() {
        let (now, mut pace) = (Instant::now(), Pace::new(Duration::from_secs(30)));
        pace.came(1, now + Duration::from_secs(100));
        assert_eq!(pace.wait(now), Duration::from_secs(30));
    }
}

//! Whether an origin is worth asking, judged by how it answered. Pure: the moment is handed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::{ORIGIN_ASIDE_FIRST, ORIGIN_ASIDE_MAX, ORIGIN_FAILURES_MAX};

/// How one origin answered lately.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Health {
    /// Failures since the last success.
    failures: u32,
    last_failure: Option<Instant>,
    /// Until then nobody is sent to it.
    aside_until: Option<Instant>,
}

impl Health {
    /// True if a request may be sent to it; false while it is set aside.
    pub(super) fn is_available(&self, now: Instant) -> bool {
        self.aside_until.is_none_or(|until| until <= now)
    }

    /// When it last failed; `None` if it is well.
    pub(super) fn last_failure(&self) -> Option<Instant> {
        self.last_failure
    }

    /// A request is on its way. If it is the one trial after a time aside, the others wait for
    /// another such time.
    pub(super) fn asked(&mut self, now: Instant) {
        if let Some(until) = self.aside_until
            && until <= now
        {
            self.aside_until = Some(now + self.time_aside());
        }
    }

    /// It answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It did not answer, or that it cannot. True if it is set aside by that.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
        let aside = self.failures >= ORIGIN_FAILURES_MAX;
        if aside {
            self.aside_until = Some(now + self.time_aside());
        }
        aside
    }

    /// Doubled with each failure.
    fn time_aside(&self) -> Duration {
        let doublings = self.failures.saturating_sub(ORIGIN_FAILURES_MAX).min(16);
        ORIGIN_ASIDE_FIRST.saturating_mul(1 << doublings).min(ORIGIN_ASIDE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_set_it_aside_for_a_growing_time() {
        let start = Instant::now();
        let mut now = start;
        let mut health = Health::default();
        for _ in 1..ORIGIN_FAILURES_MAX {
            assert!(!health.failed(now));
            assert!(health.is_available(now));
        }
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert!(health.failed(now));
            let back = now + Duration::from_secs(seconds);
            assert!(!health.is_available(back - Duration::from_millis(1)), "{seconds}");
            assert!(health.is_available(back), "{seconds}");
            now = back;
        }
        health.succeeded();
        assert!(health.is_available(start) && health.last_failure().is_none());
    }

    #[test]
    fn one_request_tries_it_after_its_time() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..ORIGIN_FAILURES_MAX {
            health.failed(now);
        }
        let back = now + ORIGIN_ASIDE_FIRST;
        health.asked(back);
        assert!(!health.is_available(back), "the trial is on its way");
        assert!(health.is_available(back + ORIGIN_ASIDE_FIRST), "the trial was lost");
        health.succeeded();
        health.asked(back);
        assert!(health.is_available(back));
    }

    #[test]
    fn a_success_in_between_counts() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..10 {
            assert!(!health.failed(now) && !health.failed(now));
            health.succeeded();
        }
        assert!(health.is_available(now));
    }
}

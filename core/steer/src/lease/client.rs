//! What a ledger knows of one client: what it brought while it held leases.

use std::time::Duration;

use headroom_units::{EdgeId, Timestamp};

/// A weight is learned from this much time under a lease, the newest of it. What changes for all
/// clients alike is not learned here: the controller tells it as the level of demand.
const LEARNED_FROM: Duration = Duration::from_secs(60);
/// With less time than this under a lease, a client is still a stranger.
const KNOWN_AFTER: Duration = Duration::from_secs(1);
/// What is learned in less may be wrong of all alike: a lease begins with a request.
const WELL_KNOWN_AFTER: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// From when until when a client was sent to an edge.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Span {
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    pub(super) edge: Option<EdgeId>,
    /// Its leases before the present one, the last first.
    pub(super) earlier: [Span; 3],
    /// Thousandths of requests brought,
    pub(super) brought: u64,
    /// in this many milliseconds under leases.
    pub(super) covered: u64,
    pub(super) census: u64,
    /// The last period in which it was refused although it is light, and what it weighed then.
    pub(super) waited: (u64, u64),
    /// How long it showed to keep an answer, if that was longer than its TTL.
    pub(super) keeps: Duration,
    /// When the answer was given whose lease is over, if it has not asked since.
    pub(super) kept: Option<Timestamp>,
}

impl Span {
    /// Milliseconds of it in the second that begins at `second`.
    pub(super) fn within(&self, second: Timestamp) -> u64 {
        let (since, until) = (self.since.max(second), self.until.min(second.after(SECOND)));
        millis(until.since(since))
    }
}

impl Client {
    /// Takes in what was brought in so many milliseconds under a lease. What is older than
    /// [`LEARNED_FROM`] fades.
    pub(super) fn measured(&mut self, brought: u64, covered: u64) {
        let kept = millis(LEARNED_FROM).saturating_sub(covered).min(self.covered);
        self.brought = self.brought * kept / self.covered.max(1) + brought;
        self.covered = kept + covered;
    }

    /// Thousandths of a request per second under a lease, if it was seen for long enough.
    pub(super) fn weight(&self) -> Option<u64> {
        let known = self.covered >= millis(KNOWN_AFTER);
        known.then(|| self.brought * 1_000 / self.covered)
    }

    /// It was seen for long enough to say how it differs from others.
    pub(super) fn is_well_known(&self) -> bool {
        self.covered >= millis(WELL_KNOWN_AFTER)
    }

    /// It was seen for two seconds and more and brought nothing from its own prefix.
    pub(super) fn is_silent(&self) -> bool {
        self.covered >= 2 * millis(KNOWN_AFTER) && self.weight() == Some(0)
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! How much is answered over UDP to sources that may be forged: response rate limiting with slip,
//! and nothing larger than its question while an attack runs.
//!
//! ```text
//!   valid cookie, or TCP ────────────────────────────────────────────► answer
//!   else: answers of this kind to this client prefix over the rate? ─► dropped, or every n-th
//!         │ no                                                         a truncated one (slip)
//!         too many such answers in all, and larger than the question? ► truncated
//!         │ no
//!         └──────────────────────────────────────────────────────────► answer
//! ```
//!
//! Each thread has a limiter of its own: no lock. A limiter has a fixed table of token buckets in
//! two rows; a client prefix has one in each, which it may share with others, and is over its rate
//! when both are empty. So nobody gets more than the rate, whatever the others do, and one who does
//! not ask much suffers only if two strangers who do hit both of its buckets. Nothing is allocated,
//! and the time comes from outside.

use std::{hash::BuildHasher as _, net::IpAddr, num::NonZeroU32};

use foldhash::quality::RandomState;
use headroom_units::Timestamp;

use crate::limits;

/// How much is answered to sources that have not shown that they are real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Answers a second of one kind to one client prefix (IPv4 /24, IPv6 /56), for each thread.
    /// `None` is no limit.
    pub per_client: Option<NonZeroU32>,
    /// Of the answers beyond it every how many-th is sent, truncated, so that a real client whose
    /// prefix is forged comes over TCP; the others are dropped. 1 drops none, 0 drops all.
    pub slip: u32,
    /// Answers a second in all, beyond which none goes out that is larger than its question.
    /// `None` is no limit.
    pub unverified: Option<NonZeroU32>,
}

impl RateLimit {
    /// No limits.
    pub const OFF: Self = Self { per_client: None, slip: 0, unverified: None };

    /// Whether there is anything to judge.
    pub(crate) fn is_on(&self) -> bool {
        self.per_client.is_some() || self.unverified.is_some()
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            per_client: NonZeroU32::new(limits::RATE_PER_CLIENT),
            slip: limits::SLIP,
            unverified: NonZeroU32::new(limits::RATE_UNVERIFIED),
        }
    }
}

/// What is done with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Pass,
    /// Nothing is sent.
    Drop,
    /// A truncated one is sent instead.
    Truncate,
}

/// How many answers were not sent as they are, since it was asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) dropped: u64,
    pub(crate) slipped: u64,
    pub(crate) truncated: u64,
}

/// Judges the answers of one thread.
#[derive(Debug)]
pub(crate) struct Limiter {
    clients: Option<Clients>,
    total: Option<Total>,
    slip: u32,
    /// Decides which of the limited answers is sent; an even sequence could be drawn by others.
    draw: u64,
    tally: Tally,
}

impl Limiter {
    /// A limiter for one of `threads`.
    pub(crate) fn new(limit: RateLimit, threads: usize) -> Self {
        Self::with_cells(limit, threads, limits::RATE_CELLS)
    }

    fn with_cells(limit: RateLimit, threads: usize, cells: usize) -> Self {
        let threads = u64::try_from(threads).unwrap_or(u64::MAX).max(1);
        let share = |all: NonZeroU32| u64::from(all.get()).div_ceil(threads);
        Self {
            clients: limit.per_client.map(|rate| Clients::new(rate, cells)),
            total: limit.unverified.map(|rate| Total { limit: share(rate), ..Total::default() }),
            slip: limit.slip,
            draw: 1,
            tally: Tally::default(),
        }
    }

    /// What is done with `answer`, which is whole, to `query` from a source that has no valid
    /// cookie.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        source: IpAddr,
        query: &[u8],
        answer: &[u8],
        now: Timestamp,
    ) -> Verdict {
        let is_attacked = self.total.as_mut().is_some_and(|total| total.is_exceeded(now));
        if let Some(clients) = &mut self.clients
            && !clients.take(key(source, Kind::of(answer)), now)
        {
            return self.limited();
        }
        if is_attacked && answer.len() > query.len() {
            self.tally.truncated += 1;
            return Verdict::Truncate;
        }
        Verdict::Pass
    }

    fn limited(&mut self) -> Verdict {
        // Knuth's linear congruential generator; its high bits are good enough for this.
        self.draw = self.draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if self.slip > 0 && (self.draw >> 33).is_multiple_of(self.slip.into()) {
            self.tally.slipped += 1;
            Verdict::Truncate
        } else {
            self.tally.dropped += 1;
            Verdict::Drop
        }
    }

    /// What was limited since the last call.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }
}

/// Kinds of answers; each has its own rate, so that denials of random names do not silence what
/// else a client asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Answer,
    Empty,
    NoName,
    Error,
}

impl Kind {
    /// The kind of a message, by its header.
    fn of(answer: &[u8]) -> Self {
        match answer {
            [_, _, _, flags, _, _, high, low, ..] => match (flags & 0x0f, high | low) {
                (0, 0) => Self::Empty,
                (0, _) => Self::Answer,
                (3, _) => Self::NoName,
                _ => Self::Error,
            },
            _ => Self::Error,
        }
    }
}

/// A client prefix and a kind in one number.
fn key(source: IpAddr, kind: Kind) -> u64 {
    let (family, prefix) = match source {
        IpAddr::V4(address) => (0, u64::from(address.to_bits() >> 8)),
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, ..] = address.octets();
            (4, u64::from_be_bytes([0, a, b, c, d, e, f, g]))
        }
    };
    (family + kind as u64) << 56 | prefix
}

/// The token buckets of client prefixes, each as the moment at which it is full again.
#[derive(Debug)]
struct Clients {
    rows: [Box<[u64]>; 2],
    hasher: RandomState,
    /// What one answer costs, in nanoseconds.
    cost: u64,
}

impl Clients {
    fn new(rate: NonZeroU32, cells: usize) -> Self {
        let row = || vec![0; cells.next_power_of_two()].into_boxed_slice();
        let cost = limits::RATE_BURST / u64::from(rate.get());
        Self { rows: [row(), row()], hasher: RandomState::default(), cost: cost.max(1) }
    }

    /// Takes a token from both buckets of `key`; false if both are empty.
    fn take(&mut self, key: u64, now: Timestamp) -> bool {
        let now = now.nanos();
        let hash = self.hasher.hash_one(key);
        let [first, second] = &mut self.rows;
        let first = cell(first, hash);
        let second = cell(second, hash >> 32);
        // Of the two, the one that was drawn on less knows better.
        let full_at = (*first).min(*second).max(now).saturating_add(self.cost);
        if full_at > now.saturating_add(limits::RATE_BURST) {
            return false;
        }
        *first = full_at.max(*first);
        *second = full_at.max(*second);
        true
    }
}

fn cell(row: &mut [u64], hash: u64) -> &mut u64 {
    let at = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default() & (row.len() - 1);
    &mut row[at]
}

/// All answers of the second that runs.
#[derive(Debug, Default)]
struct Total {
    limit: u64,
    second: u64,
    count: u64,
    /// Whether there were too many in the second before.
    was_exceeded: bool,
}

impl Total {
    /// Counts an answer; true if there are too many, or were in the second before.
    fn is_exceeded(&mut self, now: Timestamp) -> bool {
        let second = now.seconds();
        if second != self.second {
            self.was_exceeded = second == self.second + 1 && self.count > self.limit;
            (self.second, self.count) = (second, 0);
        }
        self.count += 1;
        self.was_exceeded || self.count > self.limit
    }
}

#[cfg(test)]
mod tests;

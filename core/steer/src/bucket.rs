//! An exact token bucket in one atomic word.
//!
//! The generic cell rate algorithm, kept in tokens instead of time: an [`Allowance`] says how many
//! tokens have accrued by a moment, the bucket says how many were consumed. A new rate is a new
//! allowance that goes on from the same number, so tokens are neither made nor lost when a share
//! changes, and the sum over all edges stays within the contract.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use headroom_units::Timestamp;

const NANOS: u128 = 1_000_000_000;

/// How tokens accrue: at `rate` until `expires`, then at `safe_rate`, and only from `from` to
/// `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The moment `accrued` is the count for.
    pub since: Timestamp,
    /// Tokens accrued by `since`.
    pub accrued: u64,
    /// Tokens per second while the share is live.
    pub rate: u64,
    /// When the share ends if it is not renewed.
    pub expires: Timestamp,
    /// Tokens per second after that.
    pub safe_rate: u64,
    /// Nothing accrues before.
    pub from: Timestamp,
    /// Nothing accrues after.
    pub until: Timestamp,
    /// How long an idle bucket saves up.
    pub burst: Duration,
    /// The bucket holds at least this many tokens: one request must fit.
    pub depth_min: u64,
}

impl Allowance {
    /// Tokens accrued by `now`; never falls.
    #[must_use]
    pub fn accrued(&self, now: Timestamp) -> u64 {
        let start = self.since.max(self.from);
        let end = now.min(self.until);
        let switch = self.expires.clamp(start, end.max(start));
        let live = tokens(self.rate, switch.since(start));
        let safe = tokens(self.safe_rate, end.since(switch));
        self.accrued.saturating_add(live).saturating_add(safe)
    }

    /// The most tokens the bucket holds at `now`.
    #[must_use]
    pub fn depth(&self, now: Timestamp) -> u64 {
        tokens(self.rate_at(now), self.burst).max(self.depth_min)
    }

    /// The same allowance with a new rate from `now` on.
    #[must_use]
    pub fn renewed(&self, now: Timestamp, rate: u64, expires: Timestamp) -> Self {
        let now = now.max(self.since);
        Self { since: now, accrued: self.accrued(now), rate, expires, ..*self }
    }

    /// How long until `tokens` have accrued at the rate of `now`, if nothing is there yet.
    pub(crate) fn time_for(&self, tokens: u64, now: Timestamp) -> Duration {
        let nanos = u128::from(tokens) * NANOS / u128::from(self.rate_at(now).max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn rate_at(&self, now: Timestamp) -> u64 {
        if now < self.expires { self.rate } else { self.safe_rate }
    }
}

fn tokens(rate: u64, time: Duration) -> u64 {
    let tokens = u128::from(rate).saturating_mul(time.as_nanos()) / NANOS;
    u64::try_from(tokens).unwrap_or(u64::MAX)
}

/// What was consumed of an allowance.
#[derive(Debug, Default)]
pub struct Bucket {
    consumed: AtomicU64,
}

impl Bucket {
    /// Takes `cost` tokens if the bucket holds them.
    pub fn take(&self, allowance: &Allowance, now: Timestamp, cost: u64) -> bool {
        let accrued = allowance.accrued(now);
        let floor = accrued.saturating_sub(allowance.depth(now));
        self.consumed
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |consumed| {
                let after = consumed.max(floor).saturating_add(cost);
                (after <= accrued).then_some(after)
            })
            .is_ok()
    }

    /// Takes up to `cost` tokens in whole parts of `part`, if the bucket holds at least `least`.
    /// Yields how many it took.
    pub fn take_up_to(
        &self,
        allowance: &Allowance,
        now: Timestamp,
        (least, cost): (u64, u64),
        part: u64,
    ) -> u64 {
        let accrued = allowance.accrued(now);
        let floor = accrued.saturating_sub(allowance.depth(now));
        let mut taken = 0;
        let _ = self.consumed.fetch_update(Ordering::AcqRel, Ordering::Acquire, |consumed| {
            let before = consumed.max(floor);
            let held = accrued.saturating_sub(before);
            taken = if held < least { 0 } else { cost.min(held - held % part) };
            (taken > 0).then(|| before.saturating_add(taken))
        });
        taken
    }

    /// How many tokens the bucket holds.
    #[must_use]
    pub fn held(&self, allowance: &Allowance, now: Timestamp) -> u64 {
        let accrued = allowance.accrued(now);
        let held = accrued.saturating_sub(self.consumed.load(Ordering::Acquire));
        held.min(allowance.depth(now))
    }

    /// Takes `cost` tokens that were already spent, into debt if need be.
    pub fn charge(&self, allowance: &Allowance, now: Timestamp, cost: u64) {
        let floor = allowance.accrued(now).saturating_sub(allowance.depth(now));
        let _ = self.consumed.fetch_update(Ordering::AcqRel, Ordering::Acquire, |consumed| {
            Some(consumed.max(floor).saturating_add(cost))
        });
    }

    /// Takes back `cost` tokens that were taken and not used.
    pub fn give_back(&self, cost: u64) {
        let _ = self.consumed.fetch_update(Ordering::AcqRel, Ordering::Acquire, |consumed| {
            Some(consumed.saturating_sub(cost))
        });
    }

    /// Writes off what an idle bucket cannot hold under `allowance`, so that a larger allowance
    /// after it does not find those tokens again. Called before every renewal.
    pub fn settle(&self, allowance: &Allowance, now: Timestamp) {
        let floor = allowance.accrued(now).saturating_sub(allowance.depth(now));
        self.consumed.fetch_max(floor, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: u64 = 1_000;

    fn allowance(rate: u64) -> Allowance {
        Allowance {
            since: Timestamp::EPOCH,
            accrued: 0,
            rate: rate * TOKEN,
            expires: Timestamp::MAX,
            safe_rate: 0,
            from: Timestamp::EPOCH,
            until: Timestamp::MAX,
            burst: Duration::from_millis(250),
            depth_min: TOKEN,
        }
    }

    fn take_all(bucket: &Bucket, allowance: &Allowance, now: Timestamp) -> u64 {
        (0..).take_while(|_| bucket.take(allowance, now, TOKEN)).count() as u64
    }

    #[test]
    fn an_idle_bucket_saves_no_more_than_its_depth() {
        let (bucket, allowance) = (Bucket::default(), allowance(100));
        assert_eq!(take_all(&bucket, &allowance, Timestamp::from_seconds(60)), 25);
        assert_eq!(take_all(&bucket, &allowance, Timestamp::from_millis(60_010)), 1);
    }

    #[test]
    fn a_share_falls_to_its_safe_value_at_its_expiry() {
        let mut falling = allowance(100);
        falling.expires = Timestamp::from_seconds(2);
        falling.safe_rate = 10 * TOKEN;
        assert_eq!(falling.accrued(Timestamp::from_seconds(4)), 220 * TOKEN);
    }

    #[test]
    fn nothing_accrues_outside_the_slots() {
        let mut windowed = allowance(100);
        windowed.from = Timestamp::from_seconds(10);
        windowed.until = Timestamp::from_seconds(20);
        assert_eq!(windowed.accrued(Timestamp::from_seconds(9)), 0);
        assert_eq!(windowed.accrued(Timestamp::from_seconds(12)), 200 * TOKEN);
        assert_eq!(windowed.accrued(Timestamp::from_seconds(90)), 1_000 * TOKEN);
    }

    #[test]
    fn a_larger_share_finds_no_more_tokens_than_there_were() {
        let (bucket, small) = (Bucket::default(), allowance(40));
        let now = Timestamp::from_seconds(60);
        bucket.settle(&small, now);
        let large = small.renewed(now, 400 * TOKEN, Timestamp::MAX);
        assert_eq!(take_all(&bucket, &large, now), 10);
    }

    #[test]
    fn debt_is_paid_before_the_next_is_admitted() {
        let (bucket, allowance) = (Bucket::default(), allowance(100));
        let now = Timestamp::from_seconds(1);
        bucket.charge(&allowance, now, 125 * TOKEN);
        assert_eq!(bucket.held(&allowance, now), 0);
        assert!(bucket.held(&allowance, Timestamp::from_seconds(3)) > 0);
    }

    proptest! {
        /// Whatever the arrivals and the renewals: in no window is more admitted than accrued in
        /// it plus the deepest bucket at its start.
        #[test]
        fn no_window_holds_more_than_rate_and_bucket(
            steps in prop::collection::vec((1u64..400, 0u64..40, prop::option::of(1u64..200)), 1..60)
        ) {
            let bucket = Bucket::default();
            let mut current = allowance(100);
            let mut now = Timestamp::from_millis(1);
            let mut admitted = Vec::new();
            for (millis, arrivals, rate) in steps {
                now = now.after(Duration::from_millis(millis));
                if let Some(rate) = rate {
                    bucket.settle(&current, now);
                    current = current.renewed(now, rate * TOKEN, Timestamp::MAX);
                }
                let held = current.depth(now);
                let before = current.accrued(now);
                let taken = (0..arrivals).filter(|_| bucket.take(&current, now, TOKEN)).count() as u64;
                admitted.push((before, held, taken * TOKEN));
            }
            for start in 0..admitted.len() {
                let mut sum = 0;
                for end in start..admitted.len() {
                    sum += admitted[end].2;
                    let deepest = admitted[..=start].iter().map(|step| step.1).max().unwrap();
                    prop_assert!(sum <= admitted[end].0 - admitted[start].0 + deepest);
                }
            }
        }
    }
}

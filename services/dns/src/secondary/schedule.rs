//! When a zone's primary is asked, and when its zone is no longer served (RFC 1035 §3.3.13).
//!
//! Pure: the time is an argument, and jitter comes from a seed.

use std::time::Duration;

use domain::rdata::Soa;
use headroom_units::Timestamp;

use crate::{limits, message::Name};

/// The clocks of one zone.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Of the zone that we have: how long until the next question, until it is repeated, and until
    /// the zone has expired.
    timers: Option<Timers>,
    confirmed_at: Timestamp,
    /// When to ask.
    next: Timestamp,
    failures: u32,
    random: fastrand::Rng,
}

#[derive(Debug, Clone, Copy)]
struct Timers {
    refresh: Duration,
    retry: Duration,
    expire: Duration,
}

impl Timers {
    /// The times of a SOA record, brought to what is sensible: they are somebody else's.
    fn of(soa: &Soa<Name>) -> Self {
        let time = |seconds: u32, min, max| Duration::from_secs(seconds.into()).clamp(min, max);
        Self {
            refresh: time(soa.refresh().as_secs(), limits::REFRESH_MIN, limits::REFRESH_MAX),
            retry: time(soa.retry().as_secs(), limits::RETRY_MIN, limits::RETRY_MAX),
            expire: time(soa.expire().as_secs(), limits::EXPIRE_MIN, limits::EXPIRE_MAX),
        }
    }
}

impl Schedule {
    /// The clocks of a zone that we do not have: it is asked for at once.
    pub(super) fn new(seed: u64, now: Timestamp) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { timers: None, confirmed_at: now, next: now, failures: 0, random }
    }

    /// Takes up a zone that was confirmed at a time before. It is asked for at once all the same.
    pub(super) fn resume(&mut self, soa: &Soa<Name>, confirmed_at: Timestamp) {
        (self.timers, self.confirmed_at) = (Some(Timers::of(soa)), confirmed_at);
    }

    /// The primary has this zone.
    pub(super) fn confirm(&mut self, soa: &Soa<Name>, now: Timestamp) {
        let timers = Timers::of(soa);
        (self.timers, self.confirmed_at, self.failures) = (Some(timers), now, 0);
        self.next = now.after(self.jittered(timers.refresh));
    }

    /// No primary has said anything of use.
    pub(super) fn fail(&mut self, now: Timestamp) {
        let pause = match self.timers {
            Some(timers) => timers.retry,
            None => limits::RETRY_MIN.saturating_mul(1 << self.failures.min(20)),
        };
        self.failures = self.failures.saturating_add(1);
        self.next = now.after(self.jittered(pause.min(limits::RETRY_MAX)));
    }

    /// When to ask.
    pub(super) fn next(&self) -> Timestamp {
        self.next
    }

    /// When the zone that we have is no longer served.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.timers.map(|timers| self.confirmed_at.after(timers.expire))
    }

    fn jittered(&mut self, pause: Duration) -> Duration {
        let most = pause.as_millis() * u128::from(limits::JITTER_PERCENT) / 100;
        let most = u64::try_from(most).unwrap_or_default();
        pause - Duration::from_millis(self.random.u64(0..=most))
    }
}

#[cfg(test)]
mod tests {
    use domain::base::{Serial, Ttl};

    use super::*;

    fn soa(refresh: u32, retry: u32, expire: u32) -> Soa<Name> {
        let name: Name = "shop.example".parse().unwrap();
        let [refresh, retry, expire] = [refresh, retry, expire].map(Ttl::from_secs);
        Soa::new(name.clone(), name, Serial(1), refresh, retry, expire, Ttl::from_secs(60))
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// Seconds until the next question.
    fn pause(schedule: &Schedule, now: Timestamp) -> f64 {
        schedule.next().since(now).as_secs_f64()
    }

    #[test]
    fn it_asks_by_the_times_of_the_soa_record() {
        let mut schedule = Schedule::new(1, at(0));
        assert_eq!((schedule.next(), schedule.expires_at()), (at(0), None));
        schedule.confirm(&soa(3_600, 600, 604_800), at(100));
        assert!((3_240.0..=3_600.0).contains(&pause(&schedule, at(100))));
        assert_eq!(schedule.expires_at(), Some(at(604_900)));
        for _ in 0..3 {
            schedule.fail(at(4_000));
            assert!((540.0..=600.0).contains(&pause(&schedule, at(4_000))));
        }
        assert_eq!(schedule.expires_at(), Some(at(604_900)), "a failure confirms nothing");
        schedule.confirm(&soa(3_600, 600, 604_800), at(5_000));
        assert_eq!(schedule.expires_at(), Some(at(609_800)));
    }

    #[test]
    fn a_zone_that_was_never_had_is_asked_for_less_and_less_often() {
        let mut schedule = Schedule::new(1, at(0));
        let mut pauses = Vec::new();
        for _ in 0..40 {
            schedule.fail(at(0));
            pauses.push(pause(&schedule, at(0)));
        }
        assert!((4.5..=5.0).contains(&pauses[0]) && (9.0..=10.0).contains(&pauses[1]));
        assert!(pauses.iter().all(|pause| *pause <= 3_600.0));
        assert!(pauses[39] >= 3_240.0);
    }

    #[test]
    fn times_that_are_not_sensible_are_brought_within_limits() {
        let mut schedule = Schedule::new(1, at(0));
        schedule.confirm(&soa(0, 0, 0), at(0));
        assert!(pause(&schedule, at(0)) >= 27.0);
        assert_eq!(schedule.expires_at(), Some(at(86_400)));
        schedule.fail(at(0));
        assert!(pause(&schedule, at(0)) >= 4.5);
        schedule.confirm(&soa(u32::MAX, u32::MAX, u32::MAX), at(0));
        assert!(pause(&schedule, at(0)) <= 86_400.0);
        assert_eq!(schedule.expires_at(), Some(at(28 * 86_400)));
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let times = |seed| {
            let mut schedule = Schedule::new(seed, at(0));
            schedule.confirm(&soa(3_600, 600, 604_800), at(0));
            schedule.next()
        };
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
    }
}

//! The level of demand: how much load comes for each unit of load that is leased out.
//!
//! Name servers know what each client brings while it holds a lease; what changes for all alike is
//! followed here, from exact counts, faster than any weight could be learned. The level is tracked
//! with its slope (an α-β filter: Kalata, 1984), so that reports that are late do not make it lag
//! behind a day's swing. A leap is believed when it has lasted for some seconds.

use std::time::Duration;

use headroom_units::Timestamp;

/// The weight of the newest second in the level.
const ALPHA: f64 = 0.05;
/// And in its slope: critically damped.
const BETA: f64 = ALPHA * ALPHA / (2.0 - ALPHA);
/// The weight of the newest second where leaps are looked for.
const FAST: f64 = 0.4;
/// A leap is so many standard deviations of what is counted, and a hundredth.
const LEAP_DEVIATIONS: f64 = 5.0;
const LEAP_LEAST: f64 = 0.01;
/// So many seconds in a row make a leap.
const LEAP_SECONDS: u32 = 3;
/// After a leap, and at the start, the level is a mean until it rests on this many seconds.
const SETTLED_AFTER: f64 = 1.0 / ALPHA;
/// The slope is followed no further than this.
const AHEAD: Duration = Duration::from_secs(20);
/// The level within which a purchase can be held at all.
const RANGE: (f64, f64) = (0.05, 20.0);

/// The level of one place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level {
    level: f64,
    slope: f64,
    second: Timestamp,
    fast: f64,
    leaping: u32,
    seconds: f64,
}

impl Level {
    /// The level after the first second: so much was `offered` where so much was `leased`, in
    /// requests per second.
    pub(crate) fn new(offered: f64, leased: f64, second: Timestamp) -> Self {
        let level = ratio(offered, leased);
        Self { level, slope: 0.0, second, fast: level, leaping: 0, seconds: 1.0 }
    }

    /// Takes in a later second.
    pub(crate) fn observe(&mut self, offered: f64, leased: f64, second: Timestamp) {
        let passed = second.since(self.second).as_secs_f64();
        if passed <= 0.0 {
            return;
        }
        let ratio = ratio(offered, leased);
        let expected = self.level + self.slope * passed;
        self.second = second;
        self.level = expected;
        self.fast += FAST * (ratio - self.fast);
        let deviation = (FAST / (2.0 - FAST)).sqrt() / offered.max(1.0).sqrt();
        let leap = expected * (LEAP_DEVIATIONS * deviation + LEAP_LEAST);
        if (self.fast - expected).abs() > leap && (ratio - expected).abs() > leap {
            self.leaping += 1;
            if self.leaping >= LEAP_SECONDS {
                *self = Self { level: ratio, slope: 0.0, seconds: 1.0, fast: ratio, ..*self };
            }
            return;
        }
        self.leaping = 0;
        self.seconds += 1.0;
        let error = ratio - expected;
        self.level = expected + error * ALPHA.max(1.0 / self.seconds);
        if self.seconds > SETTLED_AFTER {
            self.slope += error * BETA / passed;
        }
    }

    /// What it is, or will be, at `now`.
    pub(crate) fn at(&self, now: Timestamp) -> f64 {
        let ahead = now.since(self.second).min(AHEAD).as_secs_f64();
        (self.level + self.slope * ahead).clamp(RANGE.0, RANGE.1)
    }
}

fn ratio(offered: f64, leased: f64) -> f64 {
    (offered / leased.max(f64::MIN_POSITIVE)).clamp(RANGE.0, RANGE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(of: impl Fn(u64) -> f64, seconds: u64) -> Level {
        let mut level = Level::new(6_000.0 * of(0), 6_000.0, Timestamp::EPOCH);
        for second in 1..seconds {
            level.observe(6_000.0 * of(second), 6_000.0, Timestamp::from_seconds(second));
        }
        level
    }

    #[test]
    fn a_slope_is_followed_ahead() {
        let slope = |second: u64| 1.0 + 0.0005 * Timestamp::from_seconds(second).seconds() as f64;
        let level = follow(slope, 300);
        let ahead = level.at(Timestamp::from_seconds(310));
        assert!((ahead - slope(310)).abs() < 0.002, "{ahead}");
    }

    #[test]
    fn a_leap_is_believed_after_some_seconds_and_an_outlier_is_not() {
        let leap = |second| if second < 100 { 1.0 } else { 2.0 };
        assert!((follow(leap, 102).at(Timestamp::EPOCH) - 1.0).abs() < 0.01);
        assert!((follow(leap, 104).at(Timestamp::EPOCH) - 2.0).abs() < 0.05);
        let outlier = |second| if second == 100 { 0.7 } else { 1.0 };
        assert!((follow(outlier, 110).at(Timestamp::EPOCH) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_second_that_was_seen_is_not_seen_again() {
        let mut level = follow(|_| 1.0, 10);
        level.observe(90_000.0, 6_000.0, Timestamp::from_seconds(9));
        assert!((level.at(Timestamp::EPOCH) - 1.0).abs() < 1e-9);
        assert!((Level::new(5.0, 0.0, Timestamp::EPOCH).at(Timestamp::EPOCH) - 20.0).abs() < 1e-9);
    }
}

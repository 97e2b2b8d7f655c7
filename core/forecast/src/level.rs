//! The level: how the load runs against its profile lately.
//!
//! Two levels are kept, each a ratio of averaged load to averaged profile. The fast one knows the
//! last minutes and matters for the next ones; the slow one knows the last season and stays.

use crate::limits;

/// The levels as they were after one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Level {
    fast: f64,
    slow: f64,
    /// Mean load of about a season in requests/s.
    mean: f64,
}

impl Level {
    /// What a profile of one becomes `distance` slots after this level was taken.
    pub(crate) fn factor(&self, distance: u64, season_slots: u64) -> f64 {
        let memory = as_f64(season_slots) / as_f64(limits::LEVEL_MEMORY);
        let say = (-as_f64(distance) / memory).exp();
        self.slow.powf(1.0 - say) * self.fast.powf(say)
    }

    /// What is added to a load before errors are taken relative to it, in requests/s.
    pub(crate) fn floor(&self) -> f64 {
        (self.mean * limits::FLOOR_OF_MEAN).max(limits::FLOOR_MIN)
    }
}

/// Follows the levels from sample to sample.
#[derive(Debug, Clone)]
pub(crate) struct Levels {
    fast: Average,
    slow: Average,
    mean: Average,
}

impl Levels {
    pub(crate) fn new(season_slots: u64) -> Self {
        let season = as_f64(season_slots);
        let slow = Average::over(season);
        Self { fast: Average::over(season / as_f64(limits::LEVEL_FAST)), slow, mean: slow }
    }

    /// Takes in one sample and what the profile had said of it, if it had.
    pub(crate) fn observe(&mut self, load: f64, profile: Option<f64>) -> Level {
        self.mean.add(load, 1.0);
        if let Some(profile) = profile {
            self.fast.add(load, profile);
            self.slow.add(load, profile);
        }
        let bounded = |ratio: Option<f64>| {
            ratio.unwrap_or(1.0).clamp(1.0 / limits::LEVEL_MAX, limits::LEVEL_MAX)
        };
        Level {
            fast: bounded(self.fast.ratio()),
            slow: bounded(self.slow.ratio()),
            mean: self.mean.ratio().unwrap_or(0.0),
        }
    }
}

/// The ratio of two exponentially forgotten sums.
#[derive(Debug, Clone, Copy)]
struct Average {
    keep: f64,
    above: f64,
    below: f64,
}

impl Average {
    /// Forgets over about `slots` samples.
    fn over(slots: f64) -> Self {
        Self { keep: 1.0 - 1.0 / slots.max(1.0), above: 0.0, below: 0.0 }
    }

    fn add(&mut self, above: f64, below: f64) {
        self.above = self.above * self.keep + above;
        self.below = self.below * self.keep + below;
    }

    fn ratio(&self) -> Option<f64> {
        (self.below > f64::MIN_POSITIVE).then(|| self.above / self.below)
    }
}

#[expect(clippy::cast_precision_loss, reason = "slot counts are far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fast_level_loses_its_say_with_distance() {
        let mut levels = Levels::new(96);
        for _ in 0..96 {
            levels.observe(100.0, Some(100.0));
        }
        let level = levels.observe(200.0, Some(100.0));
        let (near, far) = (level.factor(1, 96), level.factor(96, 96));
        assert!(near > 1.8 && far < 1.05, "{near} {far}");
    }

    #[test]
    fn it_stays_finite_without_load() {
        let mut levels = Levels::new(96);
        let level = levels.observe(0.0, Some(0.0));
        assert_eq!((level.factor(1, 96), level.floor()), (1.0, limits::FLOOR_MIN));
        let level = levels.observe(1e12, Some(0.0));
        assert!(level.factor(1, 96) <= limits::LEVEL_MAX);
    }
}

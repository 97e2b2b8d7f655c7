//! The level: how the load runs against its profile lately, and what it has grown since last week.
//!
//! It follows one series from sample to sample. It predicts nothing; the regression weighs it.

use crate::{limits, series::Series};

/// Follows the level of a series.
#[derive(Debug, Clone)]
pub(crate) struct Levels {
    season: u64,
    /// Logarithm of the load over its profile in the last minutes.
    fast: f64,
    /// The same over half a season.
    slow: f64,
    /// Mean load of the last weeks in requests/s.
    mean: f64,
    /// Samples that were learnt.
    learnt: f64,
    /// Sum and count of what was learnt in the last season.
    day: (f64, f64),
    /// Mean load of the season that ended with a slot.
    days: Series,
    /// Logarithm of the last season's mean load over that of a week before.
    growth: f64,
    /// Weights of a new sample in the fast and the slow level.
    rates: (f64, f64),
}

impl Levels {
    pub(crate) fn new(season_slots: u64) -> Self {
        let season = as_f64(season_slots);
        let rate = |part: f64| 1.0 - (-part / season).exp();
        Self {
            season: season_slots,
            fast: 0.0,
            slow: 0.0,
            mean: 0.0,
            learnt: 0.0,
            day: (0.0, 0.0),
            days: Series::new(season_slots * limits::WEEK_SEASONS + 1),
            growth: 0.0,
            rates: (rate(limits::LEVEL_FAST), rate(limits::LEVEL_SLOW)),
        }
    }

    /// The fast level, the slow level and the growth.
    pub(crate) fn hints(&self) -> (f64, f64, f64) {
        (self.fast, self.slow, self.growth)
    }

    /// Mean load of the last weeks in requests/s.
    pub(crate) fn mean(&self) -> f64 {
        self.mean
    }

    /// How many seasons were learnt.
    pub(crate) fn seasons(&self) -> f64 {
        self.learnt / as_f64(self.season)
    }

    /// What is added to a load before a ratio is taken, in requests/s.
    pub(crate) fn floor(&self) -> f64 {
        floor(self.mean)
    }

    /// The logarithm of `load` over `usual`, within what is believed.
    pub(crate) fn log_ratio(&self, load: f64, usual: f64) -> f64 {
        log_ratio(load, usual, self.floor())
    }

    /// Learns one sample; `usual` is what the profile had said of it.
    pub(crate) fn learn(&mut self, load: f64, usual: Option<f64>) {
        if let Some(usual) = usual {
            let ratio = self.log_ratio(load, usual);
            self.fast += self.rates.0 * (ratio - self.fast);
            self.slow += self.rates.1 * (ratio - self.slow);
        }
        self.learnt += 1.0;
        let season = as_f64(self.season);
        let bounded = if self.learnt > season {
            load.min(limits::MEAN_STEP * self.mean + limits::FLOOR_MIN)
        } else {
            load
        };
        let rate = (1.0 / self.learnt).max(1.0 / (limits::MEAN_SEASONS * season));
        self.mean += rate * (bounded - self.mean);
    }

    /// Moves the last season on to end with `slot`; `learnt` are the samples learnt so far.
    pub(crate) fn pass(&mut self, slot: u64, learnt: &Series) {
        if slot.is_multiple_of(self.season) {
            // From the beginning, so that no rounding adds up.
            let season = slot.saturating_sub(self.season - 1)..=slot;
            let known = season.filter_map(|slot| learnt.get(slot));
            self.day = known.fold((0.0, 0.0), |(sum, count), load| (sum + load, count + 1.0));
        } else {
            if let Some(entering) = learnt.get(slot) {
                self.day = (self.day.0 + entering, self.day.1 + 1.0);
            }
            let leaving = slot.checked_sub(self.season).and_then(|slot| learnt.get(slot));
            if let Some(leaving) = leaving {
                self.day = (self.day.0 - leaving, self.day.1 - 1.0);
            }
        }
        self.days.advance(slot);
        self.growth = 0.0;
        if self.day.1 > as_f64(self.season) / 4.0 {
            let mean = (self.day.0 / self.day.1).max(0.0);
            self.days.set(slot, mean);
            let week = self.season * limits::WEEK_SEASONS;
            if let Some(before) = slot.checked_sub(week).and_then(|slot| self.days.get(slot)) {
                let growth = self.log_ratio(mean, before);
                self.growth = growth.clamp(-limits::LOG_GROWTH_MAX, limits::LOG_GROWTH_MAX);
            }
        }
    }

    /// Takes a late sample of `slot` into the last season, which ends with `newest`.
    pub(crate) fn fill(&mut self, slot: u64, load: f64, newest: u64) {
        if newest - slot < self.season {
            self.day = (self.day.0 + load, self.day.1 + 1.0);
        }
    }
}

/// What is added to a load before a ratio is taken, where the mean load is `mean`.
pub(crate) fn floor(mean: f64) -> f64 {
    (mean * limits::FLOOR_OF_MEAN).max(limits::FLOOR_MIN)
}

/// The logarithm of `load` over `usual`, each with `floor` added, within what is believed.
pub(crate) fn log_ratio(load: f64, usual: f64, floor: f64) -> f64 {
    let ratio = ((load + floor) / (usual + floor)).ln();
    ratio.clamp(-limits::LOG_RATIO_MAX, limits::LOG_RATIO_MAX)
}

#[expect(clippy::cast_precision_loss, reason = "slot counts are far below 2^53")]
pub(crate) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels after `loads` against a profile of 100.
    fn after(season: u64, loads: impl Iterator<Item = f64>) -> Levels {
        let mut levels = Levels::new(season);
        let mut known = Series::new(season * 14);
        for (slot, load) in (0..).zip(loads) {
            levels.learn(load, Some(100.0));
            known.set(slot, load);
            levels.pass(slot, &known);
        }
        levels
    }

    #[test]
    fn the_fast_level_runs_before_the_slow_one() {
        let levels = after(96, (0..192).map(|slot| if slot < 188 { 100.0 } else { 200.0 }));
        let (fast, slow, _) = levels.hints();
        assert!(fast > 0.5 && slow < 0.1, "{fast} {slow}");
    }

    #[test]
    fn growth_is_that_of_a_week() {
        let levels = after(8, (0..112).map(|slot| if slot < 56 { 100.0 } else { 200.0 }));
        let (_, _, growth) = levels.hints();
        let without_floor = 2.0_f64.ln();
        assert!(growth > 0.5 * without_floor && growth < without_floor, "{growth}");
    }

    #[test]
    fn one_absurd_sample_stays_bounded() {
        let levels = after(96, (0..970).map(|slot| if slot == 960 { 1e12 } else { 100.0 }));
        let (_, slow, _) = levels.hints();
        assert!(levels.mean() < 101.0 && slow < 0.1, "{} {slow}", levels.mean());
    }
}

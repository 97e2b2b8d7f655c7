//! The forecaster: takes samples in, and lets a [`Forecast`] answer.
//!
//! Each sample first tests the predictor at every kept distance, and only then is learnt from. It
//! does not answer questions itself, and it does not decide what to sell.

use headroom_units::Slot;

use crate::{
    Config, ConfigError, Forecast,
    forecast::{Basis, Point},
    level::{Level, Levels},
    limits,
    profile::Profile,
    residuals::Residuals,
    series::Series,
};

/// Why a sample was not taken in. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The sample is not a load: undefined, infinite, negative, or beyond belief.
    #[error(
        "{0} requests/s in a slot is not a load; accepted is 0 to {max}",
        max = limits::REQUESTS_PER_SECOND_MAX
    )]
    NotALoad(f64),
    /// The slot has a sample already.
    #[error("slot {0} has been observed already")]
    Known(Slot),
    /// The slot is older than what is remembered.
    #[error("slot {0} is older than what is remembered")]
    TooOld(Slot),
}

/// What is known of one region's own load.
#[derive(Debug, Clone)]
pub struct Forecaster {
    config: Config,
    profile: Profile,
    /// Mean requests/s by slot.
    loads: Series<f64>,
    levels: Levels,
    /// The levels after each slot, so that the past can be replayed; gaps carry the last one on.
    level_at: Series<Level>,
    residuals: Residuals,
    observed: u64,
}

impl Forecaster {
    /// A forecaster that knows nothing yet.
    ///
    /// # Errors
    /// If the configuration has no season, no history or no horizon, or more than the limits.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self::empty(config))
    }

    fn empty(config: Config) -> Self {
        let history = config.history_slots();
        Self {
            config,
            profile: Profile::new(config.season_slots),
            loads: Series::new(history),
            levels: Levels::new(config.season_slots),
            level_at: Series::new(history),
            // Twice the horizon: a forecast may begin as late as its own length from now.
            residuals: Residuals::new(history, config.horizon_slots.saturating_mul(2)),
            observed: 0,
        }
    }

    /// Takes in the mean load of one slot in requests/s.
    ///
    /// Slots may be missing, and a missing one may be given later as long as it is remembered: it
    /// then counts for the profile, not as a test of the predictor. A sample that is newer than
    /// all that is remembered together begins a new series.
    ///
    /// # Errors
    /// If the sample is no load, or its slot is known already or no longer remembered.
    pub fn observe(&mut self, slot: Slot, requests_per_second: f64) -> Result<(), Refused> {
        if !(0.0..=limits::REQUESTS_PER_SECOND_MAX).contains(&requests_per_second) {
            return Err(Refused::NotALoad(requests_per_second));
        }
        let number = slot.number();
        match self.loads.newest() {
            Some(newest) if number <= newest => self.fill(slot, requests_per_second)?,
            Some(newest) if number - newest >= self.config.history_slots() => {
                *self = Self::empty(self.config);
                self.append(number, requests_per_second);
            }
            _ => self.append(number, requests_per_second),
        }
        self.observed = self.observed.saturating_add(1);
        Ok(())
    }

    /// How many samples have been taken in since the series began.
    #[must_use]
    pub fn observed(&self) -> u64 {
        self.observed
    }

    /// The newest slot that has been observed.
    #[must_use]
    pub fn newest(&self) -> Option<Slot> {
        self.loads.newest().map(Slot::new)
    }

    /// The load of `slot` in requests/s, if it was observed and is remembered.
    #[must_use]
    pub fn load(&self, slot: Slot) -> Option<f64> {
        self.loads.get(slot.number())
    }

    /// A forecast of the `horizon_slots` slots that begin with `from`. Slots up to the newest
    /// observed one, and those further from it than twice the horizon, have no basis.
    #[must_use]
    pub fn forecast(&self, from: Slot) -> Forecast {
        let last = from.plus(self.config.horizon_slots - 1);
        let mut bases: Vec<Basis> = Vec::new();
        let mut bucket_of_last = None;
        let mut points = Vec::new();
        for target in from.number()..=last.number() {
            points.push(self.point(target).map(|(bucket, point)| {
                if bucket_of_last.replace(bucket) != Some(bucket) {
                    bases.push(self.basis(bucket));
                }
                Point { basis: bases.len() - 1, ..point }
            }));
        }
        Forecast::new(from, points, bases, self.cold_load())
    }

    fn fill(&mut self, slot: Slot, load: f64) -> Result<(), Refused> {
        let number = slot.number();
        if !self.loads.reaches(number) {
            return Err(Refused::TooOld(slot));
        }
        if self.loads.get(number).is_some() {
            return Err(Refused::Known(slot));
        }
        self.loads.set(number, load);
        Ok(())
    }

    fn append(&mut self, slot: u64, load: f64) {
        self.test(slot, load);
        let profile = self.profile.at(&self.loads, slot.saturating_sub(1), slot);
        if let Some((newest, carried)) =
            self.level_at.newest().and_then(|newest| Some((newest, self.level_at.get(newest)?)))
        {
            for gap in newest + 1..slot {
                self.level_at.set(gap, carried);
            }
        }
        self.level_at.set(slot, self.levels.observe(load, profile));
        self.loads.set(slot, load);
    }

    /// Replays what would have been predicted of `slot` from each distance.
    fn test(&mut self, slot: u64, load: f64) {
        let mut settled = None;
        for distance in self.residuals.distances() {
            let Some(origin) = slot.checked_sub(distance) else { break };
            let Some(level) = self.level_before(origin) else { break };
            let profile = if self.profile.is_settled(origin, slot) {
                *settled.get_or_insert_with(|| self.profile.at(&self.loads, origin, slot))
            } else {
                self.profile.at(&self.loads, origin, slot)
            };
            let Some(profile) = profile else { continue };
            let predicted = profile * level.factor(distance, self.config.season_slots);
            let factor = (load + level.floor()) / (predicted + level.floor());
            self.residuals.add(distance, slot, factor);
        }
    }

    /// The level as it was known at `origin`.
    fn level_before(&self, origin: u64) -> Option<Level> {
        let newest = self.level_at.newest()?;
        self.level_at.get(origin.min(newest))
    }

    /// What is expected of `target`, and which bucket of errors answers for its distance.
    fn point(&self, target: u64) -> Option<(usize, Point)> {
        let newest = self.loads.newest().filter(|newest| *newest < target)?;
        let distance = target - newest;
        let bucket = self.residuals.bucket_for(distance)?;
        let level = self.level_at.get(newest)?;
        let predicted = self
            .profile
            .at(&self.loads, newest, target)
            .map(|profile| profile * level.factor(distance, self.config.season_slots));
        Some((bucket, Point { predicted, floor: level.floor(), basis: 0 }))
    }

    /// The errors of a bucket; none until it has been tested for a whole season.
    fn basis(&self, bucket: usize) -> Basis {
        let sorted = self.residuals.sorted(bucket);
        let tested = sorted.len() as u64 >= self.config.season_slots;
        Basis { factors: if tested { sorted.to_vec() } else { Vec::new() } }
    }

    /// The load that is thought possible while errors are not known; `None` without samples.
    fn cold_load(&self) -> Option<f64> {
        let highest = self.loads.values().fold(0.0, f64::max);
        let enough = self.loads.values().take(limits::COLD_SAMPLES_MIN).count();
        (enough == limits::COLD_SAMPLES_MIN)
            .then(|| highest.max(limits::FLOOR_MIN) * limits::COLD_FACTOR)
    }
}

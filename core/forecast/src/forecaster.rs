//! The forecaster: takes samples in, and lets a [`Forecast`] answer.
//!
//! Each sample first tests what was predicted of it at every lead, and only then is learnt from.
//! It does not answer questions itself, and it does not decide what to sell.

use headroom_units::Slot;

use crate::{
    Config, ConfigError, Forecast,
    day::Day,
    forecast::{Basis, LaneErrors, Point, Side},
    lane::{Cuts, Hints, Lane},
    level::as_f64,
    limits::{self, RISKS},
    outage::Outages,
    past::Past,
    profile::Profile,
};

/// Why a sample was not taken in.
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
    /// The slot is more than a season after the newest. It is kept aside.
    #[error(
        "slot {0} is more than a season after the newest; it is taken in when {needed} such samples \
         in a row agree",
        needed = limits::LEAP_SAMPLES
    )]
    TooFar(Slot),
}

/// What is known of one region's own load.
#[derive(Debug, Clone)]
pub struct Forecaster {
    config: Config,
    past: Past,
    outages: Outages,
    lanes: Vec<Lane>,
    day: Day,
    /// Samples that leapt over more than a season, until enough of them agree.
    leapt: Vec<(u64, f64)>,
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

    /// A forecaster for a region of `network`, the sum of many regions, of which much is known.
    ///
    /// It takes the shape of the network's load and its errors, at its own scale, until it has its
    /// own. It needs an hour of a day to tell its scale, not three days.
    ///
    /// # Errors
    /// As [`Self::new`]; or if the network's season or horizon is another.
    pub fn pooled(config: Config, network: &Self) -> Result<Self, ConfigError> {
        config.check()?;
        let alike = |config: &Config| (config.season_slots, config.horizon_slots);
        if alike(&config) != alike(&network.config) {
            return Err(ConfigError::UnlikeNetwork);
        }
        let profile = Profile::shaped_like(network.past.profile());
        let lanes = network.lanes.iter().map(Lane::like).collect();
        Ok(Self { past: Past::new(config, profile), lanes, ..Self::empty(config) })
    }

    fn empty(config: Config) -> Self {
        let season = config.season_slots;
        let lanes = leads(season, config.horizon_slots).map(|lead| Lane::new(lead, season));
        Self {
            config,
            past: Past::new(config, Profile::new(season)),
            outages: Outages::new(season),
            lanes: lanes.collect(),
            day: Day::new(season),
            leapt: Vec::new(),
            observed: 0,
        }
    }

    /// Takes in the mean load of one slot in requests/s.
    ///
    /// Slots may be missing, and a missing one may be given later as long as it is remembered: it
    /// then fills the gap, and does not test what was predicted. Samples that are newer than all
    /// that is remembered together begin a new series, once there are enough of them.
    ///
    /// # Errors
    /// If the sample is no load, or its slot is known already or no longer remembered: nothing has
    /// changed then. Or if the slot is so far ahead that the sample alone is not believed.
    pub fn observe(&mut self, slot: Slot, requests_per_second: f64) -> Result<(), Refused> {
        if !(0.0..=limits::REQUESTS_PER_SECOND_MAX).contains(&requests_per_second) {
            return Err(Refused::NotALoad(requests_per_second));
        }
        let number = slot.number();
        match self.past.loads().newest() {
            Some(newest) if number <= newest => self.fill(slot, requests_per_second)?,
            Some(newest) if number - newest > self.config.season_slots => {
                return self.leap(slot, requests_per_second);
            }
            _ => self.append(number, requests_per_second),
        }
        self.observed = self.observed.saturating_add(1);
        self.leapt.clear();
        Ok(())
    }

    /// Whether errors are known at every distance, a season of each.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.lanes.iter().all(Lane::is_known)
    }

    /// How many samples have been taken in since the series began.
    #[must_use]
    pub fn observed(&self) -> u64 {
        self.observed
    }

    /// The newest slot that has been observed.
    #[must_use]
    pub fn newest(&self) -> Option<Slot> {
        self.past.loads().newest().map(Slot::new)
    }

    /// The load of `slot` in requests/s, if it was observed and is remembered.
    #[must_use]
    pub fn load(&self, slot: Slot) -> Option<f64> {
        self.past.loads().get(slot.number())
    }

    /// A forecast of the `horizon_slots` slots that begin with `from`. Slots up to the newest
    /// observed one, and those further from it than twice the horizon, have no basis.
    #[must_use]
    pub fn forecast(&self, from: Slot) -> Forecast {
        let last = from.plus(self.config.horizon_slots - 1);
        let points = (from.number()..=last.number()).map(|target| self.point(target));
        let lanes = self
            .lanes
            .iter()
            .map(|lane| LaneErrors { tails: lane.tails().clone(), correction: lane.correction() });
        let basis = Basis {
            lanes: lanes.collect(),
            correction: self.day.correction(),
            cold_load: self.cold_load(),
            extremal_index: self.day.extremal_index(),
        };
        Forecast::new(from, points.collect(), basis)
    }

    fn fill(&mut self, slot: Slot, load: f64) -> Result<(), Refused> {
        let number = slot.number();
        if !self.past.loads().reaches(number) {
            return Err(Refused::TooOld(slot));
        }
        if self.past.loads().get(number).is_some() {
            return Err(Refused::Known(slot));
        }
        self.past.fill(number, load);
        Ok(())
    }

    /// One sample far in the future says that a clock was wrong, several that time has passed.
    fn leap(&mut self, slot: Slot, load: f64) -> Result<(), Refused> {
        let number = slot.number();
        match self.leapt.last() {
            Some((last, _))
                if (*last..=last.saturating_add(self.config.season_slots)).contains(&number) =>
            {
                if *last < number {
                    self.leapt.push((number, load));
                }
            }
            // One that was told before.
            Some(_) if self.leapt.iter().any(|(known, _)| *known == number) => {}
            _ => self.leapt = vec![(number, load)],
        }
        if self.leapt.len() < limits::LEAP_SAMPLES {
            return Err(Refused::TooFar(slot));
        }
        let leapt = std::mem::take(&mut self.leapt);
        let forgotten = self.past.loads().newest().is_none_or(|newest| {
            leapt.iter().any(|(number, _)| number - newest >= self.config.history_slots())
        });
        if forgotten {
            *self = Self::empty(self.config);
        }
        for (number, load) in leapt {
            self.append(number, load);
            self.observed = self.observed.saturating_add(1);
        }
        Ok(())
    }

    fn append(&mut self, slot: u64, load: f64) {
        if let Some(first) = self.day.due(slot) {
            self.issue_season(first);
        }
        let levels = self.past.levels();
        let learnt = levels.seasons() * as_f64(self.config.season_slots);
        let outage = self.outages.judge(load, self.past.usual(slot), levels.mean(), learnt);
        for lane in &mut self.lanes {
            lane.settle(slot, load, !outage);
        }
        if levels.seasons() > as_f64(limits::LEARNING_SEASONS) {
            self.day.count(slot, load);
        }
        self.past.append(slot, load, !outage);
        for lane in &mut self.lanes {
            let target = slot.saturating_add(lane.lead());
            if lane.is_due(target)
                && let Some(hints) = self.past.hints(target)
            {
                lane.issue(target, hints);
            }
        }
    }

    /// Keeps what is forecast for the season that begins with slot `first`.
    fn issue_season(&mut self, first: u64) {
        let last = first.saturating_add(self.config.season_slots - 1);
        let season = self.day.correction();
        let of_lane = |lane: &Lane| {
            [Cuts::of(lane.tails(), &season), Cuts::of(lane.tails(), &lane.correction())]
        };
        let cuts: Vec<_> = self.lanes.iter().map(of_lane).collect();
        let quantiles = (first..=last).map(|target| match self.point(target) {
            Point::Known { below, above, near } => {
                let at = |side: &Side| {
                    cuts[side.lane][usize::from(near)].quantiles(side.load, &side.weighted)
                };
                Some(above.map_or_else(
                    || at(&below),
                    |(above, part)| between(at(&below), at(&above), part),
                ))
            }
            Point::Nothing | Point::Cold => None,
        });
        let quantiles: Vec<_> = quantiles.collect();
        self.day.issue(first, quantiles.into_iter());
    }

    /// What is expected of `target`.
    fn point(&self, target: u64) -> Point {
        let newest = self.past.loads().newest().filter(|newest| *newest < target);
        let Some(lead) = newest.map(|newest| target - newest) else { return Point::Nothing };
        if lead > self.config.horizon_slots.saturating_mul(2) {
            return Point::Nothing;
        }
        let Some(hints) = self.past.hints(target) else { return Point::Cold };
        let further = self.lanes.partition_point(|lane| lane.lead() < lead);
        let at = further.min(self.lanes.len() - 1);
        if !self.lanes[at].is_known() {
            return Point::Cold;
        }
        let near = lead * limits::NEAR <= self.config.season_slots;
        let upper = self.side(at, target, &hints);
        match at.checked_sub(1) {
            Some(below) if self.lanes[at].lead() > lead => {
                let (from, to) = (as_f64(self.lanes[below].lead()), as_f64(self.lanes[at].lead()));
                let part = (as_f64(lead) / from).ln() / (to / from).ln();
                let below = self.side(below, target, &hints);
                Point::Known { below, above: Some((upper, part)), near }
            }
            _ => Point::Known { below: upper, above: None, near },
        }
    }

    fn side(&self, at: usize, target: u64, hints: &Hints) -> Side {
        let lane = &self.lanes[at];
        let prediction = lane.predict(target, hints);
        let weighted = lane.tails().weighted(&prediction);
        Side { lane: at, load: prediction.load, weighted }
    }

    /// The load that is thought possible while errors are not known; `None` without samples.
    fn cold_load(&self) -> Option<f64> {
        let highest = self.past.loads().values().fold(0.0, f64::max);
        let enough = self.past.loads().values().take(limits::COLD_SAMPLES_MIN).count();
        (enough == limits::COLD_SAMPLES_MIN)
            .then(|| highest.max(limits::FLOOR_MIN) * limits::COLD_FACTOR)
    }
}

fn between(below: [f64; RISKS], above: [f64; RISKS], part: f64) -> [f64; RISKS] {
    std::array::from_fn(|at| below[at] + part * (above[at] - below[at]))
}

/// How far ahead the lanes of a season predict, if forecasts have `horizon` slots.
fn leads(season: u64, horizon: u64) -> impl Iterator<Item = u64> {
    let lead = move |part: u64| (part * season / limits::LANE_PARTS).max(1);
    let usual = lead(limits::LANE_LEAD_USUAL);
    let furthest = horizon.saturating_mul(2).min(usual).max(horizon);
    let mut last = 0;
    limits::LANE_LEADS.into_iter().map(lead).filter(move |lead| {
        let wanted = *lead > last && last < furthest;
        if wanted {
            last = *lead;
        }
        wanted
    })
}

#[cfg(test)]
mod tests;

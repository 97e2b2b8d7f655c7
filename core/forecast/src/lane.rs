//! A lane: predictions at one lead, and how wrong they were.
//!
//! ```text
//!  issue: hints ──regression──► prediction ──spreads──► scales ──tails──► quantiles ──► pending
//!  settle: the target's load ──► shortages counted, then errors, spreads and hints learnt
//! ```
//!
//! A prediction waits until its target arrives and only then is learnt from, so that every error
//! is out of sample. Errors are looked at in several families, from multiplicative to additive;
//! those that cost the least have the most say. A lane does not know the series.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    coverage::{Correction, Coverage},
    errors::{Errors, Tail},
    level::{as_f64, floor, log_ratio},
    limits::{self, FAMILIES, FAMILY_FLOORS, HINTS, LOSS_RISK, LOSS_STEEPNESS, RISKS},
    regression::Regression,
    spread::Spreads,
};

/// A shortage at this of the counted risks is taken into what is issued at once.
const CORRECTED_AT: usize = 2;

/// What a prediction is made from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hints {
    /// Logarithms over the profile: yesterday, a week ago, the same with its growth, the slow and
    /// the fast level.
    pub(crate) ratios: [f64; HINTS],
    /// The profile at the target, in requests/s.
    pub(crate) usual: f64,
    /// The mean load in requests/s.
    pub(crate) mean: f64,
}

/// What is expected, and the unit of its error in each family, in requests/s.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Prediction {
    pub(crate) load: f64,
    pub(crate) scales: [f64; FAMILIES],
}

/// A prediction whose target has not come.
#[derive(Debug, Clone, Copy)]
struct Pending {
    target: u64,
    hints: Hints,
    prediction: Prediction,
    /// The quantiles at the counted risks.
    quantiles: [f64; RISKS],
    /// Each family's own quantile at the risk that families are compared at.
    compared: [f64; FAMILIES],
}

/// The errors of a lane, as a forecast takes them along.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tails {
    errors: Tail,
    /// What each family has to say; together 1.
    pub(crate) weights: [f64; FAMILIES],
    /// The quantiles that families are compared at.
    compared: [f64; FAMILIES],
}

/// Quantiles of the scaled errors at the counted risks, corrected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cuts {
    errors: [[f64; FAMILIES]; RISKS],
    widened: [f64; RISKS],
}

/// Predictions at one lead.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    lead: u64,
    /// Every so many slots there is a prediction.
    every: u64,
    /// Whether forecasts are corrected by how it fared.
    is_near: bool,
    refreshed_every: u64,
    /// Predictions in a season.
    season: f64,
    regression: Regression,
    spreads: Spreads,
    errors: Errors,
    losses: [f64; FAMILIES],
    tails: Arc<Tails>,
    coverage: Coverage,
    cuts: Cuts,
    pending: VecDeque<Pending>,
    /// Predictions whose target came, and those of them that were learnt.
    settled: u64,
    learnt: u64,
    /// Whether it began with the errors of a network.
    pooled: bool,
}

impl Lane {
    pub(crate) fn new(lead: u64, season_slots: u64) -> Self {
        let is_far = lead * limits::LANE_PARTS >= limits::LANE_LEAD_FAR * season_slots;
        let parts =
            if is_far { limits::LANE_PARTS / limits::FAR_EVERY } else { limits::LANE_PARTS };
        let every = (season_slots / parts).max(1);
        let season = as_f64(season_slots) / as_f64(every);
        let near = (-as_f64(lead) * limits::GUESS_NEAR / as_f64(season_slots)).exp();
        let guesses = limits::NEAR_GUESS.iter().zip(limits::FAR_GUESS);
        let mut guess = [0.0; HINTS];
        for (guess, (nearby, far)) in guess.iter_mut().zip(guesses) {
            *guess = near * nearby + (1.0 - near) * far;
        }
        let ridge = limits::REGRESSION_RIDGE * season;
        let memory = limits::REGRESSION_SEASONS * season;
        let mut lane = Self {
            lead,
            every,
            is_near: lead * limits::NEAR <= season_slots,
            refreshed_every: (season_slots / every / limits::REFRESHES).max(1),
            season,
            regression: Regression::new(guess, ridge, memory),
            spreads: Spreads::new(season_slots, every),
            errors: Errors::new(),
            losses: [0.0; FAMILIES],
            tails: Arc::new(Tails::of(&Errors::new(), &[0.0; FAMILIES])),
            coverage: Coverage::new(season, limits::LANE_CORRECTION_MAX),
            cuts: Cuts { errors: [[0.0; FAMILIES]; RISKS], widened: [1.0; RISKS] },
            pending: VecDeque::new(),
            settled: 0,
            learnt: 0,
            pooled: false,
        };
        lane.correct();
        lane
    }

    /// A lane of a region that begins with what the same lane of its network knows.
    pub(crate) fn like(network: &Self) -> Self {
        let samples = limits::POOLED_SEASONS * network.season;
        let memory = limits::REGRESSION_SEASONS * network.season;
        let mut lane = Self {
            regression: network.regression.weighing(samples, memory),
            spreads: network.spreads.unsettled(),
            errors: network.errors.weighing(samples),
            coverage: Coverage::new(network.season, limits::LANE_CORRECTION_MAX),
            pending: VecDeque::new(),
            settled: 0,
            learnt: 0,
            pooled: network.is_known(),
            ..network.clone()
        };
        lane.refresh();
        lane
    }

    pub(crate) fn lead(&self) -> u64 {
        self.lead
    }

    /// Whether it has errors of a season to go by.
    pub(crate) fn is_known(&self) -> bool {
        self.pooled || as_f64(self.learnt) >= self.season
    }

    pub(crate) fn tails(&self) -> &Arc<Tails> {
        &self.tails
    }

    pub(crate) fn correction(&self) -> Correction {
        self.coverage.correction()
    }

    /// Whether a prediction is made for `target`.
    pub(crate) fn is_due(&self, target: u64) -> bool {
        target.is_multiple_of(self.every)
    }

    /// What is expected of `target`.
    pub(crate) fn predict(&self, target: u64, hints: &Hints) -> Prediction {
        let ratio = self.regression.predict(&hints.ratios);
        let ratio = ratio.clamp(-limits::LOG_PREDICTED_MAX, limits::LOG_PREDICTED_MAX);
        let floor = floor(hints.mean);
        let load = ((hints.usual + floor) * ratio.exp() - floor).max(0.0);
        let (spreads, units) = (self.spreads.at(target), units(load, hints.mean));
        let scales = std::array::from_fn(|family| spreads[family] * units[family]);
        Prediction { load, scales }
    }

    /// Makes a prediction of `target` that is to be tested.
    pub(crate) fn issue(&mut self, target: u64, hints: Hints) {
        let prediction = self.predict(target, &hints);
        let weighted = self.tails.weighted(&prediction);
        let quantiles = if self.is_near {
            self.cuts.quantiles(prediction.load, &weighted)
        } else {
            [f64::INFINITY; RISKS]
        };
        let compared = self.tails.compared;
        let compared = std::array::from_fn(|family| {
            prediction.load + compared[family] * prediction.scales[family]
        });
        self.pending.push_back(Pending { target, hints, prediction, quantiles, compared });
    }

    /// Tests the prediction of `slot`, whose load has come, and learns from it if it is to be
    /// learnt from. Predictions of slots that are over are dropped.
    pub(crate) fn settle(&mut self, slot: u64, load: f64, learn: bool) {
        while self.pending.front().is_some_and(|pending| pending.target <= slot) {
            let over = self.pending.pop_front();
            if let Some(pending) = over.filter(|pending| pending.target == slot) {
                self.test(load, &pending, learn);
            }
        }
    }

    fn test(&mut self, load: f64, pending: &Pending, learn: bool) {
        if learn {
            self.learn(load, pending);
            self.learnt += 1;
        }
        self.settled += 1;
        let short = pending.quantiles.map(|quantile| load > quantile);
        if self.is_near && as_f64(self.settled) >= self.season * as_f64(limits::LEARNING_SEASONS) {
            self.coverage.count(short);
        }
        if learn && self.learnt.is_multiple_of(self.refreshed_every) {
            let refreshes = self.season / as_f64(self.refreshed_every);
            self.errors.forget((-1.0 / (refreshes * limits::ERROR_SEASONS)).exp());
            self.regression.solve();
            self.refresh();
        } else if self.is_near
            && (short[CORRECTED_AT] || self.settled.is_multiple_of(limits::CORRECTED_EVERY))
        {
            self.correct();
        }
    }

    fn learn(&mut self, load: f64, pending: &Pending) {
        let Pending { target, hints, prediction, compared, .. } = pending;
        let outcome = log_ratio(load, hints.usual, floor(hints.mean));
        let error = (outcome - self.regression.predict(&hints.ratios)).abs();
        let weight =
            if error > limits::REGRESSION_STEP { limits::REGRESSION_STEP / error } else { 1.0 };
        self.regression.learn(&hints.ratios, outcome, weight);
        let off = load - prediction.load;
        let mut sizes = units(prediction.load, hints.mean);
        let mut scaled = prediction.scales;
        for (size, scaled) in sizes.iter_mut().zip(&mut scaled) {
            *size = off.abs() / *size;
            *scaled = off / *scaled;
        }
        self.spreads.learn(*target, sizes);
        let (rate, mean) = (1.0 / (limits::LOSS_SEASONS * self.season), hints.mean);
        self.errors.add(scaled);
        for (known, compared) in self.losses.iter_mut().zip(compared) {
            let over = load - compared;
            let loss = if over > 0.0 { (1.0 - LOSS_RISK) * over } else { -LOSS_RISK * over };
            *known += rate * (loss / mean.max(limits::FLOOR_MIN) - *known);
        }
    }

    /// Takes what was learnt of errors into what is issued.
    fn refresh(&mut self) {
        self.tails = Arc::new(Tails::of(&self.errors, &self.losses));
        self.correct();
    }

    /// Takes shortages into what is issued.
    fn correct(&mut self) {
        if self.is_near {
            self.cuts = Cuts::of(&self.tails, &self.coverage.correction());
        }
    }
}

impl Tails {
    pub(crate) fn of(errors: &Errors, losses: &[f64; FAMILIES]) -> Self {
        let errors = errors.tail();
        let compared = errors.at(LOSS_RISK);
        let least = losses.iter().copied().fold(f64::INFINITY, f64::min).max(1e-12);
        let weights = losses.map(|loss| (-LOSS_STEEPNESS * (loss / least - 1.0)).exp());
        let sum: f64 = weights.iter().sum();
        Self { errors, weights: weights.map(|weight| weight / sum), compared }
    }

    /// The scales of a prediction by how much each family has to say.
    pub(crate) fn weighted(&self, prediction: &Prediction) -> [f64; FAMILIES] {
        std::array::from_fn(|family| self.weights[family] * prediction.scales[family])
    }

    /// The scaled errors that are exceeded with chance `risk`.
    pub(crate) fn at(&self, risk: f64) -> [f64; FAMILIES] {
        self.errors.at(risk)
    }
}

impl Cuts {
    pub(crate) fn of(tails: &Tails, correction: &Correction) -> Self {
        let (taken, widened) = correction.counted();
        Self { errors: taken.map(|risk| tails.at(risk)), widened }
    }

    /// The loads that are exceeded with the counted risks.
    pub(crate) fn quantiles(&self, load: f64, weighted: &[f64; FAMILIES]) -> [f64; RISKS] {
        std::array::from_fn(|at| quantile(load, weighted, &self.errors[at], self.widened[at]))
    }
}

/// The load so many scaled errors above what is expected, the distance multiplied by `widened`.
pub(crate) fn quantile(
    load: f64,
    weighted: &[f64; FAMILIES],
    errors: &[f64; FAMILIES],
    widened: f64,
) -> f64 {
    let distance: f64 = weighted.iter().zip(errors).map(|(scale, error)| scale * error).sum();
    (load + if distance > 0.0 { distance * widened } else { distance }).max(0.0)
}

/// What errors of a prediction are relative to, in each family.
#[inline]
fn units(load: f64, mean: f64) -> [f64; FAMILIES] {
    let mean = mean.max(limits::FLOOR_MIN);
    let mut units = FAMILY_FLOORS;
    for unit in &mut units {
        *unit = load + *unit * mean;
    }
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS_NONE: Hints = Hints { ratios: [0.0; HINTS], usual: 100.0, mean: 100.0 };

    /// A lane of lead 2 after loads that are wrong by each of `errors` in turn.
    fn after(errors: &[f64], slots: u64) -> Lane {
        let mut lane = Lane::new(2, 48);
        for (slot, error) in (0..slots).zip(errors.iter().cycle()) {
            lane.settle(slot, 100.0 + error, true);
            lane.issue(slot + 2, HINTS_NONE);
        }
        lane
    }

    fn at(lane: &Lane, risk: f64) -> f64 {
        let prediction = lane.predict(0, &HINTS_NONE);
        let weighted = lane.tails.weighted(&prediction);
        quantile(prediction.load, &weighted, &lane.tails.at(risk), 1.0)
    }

    #[test]
    fn quantiles_are_those_of_the_errors_that_were_made() {
        let lane = after(&[-10.0, 0.0, 5.0, 10.0, 20.0], 48 * 30);
        assert!(lane.is_known());
        assert!((at(&lane, 0.5) - 105.0).abs() < 4.0, "{}", at(&lane, 0.5));
        assert!((at(&lane, 0.1) - 120.0).abs() < 4.0, "{}", at(&lane, 0.1));
    }

    #[test]
    fn it_is_known_after_a_season_of_its_own_or_from_its_network() {
        assert!(!after(&[1.0], 48).is_known());
        let lane = after(&[1.0, -1.0], 48 * 10);
        let like = Lane::like(&lane);
        assert!(like.is_known() && like.pending.is_empty());
        assert!(!Lane::like(&after(&[1.0], 8)).is_known());
        assert!(at(&like, 0.01) >= at(&lane, 0.01), "it is not sure that it is like the network");
    }

    #[test]
    fn what_is_not_learnt_is_counted_all_the_same() {
        let mut lane = after(&[-1.0, 1.0], 48 * 20);
        let (before, known) = (lane.correction(), at(&lane, 0.01));
        for slot in 48 * 20..48 * 20 + 2 {
            lane.settle(slot, 1e9, false);
        }
        assert_ne!(lane.correction(), before);
        assert_eq!(at(&lane, 0.01), known);
    }
}

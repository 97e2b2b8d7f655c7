//! Keeps the stated risk: counts shortages, and corrects what quantiles are taken.
//!
//! The integral part of conformal control (Gibbs & Candès 2021; Angelopoulos, Candès & Tibshirani
//! 2023): what was short beyond the stated risk is made good within a week by taking quantiles at
//! a lower risk, and the other way round, within bounds. It also counts how shortages hang
//! together, for runs of slots. It does not know what the quantiles are of.

use crate::limits::{
    AIM, BANKED_SEASONS_MAX, CORRECTION_MIN, COUNTED_RISKS, EVEN_RISK, OWED_SEASONS_MAX,
    REPAY_SEASONS, RISKS, RUNS_MEMORY, WIDEN,
};

/// How shortages of one kind of forecast went so far.
#[derive(Debug, Clone)]
pub(crate) struct Coverage {
    season: f64,
    /// The most that a risk is multiplied by.
    correction_max: f64,
    /// Slots that were short beyond what was stated, for each counted risk.
    excess: [f64; RISKS],
}

/// Which quantiles to take instead of those that were asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Correction {
    /// The risks to take for the counted ones.
    taken: [f64; RISKS],
    /// And what to multiply the distance from the prediction by.
    widened: [f64; RISKS],
}

impl Coverage {
    pub(crate) fn new(season_slots: f64, correction_max: f64) -> Self {
        Self { season: season_slots, correction_max, excess: [0.0; RISKS] }
    }

    /// Counts one slot, with whether it was short at each counted risk.
    pub(crate) fn count(&mut self, short: [bool; RISKS]) {
        for ((excess, risk), short) in self.excess.iter_mut().zip(COUNTED_RISKS).zip(short) {
            let counted = f64::from(u8::from(short)) - risk * AIM;
            let banked = risk * self.season * BANKED_SEASONS_MAX;
            *excess = (*excess + counted).clamp(-banked, self.season * OWED_SEASONS_MAX);
        }
    }

    pub(crate) fn correction(&self) -> Correction {
        let mut correction = Correction::none();
        for (at, excess) in self.excess.iter().enumerate() {
            let owed = excess / (COUNTED_RISKS[at] * self.season * REPAY_SEASONS);
            correction.taken[at] *= (1.0 - owed).clamp(CORRECTION_MIN, self.correction_max);
            correction.widened[at] += WIDEN * (owed - 1.0).max(0.0);
        }
        // A smaller risk is never taken as a larger one, nor closer.
        for at in (0..RISKS - 1).rev() {
            correction.taken[at] = correction.taken[at].max(correction.taken[at + 1]);
        }
        for at in 1..RISKS {
            correction.widened[at] = correction.widened[at].max(correction.widened[at - 1]);
        }
        correction
    }
}

impl Correction {
    /// The one that changes nothing.
    pub(crate) const fn none() -> Self {
        Self { taken: COUNTED_RISKS, widened: [1.0; RISKS] }
    }

    /// For each counted risk the risk to take, and what to multiply the distance by.
    pub(crate) const fn counted(&self) -> ([f64; RISKS], [f64; RISKS]) {
        (self.taken, self.widened)
    }

    /// The same for any risk. The first rises with `risk`, the second falls.
    pub(crate) fn of(&self, risk: f64) -> (f64, f64) {
        let last = RISKS - 1;
        if risk <= COUNTED_RISKS[last] {
            return (risk * self.taken[last] / COUNTED_RISKS[last], self.widened[last]);
        }
        if risk >= EVEN_RISK {
            return (risk, 1.0);
        }
        // Between two counted risks, or the largest and even odds: straight in logarithms.
        let below = COUNTED_RISKS.iter().position(|counted| *counted < risk).unwrap_or(last);
        let low = (COUNTED_RISKS[below], self.taken[below], self.widened[below]);
        let high = match below.checked_sub(1) {
            Some(above) => (COUNTED_RISKS[above], self.taken[above], self.widened[above]),
            None => (EVEN_RISK, EVEN_RISK, 1.0),
        };
        let part = (risk / low.0).ln() / (high.0 / low.0).ln();
        (low.1 * (high.1 / low.1).powf(part), low.2 + part * (high.2 - low.2))
    }
}

/// How shortages hang together.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    /// Shortages and runs of them, with forgetting.
    shortages: f64,
    runs: f64,
    last_short: Option<u64>,
}

impl Runs {
    pub(crate) fn new() -> Self {
        // As if each run so far had been of two slots.
        Self { shortages: 2.0, runs: 1.0, last_short: None }
    }

    pub(crate) fn count(&mut self, slot: u64, short: bool) {
        if short {
            let keep = 1.0 - 1.0 / RUNS_MEMORY;
            let goes_on = self.last_short.is_some_and(|last| last + 1 == slot);
            self.shortages = self.shortages * keep + 1.0;
            self.runs = self.runs * keep + if goes_on { 0.0 } else { 1.0 };
            self.last_short = Some(slot);
        }
    }

    /// The share of shortages that begin a run of them: 1 if they stand alone, near 0 if they come
    /// in long runs. Statistics calls it the extremal index.
    pub(crate) fn extremal_index(&self) -> f64 {
        (self.runs / self.shortages).clamp(0.0, 1.0)
    }
}

/// The risk for each slot of a run of `count` so that none of them is short but with chance `risk`,
/// where shortages begin a run of their own with chance `index`.
///
/// It lies between that of slots that know nothing of each other and that of slots that are short
/// together.
pub(crate) fn risk_of_each(risk: f64, count: f64, index: f64) -> f64 {
    let independent = 1.0 + (count - 1.0).max(0.0) * index.clamp(0.0, 1.0);
    -((-risk).ln_1p() / independent).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_short_is_made_good() {
        let mut coverage = Coverage::new(288.0, 2.0);
        (0..15).for_each(|_| coverage.count([true; RISKS]));
        let (taken, widened) = coverage.correction().of(0.01);
        assert!(taken < 0.006 && taken > 0.001 && widened <= 1.0, "{taken} {widened}");
        (0..60).for_each(|_| coverage.count([true; RISKS]));
        let (taken, widened) = coverage.correction().of(0.01);
        assert!(taken <= 0.003 && widened > 1.5, "{taken} {widened}");
        (0..288 * 60).for_each(|_| coverage.count([false; RISKS]));
        let (taken, widened) = coverage.correction().of(0.01);
        assert!(taken > 0.01 && taken <= 0.02 && widened <= 1.0, "{taken} {widened}");
    }

    #[test]
    fn risks_stay_in_order() {
        let mut coverage = Coverage::new(96.0, 4.0);
        for n in 0..40 {
            coverage.count([n < 39, n < 20, false, n < 3]);
        }
        let correction = coverage.correction();
        let risks = [0.0, 1e-6, 0.003, 0.004, 0.01, 0.02, 0.03, 0.07, 0.1, 0.3, 0.5, 0.9];
        let taken = risks.map(|risk| correction.of(risk).0);
        assert!(taken.is_sorted(), "{taken:?}");
        let widened = risks.map(|risk| -correction.of(risk).1);
        assert!(widened.is_sorted(), "{widened:?}");
        assert_eq!(Correction::none().of(0.02).1, 1.0);
        assert!((Correction::none().of(0.02).0 - 0.02).abs() < 1e-12);
    }

    #[test]
    fn runs_of_shortages_are_told_from_single_ones() {
        let (mut single, mut long) = (Runs::new(), Runs::new());
        for slot in 0..4_000 {
            single.count(slot, slot % 10 == 0);
            long.count(slot, slot % 100 < 10);
        }
        assert!(single.extremal_index() > 0.95 && long.extremal_index() < 0.15);
    }

    #[test]
    fn the_risk_of_each_slot_is_between_the_bounds() {
        let each = |index| risk_of_each(0.01, 36.0, index);
        assert!((each(0.0) - 0.01).abs() < 1e-12);
        assert!((1.0 - (1.0 - each(1.0)).powi(36) - 0.01).abs() < 1e-12);
        assert!(each(1.0) < each(0.3) && each(0.3) < each(0.0));
        assert_eq!(risk_of_each(0.0, 5.0, 0.5), 0.0);
    }
}

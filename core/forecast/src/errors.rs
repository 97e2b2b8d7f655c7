//! How wrong predictions were: histograms of scaled errors that forget, and their upper tails.
//!
//! One for each family, side by side. One error moves a quantile by no more than its rank, however
//! large it is.

use crate::limits::{self, FAMILIES};

const BINS: usize = 160;
const LOWEST: f64 = -8.0;
const WIDTH: f64 = 0.125;
/// Up to here bins are as wide.
const EVEN: f64 = 4.0;

/// Past errors in units of their spread.
#[derive(Debug, Clone)]
pub(crate) struct Errors {
    bins: Box<[[f64; FAMILIES]; BINS]>,
    /// What all errors of a family weigh.
    total: f64,
    /// What a new error weighs. Rather than that old ones weigh less, new ones weigh more.
    unit: f64,
}

/// The upper tails of [`Errors`], for look-ups.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tail {
    /// How much weighs more than the upper end of each bin, from the highest bin down.
    above: Box<[[f64; FAMILIES]; BINS + 1]>,
    total: f64,
    /// Beyond it a family is extrapolated.
    rare: [Rare; FAMILIES],
}

/// From this share of errors on, from this error, with this slope.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rare {
    share: f64,
    error: f64,
    slope: f64,
}

impl Errors {
    pub(crate) fn new() -> Self {
        Self { bins: Box::new([[0.0; FAMILIES]; BINS]), total: 0.0, unit: 1.0 }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates when it becomes an integer, and the bins are few"
    )]
    pub(crate) fn add(&mut self, errors: [f64; FAMILIES]) {
        for (family, error) in errors.into_iter().enumerate() {
            let bin = (((warped(error) - LOWEST) / WIDTH) as usize).min(BINS - 1);
            self.bins[bin][family] += self.unit;
        }
        self.total += self.unit;
    }

    /// The same, weighing no more than `total` errors.
    pub(crate) fn weighing(&self, total: f64) -> Self {
        let mut lighter = self.clone();
        let part = total * self.unit / self.total;
        if part < 1.0 {
            lighter.multiply(part);
        }
        lighter
    }

    /// Makes all that is known weigh `keep` of what it did.
    pub(crate) fn forget(&mut self, keep: f64) {
        self.unit /= keep;
        if self.unit > limits::ERROR_UNIT_MAX {
            self.multiply(1.0 / self.unit);
            self.unit = 1.0;
        }
    }

    fn multiply(&mut self, by: f64) {
        self.bins.iter_mut().flatten().for_each(|bin| *bin *= by);
        self.total *= by;
    }

    /// The tails as they are now.
    pub(crate) fn tail(&self) -> Tail {
        let mut above = Box::new([[0.0; FAMILIES]; BINS + 1]);
        let mut mass = [0.0; FAMILIES];
        for (above, bin) in above.iter_mut().skip(1).zip(self.bins.iter().rev()) {
            mass = std::array::from_fn(|family| mass[family] + bin[family]);
            *above = mass;
        }
        let none = Rare { share: 0.0, error: 0.0, slope: limits::TAIL_SLOPE_MIN };
        let mut tail = Tail { above, total: self.total, rare: [none; FAMILIES] };
        let known = self.total / self.unit;
        let share = (limits::TAIL_ERRORS / (known + 1.0)).min(0.5);
        for family in 0..FAMILIES {
            let rare = if self.total > 0.0 {
                let (near, nearer) =
                    (tail.seen(family, share), tail.seen(family, (3.0 * share).min(0.5)));
                let slope = ((near - nearer) / 3.0_f64.ln()).max(limits::TAIL_SLOPE_MIN);
                Rare { share, error: near, slope }
            } else {
                Rare { share, ..none }
            };
            tail.rare[family] = rare;
        }
        tail
    }
}

impl Tail {
    /// The errors that are exceeded with chance `risk`, in each family. They fall as the risk
    /// rises.
    pub(crate) fn at(&self, risk: f64) -> [f64; FAMILIES] {
        std::array::from_fn(|family| {
            let rare = &self.rare[family];
            if risk < rare.share || self.total <= 0.0 {
                rare.error + rare.slope * (rare.share / risk.max(f64::MIN_POSITIVE)).ln()
            } else {
                self.seen(family, risk)
            }
        })
    }

    /// The error of a family that a share `risk` of those seen exceeded.
    fn seen(&self, family: usize, risk: f64) -> f64 {
        let mass = risk * self.total;
        let upper = self.above.partition_point(|above| above[family] < mass).clamp(1, BINS);
        let (from, to) = (self.above[upper - 1][family], self.above[upper][family]);
        let part = ((mass - from) / (to - from).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
        unwarped(LOWEST + WIDTH * (as_f64(BINS - upper + 1) - part))
    }
}

/// Small errors as they are, large ones by their logarithm: bins grow with the error, and reach
/// to 30 spreads.
fn warped(error: f64) -> f64 {
    if error.abs() <= EVEN {
        error
    } else {
        (EVEN * (1.0 + (error.abs() / EVEN).ln())).copysign(error)
    }
}

fn unwarped(error: f64) -> f64 {
    if error.abs() <= EVEN {
        error
    } else {
        (EVEN * (error.abs() / EVEN - 1.0).exp()).copysign(error)
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are few bins")]
fn as_f64(bins: usize) -> f64 {
    bins as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors that are even from -1 to 1, and in the last family from -10 to 10.
    fn even() -> Errors {
        let mut errors = Errors::new();
        for n in 0..2_000 {
            let error = f64::from(n) / 1_000.0 - 1.0;
            let mut all = [error; FAMILIES];
            all[FAMILIES - 1] *= 10.0;
            errors.add(all);
        }
        errors
    }

    #[test]
    fn quantiles_are_those_of_the_errors() {
        let mut errors = even();
        for _ in 0..3 {
            let tail = errors.tail();
            for risk in [0.01, 0.05, 0.25, 0.5, 0.9] {
                let expected = 1.0 - 2.0 * risk;
                let at = tail.at(risk);
                assert!((at[0] - expected).abs() < 0.01, "{risk}: {at:?}");
                assert!((at[FAMILIES - 1] / 10.0 - expected).abs() < 0.03, "{risk}: {at:?}");
            }
            errors.forget(0.8);
        }
    }

    #[test]
    fn what_is_forgotten_makes_the_tail_less_sure() {
        let mut errors = even();
        let sure = errors.tail().at(1e-4)[0];
        errors.forget(0.01);
        assert!(errors.tail().at(1e-4)[0] > sure);
        for _ in 0..20 {
            errors.add([3.0; FAMILIES]);
        }
        assert!(errors.tail().at(0.3)[0] > 2.8, "new errors weigh as much as the old ones");
        assert!(even().weighing(20.0).tail().at(1e-4)[0] > sure);
    }

    #[test]
    fn a_tail_goes_on_beyond_what_was_seen() {
        let tail = even().tail();
        let risks = [0.1, 0.01, 1e-3, 1e-4, 1e-6, 0.0];
        let quantiles = risks.map(|risk| tail.at(risk)[0]);
        assert!(quantiles.is_sorted() && quantiles[5].is_finite(), "{quantiles:?}");
        assert!(quantiles[4] > 1.5, "{quantiles:?}");
    }

    #[test]
    fn without_errors_the_tail_still_rises() {
        let tail = Errors::new().tail();
        let quantiles = [0.9, 0.5, 0.1, 1e-9].map(|risk| tail.at(risk)[0]);
        assert!(quantiles.is_sorted() && quantiles[1] == 0.0, "{quantiles:?}");
    }

    #[test]
    fn an_absurd_error_is_one_error() {
        let mut errors = even();
        let before = errors.tail().at(0.01)[0];
        for error in [1e300, f64::INFINITY] {
            errors.add([error; FAMILIES]);
        }
        assert!((errors.tail().at(0.01)[0] - before).abs() < 0.01);
    }
}

//! How wrong predictions were: a histogram of scaled errors that forgets, and its upper tail.
//!
//! One error moves a quantile by no more than its rank, however large it is.

use crate::limits;

const BINS: usize = 160;
const LOWEST: f64 = -8.0;
const WIDTH: f64 = 0.125;
/// Up to here bins are as wide.
const EVEN: f64 = 4.0;

/// Past errors in units of their spread.
#[derive(Debug, Clone)]
pub(crate) struct Errors {
    bins: [f64; BINS],
    total: f64,
}

/// The upper tail of [`Errors`], for look-ups.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tail {
    /// How much weighs more than the upper end of each bin, from the highest bin down.
    above: Vec<f64>,
    total: f64,
    /// From this mass on it is extrapolated, from this error, with this slope.
    rare: (f64, f64, f64),
}

impl Errors {
    pub(crate) const fn new() -> Self {
        Self { bins: [0.0; BINS], total: 0.0 }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float saturates when it becomes an integer, and the bins are few"
    )]
    pub(crate) fn add(&mut self, error: f64) {
        let bin = (((warped(error) - LOWEST) / WIDTH) as usize).min(BINS - 1);
        self.bins[bin] += 1.0;
        self.total += 1.0;
    }

    /// The same, weighing no more than `total`.
    pub(crate) fn weighing(&self, total: f64) -> Self {
        let mut lighter = self.clone();
        if self.total > total {
            lighter.forget(total / self.total);
        }
        lighter
    }

    /// Makes all that is known weigh `keep` of what it did.
    pub(crate) fn forget(&mut self, keep: f64) {
        for bin in &mut self.bins {
            *bin *= keep;
        }
        self.total = self.bins.iter().sum();
    }

    /// The tail as it is now.
    pub(crate) fn tail(&self) -> Tail {
        let mut above = Vec::with_capacity(BINS + 1);
        let mut mass = 0.0;
        above.push(0.0);
        for bin in self.bins.iter().rev() {
            mass += bin;
            above.push(mass);
        }
        let mut tail = Tail { above, total: self.total, rare: (0.0, 0.0, 0.0) };
        if self.total <= 0.0 {
            tail.rare = (0.5, 0.0, limits::TAIL_SLOPE_MIN);
            return tail;
        }
        let share = (limits::TAIL_ERRORS / (self.total + 1.0)).min(0.5);
        let (near, nearer) = (tail.at(share), tail.at((3.0 * share).min(0.5)));
        let slope = ((near - nearer) / 3.0_f64.ln()).max(limits::TAIL_SLOPE_MIN);
        tail.rare = (share, near, slope);
        tail
    }
}

impl Tail {
    /// The error that is exceeded with chance `risk`. It falls as the risk rises.
    pub(crate) fn at(&self, risk: f64) -> f64 {
        let (share, near, slope) = self.rare;
        if risk < share || self.total <= 0.0 {
            return near + slope * (share / risk.max(f64::MIN_POSITIVE)).ln();
        }
        let mass = risk * self.total;
        let upper = self.above.partition_point(|above| *above < mass).clamp(1, BINS);
        let (from, to) = (self.above[upper - 1], self.above[upper]);
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

    /// Errors that are even from -1 to 1.
    fn even() -> Errors {
        let mut errors = Errors::new();
        for n in 0..2_000 {
            errors.add(f64::from(n) / 1_000.0 - 1.0);
        }
        errors
    }

    #[test]
    fn quantiles_are_those_of_the_errors() {
        let tail = even().tail();
        for risk in [0.01, 0.05, 0.25, 0.5, 0.9] {
            let expected = 1.0 - 2.0 * risk;
            assert!((tail.at(risk) - expected).abs() < 0.01, "{risk}: {}", tail.at(risk));
        }
    }

    #[test]
    fn a_tail_goes_on_beyond_what_was_seen() {
        let tail = even().tail();
        let risks = [0.1, 0.01, 1e-3, 1e-4, 1e-6, 0.0];
        let quantiles = risks.map(|risk| tail.at(risk));
        assert!(quantiles.is_sorted() && quantiles[5].is_finite(), "{quantiles:?}");
        assert!(quantiles[4] > 1.5, "{quantiles:?}");
    }

    #[test]
    fn without_errors_the_tail_still_rises() {
        let tail = Errors::new().tail();
        let quantiles = [0.9, 0.5, 0.1, 1e-9].map(|risk| tail.at(risk));
        assert!(quantiles.is_sorted() && quantiles[1] == 0.0, "{quantiles:?}");
    }

    #[test]
    fn an_absurd_error_is_one_error() {
        let mut errors = even();
        let before = errors.tail().at(0.01);
        for error in [1e300, f64::INFINITY] {
            errors.add(error);
        }
        assert!((errors.tail().at(0.01) - before).abs() < 0.01);
    }
}

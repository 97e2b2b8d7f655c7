//! The forecast: answers about the coming slots, from what was known when it was made.
//!
//! It is a value: it does not learn, and it stays the same while the forecaster goes on.

use headroom_units::{Fraction, Slot, SlotRange, Units};

/// What is expected of one slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Requests/s; `None` if no season before has this position.
    pub(crate) predicted: Option<f64>,
    /// Requests/s that are added before an error factor applies, and taken off again.
    pub(crate) floor: f64,
    /// Which of the bases knows the errors at this distance.
    pub(crate) basis: usize,
}

/// The errors known for some distances, smallest first; empty while they are not known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Basis {
    pub(crate) factors: Vec<f64>,
}

/// Quantiles of a region's own load for a run of coming slots.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    from: Slot,
    points: Vec<Option<Point>>,
    bases: Vec<Basis>,
    /// Requests/s; the answer where errors are not known well enough.
    cold_load: Option<f64>,
}

/// Unused capacity of one slot that is safe to sell at a risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headroom {
    /// The slot.
    pub slot: Slot,
    /// All that the region can serve in the slot.
    pub capacity: Units,
    /// The chance that the region's own load needs some of the headroom.
    pub risk: Fraction,
    /// What may be sold, rounded down.
    pub units: Units,
}

impl Forecast {
    pub(crate) fn new(
        from: Slot,
        points: Vec<Option<Point>>,
        bases: Vec<Basis>,
        cold_load: Option<f64>,
    ) -> Self {
        Self { from, points, bases, cold_load }
    }

    /// The slots it was made for.
    #[must_use]
    pub fn slots(&self) -> SlotRange {
        let more = self.points.len().saturating_sub(1) as u64;
        SlotRange::new(self.from, self.from.plus(more)).unwrap_or(SlotRange::one(self.from))
    }

    /// The load in requests/s that `slot` stays at or below with chance `q`. It rises with `q`;
    /// it is infinite from `q` = 1 on, since nothing is certain.
    ///
    /// `None` if the slot is outside the forecast, if nothing is known of it, or if `q` is
    /// undefined.
    #[must_use]
    pub fn quantile(&self, slot: Slot, q: f64) -> Option<f64> {
        let point = self.point(slot)?;
        let cold_load = self.cold_load?;
        if q.is_nan() {
            return None;
        }
        if q >= 1.0 {
            return Some(f64::INFINITY);
        }
        let Some(predicted) = point.predicted else { return Some(cold_load) };
        let factors = &self.bases.get(point.basis)?.factors;
        let load_at = |factor: f64| (factor * (predicted + point.floor) - point.floor).max(0.0);
        Some(match factors.get(rank(q, factors.len())) {
            Some(factor) => load_at(*factor),
            // Rarer than what was seen: no less than the worst error, or twice the highest load.
            None => factors.last().map_or(0.0, |worst| load_at(*worst)).max(cold_load),
        })
    }

    /// What may be sold of `slot` at `risk`: `capacity` less the (1 - risk) quantile. Zero where
    /// nothing is known.
    #[must_use]
    pub fn headroom(&self, slot: Slot, capacity: Units, risk: Fraction) -> Headroom {
        let units = self
            .quantile(slot, 1.0 - risk.as_f64())
            .map_or(Units::ZERO, |load| capacity_less(capacity, load));
        Headroom { slot, capacity, risk, units }
    }

    /// The headroom of `slot` at each of `risks`, in rising order of risk and so of units.
    #[must_use]
    pub fn spare_curve(
        &self,
        slot: Slot,
        capacity: Units,
        risks: &[Fraction],
    ) -> Vec<(Fraction, Units)> {
        let mut risks = risks.to_vec();
        risks.sort_unstable();
        risks.dedup();
        risks.into_iter().map(|risk| (risk, self.headroom(slot, capacity, risk).units)).collect()
    }

    fn point(&self, slot: Slot) -> Option<Point> {
        let ahead = slot.number().checked_sub(self.from.number())?;
        self.points.get(usize::try_from(ahead).ok()?).copied().flatten()
    }
}

/// Which of `count` sorted errors, from 0, bounds a new one with chance `q`: the conformal rank
/// ⌈q (count + 1)⌉, which is `count` or more if so rare an error cannot be known from so few.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts are far below 2^53, and a float saturates when it becomes an integer"
)]
fn rank(q: f64, count: usize) -> usize {
    ((q * (count as f64 + 1.0)).ceil() as usize).saturating_sub(1)
}

#[expect(clippy::cast_precision_loss, reason = "units stop at a thousand million")]
fn capacity_less(capacity: Units, load: f64) -> Units {
    Units::from_requests_per_second(capacity.count() as f64 - load)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forecast(factors: &[f64]) -> Forecast {
        let point = Point { predicted: Some(90.0), floor: 10.0, basis: 0 };
        let bases = vec![Basis { factors: factors.to_vec() }];
        Forecast::new(Slot::new(7), vec![Some(point), None], bases, Some(400.0))
    }

    fn risk(text: &str) -> Fraction {
        text.parse().unwrap()
    }

    #[test]
    fn a_quantile_is_an_error_seen_before() {
        let forecast = forecast(&[0.5, 1.0, 2.0]);
        let quantile = |q| forecast.quantile(Slot::new(7), q);
        assert_eq!(quantile(0.25), Some(40.0));
        assert_eq!(quantile(0.5), Some(90.0));
        assert_eq!(quantile(0.75), Some(190.0));
        assert_eq!(quantile(0.76), Some(400.0), "three errors do not tell the 76 % quantile");
        assert_eq!(quantile(1.0), Some(f64::INFINITY));
        assert_eq!(quantile(-1.0), Some(40.0));
        assert_eq!(quantile(f64::NAN), None);
    }

    #[test]
    fn without_a_basis_there_is_no_headroom() {
        let forecast = forecast(&[0.5, 1.0, 2.0]);
        let capacity = Units::saturating(1_000);
        for slot in [0, 6, 8, 9, u64::MAX] {
            let headroom = forecast.headroom(Slot::new(slot), capacity, risk("50 %"));
            assert_eq!(headroom.units, Units::ZERO, "{slot}");
        }
        assert_eq!(forecast.slots(), SlotRange::new(Slot::new(7), Slot::new(8)).unwrap());
    }

    #[test]
    fn the_curve_rises_with_the_risk() {
        let forecast = forecast(&[0.505, 1.0, 2.0]);
        let risks = [risk("75 %"), risk("0 %"), risk("10 %"), risk("50 %"), risk("25 %")];
        let curve = forecast.spare_curve(Slot::new(7), Units::saturating(500), &risks);
        let units: Vec<_> = curve.iter().map(|(_, units)| units.count()).collect();
        assert_eq!(units, [0, 100, 310, 410, 459]);
    }
}

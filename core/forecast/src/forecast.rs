//! The forecast: answers about the coming slots, from what was known when it was made.
//!
//! It is a value: it does not learn, and it stays the same while the forecaster goes on.

use std::sync::Arc;

use headroom_units::{Fraction, Slot, SlotRange, Units};

use crate::{
    coverage::{Correction, risk_of_each},
    lane::{Tails, quantile},
    level::as_f64,
    limits::FAMILIES,
};

/// What is expected of one slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Point {
    /// It is past, or too far.
    Nothing,
    /// Errors at its distance are not known well enough.
    Cold,
    /// By one lane, or by two between which its distance lies.
    Known {
        below: Side,
        /// The further lane, and how near to it the distance is.
        above: Option<(Side, f64)>,
        near: bool,
    },
}

/// What one lane expects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Side {
    /// Its place among the lanes.
    pub(crate) lane: usize,
    /// Requests/s.
    pub(crate) load: f64,
    /// What an error of 1 is in requests/s, in each family, by how much it has to say.
    pub(crate) weighted: [f64; FAMILIES],
}

/// What a lane knows of its errors.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LaneErrors {
    pub(crate) tails: Arc<Tails>,
    /// Near slots are corrected by this.
    pub(crate) correction: Correction,
}

/// What is the same for all slots.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Basis {
    pub(crate) lanes: Vec<LaneErrors>,
    /// Slots that are not near are corrected by this.
    pub(crate) correction: Correction,
    /// Requests/s; the answer where errors are not known well enough.
    pub(crate) cold_load: Option<f64>,
    /// The share of shortages that begin a run of them.
    pub(crate) extremal_index: f64,
}

/// Quantiles of a region's own load for a run of coming slots.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    from: Slot,
    points: Vec<Point>,
    basis: Basis,
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
    pub(crate) fn new(from: Slot, points: Vec<Point>, basis: Basis) -> Self {
        Self { from, points, basis }
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
        let cold_load = self.basis.cold_load?;
        if q.is_nan() {
            return None;
        }
        let Point::Known { below, above, near } = point else {
            return Some(if q >= 1.0 { f64::INFINITY } else { cold_load });
        };
        if q >= 1.0 {
            return Some(f64::INFINITY);
        }
        let risk = (1.0 - q).min(1.0);
        let load = self.load_at(below, risk, *near);
        let Some((above, part)) = above else { return Some(load) };
        Some(load + part * (self.load_at(above, risk, *near) - load))
    }

    /// What may be sold of `slot` at `risk`: `capacity` less the (1 - risk) quantile. Zero where
    /// nothing is known.
    #[must_use]
    pub fn headroom(&self, slot: Slot, capacity: Units, risk: Fraction) -> Headroom {
        let units = self.units_at(slot, capacity, risk.as_f64());
        Headroom { slot, capacity, risk, units }
    }

    /// What may be sold of every slot of `run` alike, if in all of them together there may be a
    /// shortage with chance `risk`. Zero if nothing is known of one of them.
    ///
    /// Shortages come in runs. The answer lies between that of slots that know nothing of each
    /// other, where each may carry only its part of the risk, and that of slots that are short
    /// together, where each may carry all of it. Where it lies is learnt from past shortages.
    #[must_use]
    pub fn run_headroom(&self, run: SlotRange, capacity: Units, risk: Fraction) -> Units {
        let slots = self.slots();
        if run.first() < slots.first() || run.last() > slots.last() {
            return Units::ZERO;
        }
        let each = risk_of_each(risk.as_f64(), as_f64(run.count()), self.basis.extremal_index);
        let units = run.iter().map(|slot| self.units_at(slot, capacity, each));
        units.min().unwrap_or(Units::ZERO)
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

    fn units_at(&self, slot: Slot, capacity: Units, risk: f64) -> Units {
        let load = self.quantile(slot, 1.0 - risk);
        load.map_or(Units::ZERO, |load| capacity_less(capacity, load))
    }

    fn load_at(&self, side: &Side, risk: f64, near: bool) -> f64 {
        let Some(lane) = self.basis.lanes.get(side.lane) else { return f64::INFINITY };
        let correction = if near { &lane.correction } else { &self.basis.correction };
        let (taken, widened) = correction.of(risk);
        quantile(side.load, &side.weighted, &lane.tails.at(taken), widened)
    }

    fn point(&self, slot: Slot) -> Option<&Point> {
        let ahead = slot.number().checked_sub(self.from.number())?;
        let point = self.points.get(usize::try_from(ahead).ok()?)?;
        (*point != Point::Nothing).then_some(point)
    }
}

#[expect(clippy::cast_precision_loss, reason = "units stop at a thousand million")]
fn capacity_less(capacity: Units, load: f64) -> Units {
    Units::from_requests_per_second(capacity.count() as f64 - load)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Errors;

    /// Slot 7 is known with errors that are even from -10 to 30 requests/s about 100, slot 8 is
    /// cold, and nothing is known of slot 9.
    fn forecast(extremal_index: f64) -> Forecast {
        let mut errors = Errors::new();
        (0..4_000).for_each(|n| errors.add([f64::from(n) / 1_000.0 - 1.0; FAMILIES]));
        let tails = Tails::of(&errors, &[1.0; FAMILIES]);
        let side = Side { lane: 0, load: 100.0, weighted: [2.5; FAMILIES] };
        let known = Point::Known { below: side, above: Some((side, 0.5)), near: false };
        let basis = Basis {
            lanes: vec![LaneErrors { tails: Arc::new(tails), correction: Correction::none() }],
            correction: Correction::none(),
            cold_load: Some(400.0),
            extremal_index,
        };
        Forecast::new(Slot::new(7), vec![known, Point::Cold, Point::Nothing], basis)
    }

    fn risk(text: &str) -> Fraction {
        text.parse().unwrap()
    }

    #[test]
    fn a_quantile_is_what_was_expected_and_an_error() {
        let forecast = forecast(1.0);
        let quantile = |q| forecast.quantile(Slot::new(7), q).unwrap();
        for (q, load) in [(0.25, 100.0), (0.5, 110.0), (0.9, 126.0), (0.99, 129.6)] {
            assert!((quantile(q) - load).abs() < 0.1, "{q}: {}", quantile(q));
        }
        assert!(quantile(-1.0) <= 90.1);
        assert_eq!(quantile(1.0), f64::INFINITY);
        assert_eq!(forecast.quantile(Slot::new(7), f64::NAN), None);
        assert_eq!(forecast.quantile(Slot::new(8), 0.5), Some(400.0));
        assert_eq!(forecast.quantile(Slot::new(8), 1.0), Some(f64::INFINITY));
    }

    #[test]
    fn without_a_basis_there_is_no_headroom() {
        let forecast = forecast(1.0);
        let capacity = Units::saturating(1_000);
        for slot in [0, 6, 9, 10, u64::MAX] {
            let headroom = forecast.headroom(Slot::new(slot), capacity, risk("50 %"));
            assert_eq!(headroom.units, Units::ZERO, "{slot}");
        }
        assert_eq!(forecast.slots(), SlotRange::new(Slot::new(7), Slot::new(9)).unwrap());
        let run = SlotRange::new(Slot::new(7), Slot::new(9)).unwrap();
        assert_eq!(forecast.run_headroom(run, capacity, risk("50 %")), Units::ZERO);
        let run = SlotRange::new(Slot::new(6), Slot::new(7)).unwrap();
        assert_eq!(forecast.run_headroom(run, capacity, risk("50 %")), Units::ZERO);
    }

    #[test]
    fn the_curve_rises_with_the_risk() {
        let risks = [risk("75 %"), risk("0 %"), risk("10 %"), risk("50 %"), risk("25 %")];
        let curve = forecast(1.0).spare_curve(Slot::new(7), Units::saturating(500), &risks);
        let units: Vec<_> = curve.iter().map(|(_, units)| units.count()).collect();
        assert_eq!(units, [0, 374, 380, 390, 400]);
    }

    #[test]
    fn a_run_is_worth_between_its_bounds() {
        let capacity = Units::saturating(1_000_000);
        let run = SlotRange::new(Slot::new(7), Slot::new(8)).unwrap();
        let one = SlotRange::one(Slot::new(7));
        // The cold slot has the least, whatever the risk.
        assert_eq!(forecast(1.0).run_headroom(run, capacity, risk("10 %")).count(), 999_600);
        let alone = forecast(1.0).headroom(Slot::new(7), capacity, risk("10 %")).units;
        assert_eq!(forecast(1.0).run_headroom(one, capacity, risk("10 %")), alone);
    }
}

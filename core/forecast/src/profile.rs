//! The seasonal profile: what the load usually is at a position of the season.
//!
//! It forgets exponentially from season to season, and no single sample bends it far. Where a
//! region has not been yet, the shape of the whole network stands in, at the region's own scale.
//! It does not know how today runs; that is the level's part.

use crate::{limits, series::mean_around};

/// How many neighbours on each side take part in smoothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reach(pub(crate) usize);

impl Reach {
    pub(crate) fn of(season_slots: u64) -> Self {
        Self(usize::try_from(season_slots / limits::SMOOTHING).unwrap_or(0))
    }

    /// Where smoothing looks, as steps back and ahead: the middle, half the reach and the whole
    /// reach to either side. Five places cost the same at every resolution.
    pub(crate) fn places(self) -> [(usize, usize); 5] {
        let half = self.0.div_ceil(2);
        [(self.0, 0), (half, 0), (0, 0), (0, half), (0, self.0)]
    }
}

/// What the load usually is, by position in the season, in requests/s.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    /// Undefined where nothing is known.
    own: Vec<f64>,
    prior: Option<Prior>,
    reach: Reach,
}

/// A shape that stands in, and the scale at which it fits.
#[derive(Debug, Clone)]
struct Prior {
    shape: Vec<f64>,
    own: f64,
    shaped: f64,
    samples: u64,
    needed: u64,
}

impl Profile {
    pub(crate) fn new(season_slots: u64) -> Self {
        let own = vec![f64::NAN; index(season_slots)];
        Self { own, prior: None, reach: Reach::of(season_slots) }
    }

    /// An empty profile that takes the shape of `other` until it has its own.
    pub(crate) fn shaped_like(other: &Self) -> Self {
        let season = other.own.len() as u64;
        let shape = (0..season).map(|at| other.at(at).unwrap_or(f64::NAN)).collect();
        let needed = (season / limits::POOLED_AFTER).max(limits::COLD_SAMPLES_MIN as u64);
        let prior = Prior { shape, own: 0.0, shaped: 0.0, samples: 0, needed };
        Self { own: vec![f64::NAN; other.own.len()], prior: Some(prior), reach: other.reach }
    }

    /// The usual load at `slot`, smoothed; `None` if nothing is known of its position.
    pub(crate) fn at(&self, slot: u64) -> Option<f64> {
        let at = self.position(slot);
        if self.own[at].is_nan() {
            return self.prior.as_ref().and_then(|prior| prior.at(at));
        }
        mean_around(&self.own, at, self.reach)
    }

    /// Learns that the load was `load` at `slot`; `floor` is added before a ratio is taken.
    pub(crate) fn learn(&mut self, slot: u64, load: f64, floor: f64) {
        let position = self.position(slot);
        if let Some(prior) = &mut self.prior {
            prior.learn(position, load);
        }
        let known = &mut self.own[position];
        if known.is_nan() {
            *known = load;
            return;
        }
        let middle = *known + floor;
        let bounded =
            (load + floor).clamp(middle / limits::PROFILE_STEP, middle * limits::PROFILE_STEP);
        *known += limits::PROFILE_RATE * ((bounded - floor).max(0.0) - *known);
    }

    fn position(&self, slot: u64) -> usize {
        index(slot % self.own.len() as u64)
    }
}

impl Prior {
    fn at(&self, position: usize) -> Option<f64> {
        let shape = self.shape[position];
        let known = self.samples >= self.needed && self.shaped > 0.0 && !shape.is_nan();
        known.then(|| shape * self.own / self.shaped)
    }

    fn learn(&mut self, position: usize, load: f64) {
        if self.shape[position] > 0.0 {
            self.own += load;
            self.shaped += self.shape[position];
            self.samples += 1;
        }
    }
}

/// The mean of what is defined.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for value in values.filter(|value| !value.is_nan()) {
        sum += value;
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}

fn index(slots: u64) -> usize {
    usize::try_from(slots).expect("a season's slots are limited")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learnt(days: &[&[f64]]) -> Profile {
        let mut profile = Profile::new(4);
        for (slot, load) in (0..).zip(days.concat()) {
            profile.learn(slot, load, 1.0);
        }
        profile
    }

    #[test]
    fn one_odd_season_bends_it_by_a_bounded_factor() {
        let day: &[f64] = &[10.0, 10.0, 90.0, 90.0];
        let profile = learnt(&[day, day, &[1e12; 4], day]);
        for (slot, usual) in (0..).zip(day) {
            let ratio = profile.at(slot).unwrap() / usual;
            assert!((1.0..1.35).contains(&ratio), "{ratio}");
        }
    }

    #[test]
    fn a_shape_stands_in_at_the_own_scale() {
        let network = learnt(&[&[100.0, 200.0, 300.0, 400.0]]);
        let mut edge = Profile::shaped_like(&network);
        assert_eq!(edge.at(3), None);
        for load in [1.0, 1.0, 1.2, 1.2] {
            assert_eq!(edge.at(3), None, "too little to tell its scale");
            edge.learn(0, load, 0.1);
        }
        assert!((edge.at(3).unwrap() - 4.4).abs() < 1e-9, "{:?}", edge.at(3));
        edge.learn(3, 9.0, 0.1);
        assert_eq!(edge.at(3), Some(9.0));
    }
}

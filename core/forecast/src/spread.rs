//! How far errors usually go: by the time of day, and lately.
//!
//! A quiet night has small errors and a restless afternoon large ones; a restless week has larger
//! ones everywhere. The two together are the unit in which errors are compared. No single error
//! moves them far.

use crate::{
    level::as_f64,
    limits::{
        FAMILIES, SPREAD_BINS, SPREAD_FIRST, SPREAD_MIN, SPREAD_RATE, SPREAD_RECENT, SPREAD_STEP,
    },
};

/// Mean sizes of relative errors, in each family.
#[derive(Debug, Clone)]
pub(crate) struct Spreads {
    season_slots: u64,
    by_time: Vec<[f64; FAMILIES]>,
    recent: [f64; FAMILIES],
    /// Weights of a new error in either.
    rates: (f64, f64),
}

impl Spreads {
    /// For a season of which each slot that is a multiple of `every` is looked at.
    pub(crate) fn new(season_slots: u64, every: u64) -> Self {
        let bins = SPREAD_BINS.min(season_slots);
        let season = as_f64(season_slots) / as_f64(every);
        let rates = (SPREAD_RATE * as_f64(bins) / season, 1.0 / (SPREAD_RECENT * season));
        Self {
            season_slots,
            by_time: vec![[SPREAD_FIRST; FAMILIES]; index(bins)],
            recent: [SPREAD_FIRST; FAMILIES],
            rates: (rates.0.min(1.0), rates.1.min(1.0)),
        }
    }

    /// The same shape over the day, but as unsure as if nothing recent were known.
    pub(crate) fn unsettled(&self) -> Self {
        let recent = self.recent.map(|spread| spread.max(SPREAD_FIRST));
        Self { by_time: self.by_time.clone(), recent, ..*self }
    }

    /// The unit for errors at `slot`: the geometric mean of both.
    pub(crate) fn at(&self, slot: u64) -> [f64; FAMILIES] {
        let by_time = &self.by_time[self.bin(slot)];
        std::array::from_fn(|family| (by_time[family] * self.recent[family]).sqrt())
    }

    /// Learns the relative sizes of the errors at `slot`.
    pub(crate) fn learn(&mut self, slot: u64, sizes: [f64; FAMILIES]) {
        let bin = self.bin(slot);
        let follow = |spread: &mut f64, size: f64, rate: f64| {
            let bounded = size.min(SPREAD_STEP * *spread);
            *spread = (*spread + rate * (bounded - *spread)).max(SPREAD_MIN);
        };
        for (family, size) in sizes.into_iter().enumerate() {
            follow(&mut self.by_time[bin][family], size, self.rates.0);
            follow(&mut self.recent[family], size, self.rates.1);
        }
    }

    fn bin(&self, slot: u64) -> usize {
        index(slot % self.season_slots * self.by_time.len() as u64 / self.season_slots)
    }
}

fn index(bin: u64) -> usize {
    usize::try_from(bin).expect("there are few bins")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_time_of_day_and_the_last_hours() {
        let mut spreads = Spreads::new(96, 1);
        for slot in 0..96 * 60 {
            spreads.learn(slot, [if slot % 96 < 48 { 0.02 } else { 0.2 }; FAMILIES]);
        }
        let (night, noon) = (spreads.at(10)[0], spreads.at(60)[0]);
        assert!(noon / night > 3.0, "{night} {noon}");
        for slot in 0..48 {
            spreads.learn(slot, [0.2; FAMILIES]);
        }
        assert!(spreads.at(60)[0] > 1.05 * noon, "{} {noon}", spreads.at(60)[0]);
    }

    #[test]
    fn one_absurd_error_moves_it_little() {
        let mut spreads = Spreads::new(96, 1);
        (0..96 * 60).for_each(|slot| spreads.learn(slot, [0.1; FAMILIES]));
        let before = spreads.at(0)[0];
        spreads.learn(0, [1e300; FAMILIES]);
        assert!(spreads.at(0)[0] < 1.2 * before);
        (0..96 * 60).for_each(|slot| spreads.learn(slot, [0.0; FAMILIES]));
        assert!(spreads.at(0)[0] >= SPREAD_MIN);
    }
}

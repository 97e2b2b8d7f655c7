//! Outages: samples that say that the measuring or the service failed, not what the load is.
//!
//! A collapse to nearly nothing is not learnt while it is short. Where the load is so sparse that
//! it often looks like that, nothing is held back. It changes no forecast by itself.

use crate::{level::as_f64, limits};

/// Watches for a collapse of the load.
#[derive(Debug, Clone)]
pub(crate) struct Outages {
    season: u64,
    /// The share of samples that look like a collapse.
    share: f64,
    /// Collapsed samples in a row.
    low: u64,
    /// Whether it goes on, and for how many samples it did.
    goes_on: bool,
    lasted: u64,
}

impl Outages {
    pub(crate) fn new(season_slots: u64) -> Self {
        Self { season: season_slots, share: 0.0, low: 0, goes_on: false, lasted: 0 }
    }

    /// Whether `load` is part of an outage and not to be learnt. `usual` is what the profile says,
    /// `mean` the mean load, `learnt` how many samples were learnt.
    pub(crate) fn judge(&mut self, load: f64, usual: Option<f64>, mean: f64, learnt: f64) -> bool {
        let season = as_f64(self.season);
        if let Some(usual) = usual.filter(|usual| *usual > limits::OUTAGE_PROFILE * mean)
            && learnt > limits::OUTAGE_LEARNT_SEASONS * season
        {
            let collapsed = load < limits::OUTAGE_BELOW * usual;
            if !self.goes_on {
                let memory = (limits::OUTAGE_SHARE_SEASONS * season).min(learnt);
                self.share += (f64::from(u8::from(collapsed)) - self.share) / memory;
            }
            if collapsed {
                self.low += 1;
            } else if load >= limits::OUTAGE_OVER * usual {
                (self.low, self.goes_on, self.lasted) = (0, false, 0);
            }
            let long = self.low >= (self.season / limits::OUTAGE_AFTER).max(1);
            if long && !self.is_sparse() && !self.is_given_up() {
                self.goes_on = true;
            }
        }
        if self.goes_on {
            self.lasted += 1;
            if self.is_given_up() {
                (self.goes_on, self.low) = (false, 0);
            }
        }
        (self.goes_on || (self.low > 0 && !self.is_sparse())) && !self.is_given_up()
    }

    fn is_sparse(&self) -> bool {
        self.share >= limits::OUTAGE_SHARE_MAX
    }

    /// What lasts so long is no outage but what the load has become.
    fn is_given_up(&self) -> bool {
        self.lasted >= limits::OUTAGE_SEASONS * self.season
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `loads` are held back after a month at 100.
    fn held_back(loads: impl Iterator<Item = f64>) -> usize {
        let mut outages = Outages::new(48);
        let month = std::iter::repeat_n(100.0, 48 * 30);
        assert!(!month.into_iter().any(|load| outages.judge(load, Some(100.0), 100.0, 1_440.0)));
        loads.filter(|load| outages.judge(*load, Some(100.0), 100.0, 1_440.0)).count()
    }

    #[test]
    fn a_collapse_is_held_back_until_it_is_over() {
        let (down, back) = (std::iter::repeat_n(1.0, 100), std::iter::repeat_n(90.0, 50));
        assert_eq!(held_back(down.chain(back)), 100);
        assert_eq!(held_back([30.0, 300.0, 12.0].into_iter()), 0);
    }

    #[test]
    fn what_lasts_a_week_is_what_the_load_has_become() {
        assert_eq!(held_back(std::iter::repeat_n(1.0, 48 * 20)), 48 * 7 - 1);
    }

    #[test]
    fn a_sparse_load_is_learnt() {
        let sparse = (0..48 * 40).map(|slot| if slot % 4 == 0 { 1.0 } else { 130.0 });
        let held = held_back(sparse);
        assert!(held < 60, "{held}");
    }
}

//! The seasonal profile: what the load usually is at a position of the season.
//!
//! It is the weighted median of the same and the neighbouring positions of the last seasons, so
//! one odd day does not bend it. It does not know how today runs; that is the level's part.

use crate::{limits, series::Series};

/// How the profile looks at a series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Profile {
    season_slots: u64,
    /// Positions to each side that take part.
    reach: u64,
}

impl Profile {
    pub(crate) fn new(season_slots: u64) -> Self {
        Self { season_slots, reach: (season_slots / limits::PROFILE_SMOOTHING).max(1) }
    }

    /// The usual load at `target` in requests/s, from no sample newer than `origin`; `None` if no
    /// season before it has one.
    pub(crate) fn at(&self, values: &Series<f64>, origin: u64, target: u64) -> Option<f64> {
        let mut weighted = Vec::new();
        let mut season_weight = 1.0;
        // Whole seasons back until the first that lies in the past of `origin`.
        let skip = target.saturating_sub(origin).div_ceil(self.season_slots).max(1);
        for back in skip..skip.saturating_add(limits::PROFILE_SEASONS) {
            let Some(centre) =
                self.season_slots.checked_mul(back).and_then(|d| target.checked_sub(d))
            else {
                break;
            };
            if !values.reaches(centre) {
                break;
            }
            for slot in centre.saturating_sub(self.reach)..=centre.saturating_add(self.reach) {
                let weight =
                    if slot == centre { 1.0 } else { limits::PROFILE_NEIGHBOUR } * season_weight;
                if let Some(value) = values.get(slot).filter(|_| slot <= origin) {
                    weighted.push((value, weight));
                }
            }
            season_weight *= limits::PROFILE_DECAY;
        }
        weighted_median(&mut weighted)
    }

    /// True if the profile at `target` is the same for every origin from `origin` to `target`.
    pub(crate) fn is_settled(&self, origin: u64, target: u64) -> bool {
        target.saturating_sub(origin) <= self.season_slots.saturating_sub(self.reach)
    }
}

/// The value with half the weight on either side; `None` of nothing.
fn weighted_median(weighted: &mut [(f64, f64)]) -> Option<f64> {
    weighted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let half = weighted.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    for (value, weight) in weighted.iter() {
        below += weight;
        if below >= half {
            return Some(*value);
        }
    }
    weighted.last().map(|(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[f64]) -> Series<f64> {
        let mut series = Series::new(1_000);
        for (slot, value) in (0..).zip(values) {
            series.set(slot, *value);
        }
        series
    }

    #[test]
    fn one_odd_season_does_not_bend_it() {
        let day = [10.0, 10.0, 10.0, 90.0, 90.0, 90.0, 10.0, 10.0];
        let mut values = day.repeat(3);
        values.extend([900.0; 8]);
        values.extend(day);
        let profile = Profile::new(8);
        assert_eq!(profile.at(&series(&values), 39, 44), Some(90.0));
        assert_eq!(profile.at(&series(&values), 39, 40), Some(10.0));
    }

    #[test]
    fn it_never_looks_past_the_origin() {
        let mut values = vec![5.0; 16];
        let profile = Profile::new(8);
        let before = profile.at(&series(&values), 15, 22);
        values.extend([1_000.0; 8]);
        assert_eq!(profile.at(&series(&values), 15, 22), before);
        assert_eq!(profile.at(&series(&[]), 15, 22), None);
        assert_eq!(profile.at(&series(&values[..4]), 3, 7), None);
    }
}

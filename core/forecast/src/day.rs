//! The forecast that was issued for the running season, and how such forecasts fared.
//!
//! Slots far ahead are short together: one bad day is a hundred slots. So what is issued for a
//! whole season at its start is kept and counted as such.

use crate::{
    coverage::{Correction, Coverage, Runs},
    level::as_f64,
    limits::{RISKS, SEASON_CORRECTION_MAX},
};

/// At this of the counted risks runs of shortages are looked at: rare enough to be like those that
/// matter, and frequent enough to be known.
const RUNS_AT: usize = 1;

/// What was issued for a season, and how it went so far.
#[derive(Debug, Clone)]
pub(crate) struct Day {
    season: u64,
    /// Which season it was issued for.
    number: Option<u64>,
    /// The quantiles at the counted risks, where there were any.
    issued: Vec<Option<[f64; RISKS]>>,
    coverage: Coverage,
    runs: Runs,
}

impl Day {
    pub(crate) fn new(season_slots: u64) -> Self {
        Self {
            season: season_slots,
            number: None,
            issued: Vec::new(),
            coverage: Coverage::new(as_f64(season_slots), SEASON_CORRECTION_MAX),
            runs: Runs::new(),
        }
    }

    /// The first slot of the season of `slot`, if nothing has been issued for it.
    pub(crate) fn due(&self, slot: u64) -> Option<u64> {
        let number = slot / self.season;
        (self.number != Some(number)).then_some(number * self.season)
    }

    /// Keeps what is issued for the season that begins with slot `first`.
    pub(crate) fn issue(
        &mut self,
        first: u64,
        quantiles: impl Iterator<Item = Option<[f64; RISKS]>>,
    ) {
        self.number = Some(first / self.season);
        self.issued.clear();
        self.issued.extend(quantiles);
    }

    /// Counts whether `load` was more than was issued for `slot`.
    pub(crate) fn count(&mut self, slot: u64, load: f64) {
        if self.number != Some(slot / self.season) {
            return;
        }
        let position = usize::try_from(slot % self.season).unwrap_or(usize::MAX);
        if let Some(quantiles) = self.issued.get(position).copied().flatten() {
            let short = quantiles.map(|quantile| load > quantile);
            self.coverage.count(short);
            self.runs.count(slot, short[RUNS_AT]);
        }
    }

    pub(crate) fn correction(&self) -> Correction {
        self.coverage.correction()
    }

    pub(crate) fn extremal_index(&self) -> f64 {
        self.runs.extremal_index()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_issued_is_counted_in_its_own_season() {
        let mut day = Day::new(4);
        assert_eq!(day.due(10), Some(8));
        day.issue(8, [Some([10.0; RISKS]), None].into_iter());
        assert_eq!((day.due(11), day.due(12)), (None, Some(12)));
        let before = day.correction();
        (9..20).for_each(|slot| day.count(slot, 99.0));
        assert_eq!(day.correction(), before, "nothing was issued for these");
        day.count(8, 99.0);
        assert_ne!(day.correction(), before);
    }
}

//! The auditor: what really happened, counted without the product's help, and judged.

use headroom_units::Timestamp;

use crate::{draw::as_f64, limits};

/// What really happened in one second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Second {
    /// What all visitors wanted, in requests per second.
    pub demand: f64,
    /// Requests that came to the edges.
    pub offered: u64,
    /// Of these, admitted.
    pub admitted: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Requests that went to an edge which was down.
    pub lost: u64,
}

/// The judgement of one course of events.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    /// Admitted over purchased.
    pub use_of_purchase: f64,
    /// Refused over offered.
    pub refused_share: f64,
    /// The 99th percentile of offered over purchased in windows of 10 s. Windows that reach into
    /// the 60 s after a leap of demand are left out.
    pub p99_offered_over_purchased_10s: f64,
    /// The most that was admitted in any window of 1 s, over the purchase.
    pub max_admitted_over_purchased_1s: f64,
    /// Seconds until what fell away was in use again: admitted was back at 95 %; only where an
    /// edge stops.
    pub recovered_after: Option<f64>,
    /// The part of the load at the edges whose weight was known within a tenth, five TTLs after a
    /// start with nothing known; only of controllers that know weights.
    pub learned: Option<f64>,
}

/// Counts.
#[derive(Debug)]
pub(crate) struct Auditor {
    begin: Timestamp,
    seconds: Vec<Second>,
    /// Admitted in each bin of [`limits::BIN`].
    bins: Vec<u32>,
}

impl Auditor {
    /// An auditor for `seconds` from `begin` on. What is outside of them is not counted.
    pub(crate) fn new(begin: Timestamp, seconds: usize) -> Self {
        let bins = vec![0; seconds * bins_per_second()];
        Self { begin, seconds: vec![Second::default(); seconds], bins }
    }

    pub(crate) fn came(&mut self, at: Timestamp, admitted: bool) {
        let bin = self.bin(at);
        if let Some(second) = self.second(at) {
            second.offered += 1;
            second.admitted += u64::from(admitted);
            second.refused += u64::from(!admitted);
        }
        if let Some(bin) = bin.and_then(|bin| self.bins.get_mut(bin)) {
            *bin += u32::from(admitted);
        }
    }

    pub(crate) fn lost(&mut self, at: Timestamp) {
        if let Some(second) = self.second(at) {
            second.lost += 1;
        }
    }

    /// What all visitors want in the second of `at`.
    pub(crate) fn wanted(&mut self, at: Timestamp, demand: f64) {
        if let Some(second) = self.second(at) {
            second.demand = demand;
        }
    }

    pub(crate) fn into_seconds(self) -> Vec<Second> {
        self.seconds
    }

    /// Judges the seconds from `from` on, without the 10 s windows that reach into `not`.
    pub(crate) fn figures(
        &self,
        purchased: f64,
        from: usize,
        not: &std::ops::Range<usize>,
        broken: Option<usize>,
    ) -> Figures {
        let judged = self.seconds.get(from..).unwrap_or_default();
        let sum = |of: fn(&Second) -> u64| as_f64(judged.iter().map(of).sum());
        let length = as_f64(u64::try_from(judged.len()).unwrap_or(0)).max(1.0);
        let windows = (from..self.seconds.len().saturating_sub(9))
            .filter(|start| start + 10 <= not.start || *start >= not.end)
            .map(|start| self.seconds[start..start + 10].iter().map(|second| second.offered).sum())
            .map(|offered: u64| as_f64(offered) / (10.0 * purchased));
        Figures {
            use_of_purchase: sum(|second| second.admitted) / (purchased * length),
            refused_share: sum(|second| second.refused) / sum(|second| second.offered).max(1.0),
            p99_offered_over_purchased_10s: percentile(windows.collect(), 99),
            max_admitted_over_purchased_1s: as_f64(self.busiest(from)) / purchased,
            recovered_after: broken.and_then(|second| self.recovered(purchased, second)),
            learned: None,
        }
    }

    /// The most that was admitted in a second that begins at any bin from the second `from` on.
    fn busiest(&self, from: usize) -> u64 {
        let bins = self.bins.get(from * bins_per_second()..).unwrap_or_default();
        let windows = bins.windows(bins_per_second());
        windows.map(|window| window.iter().map(|bin| u64::from(*bin)).sum()).max().unwrap_or(0)
    }

    /// Seconds from `broken` until 95 % of the purchase was admitted in a second again, in tenths.
    fn recovered(&self, purchased: f64, broken: usize) -> Option<f64> {
        let tenth = bins_per_second() / 10;
        let start = broken * bins_per_second();
        let admitted = |end: usize| -> u64 {
            self.bins[end - bins_per_second()..end].iter().map(|bin| u64::from(*bin)).sum()
        };
        let ends = (start..=self.bins.len()).step_by(tenth).filter(|end| *end >= bins_per_second());
        let ends: Vec<(usize, bool)> =
            ends.map(|end| (end, as_f64(admitted(end)) >= 0.95 * purchased)).collect();
        let fell = ends.iter().position(|(_, holds)| !holds)?;
        let back = ends[fell..].iter().find(|(_, holds)| *holds)?.0;
        let bins = u64::try_from(back - start).unwrap_or(0);
        Some(as_f64(bins) / as_f64(u64::try_from(bins_per_second()).unwrap_or(1)))
    }

    fn second(&mut self, at: Timestamp) -> Option<&mut Second> {
        let since = at.seconds().checked_sub(self.begin.seconds())?;
        self.seconds.get_mut(usize::try_from(since).ok()?)
    }

    fn bin(&self, at: Timestamp) -> Option<usize> {
        let since = at.nanos().checked_sub(self.begin.nanos())?;
        usize::try_from(u128::from(since) / limits::BIN.as_nanos()).ok()
    }
}

fn bins_per_second() -> usize {
    usize::try_from(1_000 / limits::BIN.as_millis()).unwrap_or(1)
}

/// The value that `percent` of the values do not exceed; zero of none.
fn percentile(mut values: Vec<f64>, percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(rank).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_judged_by_seconds_and_windows() {
        let mut auditor = Auditor::new(Timestamp::from_seconds(100), 20);
        for millis in (0..20_000_u64).step_by(10) {
            let at = Timestamp::from_millis(100_000 + millis);
            auditor.came(at, true);
            auditor.came(at, millis >= 10_000);
        }
        let figures = auditor.figures(100.0, 0, &(0..0), None);
        assert!((figures.use_of_purchase - 1.5).abs() < 1e-9);
        assert!((figures.refused_share - 0.25).abs() < 1e-9);
        assert!((figures.p99_offered_over_purchased_10s - 2.0).abs() < 1e-9);
        assert!((figures.max_admitted_over_purchased_1s - 2.0).abs() < 1e-9);
        let later = auditor.figures(100.0, 10, &(0..0), None);
        assert!((later.refused_share).abs() < 1e-9);
    }

    #[test]
    fn windows_that_do_not_count_are_left_out() {
        let mut auditor = Auditor::new(Timestamp::EPOCH, 40);
        for second in 15..16 {
            (0..900).for_each(|_| auditor.came(Timestamp::from_seconds(second), true));
        }
        let p99 = |not| auditor.figures(10.0, 0, &not, None).p99_offered_over_purchased_10s;
        assert!(p99(0..0) > 1.0);
        assert!(p99(15..16) < 1e-9);
    }

    #[test]
    fn recovery_is_the_time_until_the_purchase_is_used_again() {
        let mut auditor = Auditor::new(Timestamp::EPOCH, 10);
        for millis in (0..10_000_u64).step_by(10) {
            auditor.came(Timestamp::from_millis(millis), !(3_000..4_500).contains(&millis));
        }
        let after = auditor.figures(100.0, 0, &(0..0), Some(3)).recovered_after;
        assert_eq!(after, Some(2.5), "1.5 s without, then a second of which 95 % was admitted");
    }
}

//! Simple methods to set a forecast against: what an operator could do with a spreadsheet.

use std::collections::VecDeque;

use super::{Ahead, Dense, Replay, count};
use crate::{level::as_f64, limits};

/// A simple method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Baseline {
    /// The highest load at this time of day in the last seven days.
    SlotMax7d,
    /// The mean load at this time of day in the last two weeks, and five standard deviations.
    Mean5Sd,
    /// The load a week ago, and the quantile of how wrong that was in the last two weeks.
    WeekNaive,
    /// The mean load at this time of day in the last seven days, and such a quantile.
    Mean7d,
}

impl Baseline {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SlotMax7d, Self::Mean5Sd, Self::WeekNaive, Self::Mean7d];

    /// What it is called in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlotMax7d => "slot_max_7d",
            Self::Mean5Sd => "mean_5_sd",
            Self::WeekNaive => "week_naive_quantile",
            Self::Mean7d => "mean_7d_quantile",
        }
    }

    /// What it says of each slot of a series.
    pub(super) fn replay(self, series: &Dense, replay: &Replay<'_>) -> Vec<Option<f64>> {
        let look = Look { loads: &series.loads, season: index(replay.season.slots) };
        match self {
            Self::SlotMax7d => look.each(|slot| look.before(slot, 1..=7).reduce(f64::max)),
            Self::Mean5Sd => look.each(|slot| {
                let (mean, deviation) = moments(look.before(slot, 1..=14))?;
                Some(mean + 5.0 * deviation)
            }),
            Self::WeekNaive => {
                // If that slot is missing, the week before.
                let point = look.each(|slot| {
                    let week = index(limits::WEEK_SEASONS);
                    look.before(slot, week..=week)
                        .next()
                        .or_else(|| look.before(slot, 14..=14).next())
                });
                with_quantile(series, replay, &point)
            }
            Self::Mean7d => {
                let point = look.each(|slot| Some(moments(look.before(slot, 1..=7))?.0));
                with_quantile(series, replay, &point)
            }
        }
    }
}

/// Looks at the same time on days before.
struct Look<'l> {
    loads: &'l [f64],
    season: usize,
}

impl Look<'_> {
    fn each(&self, say: impl Fn(usize) -> Option<f64>) -> Vec<Option<f64>> {
        (0..self.loads.len()).map(say).collect()
    }

    fn before(
        &self,
        slot: usize,
        seasons: std::ops::RangeInclusive<usize>,
    ) -> impl Iterator<Item = f64> {
        let slots = seasons.filter_map(move |ago| slot.checked_sub(ago * self.season));
        slots.map(|slot| self.loads[slot]).filter(|load| !load.is_nan())
    }
}

fn moments(loads: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (mut number, mut sum, mut squares) = (0, 0.0, 0.0);
    for load in loads {
        (number, sum, squares) = (number + 1, sum + load, squares + load * load);
    }
    let mean = sum / count(number);
    let variance = (squares / count(number) - mean * mean).max(0.0);
    (number > 0).then(|| (mean, variance.sqrt()))
}

/// `point` and the quantile of its errors in the last two weeks, as known when an answer is given.
fn with_quantile(series: &Dense, replay: &Replay<'_>, point: &[Option<f64>]) -> Vec<Option<f64>> {
    let season = index(replay.season.slots);
    let first = index(series.first % replay.season.slots);
    let mut errors = Sorted::new(index(limits::LEARNING_SEASONS) * season);
    let mut said = vec![None; point.len()];
    let q = 1.0 - replay.risk;
    for slot in 0..point.len() {
        let targets = match replay.ahead {
            Ahead::Season if (first + slot).is_multiple_of(season) => slot..slot + season,
            Ahead::Season => 0..0,
            Ahead::Hour => {
                let target = slot + index(replay.hour());
                target..target + 1
            }
        };
        // An hour ahead the running slot is known when the answer is given, at midnight it is not.
        if replay.ahead == Ahead::Hour {
            errors.pass(point[slot].map(|point| series.loads[slot] - point));
        }
        if let (Some(from), Some(error)) = (said.get_mut(targets.clone().start..), errors.at(q)) {
            let points = point.get(targets.start..).unwrap_or_default();
            for (said, point) in from.iter_mut().zip(points).take(targets.len()) {
                *said = point.map(|point| (point + error).max(0.0));
            }
        }
        if replay.ahead == Ahead::Season {
            errors.pass(point[slot].map(|point| series.loads[slot] - point));
        }
    }
    said
}

/// The last so many errors, sorted.
struct Sorted {
    capacity: usize,
    order: VecDeque<Option<f64>>,
    sorted: Vec<f64>,
}

impl Sorted {
    fn new(capacity: usize) -> Self {
        Self { capacity, order: VecDeque::new(), sorted: Vec::new() }
    }

    fn pass(&mut self, error: Option<f64>) {
        let error = error.filter(|error| !error.is_nan());
        if let Some(error) = error {
            let at = self.sorted.partition_point(|known| known.total_cmp(&error).is_lt());
            self.sorted.insert(at, error);
        }
        self.order.push_back(error);
        if self.order.len() > self.capacity
            && let Some(error) = self.order.pop_front().flatten()
        {
            let at = self.sorted.partition_point(|known| known.total_cmp(&error).is_lt());
            self.sorted.remove(at);
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank is at most the length of what is ranked"
    )]
    fn at(&self, q: f64) -> Option<f64> {
        let rank = (q * count(self.sorted.len())).ceil() as usize;
        self.sorted.get(rank.saturating_sub(1)).copied()
    }
}

fn index(slots: u64) -> usize {
    debug_assert!(as_f64(slots) < 1e9, "slots of a replay are limited");
    usize::try_from(slots).unwrap_or(usize::MAX)
}

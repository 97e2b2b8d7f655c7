//! A forecast against what came: how often it was short, and how much it let be sold.
//!
//! The series is replayed. Each answer is from what was known when it was given, and slots of the
//! first two weeks are only learnt from. The same is done for simple methods that an operator
//! might use instead. It reads no files and draws nothing.

mod baseline;
mod score;

use headroom_units::Slot;

pub use baseline::Baseline;
pub use score::Score;

use crate::{Config, ConfigError, Forecaster, Season, level::as_f64, limits};

/// When answers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// At the start of each season (each midnight) for all its slots.
    Season,
    /// At each slot for the slot that is a 24th of a season (an hour) ahead.
    Hour,
}

/// What is to be replayed, and how.
#[derive(Debug, Clone, Copy)]
pub struct Replay<'s> {
    /// Mean requests/s by slot, in order; slots may be missing.
    pub samples: &'s [(Slot, f64)],
    /// Slots in one season; seasons begin at multiples of it.
    pub season: Season,
    /// When answers are given.
    pub ahead: Ahead,
    /// The stated risk, above 0 and below 1.
    pub risk: f64,
}

/// Why a series cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BacktestError {
    /// The season is not one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A season has no hours.
    #[error("a season of {0} slots has no slot an hour ahead; accepted is a multiple of 24")]
    NoHours(u64),
    /// It ends before anything could be counted.
    #[error(
        "the series spans {0} days; at least {needed} are needed: {learning} to learn from, and \
         one to count",
        needed = limits::LEARNING_SEASONS + 1,
        learning = limits::LEARNING_SEASONS
    )]
    TooShort(u64),
    /// It spans more slots than there is room for.
    #[error("the series spans {0} slots; accepted are {max}", max = limits::BACKTEST_SLOTS_MAX)]
    TooLong(u64),
    /// Slots do not rise.
    #[error("slot {0} is not after the one before it")]
    Unordered(Slot),
    /// The risk is none.
    #[error("the risk is not between 0 and 1")]
    Risk,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Backtest {
    /// A quarter more than the load needs in all but 0.1 % of its slots, in requests/s.
    pub capacity: f64,
    /// How the forecast fared.
    pub forecast: Score,
    /// How simple methods fared.
    pub baselines: [(Baseline, Score); Baseline::ALL.len()],
    /// All slots of the series, in order, gaps included.
    pub slots: Vec<Answered>,
}

/// A slot, what was said of it, and what came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// The slot.
    pub slot: Slot,
    /// Requests/s, if it was measured.
    pub load: Option<f64>,
    /// What was said of it: the median, the 90 % quantile, and the quantile at the stated risk.
    pub said: Option<[f64; 3]>,
    /// Whether it counts, or was only learnt from.
    pub counts: bool,
}

impl Answered {
    /// Whether more came than the quantile at the stated risk.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.load.zip(self.said).is_some_and(|(load, said)| load > said[2])
    }
}

impl Backtest {
    /// Replays a series.
    ///
    /// # Errors
    /// If the series is too short, too long or out of order, or if season or risk are wrong.
    pub fn run(replay: &Replay<'_>) -> Result<Self, BacktestError> {
        let config = replay.config()?;
        let series = replay.series()?;
        let season = replay.season.slots;
        let capacity = capacity_of(replay.samples);
        let mut forecaster = Forecaster::new(config)?;
        let mut slots = Vec::with_capacity(series.loads.len());
        let counted_from = series.first + season * limits::LEARNING_SEASONS;
        for (slot, load) in (series.first..).zip(series.loads.iter()) {
            slots.push(Answered {
                slot: Slot::new(slot),
                load: (!load.is_nan()).then_some(*load),
                said: None,
                counts: slot >= counted_from,
            });
        }
        replay.answer(&mut forecaster, &mut slots);
        let of_forecast = slots.iter().map(|answered| answered.said.map(|said| said[2]));
        let forecast = Score::of(&slots, of_forecast, capacity, replay);
        let baselines = Baseline::ALL.map(|baseline| {
            let said = baseline.replay(&series, replay);
            (baseline, Score::of(&slots, said.into_iter(), capacity, replay))
        });
        Ok(Self { capacity, forecast, baselines, slots })
    }

    /// Whether the forecast lets more be sold than every baseline that keeps the risk.
    #[must_use]
    pub fn beats_baselines(&self) -> bool {
        let fair = self.baselines.iter().filter(|(_, score)| score.keeps_the_risk);
        fair.into_iter().all(|(_, score)| self.forecast.sold_of_spare > score.sold_of_spare)
    }
}

/// A series without gaps in its numbering: a load that is missing is undefined.
pub(crate) struct Dense {
    pub(crate) first: u64,
    pub(crate) loads: Vec<f64>,
}

impl Replay<'_> {
    /// The slots from when an answer is given until its slot, for [`Ahead::Hour`].
    fn hour(&self) -> u64 {
        self.season.slots / limits::HOURS
    }

    /// The configuration of a forecaster that gives these answers.
    ///
    /// # Errors
    /// If season or risk are wrong.
    pub fn config(&self) -> Result<Config, BacktestError> {
        if !(self.risk > 0.0 && self.risk < 1.0) {
            return Err(BacktestError::Risk);
        }
        let usual = Config::for_season(self.season);
        // Of a season of very many slots fewer are remembered.
        let most = limits::HISTORY_SLOTS_MAX / self.season.slots.max(1);
        let usual = Config { history_seasons: usual.history_seasons.min(most), ..usual };
        usual.check()?;
        match self.ahead {
            Ahead::Season => Ok(usual),
            Ahead::Hour if !self.season.slots.is_multiple_of(limits::HOURS) => {
                Err(BacktestError::NoHours(self.season.slots))
            }
            Ahead::Hour => Ok(Config { horizon_slots: self.hour(), ..usual }),
        }
    }

    fn series(&self) -> Result<Dense, BacktestError> {
        let unordered = self.samples.windows(2).find(|pair| pair[1].0 <= pair[0].0);
        if let Some([_, (slot, _)]) = unordered {
            return Err(BacktestError::Unordered(*slot));
        }
        let (Some(first), Some(last)) = (self.samples.first(), self.samples.last()) else {
            return Err(BacktestError::TooShort(0));
        };
        let (first, span) = (first.0.number(), last.0.number() - first.0.number() + 1);
        if span > limits::BACKTEST_SLOTS_MAX {
            return Err(BacktestError::TooLong(span));
        }
        let days = span / self.season.slots;
        if days < limits::LEARNING_SEASONS + 1 {
            return Err(BacktestError::TooShort(days));
        }
        let mut loads = vec![f64::NAN; usize::try_from(span).expect("it is limited")];
        for (slot, load) in self.samples {
            loads[usize::try_from(slot.number() - first).expect("it is in the span")] = *load;
        }
        Ok(Dense { first, loads })
    }

    /// Lets the forecaster answer for each slot, from what had come by then.
    fn answer(&self, forecaster: &mut Forecaster, slots: &mut [Answered]) {
        let levels = [0.5, 0.9, 1.0 - self.risk];
        let said = |forecaster: &Forecaster, from: Slot, answered: &mut [Answered]| {
            let forecast = forecaster.forecast(from);
            for answered in answered {
                let [median, high, rare] = levels.map(|q| forecast.quantile(answered.slot, q));
                answered.said =
                    median.zip(high).zip(rare).map(|((median, high), rare)| [median, high, rare]);
            }
        };
        let season = self.season.slots;
        for at in 0..slots.len() {
            let (slot, load) = (slots[at].slot, slots[at].load);
            if self.ahead == Ahead::Season && slot.number().is_multiple_of(season) {
                let length = usize::try_from(season).unwrap_or(usize::MAX);
                let end = at.saturating_add(length).min(slots.len());
                said(forecaster, slot, &mut slots[at..end]);
            }
            if let Some(load) = load {
                // What is refused is a gap to the forecaster, as it would be in the exchange.
                let _ = forecaster.observe(slot, load);
            }
            if self.ahead == Ahead::Hour {
                let target = at.saturating_add(usize::try_from(self.hour()).unwrap_or(usize::MAX));
                if let Some(answered) = slots.get_mut(target) {
                    said(forecaster, answered.slot, std::slice::from_mut(answered));
                }
            }
        }
    }
}

/// A region built for this load: a quarter more than it needs in all but 0.1 % of the slots.
fn capacity_of(samples: &[(Slot, f64)]) -> f64 {
    let mut loads: Vec<f64> = samples.iter().map(|(_, load)| *load).collect();
    loads.sort_by(f64::total_cmp);
    let rank = loads.len().saturating_sub(1) * 999 / 1_000;
    1.25 * loads.get(rank).copied().unwrap_or(0.0)
}

/// How many of something there are, as a number to reckon with.
fn count(number: usize) -> f64 {
    as_f64(u64::try_from(number).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;

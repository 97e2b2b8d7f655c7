//! What a forecaster is told before it begins.

use crate::limits;

/// How many slots one cycle of the load has, such as a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Season {
    /// Slots in one cycle: 96 for a day of 15-minute slots.
    pub slots: u64,
}

/// How a series is remembered and how far it is forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Slots in one season.
    pub season_slots: u64,
    /// How many seasons are remembered. It bounds the memory.
    pub history_seasons: u64,
    /// How many slots one forecast covers.
    pub horizon_slots: u64,
}

impl Config {
    /// How many seasons are remembered unless said otherwise.
    pub const HISTORY_SEASONS: u64 = 14;

    /// The usual configuration for `season`: 14 seasons of memory, one season ahead.
    #[must_use]
    pub const fn for_season(season: Season) -> Self {
        Self {
            season_slots: season.slots,
            history_seasons: Self::HISTORY_SEASONS,
            horizon_slots: season.slots,
        }
    }

    /// All slots that are remembered.
    pub(crate) const fn history_slots(&self) -> u64 {
        self.season_slots.saturating_mul(self.history_seasons)
    }

    /// How many slots of a stored series are worth replaying to a new forecaster: what came before
    /// has faded, or would take too long.
    #[must_use]
    pub fn replay_slots(&self) -> u64 {
        let worth = self.season_slots.saturating_mul(limits::REPLAY_SEASONS);
        worth.min(limits::HISTORY_SLOTS_MAX).max(self.history_slots())
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(limits::SEASON_SLOTS_MIN..=limits::SEASON_SLOTS_MAX).contains(&self.season_slots) {
            return Err(ConfigError::SeasonSlots(self.season_slots));
        }
        if self.history_seasons < limits::HISTORY_SEASONS_MIN {
            return Err(ConfigError::HistorySeasons(self.history_seasons));
        }
        if self.history_slots() > limits::HISTORY_SLOTS_MAX {
            return Err(ConfigError::HistorySlots(self.history_slots()));
        }
        if !(1..=limits::HORIZON_SLOTS_MAX).contains(&self.horizon_slots) {
            return Err(ConfigError::HorizonSlots(self.horizon_slots));
        }
        Ok(())
    }
}

/// Why a [`Config`] cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The season is too short or too long.
    #[error(
        "a season of {0} slots cannot be forecast; accepted are {min} to {max}",
        min = limits::SEASON_SLOTS_MIN,
        max = limits::SEASON_SLOTS_MAX
    )]
    SeasonSlots(u64),
    /// Too few seasons are remembered.
    #[error("{0} seasons of history are too few; the least is {min}", min = limits::HISTORY_SEASONS_MIN)]
    HistorySeasons(u64),
    /// More slots would be remembered than memory is set aside for.
    #[error(
        "a history of {0} slots is too long; the most is {max}: remember fewer seasons",
        max = limits::HISTORY_SLOTS_MAX
    )]
    HistorySlots(u64),
    /// The horizon is empty or too far.
    #[error("a horizon of {0} slots is not 1 to {max}", max = limits::HORIZON_SLOTS_MAX)]
    HorizonSlots(u64),
    /// A region cannot learn from a network that is forecast otherwise.
    #[error("the network's forecaster has another season or another horizon")]
    UnlikeNetwork,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_refused() {
        let good = Config::for_season(Season { slots: 96 });
        assert_eq!(good.check(), Ok(()));
        let cases = [
            (Config { season_slots: 0, ..good }, ConfigError::SeasonSlots(0)),
            (Config { history_seasons: 1, ..good }, ConfigError::HistorySeasons(1)),
            (Config { history_seasons: u64::MAX, ..good }, ConfigError::HistorySlots(u64::MAX)),
            (Config { horizon_slots: 0, ..good }, ConfigError::HorizonSlots(0)),
        ];
        for (config, error) in cases {
            assert_eq!(config.check(), Err(error));
        }
    }
}

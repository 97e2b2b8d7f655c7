//! What is known of a series: its loads, its profile and its levels, and what they hint at.
//!
//! It takes samples in as they are; that they may be learnt from was decided before. It does not
//! predict.

use crate::{
    Config,
    lane::Hints,
    level::Levels,
    limits::{self, HINTS},
    profile::{Profile, Reach},
    series::Series,
};

/// The past of a series.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    season: u64,
    reach: Reach,
    /// Mean requests/s by slot, as observed.
    loads: Series,
    /// The same without what was not to be learnt.
    learnt: Series,
    profile: Profile,
    levels: Levels,
}

impl Past {
    pub(crate) fn new(config: Config, profile: Profile) -> Self {
        let season = config.season_slots;
        Self {
            season,
            reach: Reach::of(season),
            loads: Series::new(config.history_slots()),
            learnt: Series::new(config.history_slots()),
            profile,
            levels: Levels::new(season),
        }
    }

    pub(crate) fn loads(&self) -> &Series {
        &self.loads
    }

    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    pub(crate) fn levels(&self) -> &Levels {
        &self.levels
    }

    /// What the load usually is at `slot`.
    pub(crate) fn usual(&self, slot: u64) -> Option<f64> {
        self.profile.at(slot)
    }

    /// Takes in the load of a slot newer than all others; `learn` says whether to learn from it.
    pub(crate) fn append(&mut self, slot: u64, load: f64, learn: bool) {
        if let Some(newest) = self.loads.newest() {
            for gap in newest + 1..slot {
                self.learnt.advance(gap);
                self.levels.pass(gap, &self.learnt);
            }
        }
        if learn {
            self.levels.learn(load, self.profile.at(slot));
            self.profile.learn(slot, load, self.levels.floor());
            self.learnt.set(slot, load);
        } else {
            self.learnt.advance(slot);
        }
        self.loads.set(slot, load);
        self.levels.pass(slot, &self.learnt);
    }

    /// Takes in the load of a slot that is not the newest and had none.
    pub(crate) fn fill(&mut self, slot: u64, load: f64) {
        self.loads.set(slot, load);
        self.learnt.set(slot, load);
        self.profile.learn(slot, load, self.levels.floor());
        if let Some(newest) = self.loads.newest() {
            self.levels.fill(slot, load, newest);
        }
    }

    /// What the past hints at for `target`; `None` if nothing is known of its position in the
    /// season.
    pub(crate) fn hints(&self, target: u64) -> Option<Hints> {
        let newest = self.loads.newest().filter(|newest| *newest < target)?;
        let usual = self.profile.at(target)?;
        let ago = |seasons: u64| {
            let slot = target.checked_sub(seasons.checked_mul(self.season)?)?;
            let load = self.learnt.around(slot, self.reach)?;
            Some(self.levels.log_ratio(load, usual))
        };
        let week = ago(limits::WEEK_SEASONS).or_else(|| ago(2 * limits::WEEK_SEASONS));
        // The last season that is known whole, or the one before.
        let last = (target - newest).div_ceil(self.season);
        let yesterday = ago(last).or_else(|| ago(last + 1)).or(week);
        let (fast, slow, growth) = self.levels.hints();
        let grown = week.map_or(0.0, |week| week + growth);
        let ratios: [f64; HINTS] =
            [yesterday.unwrap_or(0.0), week.unwrap_or(0.0), grown, slow, fast];
        Some(Hints { ratios, usual, mean: self.levels.mean() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Season;

    #[test]
    fn hints_tell_yesterday_a_week_ago_and_the_level() {
        let mut past = Past::new(Config::for_season(Season { slots: 8 }), Profile::new(8));
        assert_eq!(past.hints(0), None);
        for slot in 0..8 * 21 {
            let load = if slot / 8 % 7 == 6 { 300.0 } else { 100.0 };
            past.append(slot, load, true);
        }
        let [yesterday, week, grown, ..] = past.hints(8 * 21).unwrap().ratios;
        assert!(yesterday > 0.5, "yesterday was a day of 300: {yesterday}");
        assert!(week < 0.0 && (grown - week).abs() < 1e-9, "{week} {grown}");
        let [yesterday, week, ..] = past.hints(8 * 27).unwrap().ratios;
        assert!(yesterday > 0.5 && week > 0.5, "both were a day of 300: {yesterday} {week}");
        assert_eq!(past.hints(8 * 21 - 1), None, "it is past");
    }

    #[test]
    fn what_is_not_learnt_is_kept_and_hints_at_nothing() {
        let mut past = Past::new(Config::for_season(Season { slots: 8 }), Profile::new(8));
        (0..64).for_each(|slot| past.append(slot, 100.0, true));
        past.append(64, 0.0, false);
        assert_eq!(past.loads().get(64), Some(0.0));
        let hints = past.hints(72).unwrap();
        assert_eq!(hints.ratios[0], 0.0, "the day before stands in");
        assert_eq!(hints.usual, 100.0);
    }
}

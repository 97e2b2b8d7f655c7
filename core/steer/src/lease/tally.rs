//! What a ledger knows of its clients together: how many ask and wait, what strangers turn out to
//! weigh, how much of the room stays free.

use std::time::Duration;

use headroom_units::Timestamp;

use super::client::millis;
use crate::budget::LEVEL;

/// What a stranger weighs is told by this many that were strangers,
const STRANGERS_TELLING: u64 = 5;
/// and is a mean over this many.
const STRANGERS_LATELY: u64 = 50;
/// The level of demand is drawn to its usual value by one part in this many each time that weights
/// are learned anew.
const DRAWN_PARTS: u64 = 10;
/// The free part of the room is a mean over this time.
const SLACK_OVER: Duration = Duration::from_secs(8);
/// So much is free in a room of many light clients too, in millionths.
const SLACK_LEAST: u64 = LEVEL / 100;
/// No more than this is leased out beyond the budget, in millionths of it.
pub(super) const SLACK_MOST: u64 = LEVEL / 8;
/// What was free counts for no longer than this.
const SLACK_STEP: Duration = Duration::from_secs(1);

/// All that are known well brought together what they weigh: only what differs between clients is
/// learned. What changes for all alike is in the level of demand, and would be counted twice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    weighed: u128,
    brought: u128,
}

/// What strangers turned out to weigh.
#[derive(Debug, Clone, Default)]
pub(super) struct Strangers {
    mean: u64,
    count: u64,
}

/// How much of the room is free on the average although somebody waits: what one client brings does
/// not fit into it, or its turn has not come. So much more may be leased out.
#[derive(Debug, Clone, Default)]
pub(super) struct Slack {
    /// In millionths of the room.
    free: u64,
    seen: Timestamp,
    /// The milliseconds that it is a mean of.
    over: u64,
}

/// Adds up over the present period and the one before.
#[derive(Debug, Clone, Default)]
pub(super) struct Census {
    pub(super) period: u64,
    pub(super) present: u64,
    pub(super) previous: u64,
}

impl Scale {
    /// Of clients that are known well: the weight, the milliseconds under a lease in a second, and
    /// what they brought in it.
    pub(super) fn new(seen: impl Iterator<Item = (u64, u64, u64)>, level: u64) -> Self {
        let (mut weighed, mut brought) = (0, 0);
        for (weight, covered, load) in seen {
            weighed += u128::from(weight) * u128::from(covered) / 1_000;
            brought += u128::from(load);
        }
        if brought == 0 || weighed == 0 {
            return Self { weighed: 1, brought: 1 };
        }
        let level = if level == 0 { LEVEL } else { level.clamp(LEVEL / 2, LEVEL * 2) };
        let drawn = u128::from(LEVEL * (DRAWN_PARTS - 1) + level);
        Self { weighed: weighed * drawn, brought: brought * u128::from(LEVEL * DRAWN_PARTS) }
    }

    /// What `load` is learned as.
    pub(super) fn of(self, load: u64) -> u64 {
        u64::try_from(u128::from(load) * self.weighed / self.brought).unwrap_or(u64::MAX)
    }
}

impl Strangers {
    pub(super) fn turned_out(&mut self, weight: u64) {
        self.count = (self.count + 1).min(STRANGERS_LATELY);
        self.mean = (self.mean * (self.count - 1) + weight) / self.count;
    }

    /// The mean of those that were met lately, if it rests on some.
    pub(super) fn weight(&self) -> Option<u64> {
        (self.count >= STRANGERS_TELLING).then_some(self.mean)
    }
}

impl Slack {
    /// A client asks while `others` are leased out of `room`.
    pub(super) fn observe(&mut self, (room, others): (u64, u64), waiting: u64, now: Timestamp) {
        let free = room.saturating_sub(others);
        let passed = millis(now.since(self.seen).min(SLACK_STEP));
        self.seen = now;
        if waiting > free && room > 0 {
            let free = u128::from(free) * u128::from(LEVEL) / u128::from(room);
            let free = u64::try_from(free).unwrap_or(LEVEL);
            self.over = (self.over + passed).min(millis(SLACK_OVER));
            let over = self.over.max(millis(2 * SLACK_STEP));
            self.free = (self.free * (over - passed) + free * passed) / over;
        }
    }

    /// `room`, and what of it stays free.
    pub(super) fn add_to(&self, room: u64) -> u64 {
        let more = self.free.min(SLACK_MOST).saturating_sub(SLACK_LEAST);
        let more = u128::from(room) * u128::from(more) / u128::from(LEVEL);
        room + u64::try_from(more).unwrap_or(0)
    }
}

impl Census {
    /// The larger of both sums.
    pub(super) fn most(&self) -> u64 {
        self.present.max(self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_bring_more_of_is_not_learned() {
        let scale = Scale::new([(10, 1_000, 30), (20, 500, 30)].into_iter(), LEVEL);
        assert_eq!([30, 60].map(|load| scale.of(load)), [10, 20]);
        assert_eq!(Scale::new(std::iter::empty(), LEVEL).of(7), 7, "nobody is known yet");
    }

    #[test]
    fn the_level_is_drawn_to_its_usual_value() {
        let at = |level| Scale::new([(1_000, 1_000, 1_000)].into_iter(), level).of(1_000);
        assert_eq!([LEVEL, LEVEL * 3 / 2, LEVEL * 9, 0].map(at), [1_000, 1_050, 1_100, 1_000]);
    }

    #[test]
    fn strangers_weigh_what_those_before_turned_out_to_weigh() {
        let mut strangers = Strangers::default();
        (1..5).for_each(|weight| strangers.turned_out(weight * 100));
        assert_eq!(strangers.weight(), None);
        strangers.turned_out(500);
        assert_eq!(strangers.weight(), Some(300));
    }

    #[test]
    fn what_stays_free_while_somebody_waits_is_leased_out_too_within_a_bound() {
        let after = |others: u64, waiting: u64| {
            let mut slack = Slack::default();
            let at = |number: u64| Timestamp::from_millis(number * 100);
            (0..600).for_each(|number| slack.observe((1_000, others), waiting, at(number)));
            slack.add_to(1_000)
        };
        assert_eq!(after(950, 10), 1_000, "it may just be that nobody wants more");
        assert_eq!(after(995, 500), 1_000);
        assert!((1_035..=1_040).contains(&after(950, 500)), "{}", after(950, 500));
        assert_eq!(after(100, 5_000), 1_115, "no more than an eighth");
    }
}

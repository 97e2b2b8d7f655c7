//! The figures of a method that said how high the load would be at most.

use super::{Answered, Replay, count};
use crate::limits;

/// How a method fared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Slots that counted: measured, and after the first two weeks.
    pub slots: usize,
    /// The share of them in which the load exceeded the quantile. Where nothing was said nothing
    /// was sold, and none is short.
    pub short_share: f64,
    /// The same of the worst day.
    pub worst_day_short_share: f64,
    /// What could be sold, of what was spare.
    pub sold_of_spare: f64,
    /// What was sold and was not there, of what was sold.
    pub undelivered_of_sold: f64,
    /// The mean pinball loss of the quantile, in requests/s.
    pub pinball: f64,
    /// Whether the shortages are no more than a fifth above the stated risk.
    pub keeps_the_risk: bool,
}

impl Score {
    pub(super) fn of(
        slots: &[Answered],
        said: impl Iterator<Item = Option<f64>>,
        capacity: f64,
        replay: &Replay<'_>,
    ) -> Self {
        let mut sums = Sums::default();
        for (answered, said) in slots.iter().zip(said).filter(|(answered, _)| answered.counts) {
            if let Some(load) = answered.load {
                let day = answered.slot.number() / replay.season.slots;
                sums.add(day, load, said.unwrap_or(f64::INFINITY), capacity, replay.risk);
            }
        }
        sums.end_day();
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let short_share = share(count(sums.short), count(sums.slots));
        Self {
            slots: sums.slots,
            short_share,
            worst_day_short_share: sums.worst_day,
            sold_of_spare: share(sums.sold, sums.spare),
            undelivered_of_sold: share(sums.undelivered, sums.sold),
            pinball: share(sums.pinball, count(sums.answered)),
            keeps_the_risk: short_share <= replay.risk * limits::KEPT_WITHIN,
        }
    }
}

#[derive(Default)]
struct Sums {
    slots: usize,
    answered: usize,
    short: usize,
    sold: f64,
    spare: f64,
    undelivered: f64,
    pinball: f64,
    worst_day: f64,
    /// The running day, its slots and those of them that were short.
    day: (u64, usize, usize),
}

impl Sums {
    fn add(&mut self, day: u64, load: f64, said: f64, capacity: f64, risk: f64) {
        if day != self.day.0 {
            self.end_day();
            self.day = (day, 0, 0);
        }
        let short = usize::from(load > said);
        self.slots += 1;
        self.short += short;
        self.day = (day, self.day.1 + 1, self.day.2 + short);
        let sold = (capacity - said).max(0.0);
        self.sold += sold;
        self.spare += (capacity - load).max(0.0);
        self.undelivered += (load - said).max(0.0).min(sold);
        if said.is_finite() {
            self.answered += 1;
            let over = load - said;
            self.pinball += if over > 0.0 { (1.0 - risk) * over } else { -risk * over };
        }
    }

    fn end_day(&mut self) {
        let (_, slots, short) = self.day;
        if slots > 0 {
            self.worst_day = self.worst_day.max(count(short) / count(slots));
        }
    }
}

//! Slots: the periods that are traded, aligned in UTC.

use std::{fmt, time::Duration};

use crate::{Timestamp, limits};

/// How long a slot is: whole seconds that divide a day, so that each day begins with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLength(u64);

impl SlotLength {
    const DAY_SECONDS: u64 = 86_400;

    /// A slot of `seconds`, or `None` if they do not divide a day of 86,400 s.
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Option<Self> {
        let in_range = seconds >= limits::SLOT_SECONDS_MIN && seconds <= limits::SLOT_SECONDS_MAX;
        if in_range && Self::DAY_SECONDS.is_multiple_of(seconds) {
            Some(Self(seconds))
        } else {
            None
        }
    }

    /// The length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// The length.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// The slot that `at` falls into.
    #[must_use]
    pub const fn slot_at(self, at: Timestamp) -> Slot {
        Slot(at.seconds() / self.0)
    }

    /// The moment `slot` begins.
    #[must_use]
    pub const fn start(self, slot: Slot) -> Timestamp {
        Timestamp::from_seconds(slot.0.saturating_mul(self.0))
    }

    /// The moment `slot` is over: the start of the next.
    #[must_use]
    pub const fn end(self, slot: Slot) -> Timestamp {
        self.start(slot.next())
    }

    /// The slot that begins exactly at `at`, if one does.
    #[must_use]
    pub fn slot_starting(self, at: Timestamp) -> Option<Slot> {
        let slot = self.slot_at(at);
        (self.start(slot) == at).then_some(slot)
    }
}

impl Default for SlotLength {
    /// 15 minutes.
    fn default() -> Self {
        Self(900)
    }
}

/// One period that is traded: its number since the Unix epoch, under one [`SlotLength`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

impl Slot {
    /// The slot with this number since the epoch.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number since the epoch.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The slot that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The slot `count` later.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// The slot `count` earlier, stopping at the first.
    #[must_use]
    pub const fn minus(self, count: u64) -> Self {
        Self(self.0.saturating_sub(count))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A contiguous run of slots: never empty, at most [`limits::SLOTS_MAX`] long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotRange {
    first: Slot,
    last: Slot,
}

impl SlotRange {
    /// The slots from `first` to `last`, both included; `None` if that is empty or too long.
    #[must_use]
    pub const fn new(first: Slot, last: Slot) -> Option<Self> {
        if first.0 <= last.0 && last.0 - first.0 < limits::SLOTS_MAX {
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// The one slot.
    #[must_use]
    pub const fn one(slot: Slot) -> Self {
        Self { first: slot, last: slot }
    }

    /// The first slot.
    #[must_use]
    pub const fn first(self) -> Slot {
        self.first
    }

    /// The last slot.
    #[must_use]
    pub const fn last(self) -> Slot {
        self.last
    }

    /// How many slots.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.last.0 - self.first.0 + 1
    }

    /// True if `slot` is one of them.
    #[must_use]
    pub const fn contains(self, slot: Slot) -> bool {
        self.first.0 <= slot.0 && slot.0 <= self.last.0
    }

    /// The slots in order.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        (self.first.0..=self.last.0).map(Slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_aligned_in_utc() {
        let quarter = SlotLength::default();
        let slot = quarter.slot_at(Timestamp::from_seconds(86_400 + 901));
        assert_eq!(slot, Slot::new(97));
        assert_eq!(quarter.start(slot), Timestamp::from_seconds(86_400 + 900));
        assert_eq!(quarter.end(slot), quarter.start(slot.next()));
        assert_eq!(quarter.slot_starting(Timestamp::from_seconds(901)), None);
        assert_eq!(quarter.slot_starting(Timestamp::from_seconds(900)), Some(Slot::new(1)));
    }

    #[test]
    fn a_length_divides_the_day() {
        for good in [1, 10, 60, 300, 900, 3_600, 86_400] {
            assert!(SlotLength::from_seconds(good).is_some(), "{good}");
        }
        for bad in [0, 7, 11, 86_401, u64::MAX] {
            assert!(SlotLength::from_seconds(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_range_is_never_empty_or_endless() {
        assert!(SlotRange::new(Slot(5), Slot(4)).is_none());
        assert!(SlotRange::new(Slot(0), Slot(u64::MAX)).is_none());
        let range = SlotRange::new(Slot(5), Slot(7)).unwrap();
        assert_eq!(range.count(), 3);
        assert!(range.contains(Slot(6)) && !range.contains(Slot(8)));
        assert_eq!(range.iter().collect::<Vec<_>>(), [Slot(5), Slot(6), Slot(7)]);
    }
}

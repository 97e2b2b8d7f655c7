//! When a day is sold: ahead of time at its gate, all bids together, and from then on at once.
//!
//! ```text
//!        bids for the day wait           its slots are traded in every auction
//!  ───────────────────────────────┬─────────────┬───────────────────────┬──►
//!                                gate         the day begins          ends
//!                                 └ forward auction    spot auctions
//! ```
//!
//! The forward auction is the first one after the gate. There is one engine and one book: what
//! tells it from a spot auction is who has waited for it.

use std::time::Duration;

use headroom_units::{Slot, SlotLength, Timestamp};

/// When the slots of a day are sold ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// How many slots a day has, at least one. Days are counted as slots are: a day of 24 hours
    /// begins at midnight UTC.
    pub day_slots: u64,
    /// How long before its day begins the gate closes.
    pub ahead: Duration,
}

impl Gate {
    /// When the gate of the day of `slot` closes.
    #[must_use]
    pub fn closes_for(&self, slot: Slot, length: SlotLength) -> Timestamp {
        let day = slot.number() / self.day_slots.max(1);
        length.start(Slot::new(day.saturating_mul(self.day_slots))).before(self.ahead)
    }

    /// The last slot whose gate has closed at `now`.
    #[must_use]
    pub fn last_closed(&self, now: Timestamp, length: SlotLength) -> Slot {
        let day = length.slot_at(now.after(self.ahead)).number() / self.day_slots.max(1);
        Slot::new(day.saturating_add(1).saturating_mul(self.day_slots).saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_closed_from_its_gate_on() {
        let length = SlotLength::from_seconds(10).unwrap();
        let gate = Gate { day_slots: 6, ahead: Duration::from_secs(20) };
        for (now, last) in [(0, 5), (39, 5), (40, 11), (99, 11), (100, 17)] {
            let now = Timestamp::from_seconds(now);
            let closed = gate.last_closed(now, length);
            assert_eq!(closed, Slot::new(last));
            assert!(gate.closes_for(closed, length) <= now);
            assert!(gate.closes_for(closed.next(), length) > now);
        }
    }

    #[test]
    fn the_ends_of_time_have_gates() {
        let length = SlotLength::from_seconds(300).unwrap();
        let gate = Gate { day_slots: 288, ahead: Duration::from_hours(2) };
        assert_eq!(gate.closes_for(Slot::new(0), length), Timestamp::from_seconds(0));
        let _ = gate.last_closed(Timestamp::MAX, length);
        let _ = gate.closes_for(Slot::new(u64::MAX), length);
        let none = Gate { day_slots: 0, ..gate };
        let _ = none.last_closed(Timestamp::MAX, length);
    }
}

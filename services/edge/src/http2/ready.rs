//! Which streams of a connection have something to do: each has a waker of its own, so that not all
//! are looked at whenever one is woken.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Wake, Waker},
};

use crate::limits::H2_STREAMS_MAX;

/// A set of slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Slots(u128);

const _: () = assert!(H2_STREAMS_MAX <= u128::BITS, "each slot is a bit");

impl Slots {
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn add(&mut self, slot: usize) {
        self.0 |= 1 << slot;
    }

    pub(crate) fn add_all(&mut self, others: Self) {
        self.0 |= others.0;
    }

    pub(crate) fn remove(&mut self, slot: usize) {
        self.0 &= !(1 << slot);
    }

    /// The first from `slot` on, then from the beginning.
    pub(crate) fn next(self, slot: usize) -> Option<usize> {
        let behind = self.0.checked_shr(u32::try_from(slot).ok()?).unwrap_or(0);
        let first = |bits: u128| usize::try_from(bits.trailing_zeros()).ok();
        match (behind, self.0) {
            (_, 0) => None,
            (0, all) => first(all),
            (behind, _) => first(behind).map(|from| slot + from),
        }
    }
}

/// The streams that were woken, and who is to be woken with them.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    halves: [AtomicU64; 2],
    connection: Mutex<Option<Waker>>,
}

/// Wakes one stream.
struct StreamWaker {
    ready: Arc<Ready>,
    slot: usize,
}

impl Ready {
    /// What wakes the stream of a slot.
    pub(crate) fn waker(self: &Arc<Self>, slot: usize) -> Waker {
        Waker::from(Arc::new(StreamWaker { ready: Arc::clone(self), slot }))
    }

    /// Lets the connection be woken with its streams.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *connection = Some(cx.waker().clone());
        }
    }

    /// Those that were woken since it was asked last.
    pub(crate) fn take(&self) -> Slots {
        let [low, high] = &self.halves;
        let take = |half: &AtomicU64| u128::from(half.swap(0, Ordering::AcqRel));
        Slots(take(low) | take(high) << u64::BITS)
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let bits = usize::try_from(u64::BITS).unwrap_or(64);
        let half = &self.ready.halves[self.slot / bits];
        half.fetch_or(1 << (self.slot % bits), Ordering::AcqRel);
        let connection = self.ready.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connection) = connection.as_ref() {
            connection.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_in_turn() {
        let mut slots = Slots::default();
        assert_eq!(slots.next(0), None);
        [3, 127, 64].into_iter().for_each(|slot| slots.add(slot));
        let turn = [(0, 3), (3, 3), (4, 64), (65, 127), (127, 127), (128, 3)];
        assert!(turn.into_iter().all(|(from, slot)| slots.next(from) == Some(slot)));
        slots.remove(3);
        assert_eq!(slots.next(0), Some(64));
    }

    #[test]
    fn who_is_woken_is_known_once() {
        let ready = Arc::new(Ready::default());
        ready.waker(0).wake();
        ready.waker(127).wake();
        let mut expected = Slots::default();
        [0, 127].into_iter().for_each(|slot| expected.add(slot));
        assert_eq!(ready.take(), expected);
        assert!(ready.take().is_empty());
    }
}

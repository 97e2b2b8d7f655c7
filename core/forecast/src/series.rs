//! A window on a series: the newest so many slots, each with a value or none.
//!
//! It forgets what falls out of the window; it does not judge what is put in.

/// The newest values of a series by slot number. Costs its capacity in memory, whatever is in it.
#[derive(Debug, Clone)]
pub(crate) struct Series<T> {
    newest: Option<u64>,
    cells: Vec<Option<T>>,
}

impl<T: Copy> Series<T> {
    /// An empty window of `capacity` slots, at least one.
    pub(crate) fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity.max(1)).unwrap_or(usize::MAX);
        Self { newest: None, cells: vec![None; capacity] }
    }

    /// The newest slot that the window has been moved to.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// True if `slot` is in the window; it need not have a value.
    pub(crate) fn reaches(&self, slot: u64) -> bool {
        self.newest.is_some_and(|newest| slot <= newest && newest - slot < self.capacity())
    }

    /// The value of `slot`, if it is in the window and has one.
    pub(crate) fn get(&self, slot: u64) -> Option<T> {
        if self.reaches(slot) { self.cells[self.index(slot)] } else { None }
    }

    /// Gives `slot` a value, moving the window if it is newer. Returns the values this pushed out;
    /// a slot older than the window is left alone.
    pub(crate) fn set(&mut self, slot: u64, value: T) -> Vec<T> {
        let forgotten = self.advance(slot);
        if self.reaches(slot) {
            let index = self.index(slot);
            self.cells[index] = Some(value);
        }
        forgotten
    }

    /// The values in the window, in no particular order.
    pub(crate) fn values(&self) -> impl Iterator<Item = T> {
        self.cells.iter().flatten().copied()
    }

    /// Moves the window so that it ends with `slot`, if that is newer.
    fn advance(&mut self, slot: u64) -> Vec<T> {
        let mut forgotten = Vec::new();
        if let Some(newest) = self.newest.filter(|newest| *newest < slot) {
            let steps = (slot - newest).min(self.capacity());
            for entering in slot - (steps - 1)..=slot {
                let index = self.index(entering);
                forgotten.extend(self.cells[index].take());
            }
        }
        self.newest = self.newest.max(Some(slot));
        forgotten
    }

    fn capacity(&self) -> u64 {
        self.cells.len() as u64
    }

    fn index(&self, slot: u64) -> usize {
        usize::try_from(slot % self.capacity()).expect("it is below a length in memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_newest_and_forgets_the_rest() {
        let mut series = Series::new(3);
        assert_eq!(series.get(5), None);
        for slot in 5..8 {
            assert_eq!(series.set(slot, slot * 10), []);
        }
        assert_eq!(series.set(8, 80), [50]);
        assert_eq!((series.get(5), series.get(6), series.get(9)), (None, Some(60), None));
        assert_eq!(series.set(10, 100), [60, 70]);
        assert_eq!(series.get(9), None);
        series.set(9, 90);
        series.set(1, 10);
        assert_eq!((series.get(9), series.get(1)), (Some(90), None));
        assert_eq!(series.set(u64::MAX, 1).len(), 3);
        assert_eq!(series.values().collect::<Vec<_>>(), [1]);
    }
}

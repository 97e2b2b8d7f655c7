//! A window on a series: the newest so many slots, each with a load or none.
//!
//! It forgets what falls out of the window; it does not judge what is put in.

use crate::profile::{Reach, mean};

/// The newest loads of a series by slot number. Costs its capacity in memory, whatever is in it.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    newest: Option<u64>,
    /// Undefined where there is none.
    cells: Vec<f64>,
}

impl Series {
    /// An empty window of `capacity` slots, at least one.
    pub(crate) fn new(capacity: u64) -> Self {
        let capacity = usize::try_from(capacity.max(1)).unwrap_or(usize::MAX);
        Self { newest: None, cells: vec![f64::NAN; capacity] }
    }

    /// The newest slot that the window has been moved to.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// True if `slot` is in the window; it need not have a load.
    pub(crate) fn reaches(&self, slot: u64) -> bool {
        self.newest.is_some_and(|newest| slot <= newest && newest - slot < self.capacity())
    }

    /// The load of `slot`, if it is in the window and has one.
    pub(crate) fn get(&self, slot: u64) -> Option<f64> {
        let load = if self.reaches(slot) { self.cells[self.index(slot)] } else { f64::NAN };
        (!load.is_nan()).then_some(load)
    }

    /// The mean load around `slot`, of those there are.
    pub(crate) fn around(&self, slot: u64, reach: Reach) -> Option<f64> {
        let newest = self.newest?;
        // Mostly all of it is well within the window.
        let (first, last) = (slot.saturating_sub(reach.0 as u64), slot + reach.0 as u64);
        if last > newest || !self.reaches(first) || first + reach.0 as u64 != slot {
            let places = reach.places();
            let slots = places.map(|(back, ahead)| (slot + ahead as u64).checked_sub(back as u64));
            return mean(slots.into_iter().flatten().filter_map(|slot| self.get(slot)));
        }
        mean_around(&self.cells, self.index(slot), reach)
    }

    /// Gives `slot` a load, moving the window if it is newer; a slot older than the window is
    /// left alone.
    pub(crate) fn set(&mut self, slot: u64, load: f64) {
        self.advance(slot);
        if self.reaches(slot) {
            let index = self.index(slot);
            self.cells[index] = load;
        }
    }

    /// The loads in the window, in no particular order.
    pub(crate) fn values(&self) -> impl Iterator<Item = f64> {
        self.cells.iter().copied().filter(|load| !load.is_nan())
    }

    /// Moves the window so that it ends with `slot`, if that is newer.
    pub(crate) fn advance(&mut self, slot: u64) {
        if let Some(newest) = self.newest.filter(|newest| *newest < slot) {
            let steps = (slot - newest).min(self.capacity());
            for entering in slot - (steps - 1)..=slot {
                let index = self.index(entering);
                self.cells[index] = f64::NAN;
            }
        }
        self.newest = self.newest.max(Some(slot));
    }

    fn capacity(&self) -> u64 {
        self.cells.len() as u64
    }

    fn index(&self, slot: u64) -> usize {
        usize::try_from(slot % self.capacity()).expect("it is below a length in memory")
    }
}

/// The mean of what is defined around `at` in a ring, which is no shorter than the reach.
pub(crate) fn mean_around(ring: &[f64], at: usize, reach: Reach) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for (back, ahead) in reach.places() {
        let mut place = at + ring.len() + ahead - back;
        while place >= ring.len() {
            place -= ring.len();
        }
        let value = ring[place];
        if !value.is_nan() {
            sum += value;
            count += 1.0;
        }
    }
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_the_newest_and_forgets_the_rest() {
        let mut series = Series::new(3);
        assert_eq!(series.get(5), None);
        for (slot, load) in [(5, 50.0), (6, 60.0), (7, 70.0), (8, 80.0)] {
            series.set(slot, load);
        }
        assert_eq!((series.get(5), series.get(6), series.get(9)), (None, Some(60.0), None));
        series.set(10, 100.0);
        assert_eq!((series.get(7), series.get(9)), (None, None));
        series.set(9, 90.0);
        series.set(1, 10.0);
        assert_eq!((series.get(9), series.get(1)), (Some(90.0), None));
        series.set(u64::MAX, 1.0);
        assert_eq!(series.values().collect::<Vec<_>>(), [1.0]);
    }

    #[test]
    fn a_load_is_smoothed_with_those_around_it() {
        let mut series = Series::new(10);
        for slot in 0..20_u32 {
            series.set(slot.into(), f64::from(slot));
        }
        let reach = Reach(2);
        assert_eq!(series.around(14, reach), Some(14.0));
        assert_eq!(series.around(19, reach), Some(18.0), "17, 18 and 19");
        assert_eq!(series.around(9, reach), Some(10.5), "10 and 11");
        assert_eq!((series.around(7, reach), series.around(30, reach)), (None, None));
    }
}

//! Orders that are not content with any part: those with a minimum, and those of which at most one
//! of a group is filled. With them the problem is NP-hard, so this is a search that keeps the rules
//! and tells what it missed.
//!
//! First all are cleared as if they were divisible and alone. Who then is filled, but not as the
//! order asks, is left out, and the rest is cleared again, until nobody is. So what is filled is
//! right at uniform prices: nobody pays more than the limit. Then those left out that are worth
//! more than the prices are let in again, one by one, the greatest gain first; who can stay for a
//! greater welfare stays.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Auction, Group,
    region::{Standing, gain, surplus},
};
use crate::limits::{READMISSION_ROUNDS_MAX, READMISSIONS_MAX};

impl Auction {
    /// Lets every flagged order take part.
    pub(super) fn readmit_all(&mut self) {
        let left_out = self.flagged.iter().filter(|(_, standing)| **standing != Standing::In);
        let left_out: Vec<usize> = left_out.map(|(&number, _)| number).collect();
        for number in left_out {
            self.set_standing(number, Standing::In);
        }
    }

    pub(super) fn set_standing(&mut self, number: usize, standing: Standing) {
        let admitted = standing == Standing::In;
        self.solver.admit(number, &self.book.lines[number], admitted);
        self.flagged.insert(number, standing);
    }

    /// Leaves out who cannot be filled as the order asks, and lets in again who can after all.
    pub(super) fn settle(&mut self) {
        if self.flagged.is_empty() {
            return;
        }
        while self.leave_out() {}
        let mut tried = BTreeSet::new();
        let mut welfare = self.welfare();
        while tried.len() < READMISSIONS_MAX {
            let Some(number) = self.candidate(&tried) else { return };
            tried.insert(number);
            let before = (self.solver.clone(), self.flagged.clone());
            let better = if self.readmitted(number) { self.welfare() } else { welfare };
            if better > welfare {
                welfare = better;
            } else {
                (self.solver, self.flagged) = before;
            }
        }
    }

    /// Leaves out those who are filled as they do not ask, and clears again. False if there are
    /// none.
    fn leave_out(&mut self) -> bool {
        let violators = self.violators();
        for &number in &violators {
            self.set_standing(number, Standing::Out);
        }
        self.solver.optimise();
        !violators.is_empty()
    }

    /// The lines that are filled below their minimum, or beside a better one of their group.
    fn violators(&self) -> Vec<usize> {
        if self.flagged.is_empty() {
            return Vec::new();
        }
        let fills = self.solver.fills();
        let mut violators = Vec::new();
        let mut groups: BTreeMap<Group, Vec<usize>> = BTreeMap::new();
        for &number in self.flagged.keys().filter(|&&number| fills[number] > 0) {
            let Some(flag) = self.book.lines[number].flag else { continue };
            if fills[number] < flag.minimum {
                violators.push(number);
            } else if let Some(group) = flag.group {
                groups.entry(group).or_default().push(number);
            }
        }
        groups.retain(|_, filled| filled.len() > 1);
        if groups.is_empty() {
            return violators;
        }
        let costs = self.current_costs();
        for filled in groups.into_values() {
            let merit = |&number: &usize| {
                let line = &self.book.lines[number];
                let gained = i128::from(surplus(line, &costs)) * i128::from(fills[number]);
                (gained, fills[number], std::cmp::Reverse(line.flag))
            };
            let best = filled.iter().copied().max_by_key(merit);
            violators.extend(filled.into_iter().filter(|number| Some(*number) != best));
        }
        violators
    }

    /// Of those left out for want of units, not tried and without a filled sibling: who would
    /// gain the most.
    fn candidate(&self, tried: &BTreeSet<usize>) -> Option<usize> {
        let left_out = |(number, standing): (&usize, &Standing)| {
            (*standing == Standing::Out && !tried.contains(number)).then_some(*number)
        };
        let mut left_out = self.flagged.iter().filter_map(left_out).peekable();
        left_out.peek()?;
        let fills = self.solver.fills();
        let costs = self.current_costs();
        let filled = self.filled_groups(&fills);
        let merits = left_out.filter_map(|number| {
            let line = &self.book.lines[number];
            let sibling = line.flag?.group.is_some_and(|group| filled.contains(&group));
            let gain = gain(line, &costs);
            (gain > 0 && !sibling).then_some((gain, std::cmp::Reverse(line.flag), number))
        });
        merits.max().map(|(.., number)| number)
    }

    /// Whether the order can stay once it is let in, if others leave instead.
    fn readmitted(&mut self, number: usize) -> bool {
        self.set_standing(number, Standing::In);
        self.solver.optimise();
        for _ in 0..READMISSION_ROUNDS_MAX {
            let violators = self.violators();
            if violators.contains(&number) || self.solver.fill(number) == 0 {
                return false;
            }
            if violators.is_empty() {
                return true;
            }
            self.leave_out();
        }
        false
    }
}

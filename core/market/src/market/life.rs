//! The life of contracts: the stages that come with time, and the recall of what was sold as
//! interruptible.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use headroom_units::{Class, ContractId, Price, RegionId, Slot, Timestamp, Units};

use super::Market;
use crate::{Contract, Event, Rejection, Stage};

impl Market {
    /// The stages that contracts have entered by `now` and that nobody has noted.
    pub(super) fn advance(
        &self,
        planned: &BTreeSet<ContractId>,
        ramp: Duration,
        now: Timestamp,
    ) -> Vec<Event> {
        let entered = |id: &ContractId| {
            let contract = self.contracts.get(id)?;
            let stage = self.stage_at(contract, planned.contains(id), ramp, now)?;
            // A recall is a stage of its own and does not tell how far the contract is.
            let noted = self.stages_of(*id).iter().map(|entered| entered.stage);
            let noted = noted.filter(|stage| *stage != Stage::Recalled).max();
            let event = Event::StageEntered { contract: *id, stage, at: now };
            (noted < Some(stage)).then_some(event)
        };
        self.running.iter().filter_map(entered).collect()
    }

    fn stage_at(
        &self,
        contract: &Contract,
        planned: bool,
        ramp: Duration,
        now: Timestamp,
    ) -> Option<Stage> {
        let length = self.rules.slot_length;
        let end = contract.ends(length);
        let start = length.start(contract.slots.first());
        let is_unsettled = |slot| self.unsettled.contains(&(slot, contract.id));
        if contract.recalled_to.is_some() && !contract.due_slots(length).any(is_unsettled) {
            // It ends with a slot that was settled before, or before it began.
            Some(Stage::Settled)
        } else if now >= end.before(ramp) {
            Some(Stage::RampingDown)
        } else if now >= start {
            Some(Stage::Active)
        } else {
            planned.then_some(Stage::Primed)
        }
    }

    /// Recalls contracts until `units` are free in `slot`, or none is left.
    pub(super) fn recall(
        &self,
        region: &RegionId,
        slot: Slot,
        units: Units,
        now: Timestamp,
    ) -> Result<Vec<Event>, Rejection> {
        if units.is_zero() {
            return Err(Rejection::ZeroUnits);
        }
        let length = self.rules.slot_length;
        let told = now.after(self.rules.notice);
        if length.end(slot) <= told {
            return Err(Rejection::RecalledTooLate { slot, first: length.slot_at(told) });
        }
        let ends_at = told.max(length.start(slot));
        let mut free = Units::ZERO;
        let mut events = Vec::new();
        for contract in self.recallable(region, slot, ends_at) {
            if free >= units {
                break;
            }
            free = free + contract.units;
            let released = contract.cost_from(ends_at, length);
            events.push(Event::ContractRecalled {
                contract: contract.id,
                at: now,
                ends_at,
                released,
            });
        }
        if events.is_empty() {
            return Err(Rejection::NothingToRecall { region: region.clone(), slot });
        }
        Ok(events)
    }

    /// What a recall would end earlier, in the order in which it is recalled: who pays the least
    /// for the slot first, of those who was the last to buy.
    fn recallable(&self, region: &RegionId, slot: Slot, ends_at: Timestamp) -> Vec<&Contract> {
        let length = self.rules.slot_length;
        let running = self.running.iter().filter_map(|id| self.contracts.get(id));
        let mut found: Vec<(Price, Reverse<ContractId>, &Contract)> = running
            .filter(|contract| {
                contract.class == Class::Interruptible
                    && contract.region == *region
                    && contract.recalled_to.is_none()
                    && ends_at < contract.ends(length)
            })
            .filter_map(|contract| Some((contract.price(slot)?, Reverse(contract.id), contract)))
            .collect();
        found.sort_unstable_by_key(|&(price, newest, _)| (price, newest));
        found.into_iter().map(|(_, _, contract)| contract).collect()
    }
}

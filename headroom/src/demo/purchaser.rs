//! The purchaser: hit by a crowd, it bids for what it lacks, in every region.

use headroom_units::{Timestamp, UnitSize, Units};
use headroom_wire::{BidView, NewBid, Text, Time};

use super::{
    scenario::{REGIONS, Scenario},
    sleep_until,
    world::World,
};

/// The most it pays per unit and slot, in millionths.
const LIMIT_PRICE_MICRO: i64 = 2_000;

/// Waits for the crowd and bids for the slots that follow.
pub(crate) async fn buy(
    scenario: &Scenario,
    world: &World,
    began: Timestamp,
) -> anyhow::Result<()> {
    sleep_until(scenario.bids_at(began)).await;
    let soonest =
        headroom_clock::now().after(Scenario::LEAD).after(std::time::Duration::from_millis(1_500));
    let first = scenario.slot.slot_at(soonest).next();
    let units = Units::saturating(scenario.bid_units);
    let size = UnitSize::default();
    for region in REGIONS {
        let bid = NewBid {
            site: Text("shop".parse()?),
            region: Text(region.id.parse()?),
            first_slot: Time(scenario.slot.start(first)),
            slots: scenario.bid_slots(),
            units: None,
            requests: Some(Text(size.requests(units))),
            egress: Some(Text(size.egress_of(units))),
            limit_price_micro: LIMIT_PRICE_MICRO,
            class: None,
        };
        let _placed: BidView = world.purchaser.post("/v1/bids", bid).await?;
    }
    Ok(())
}

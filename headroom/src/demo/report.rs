//! The report: what was measured, none of it assumed.

use headroom_units::{SlotLength, Timestamp};
use headroom_wire::{
    AccountView, ContractMetersView, ContractSecondView, ContractView, LedgerView, LiveView,
    SlotView, Time,
};
use serde::{Deserialize, Serialize};

use super::{scenario::Scenario, tally::Tally, world::World};

/// Windows in which a contract's limit is looked at.
const WINDOW_SECONDS: u64 = 10;

/// What a demo found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Each region and slot that began during the demo.
    pub slots: Vec<SlotView>,
    /// Each contract.
    pub contracts: Vec<ContractReport>,
    /// The books at the end.
    pub ledger: LedgerReport,
    /// The purchaser's visitors.
    pub visitors: VisitorsReport,
    /// The operator's own visitors, on the same edges.
    pub own_visitors: VisitorsReport,
    /// The number of the last plan.
    pub generations: u64,
}

/// A contract, what was delivered of it, and what it was used for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContractReport {
    /// Its id.
    pub id: String,
    /// The site it is for.
    pub site: String,
    /// Where.
    pub region: String,
    /// The start of its first slot.
    pub first_slot: Time,
    /// The start of its last slot.
    pub last_slot: Time,
    /// Units bought.
    pub units: u64,
    /// Its class.
    pub class: String,
    /// The price per unit and slot, the mean over its slots, rounded down.
    pub price_micro: i64,
    /// Mapping requests of its site in its region during its slots.
    pub mapping_requests: u64,
    /// Of these, answered with an edge.
    pub mapped_to_edges: u64,
    /// Requests that came to the edges.
    pub offered: u64,
    /// Requests served by them.
    pub served: u64,
    /// Requests sent back to the purchaser by them.
    pub refused: u64,
    /// Requests that the purchaser served during its slots, as the visitors counted.
    pub remainder: u64,
    /// Served over bought, from its first slot to its last.
    pub use_of_purchase: f64,
    /// The most that was served over what was bought, in any ten seconds.
    pub max_10s_served_over_purchased: f64,
    /// The first second in which the edges served something of it.
    pub first_served: Option<Time>,
    /// The last such second.
    pub last_served: Option<Time>,
    /// Served outside its slots: nothing, unless there is a fault.
    pub served_outside_slots: u64,
    /// How many slots.
    pub slots: u64,
}

/// The books.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LedgerReport {
    /// Every account.
    pub accounts: Vec<AccountView>,
    /// The sum over all.
    pub sum_micro: i64,
    /// Charged in all.
    pub charged_micro: i64,
    /// Refunded in all.
    pub refunded_micro: i64,
    /// Paid as penalties in all.
    pub penalties_micro: i64,
}

/// The visitors of a site, as they counted themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VisitorsReport {
    /// Requests.
    pub requests: u64,
    /// Those that did not get what was asked for.
    pub failed: u64,
    /// Those answered by an edge in the end.
    pub by_edges: u64,
    /// Those answered by the purchaser's own servers in the end.
    pub by_purchaser: u64,
    /// Why requests failed.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub failures: std::collections::BTreeMap<String, u64>,
}

/// Asks the API and the visitors what happened since `began`.
pub(crate) async fn collect(
    scenario: &Scenario,
    world: &World,
    (tally, own_tally): (&Tally, &Tally),
    began: Timestamp,
) -> anyhow::Result<Report> {
    let now = headroom_clock::now();
    let (from, until) = (Time(began), Time(now));
    let slots = world.operator.get(&format!("/v1/headroom?from={from}&until={until}")).await?;
    let mut contracts = Vec::new();
    let held: Vec<ContractView> = world.operator.get("/v1/contracts").await?;
    for contract in held.iter().rev().filter(|contract| contract.first_slot.0 > began) {
        let path = format!("/v1/contracts/{}/meters", contract.id.0);
        let meters: ContractMetersView = world.operator.get(&path).await?;
        contracts.push(contract_report(contract, &meters, tally, scenario.slot));
    }
    let ledger: LedgerView = world.operator.get("/v1/ledger").await?;
    let live: LiveView = world.operator.get("/v1/meters").await?;
    Ok(Report {
        slots,
        contracts,
        ledger: LedgerReport {
            accounts: ledger.accounts,
            sum_micro: ledger.sum_micro,
            charged_micro: ledger.charged_micro,
            refunded_micro: ledger.refunded_micro,
            penalties_micro: ledger.penalties_micro,
        },
        visitors: visitors_report(tally),
        own_visitors: visitors_report(own_tally),
        generations: live.generation,
    })
}

fn visitors_report(tally: &Tally) -> VisitorsReport {
    let sum = tally.sum(None, Timestamp::EPOCH, Timestamp::MAX);
    VisitorsReport {
        requests: sum.requests,
        failed: sum.failed,
        by_edges: sum.by_edges,
        by_purchaser: sum.by_purchaser,
        failures: tally.failures(),
    }
}

fn contract_report(
    contract: &ContractView,
    meters: &ContractMetersView,
    tally: &Tally,
    slot: SlotLength,
) -> ContractReport {
    let from = contract.first_slot.0;
    let until = slot.end(slot.slot_at(contract.last_slot.0));
    let within = |second: &&ContractSecondView| from <= second.second.0 && second.second.0 < until;
    let sum = |of: fn(&ContractSecondView) -> u64| meters.seconds.iter().map(of).sum::<u64>();
    let inside: u64 = meters.seconds.iter().filter(within).map(|second| second.served).sum();
    let served = sum(|second| second.served);
    let bought = contract.units * until.since(from).as_secs();
    let mut busy = meters.seconds.iter().filter(|second| second.served > 0).map(|s| s.second);
    let prices = i64::try_from(contract.prices_micro.len()).unwrap_or(i64::MAX).max(1);
    let first_served = busy.next();
    ContractReport {
        id: contract.id.0.to_string(),
        site: contract.site.0.to_string(),
        region: contract.region.0.to_string(),
        first_slot: contract.first_slot,
        last_slot: contract.last_slot,
        slots: u64::try_from(prices).unwrap_or(0),
        units: contract.units,
        class: contract.class.0.to_string(),
        price_micro: contract.prices_micro.iter().sum::<i64>() / prices,
        mapping_requests: meters.mapping_requests,
        mapped_to_edges: meters.mapped_to_edges,
        offered: sum(|second| second.offered),
        served,
        refused: sum(|second| second.refused),
        remainder: tally.sum(Some(contract.region.0.as_str()), from, until).by_purchaser,
        use_of_purchase: ratio(inside, bought),
        max_10s_served_over_purchased: busiest_window(&meters.seconds, contract.units),
        last_served: busy.next_back().or(first_served),
        first_served,
        served_outside_slots: served - inside,
    }
}

/// The most served in any [`WINDOW_SECONDS`], over what was bought for that long.
fn busiest_window(seconds: &[ContractSecondView], units: u64) -> f64 {
    let window = |end: &ContractSecondView| {
        let end = end.second.0.seconds();
        let within = |second: &&ContractSecondView| {
            (end.saturating_sub(WINDOW_SECONDS - 1)..=end).contains(&second.second.0.seconds())
        };
        seconds.iter().filter(within).map(|second| second.served).sum::<u64>()
    };
    ratio(seconds.iter().map(window).max().unwrap_or(0), units * WINDOW_SECONDS)
}

#[expect(clippy::cast_precision_loss, reason = "a demo's requests stay far below 2^53")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_window_is_found_wherever_it_is() {
        let second = |number: u64, served| ContractSecondView {
            second: Time(Timestamp::from_seconds(number)),
            offered: served,
            served,
            refused: 0,
            available_millirequests: 0,
        };
        let steady: Vec<_> = (0..30).map(|number| second(number, 100)).collect();
        assert!((busiest_window(&steady, 100) - 1.0).abs() < 1e-9);
        let mut burst = steady;
        burst[29].served = 200;
        assert!((busiest_window(&burst, 100) - 1.1).abs() < 1e-9);
        assert!(busiest_window(&[], 100).abs() < 1e-9);
    }
}

//! The controller: compares what was served with what was purchased, and issues the next budgets.
//!
//! Edge shares follow the demand by water-filling. A share is raised only as far as the shares
//! that other edges may still be using leave room: an edge that was told of a smaller share, and
//! has not said that it applies it, is taken to use the larger one until that expires. So live
//! shares never add up to more than the contract, whatever messages are lost.
//!
//! The lease budget is the purchase, corrected by a slow integral of the difference between what
//! was offered and what was purchased.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use headroom_units::{ContractId, EdgeId, RequestRate, SiteId, Timestamp};
use ipnet::IpNet;

use crate::{Budgets, Entitlement, LeaseBudget, Plan, SiteRegion, limits, share};

/// The integral trim moves by this part of the error each second.
const TRIM_GAIN: f64 = 0.05;
/// The trim may lower the lease budget to half and raise it by a tenth: beyond that the fault is
/// elsewhere, and winding up would only delay the way back.
const TRIM_RANGE: (f64, f64) = (-0.5, 0.1);
/// The weight of the newest second in the demand of a contract at an edge.
const DEMAND_NEWEST: f64 = 0.3;
/// Shares are left as they are while none would move by more than one part in this many of the
/// contract: what one edge gives up is idle until the other may have it.
const SHARE_STEP_PARTS: u64 = 30;

/// How fast control is.
#[derive(Debug, Clone, Copy)]
pub struct ControlConfig {
    /// How long a budget is in force without renewal.
    pub budget_lifetime: Duration,
}

/// What one edge counted of one contract in one second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractMeter {
    /// The contract.
    pub contract: ContractId,
    /// Requests that came for it.
    pub offered: u64,
    /// Requests admitted.
    pub served: u64,
}

/// What one edge measured in one second, as far as control needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeReport {
    /// The edge.
    pub edge: EdgeId,
    /// The start of the second.
    pub second: Timestamp,
    /// The newest budgets it had applied by the end of that second.
    pub budget_sequence: u64,
    /// Its contracts.
    pub contracts: Vec<ContractMeter>,
    /// Requests per site and client prefix.
    pub clients: Vec<(SiteId, IpNet, u64)>,
}

/// Issues budgets. One per exchange; it starts with nothing known and nothing granted.
#[derive(Debug)]
pub struct Controller {
    config: ControlConfig,
    /// Shares granted before this were another controller's and may be in use until then.
    settled_at: Timestamp,
    sequence: u64,
    grants: BTreeMap<(ContractId, EdgeId), Vec<Grant>>,
    applied: BTreeMap<EdgeId, u64>,
    newest: BTreeMap<EdgeId, Timestamp>,
    demand: BTreeMap<(ContractId, EdgeId), f64>,
    wanted: BTreeMap<ContractId, BTreeMap<EdgeId, u64>>,
    trims: BTreeMap<SiteRegion, f64>,
    brought: BTreeMap<Timestamp, Second>,
}

#[derive(Debug, Clone, Copy)]
struct Grant {
    sequence: u64,
    share: u64,
    expires: Timestamp,
}

/// What all edges measured in one second.
#[derive(Debug, Default)]
struct Second {
    edges: BTreeSet<EdgeId>,
    clients: BTreeMap<SiteRegionClient, u64>,
    offered: BTreeMap<ContractId, u64>,
}

type SiteRegionClient = (SiteRegion, IpNet);

impl Controller {
    /// Seconds older than this are forgotten.
    const MEMORY: Duration = Duration::from_secs(5);

    /// A controller that begins at `now`.
    #[must_use]
    pub fn new(config: ControlConfig, now: Timestamp) -> Self {
        Self {
            config,
            settled_at: now.after(config.budget_lifetime),
            sequence: 0,
            grants: BTreeMap::new(),
            applied: BTreeMap::new(),
            newest: BTreeMap::new(),
            demand: BTreeMap::new(),
            wanted: BTreeMap::new(),
            trims: BTreeMap::new(),
            brought: BTreeMap::new(),
        }
    }

    /// Takes in what an edge measured. Reports of unknown edges, repeated or older ones and those
    /// of the future are ignored; false then.
    pub fn observe(&mut self, plan: &Plan, report: &EdgeReport, now: Timestamp) -> bool {
        let Some(region) = plan.region_of_edge(&report.edge) else {
            return false;
        };
        let repeated = self.newest.get(&report.edge).is_some_and(|newest| report.second <= *newest);
        if repeated || report.second > now.after(limits::REPORT_AHEAD_MAX) {
            return false;
        }
        self.newest.insert(report.edge.clone(), report.second);
        let issued = report.budget_sequence <= self.sequence;
        if issued {
            self.applied.insert(report.edge.clone(), report.budget_sequence);
        }
        let second = self.brought.entry(report.second).or_default();
        second.edges.insert(report.edge.clone());
        for (site, client, requests) in &report.clients {
            let place = (site.clone(), region.clone());
            *second.clients.entry((place, *client)).or_default() += requests;
        }
        for meter in &report.contracts {
            *second.offered.entry(meter.contract).or_default() += meter.offered;
            let offered = as_f64(meter.offered);
            let key = (meter.contract, report.edge.clone());
            let demand = self.demand.entry(key).or_insert(offered);
            *demand += DEMAND_NEWEST * (offered - *demand);
        }
        true
    }

    /// The next budgets.
    pub fn control(&mut self, plan: &Plan, now: Timestamp) -> Budgets {
        self.sequence = (self.sequence + 1).max(now.nanos() / 1_000_000);
        self.forget(plan, now);
        let expires_at = now.after(self.config.budget_lifetime);
        let mut budgets = Budgets {
            sequence: self.sequence,
            generation: plan.generation,
            issued_at: now,
            expires_at,
            leases: BTreeMap::new(),
            shares: BTreeMap::new(),
        };
        let measured = self.measured_second(plan, now);
        for (id, site) in &plan.sites {
            let soon = now.after(limits::SHARE_AHEAD);
            let due = |held: &&Entitlement| held.until > now && held.from <= soon;
            for entitlement in site.entitlements.iter().filter(due) {
                let shares = self.shares(plan, entitlement, expires_at, now);
                budgets.shares.insert(entitlement.contract, shares);
            }
            for region in plan.regions.keys() {
                let place = (id.clone(), region.clone());
                let active = site.active(region, now);
                if !active.is_empty() {
                    let budget = self.lease_budget(plan, &place, &active, measured);
                    budgets.leases.insert(place, budget);
                }
            }
        }
        budgets
    }

    /// The shares of one contract: by demand, within what the others leave.
    fn shares(
        &mut self,
        plan: &Plan,
        entitlement: &Entitlement,
        expires: Timestamp,
        now: Timestamp,
    ) -> BTreeMap<EdgeId, RequestRate> {
        let Some(region) = plan.regions.get(&entitlement.region) else {
            return BTreeMap::new();
        };
        let total = entitlement.requests.millirequests_per_second();
        let safe =
            share::safe_share(entitlement.requests, region.edges.len()).millirequests_per_second();
        let usable: Vec<&EdgeId> =
            plan.usable_edges(&entitlement.region).map(|(id, _)| id).collect();
        let demands: Vec<u64> =
            usable.iter().map(|edge| self.demand_of(entitlement.contract, edge)).collect();
        let others = safe * u64::try_from(region.edges.len() - usable.len()).unwrap_or(0);
        let wanted = share::water_fill(total.saturating_sub(others), safe, &demands);
        let wanted = self.steady(entitlement.contract, &usable, wanted, total);
        let mut shares = BTreeMap::new();
        for (edge, wanted) in usable.iter().zip(wanted) {
            let taken: u64 = region
                .edges
                .keys()
                .filter(|other| other != edge)
                .map(|other| self.in_use(entitlement.contract, other, safe, now))
                .sum();
            let room = if now < self.settled_at { safe } else { total.saturating_sub(taken) };
            let share = wanted.min(room).max(safe);
            let grant = Grant { sequence: self.sequence, share, expires };
            let key = (entitlement.contract, (*edge).clone());
            self.grants.entry(key).or_default().push(grant);
            let share = RequestRate::from_millirequests_per_second(share);
            shares.insert((*edge).clone(), share);
        }
        shares
    }

    /// The shares wanted last time, unless one has to move by more than a step.
    fn steady(
        &mut self,
        contract: ContractId,
        usable: &[&EdgeId],
        wanted: Vec<u64>,
        total: u64,
    ) -> Vec<u64> {
        let step = total / SHARE_STEP_PARTS;
        let next: BTreeMap<EdgeId, u64> =
            usable.iter().map(|edge| (*edge).clone()).zip(wanted.iter().copied()).collect();
        let held = self.wanted.entry(contract).or_default();
        let moves = |(edge, share): (&EdgeId, &u64)| {
            held.get(edge).is_none_or(|held| held.abs_diff(*share) > step)
        };
        if held.len() == next.len() && !next.iter().any(moves) {
            return held.values().copied().collect();
        }
        *held = next;
        wanted
    }

    /// The largest share an edge may be using: of all it was granted since the one it said it
    /// applies, and its safe share.
    fn in_use(&self, contract: ContractId, edge: &EdgeId, safe: u64, now: Timestamp) -> u64 {
        let applied = self.applied.get(edge).copied().unwrap_or(0);
        let grants = self.grants.get(&(contract, edge.clone())).map_or(&[][..], Vec::as_slice);
        grants
            .iter()
            .filter(|grant| grant.sequence >= applied && grant.expires > now)
            .map(|grant| grant.share)
            .fold(safe, u64::max)
    }

    fn demand_of(&self, contract: ContractId, edge: &EdgeId) -> u64 {
        let demand = self.demand.get(&(contract, edge.clone())).copied().unwrap_or(0.0);
        RequestRate::from_f64(demand).millirequests_per_second()
    }

    fn lease_budget(
        &mut self,
        plan: &Plan,
        place: &SiteRegion,
        active: &[&Entitlement],
        measured: Option<Timestamp>,
    ) -> LeaseBudget {
        let purchased: RequestRate = active.iter().map(|entitlement| entitlement.requests).sum();
        let trim = self.trim(place, active, purchased, measured);
        let total = RequestRate::from_f64(purchased.as_f64() * (1.0 + trim));
        let servers = u64::try_from(plan.name_servers.len().max(1)).unwrap_or(u64::MAX);
        let each =
            RequestRate::from_millirequests_per_second(total.millirequests_per_second() / servers);
        let by_name_server = plan.name_servers.keys().map(|id| (id.clone(), each)).collect();
        let brought = measured.and_then(|second| self.brought.get(&second)).map(|second| {
            second
                .clients
                .iter()
                .filter(|((at, _), _)| at == place)
                .map(|((_, client), count)| {
                    (*client, RequestRate::from_requests_per_second(*count))
                })
                .collect()
        });
        LeaseBudget {
            by_name_server,
            measured_second: measured.unwrap_or_default(),
            brought: brought.unwrap_or_default(),
        }
    }

    /// The slow correction: integrates what was offered beyond, or short of, the purchase.
    fn trim(
        &mut self,
        place: &SiteRegion,
        active: &[&Entitlement],
        purchased: RequestRate,
        measured: Option<Timestamp>,
    ) -> f64 {
        let trim = self.trims.entry(place.clone()).or_default();
        let whole = |second: Timestamp| active.iter().all(|held| held.is_active(second));
        if let Some(second) = measured.filter(|second| whole(*second))
            && let Some(counts) = self.brought.get(&second)
        {
            // A second contract of the same site is offered what the first refused: the requests
            // that came at all are those offered to the first.
            let offered = active
                .iter()
                .filter_map(|held| counts.offered.get(&held.contract))
                .max()
                .copied()
                .unwrap_or(0);
            let error = 1.0 - as_f64(offered) / purchased.as_f64().max(1.0);
            *trim = (*trim + TRIM_GAIN * error.clamp(-1.0, 1.0)).clamp(TRIM_RANGE.0, TRIM_RANGE.1);
        }
        *trim
    }

    /// The newest second that every usable edge has reported, if it is recent.
    fn measured_second(&self, plan: &Plan, now: Timestamp) -> Option<Timestamp> {
        let mut edges = plan.regions.keys().flat_map(|region| plan.usable_edges(region));
        let newest = edges.try_fold(Timestamp::MAX, |oldest, (edge, _)| {
            self.newest.get(edge).map(|second| oldest.min(*second))
        })?;
        (newest.after(Self::MEMORY) >= now).then_some(newest)
    }

    fn forget(&mut self, plan: &Plan, now: Timestamp) {
        let oldest = now.before(Self::MEMORY);
        self.brought.retain(|second, _| *second >= oldest);
        let live: BTreeSet<ContractId> = plan
            .sites
            .values()
            .flat_map(|site| &site.entitlements)
            .filter(|entitlement| entitlement.until > now)
            .map(|entitlement| entitlement.contract)
            .collect();
        self.demand.retain(|(contract, _), _| live.contains(contract));
        self.wanted.retain(|contract, _| live.contains(contract));
        let applied = &self.applied;
        self.grants.retain(|(_, edge), grants| {
            let applied = applied.get(edge).copied().unwrap_or(0);
            grants.retain(|grant| grant.sequence >= applied && grant.expires > now);
            !grants.is_empty()
        });
        self.trims.retain(|(site, _), _| plan.sites.contains_key(site));
    }
}

#[expect(clippy::cast_precision_loss, reason = "a second's requests stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Gate, plan::testing};

    const CONFIG: ControlConfig = ControlConfig { budget_lifetime: Duration::from_secs(3) };
    const CONTRACT: ContractId = ContractId::new(1);

    fn world() -> Plan {
        let mut input = testing::input(Timestamp::from_seconds(100));
        input.entitlements.push(testing::entitlement("shop", "east", 1, 100, 10_000, 100));
        crate::plan(&input)
    }

    fn report(edge: &str, second: u64, sequence: u64, offered: u64) -> EdgeReport {
        EdgeReport {
            edge: edge.parse().unwrap(),
            second: Timestamp::from_seconds(second),
            budget_sequence: sequence,
            contracts: vec![ContractMeter { contract: CONTRACT, offered, served: offered }],
            clients: vec![("shop".parse().unwrap(), "10.0.1.0/24".parse().unwrap(), offered)],
        }
    }

    fn run(controller: &mut Controller, plan: &Plan, second: u64, offered: [u64; 2]) -> [u64; 2] {
        let now = Timestamp::from_seconds(second);
        let sequence = controller.sequence;
        for (edge, offered) in ["east-1", "east-2"].iter().zip(offered) {
            controller.observe(plan, &report(edge, second - 1, sequence, offered), now);
        }
        let budgets = controller.control(plan, now);
        ["east-1", "east-2"].map(|edge| {
            (budgets.shares[&CONTRACT][&edge.parse().unwrap()].millirequests_per_second() + 500)
                / 1_000
        })
    }

    #[test]
    fn shares_follow_the_demand() {
        let plan = world();
        let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(100));
        assert_eq!(run(&mut controller, &plan, 101, [60, 20]), [25, 25], "first the safe shares");
        let mut settle = |seconds: std::ops::Range<u64>, offered| {
            let mut shares = [0, 0];
            for second in seconds {
                shares = run(&mut controller, &plan, second, offered);
                assert!(shares.iter().sum::<u64>() <= 101, "{shares:?}");
            }
            shares
        };
        let near = |shares: [u64; 2], expected: [u64; 2]| {
            shares.iter().zip(expected).all(|(share, expected)| share.abs_diff(expected) <= 5)
        };
        assert!(near(settle(104..120, [80, 20]), [75, 25]));
        assert!(near(settle(120..140, [20, 80]), [25, 75]));
        assert!(near(settle(140..160, [65, 45]), [55, 45]), "the smaller demand is met first");
        assert!(near(settle(160..180, [30, 10]), [52, 47]), "what is left is spread evenly");
    }

    #[test]
    fn small_changes_of_demand_move_no_share() {
        let plan = world();
        let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(90));
        for second in 101..110 {
            run(&mut controller, &plan, second, [50, 50]);
        }
        assert_eq!(run(&mut controller, &plan, 110, [53, 47]), [50, 50]);
        assert_eq!(run(&mut controller, &plan, 111, [48, 52]), [50, 50]);
    }

    #[test]
    fn a_report_is_taken_once_and_only_from_known_edges() {
        let plan = world();
        let now = Timestamp::from_seconds(110);
        let mut controller = Controller::new(CONFIG, now);
        assert!(controller.observe(&plan, &report("east-1", 109, 0, 5), now));
        assert!(!controller.observe(&plan, &report("east-1", 109, 0, 500), now), "repeated");
        assert!(!controller.observe(&plan, &report("east-1", 108, 0, 500), now), "older");
        assert!(!controller.observe(&plan, &report("east-1", 113, 0, 500), now), "the future");
        assert!(!controller.observe(&plan, &report("nowhere-1", 109, 0, 500), now), "unknown");
    }

    #[test]
    fn the_trim_integrates_the_error_within_its_range() {
        let plan = world();
        let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(90));
        let place: SiteRegion = ("shop".parse().unwrap(), "east".parse().unwrap());
        let mut step = |second: u64, offered: u64| {
            let now = Timestamp::from_seconds(second);
            for edge in ["east-1", "east-2", "west-1", "west-2"] {
                controller.observe(&plan, &report(edge, second - 1, 0, offered / 4), now);
            }
            let budgets = controller.control(&plan, now);
            let budget = &budgets.leases[&place];
            budget.by_name_server[&"ns1".parse().unwrap()].as_f64()
        };
        assert!((step(101, 120) - 99.0).abs() < 1e-6);
        for second in 102..300 {
            step(second, 200);
        }
        assert!((step(300, 200) - 50.0).abs() < 1e-6, "never below half");
        for second in 301..500 {
            step(second, 0);
        }
        assert!((step(500, 0) - 110.0).abs() < 1e-6, "never above a tenth more");
    }

    proptest! {
        /// Budgets are lost, delayed and applied by real gates; whatever happens, the shares in
        /// use never add up to more than the contract.
        #[test]
        fn live_shares_never_exceed_the_contract(
            steps in prop::collection::vec((0u64..200, 0u64..200, 0u8..4, any::<bool>()), 1..60)
        ) {
            let plan = world();
            let (_, entitlement) = testing::entitlement("shop", "east", 1, 100, 10_000, 100);
            let mut controller = Controller::new(CONFIG, Timestamp::from_seconds(100));
            let ids: [EdgeId; 2] = ["east-1".parse().unwrap(), "east-2".parse().unwrap()];
            let gate = || Gate::new(&entitlement, 2, Duration::from_millis(250), Timestamp::EPOCH);
            let mut gates = [gate(), gate()];
            let mut applied = [0u64; 2];
            for (step, (first, second, lost, silent)) in steps.into_iter().enumerate() {
                let now = Timestamp::from_seconds(101 + step as u64);
                for (index, offered) in [first, second].into_iter().enumerate() {
                    if !(silent && index == 0) {
                        let edge = ids[index].as_str();
                        let report = report(edge, 100 + step as u64, applied[index], offered);
                        controller.observe(&plan, &report, now);
                    }
                }
                let budgets = controller.control(&plan, now);
                for index in 0..2 {
                    if lost & (1 << index) == 0 {
                        let share = budgets.shares[&CONTRACT][&ids[index]];
                        gates[index] = gates[index].renewed(share, budgets.expires_at, now);
                        applied[index] = budgets.sequence;
                    }
                }
                for later in [0, 999] {
                    let at = now.after(Duration::from_millis(later));
                    let sum = gates.iter().map(|gate| gate.share(at)).sum::<RequestRate>();
                    prop_assert!(sum <= entitlement.requests, "{sum} at step {step}");
                }
            }
        }
    }
}

//! The controller: compares what was served with what was purchased, and issues the next budgets.
//!
//! Edge shares follow the demand by water-filling. A share is raised only as far as the shares
//! that other edges may still be using leave room: an edge that was told of a smaller share, and
//! has not said that it applies it, is taken to use the larger one until that expires. So live
//! shares never add up to more than the contract, whatever messages are lost.
//!
//! A controller that begins knows nothing of what the one before granted. It gives no shares until
//! each edge has told what it holds; meanwhile edges keep that. Shares that were granted by the one
//! before have expired at the latest one lifetime after the start.
//!
//! The lease budget is the purchase, less a margin for the chance in arrivals, over the level of
//! demand: see [`Level`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use headroom_units::{ContractId, EdgeId, NameServerId, RequestRate, SiteId, Timestamp};
use ipnet::IpNet;

use crate::{
    Budgets, Entitlement, LeaseBudget, Leased, Plan, SiteRegion, level::Level, limits, share,
};

/// This part of a large purchase is leased out. What is left is for the chance in arrivals: of 6,000
/// requests a second one second in a hundred brings 3 % more.
const AIM: f64 = 0.9955;
/// Of a small purchase more: so many requests per second, up to this part of it. Of 120 requests a
/// second one second in three brings 9 % less or 9 % more, whatever is leased out; with a margin as
/// much again would be idle as is refused.
const AIM_SMALL: (f64, f64) = (4.0, 0.05);
/// What is leased out tells the level of demand only if it is this part of the purchase,
const TELLING: f64 = 0.2;
/// and if no more than this part of it is a guess.
const GUESSED: f64 = 0.25;
/// The weight of the newest second in the demand of a contract at an edge.
const DEMAND_NEWEST: f64 = 0.1;
/// Shares are left as they are while none would move by more than one part in this many of the
/// contract: what one edge gives up is idle until the other may have it.
const SHARE_STEP_PARTS: u64 = 200;

const SECOND: Duration = Duration::from_secs(1);

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
    /// The share it held, on the average of that second.
    pub available: RequestRate,
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
    /// Shares granted by the controller before may be in use until then.
    settled_at: Timestamp,
    sequence: u64,
    /// The first that this controller issued.
    first_sequence: Option<u64>,
    /// How many reports each edge made under budgets of this controller.
    settling: BTreeMap<EdgeId, u32>,
    /// What edges hold of what the controller before granted.
    inherited: BTreeMap<(ContractId, EdgeId), u64>,
    /// Edges that are known to have stopped, and since when.
    fenced: BTreeMap<EdgeId, Timestamp>,
    /// Edges that were, and wait until the others have made room for their safe shares.
    returning: BTreeSet<EdgeId>,
    grants: BTreeMap<(ContractId, EdgeId), Vec<Grant>>,
    applied: BTreeMap<EdgeId, u64>,
    newest: BTreeMap<EdgeId, Timestamp>,
    demand: BTreeMap<(ContractId, EdgeId), f64>,
    wanted: BTreeMap<ContractId, BTreeMap<EdgeId, u64>>,
    levels: BTreeMap<SiteRegion, Level>,
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
    leased: BTreeMap<SiteRegion, BTreeMap<NameServerId, Leased>>,
}

type SiteRegionClient = (SiteRegion, IpNet);

impl Controller {
    /// Seconds older than this are forgotten.
    const MEMORY: Duration = Duration::from_secs(30);
    /// So many reports of an edge tell what it holds: the share does not change in the last.
    const SETTLING_REPORTS: u32 = 2;

    /// A controller that begins at `now`.
    #[must_use]
    pub fn new(config: ControlConfig, now: Timestamp) -> Self {
        Self {
            config,
            settled_at: now.after(config.budget_lifetime),
            sequence: 0,
            first_sequence: None,
            settling: BTreeMap::new(),
            inherited: BTreeMap::new(),
            fenced: BTreeMap::new(),
            returning: BTreeSet::new(),
            grants: BTreeMap::new(),
            applied: BTreeMap::new(),
            newest: BTreeMap::new(),
            demand: BTreeMap::new(),
            wanted: BTreeMap::new(),
            levels: BTreeMap::new(),
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
        self.settle(report);
        if self.fenced.get(&report.edge).is_some_and(|since| report.second >= *since) {
            self.fenced.remove(&report.edge);
            self.returning.insert(report.edge.clone());
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

    /// Learns what an edge holds of the shares of the controller before. That cannot change once it
    /// has applied budgets of this one, which say nothing of it.
    fn settle(&mut self, report: &EdgeReport) {
        let is_ours = |first: u64| (first..=self.sequence).contains(&report.budget_sequence);
        if !self.first_sequence.is_some_and(is_ours) {
            return;
        }
        let reports = self.settling.entry(report.edge.clone()).or_default();
        *reports = reports.saturating_add(1);
        if *reports == Self::SETTLING_REPORTS {
            for meter in &report.contracts {
                let held = meter.available.millirequests_per_second();
                self.inherited.insert((meter.contract, report.edge.clone()), held);
            }
        }
    }

    /// Takes in how much load a name server had leased out at the end of `second`, at the usual
    /// level of demand. Of the future and of long ago, nothing is taken.
    pub fn observe_leased(
        &mut self,
        (name_server, place): (&NameServerId, &SiteRegion),
        second: Timestamp,
        leased: Leased,
        now: Timestamp,
    ) {
        let known = now.before(Self::MEMORY)..=now.after(limits::REPORT_AHEAD_MAX);
        if !known.contains(&second) {
            return;
        }
        let leased_then = self.brought.entry(second).or_default().leased.entry(place.clone());
        leased_then.or_default().insert(name_server.clone(), leased);
    }

    /// `edge` is known to have stopped at `now`: it serves nobody, and begins again with nothing
    /// ([`crate::Gate::waiting`]). Its shares are free for the others, until it is heard of.
    pub fn fence(&mut self, edge: &EdgeId, now: Timestamp) {
        self.fenced.insert(edge.clone(), now);
        self.returning.remove(edge);
        self.grants.retain(|(_, of), _| of != edge);
        self.inherited.retain(|(_, of), _| of != edge);
    }

    /// The next budgets.
    pub fn control(&mut self, plan: &Plan, now: Timestamp) -> Budgets {
        self.sequence = (self.sequence + 1).max(now.nanos() / 1_000_000);
        self.first_sequence.get_or_insert(self.sequence);
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
        let measured = self.measured_second(plan);
        for (id, site) in &plan.sites {
            let soon = now.after(limits::SHARE_AHEAD);
            let due = |held: &&Entitlement| held.until > now && held.from <= soon;
            for entitlement in site.entitlements.iter().filter(due) {
                if let Some(shares) = self.shares(plan, entitlement, expires_at, now) {
                    budgets.shares.insert(entitlement.contract, shares);
                }
            }
            for region in plan.regions.keys() {
                let place = (id.clone(), region.clone());
                let active = site.active(region, now);
                if !active.is_empty() {
                    let budget = self.lease_budget(plan, &place, &active, measured, now);
                    budgets.leases.insert(place, budget);
                }
            }
        }
        budgets
    }

    /// The shares of one contract: by demand, within what the others leave. None while it is not
    /// known what the edges hold.
    fn shares(
        &mut self,
        plan: &Plan,
        entitlement: &Entitlement,
        expires: Timestamp,
        now: Timestamp,
    ) -> Option<BTreeMap<EdgeId, RequestRate>> {
        let region = plan.regions.get(&entitlement.region)?;
        let contract = entitlement.contract;
        let total = entitlement.requests.millirequests_per_second();
        let safe =
            share::safe_share(entitlement.requests, region.edges.len()).millirequests_per_second();
        let serving: Vec<&EdgeId> =
            region.edges.keys().filter(|edge| !self.fenced.contains_key(*edge)).collect();
        let mut held: BTreeMap<EdgeId, u64> = BTreeMap::new();
        for edge in &serving {
            let in_use = match self.returns(contract, edge) {
                true => Some(0),
                false => self.in_use(contract, edge, safe, now),
            };
            // What has not begun may be made less at no cost.
            let unknown = if now < entitlement.from { Some(total) } else { None };
            held.insert((*edge).clone(), in_use.or(unknown)?);
        }
        let usable: Vec<&EdgeId> = plan
            .usable_edges(&entitlement.region)
            .map(|(id, _)| id)
            .filter(|edge| held.contains_key(*edge))
            .collect();
        let demands: Vec<u64> = usable.iter().map(|edge| self.demand_of(contract, edge)).collect();
        let others = safe * u64::try_from(serving.len() - usable.len()).unwrap_or(0);
        let wanted = share::water_fill(total.saturating_sub(others), safe, &demands);
        let wanted = self.steady(contract, &usable, wanted, total);
        let mut shares = BTreeMap::new();
        for (edge, wanted) in usable.iter().zip(wanted) {
            let taken: u64 =
                held.iter().filter(|(other, _)| *other != *edge).map(|(_, in_use)| *in_use).sum();
            let room = total.saturating_sub(taken);
            if room < safe && self.returns(contract, edge) {
                continue;
            }
            let share = wanted.min(room).max(safe);
            let grant = Grant { sequence: self.sequence, share, expires };
            self.grants.entry((contract, (*edge).clone())).or_default().push(grant);
            let in_use = held.entry((*edge).clone()).or_default();
            *in_use = share.max(*in_use);
            shares.insert((*edge).clone(), RequestRate::from_millirequests_per_second(share));
        }
        Some(shares)
    }

    /// Whether an edge that had stopped holds nothing of the contract yet.
    fn returns(&self, contract: ContractId, edge: &EdgeId) -> bool {
        self.returning.contains(edge) && !self.grants.contains_key(&(contract, edge.clone()))
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
    /// applies, and its safe share. None while that is not known.
    fn in_use(
        &self,
        contract: ContractId,
        edge: &EdgeId,
        safe: u64,
        now: Timestamp,
    ) -> Option<u64> {
        let applied = self.applied.get(edge).copied().unwrap_or(0);
        let key = (contract, edge.clone());
        let grants = self.grants.get(&key).map_or(&[][..], Vec::as_slice);
        let of_before = if now >= self.settled_at || grants.iter().any(|g| g.sequence == applied) {
            0
        } else {
            *self.inherited.get(&key)?
        };
        let live = grants.iter().filter(|grant| grant.sequence >= applied && grant.expires > now);
        Some(live.map(|grant| grant.share).fold(safe.max(of_before), u64::max))
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
        now: Timestamp,
    ) -> LeaseBudget {
        let purchased: RequestRate = active.iter().map(|entitlement| entitlement.requests).sum();
        if let Some(second) = measured {
            self.follow(plan, place, active, purchased.as_f64(), second);
        }
        let level = self.levels.get(place);
        let level_at = |at: Timestamp| level.map_or(1.0, |level| level.at(at));
        let total = RequestRate::from_f64(aim(purchased.as_f64()) / level_at(now));
        let servers = u64::try_from(plan.name_servers.len().max(1)).unwrap_or(u64::MAX);
        let each =
            RequestRate::from_millirequests_per_second(total.millirequests_per_second() / servers);
        // Until it is known how much load comes for what is leased out, name servers go on with the
        // budgets that they have.
        let told = level.is_some() || now >= self.settled_at;
        let name_servers = plan.name_servers.keys().filter(|_| told);
        let by_name_server = name_servers.map(|id| (id.clone(), each)).collect();
        let brought = measured.and_then(|second| self.brought.get(&second)).map(|second| {
            let here = second.clients.iter().filter(|((at, _), _)| at == place);
            here.map(|((_, client), count)| {
                (*client, RequestRate::from_requests_per_second(*count))
            })
            .collect()
        });
        // A millionth of the level as a rate: rounded in the one place that rounds.
        let level = RequestRate::from_f64(1_000.0 * level_at(measured.unwrap_or(now)));
        LeaseBudget {
            by_name_server,
            measured_second: measured.unwrap_or_default(),
            level: level.millirequests_per_second(),
            brought: brought.unwrap_or_default(),
        }
    }

    /// Follows the level of demand: what was offered over what was leased out.
    fn follow(
        &mut self,
        plan: &Plan,
        place: &SiteRegion,
        active: &[&Entitlement],
        purchased: f64,
        second: Timestamp,
    ) {
        let Some(counts) = self.brought.get(&second) else { return };
        let Some(leased) = counts.leased.get(place) else { return };
        let is_whole = active.iter().all(|held| held.is_active(second));
        if !is_whole || !plan.name_servers.keys().all(|id| leased.contains_key(id)) {
            return;
        }
        // What is leased out is told at the end of a second; what came, came in all of it.
        let before = self.brought.get(&second.before(SECOND));
        let before = before.and_then(|counts| counts.leased.get(place)).unwrap_or(leased);
        let mean = |of: fn(&Leased) -> RequestRate| {
            let both = [before, leased].map(|told| told.values().map(of).sum::<RequestRate>());
            f64::midpoint(both[0].as_f64(), both[1].as_f64())
        };
        let (guessed, leased) = (mean(|leased| leased.strangers), mean(|leased| leased.load));
        if leased < TELLING * purchased || guessed > GUESSED * leased {
            return;
        }
        // A second contract of the same site is offered what the first refused: the requests that
        // came at all are those offered to the first.
        let offered = active.iter().filter_map(|held| counts.offered.get(&held.contract)).max();
        let offered = as_f64(offered.copied().unwrap_or(0));
        match self.levels.get_mut(place) {
            Some(level) => level.observe(offered, leased, second),
            None => drop(self.levels.insert(place.clone(), Level::new(offered, leased, second))),
        }
    }

    /// The newest second that every usable edge has reported, if it is recent.
    fn measured_second(&self, plan: &Plan) -> Option<Timestamp> {
        let usable: BTreeSet<&EdgeId> = plan
            .regions
            .keys()
            .flat_map(|region| plan.usable_edges(region))
            .map(|(id, _)| id)
            .filter(|edge| !self.fenced.contains_key(*edge))
            .collect();
        let is_whole = |counts: &Second| usable.iter().all(|edge| counts.edges.contains(*edge));
        let whole = self.brought.iter().rev().find(|(_, counts)| is_whole(counts));
        whole.map(|(second, _)| *second).filter(|_| !usable.is_empty())
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
        let held =
            |edge: &EdgeId| live.iter().all(|id| self.grants.contains_key(&(*id, edge.clone())));
        self.returning.retain(|edge| !held(edge));
        self.levels.retain(|(site, _), _| plan.sites.contains_key(site));
        self.inherited.retain(|_, _| now < self.settled_at);
    }
}

/// The load that is to come where so much was purchased.
fn aim(purchased: f64) -> f64 {
    AIM * purchased + AIM_SMALL.0.min(AIM_SMALL.1 * purchased)
}

#[expect(clippy::cast_precision_loss, reason = "a second's requests stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;

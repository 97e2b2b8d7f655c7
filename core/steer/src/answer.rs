//! The answer to a mapping request: an edge if the lease fits the budget, else the remainder.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use headroom_units::{EdgeId, HostName, NameServerId, RegionId, RequestRate, SiteId, Timestamp};
use ipnet::IpNet;

use crate::{
    Assignments, Budgets, ClientRegions, LeaseBudget, Leased, Ledger, Owner, Plan, PrefixMap,
    Remainder, Site, SiteRegion, limits,
};

/// A heavy client is asked to come back in one part in this many of the TTL.
const HEAVY_TTL_PARTS: u32 = 4;
/// Clients are counted over this many TTLs.
const CENSUS_TTLS: u32 = 2;

/// Where a mapping request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To one of our edges.
    Edge(EdgeId),
    /// Back to the purchaser's own name.
    Name(HostName),
    /// To these addresses of the purchaser's, which are of one server if it is assigned.
    Addresses(Vec<IpAddr>),
    /// To the addresses that the purchaser's zone gives the host.
    Records,
}

/// The answer to one mapping request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Where to.
    pub target: Target,
    /// For how long it may be cached.
    pub ttl: Duration,
    /// The region it was decided for.
    pub region: RegionId,
    /// How many leading bits of the client's first address it took to find that region: who differs
    /// in them may belong to another one (RFC 7871 §7.2.1).
    pub scope: u8,
    /// The number of the server of the plan's assignment that it leads to, if it does.
    pub server: Option<usize>,
    /// The same may be said again to the same client, without asking.
    pub hold: Option<Hold>,
}

/// How long an answer may be repeated to the same client, and what its TTL is then. Name servers
/// keep many, so it is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    /// The end of it.
    pub until: Timestamp,
    /// No cache may keep the answer beyond this; the end of time if any may.
    boundary: Timestamp,
    /// In seconds.
    ttl_max: u32,
    is_lease: bool,
}

impl Hold {
    /// The TTL of the answer when it is given at `now`; `None` when it must not be given any more.
    #[must_use]
    pub fn ttl(&self, now: Timestamp) -> Option<Duration> {
        if now >= self.until || now >= self.boundary {
            return None;
        }
        let (most, left) = (Duration::from_secs(self.ttl_max.into()), self.boundary.since(now));
        if self.is_lease { lease_ttl(most, left) } else { Some(remainder_ttl(most, left)) }
    }

    /// The same with a quarter of the TTL.
    fn shorter(self) -> Self {
        Self { ttl_max: (self.ttl_max / HEAVY_TTL_PARTS).max(1), ..self }
    }

    /// The same up to `boundary`, if there is one.
    fn up_to(self, boundary: Option<Timestamp>) -> Self {
        Self { boundary: boundary.unwrap_or(Timestamp::MAX), ..self }
    }
}

/// How long an answer may be repeated: a lease is counted so much longer than its TTL.
fn hold_time(ttl: Duration) -> Duration {
    (ttl / limits::HOLD_PARTS).min(limits::HOLD_MAX)
}

/// What one name server did since the last report, of one site in one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SteeringReport {
    /// Mapping requests answered.
    pub mapping_requests: u64,
    /// Of these, answered with an edge.
    pub mapped_to_edges: u64,
    /// The load leased out at the moment of the report.
    pub leased: Leased,
}

/// One name server's side of steering: the plan, the budgets and a ledger per site and region.
#[derive(Debug)]
pub struct Steering {
    name_server: NameServerId,
    plan: Arc<Plan>,
    regions: ClientRegions,
    budgets: Option<Budgets>,
    /// What each edge may admit of what is active, as told by the budgets.
    shares: BTreeMap<SiteRegion, BTreeMap<EdgeId, u64>>,
    ledgers: BTreeMap<SiteRegion, Ledger>,
    counts: BTreeMap<SiteRegion, (u64, u64)>,
    assignments: Assignments,
}

impl Steering {
    /// The steering of `name_server` under its first plan.
    #[must_use]
    pub fn new(name_server: NameServerId, plan: Arc<Plan>) -> Self {
        Self {
            name_server,
            regions: ClientRegions::of(&plan),
            plan,
            budgets: None,
            shares: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            counts: BTreeMap::new(),
            assignments: Assignments::default(),
        }
    }

    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Puts a newer plan in force; false if it is not newer. Ledgers of sites that are gone are
    /// dropped.
    pub fn install(&mut self, plan: Arc<Plan>) -> bool {
        if plan.generation <= self.plan.generation {
            return false;
        }
        self.regions.replan(&plan);
        self.ledgers.retain(|(site, _), _| plan.sites.contains_key(site));
        for ((_, region), ledger) in &mut self.ledgers {
            let usable: Vec<&EdgeId> = plan.usable_edges(region).map(|(id, _)| id).collect();
            ledger.keep_edges(&usable, plan.made_at);
        }
        self.assignments.keep(&plan);
        self.plan = plan;
        true
    }

    /// Takes the regions of clients from these prefixes from now on, where the plan has none.
    pub fn supply_prefixes(&mut self, prefixes: Arc<PrefixMap>) {
        self.regions.supply(prefixes);
    }

    /// What is known of the servers that remainders are assigned to.
    #[must_use]
    pub fn assignments(&self) -> &Assignments {
        &self.assignments
    }

    /// The same, to be changed.
    pub fn assignments_mut(&mut self) -> &mut Assignments {
        &mut self.assignments
    }

    /// Puts newer budgets in force and learns from them; false if they are not newer.
    pub fn renew(&mut self, budgets: Budgets, now: Timestamp) -> bool {
        if self.budgets.as_ref().is_some_and(|held| budgets.sequence <= held.sequence) {
            return false;
        }
        for (place, budget) in &budgets.leases {
            if let Some(ledger) = self.ledgers.get_mut(place) {
                ledger.learn(budget, now);
            }
        }
        let before = self.budgets.replace(budgets).filter(|before| now < before.expires_at);
        if let (Some(before), Some(held)) = (before, &mut self.budgets) {
            // An exchange that has just begun says nothing of what it does not know yet.
            for (place, budget) in before.leases {
                let by_name_server = budget.by_name_server;
                let place = held.leases.entry(place).or_default();
                if place.by_name_server.is_empty() {
                    place.by_name_server = by_name_server;
                }
            }
        }
        self.add_up_shares(now);
        true
    }

    /// Adds up what each edge may admit of each place.
    fn add_up_shares(&mut self, now: Timestamp) {
        self.shares.clear();
        let Some(budgets) = &self.budgets else { return };
        for place in budgets.leases.keys() {
            let Some(site) = self.plan.sites.get(&place.0) else { continue };
            let active = site.active(&place.1, now);
            let told = active.iter().filter_map(|held| budgets.shares.get(&held.contract));
            let shares = self.shares.entry(place.clone()).or_default();
            for (edge, share) in told.flatten() {
                *shares.entry(edge.clone()).or_default() += share.millirequests_per_second();
            }
        }
    }

    /// The load that `client` is known to bring to `place` while it holds a lease, at the level of
    /// demand that was told last.
    #[must_use]
    pub fn known_load(&self, place: &SiteRegion, client: IpNet) -> Option<RequestRate> {
        let weight = self.ledgers.get(place).and_then(|ledger| ledger.known_weight(client))?;
        let told = self.budgets.as_ref().and_then(|budgets| budgets.leases.get(place));
        Some(told.map_or(weight, |budget| budget.at_level(weight)))
    }

    /// Answers a mapping request for `site` from `client`; `None` if the plan has no such site.
    pub fn answer(&mut self, site: &SiteId, client: IpNet, now: Timestamp) -> Option<Answer> {
        let plan = Arc::clone(&self.plan);
        let planned = plan.sites.get(site)?;
        let found = self.regions.find(&plan, client);
        let (place, scope) = ((site.clone(), found.region.clone()), found.length);
        let until = now.after(hold_time(plan.ttl));
        let ttl_max = u32::try_from(plan.ttl.as_secs()).unwrap_or(u32::MAX);
        let hold = Hold { until, boundary: Timestamp::MAX, ttl_max, is_lease: false };
        let edge = match planned.owner {
            Owner::Operator => own_edge(&plan, &place.1, client).map(|edge| (edge, hold)),
            Owner::Purchaser(_) => {
                // Who has bought nothing has no lease.
                let boundary = planned.active_until(&place.1, now).or(Some(now));
                let hold = Hold { is_lease: true, ..hold.up_to(boundary) };
                self.leased_edge(&plan, planned, &place, client, hold, now)
            }
        };
        self.count(&place, 1, edge.is_some().into());
        let (led, hold) = match edge {
            Some((edge, hold)) => (Led::to(Target::Edge(edge)), hold),
            None => {
                let boundary = planned.next_start(&place.1, now);
                let led = self.remainder(site, planned, (client, &place.1), now);
                (led, hold.up_to(boundary))
            }
        };
        let Led { target, server, is_kept } = led;
        let ttl = hold.ttl(now).unwrap_or_default();
        // A client whose addresses have several regions is told so each time.
        let hold = (is_kept && scope <= client.prefix_len()).then_some(hold);
        Some(Answer { target, ttl, region: place.1, scope, server, hold })
    }

    /// Counts mapping requests that were answered, some `to_edges`, also by who repeats answers.
    pub fn count(&mut self, place: &SiteRegion, mapping_requests: u64, to_edges: u64) {
        match self.counts.get_mut(place) {
            Some(counts) => {
                counts.0 += mapping_requests;
                counts.1 += to_edges;
            }
            None => drop(self.counts.insert(place.clone(), (mapping_requests, to_edges))),
        }
    }

    /// What was done since the last report, and what is leased out of what is active now: also where
    /// nobody asked, so that the exchange can tell how much comes for it.
    pub fn report(&mut self, now: Timestamp) -> BTreeMap<SiteRegion, SteeringReport> {
        let counts = std::mem::take(&mut self.counts).into_iter();
        let mut reports: BTreeMap<SiteRegion, SteeringReport> = counts
            .map(|(place, (mapping_requests, mapped_to_edges))| {
                (place, SteeringReport { mapping_requests, mapped_to_edges, ..Default::default() })
            })
            .collect();
        for (place, ledger) in &self.ledgers {
            let site = self.plan.sites.get(&place.0);
            if site.is_some_and(|site| !site.active(&place.1, now).is_empty()) {
                reports.entry(place.clone()).or_default().leased = ledger.accounted();
            }
        }
        reports
    }

    fn leased_edge(
        &mut self,
        plan: &Plan,
        site: &Site,
        place: &SiteRegion,
        client: IpNet,
        hold: Hold,
        now: Timestamp,
    ) -> Option<(EdgeId, Hold)> {
        let budget = self.budget(site, place, now);
        let ledger = self.ledgers.entry(place.clone()).or_default();
        ledger.note(client, now, plan.ttl * CENSUS_TTLS);
        let hold = if ledger.is_heavy(client, budget) { hold.shorter() } else { hold };
        let leased = hold.ttl(now)? + hold.until.since(now);
        if ledger.keeps(client) > hold.boundary.since(now) {
            // It would still come after the end of the purchase.
            return None;
        }
        let edges: Vec<&EdgeId> = plan.usable_edges(&place.1).map(|(id, _)| id).collect();
        let shares = self.shares.get(place).filter(|shares| !shares.is_empty());
        let share = |edge: &EdgeId| shares.map_or(1, |of| of.get(edge).copied().unwrap_or(0));
        let lease = ledger.lease(client, budget, (&edges, share), leased, now);
        lease.map(|edge| (edge, hold))
    }

    /// The load this server may lease out: its budget while that is in force, else its even part
    /// of what is active by the plan. The edges hold the purchase in either case.
    fn budget(&self, site: &Site, place: &SiteRegion, now: Timestamp) -> RequestRate {
        let issued = self.budgets.as_ref().filter(|budgets| now < budgets.expires_at);
        let mine = |budget: &LeaseBudget| budget.by_name_server.get(&self.name_server).copied();
        issued.and_then(|budgets| budgets.leases.get(place)).and_then(mine).unwrap_or_else(|| {
            let active: RequestRate =
                site.active(&place.1, now).iter().map(|entitlement| entitlement.requests).sum();
            let servers = u64::try_from(self.plan.name_servers.len().max(1)).unwrap_or(u64::MAX);
            let part = active.millirequests_per_second() / servers;
            RequestRate::from_millirequests_per_second(part)
        })
    }

    fn remainder(
        &self,
        id: &SiteId,
        site: &Site,
        client: (IpNet, &RegionId),
        now: Timestamp,
    ) -> Led {
        match &site.remainder {
            Remainder::ReturnName(name) => Led::to(Target::Name(name.clone())),
            Remainder::ReturnAddresses(addresses) => Led::to(Target::Addresses(addresses.clone())),
            // What a zone or its name server says may change any time.
            Remainder::ReturnRecords => Led::once(Target::Records),
            Remainder::Assign(_) => {
                let chosen = self.assignments.choose(id, &site.remainder, client, now);
                let (number, addresses) =
                    chosen.map(|(number, server)| (number, server.addresses.clone())).unzip();
                let target = Target::Addresses(addresses.unwrap_or_default());
                Led { server: number, ..Led::to(target) }
            }
            Remainder::AssignByDns { .. } => {
                let chosen = self.assignments.choose(id, &site.remainder, client, now);
                Led::once(match chosen {
                    Some((_, server)) => Target::Addresses(server.addresses.clone()),
                    None => Target::Name(site.fallback.host.clone()),
                })
            }
        }
    }
}

/// Where an answer leads.
struct Led {
    target: Target,
    /// The number of the server of the plan's assignment.
    server: Option<usize>,
    /// Whether the same may be said again without asking.
    is_kept: bool,
}

impl Led {
    fn to(target: Target) -> Self {
        Self { target, server: None, is_kept: true }
    }

    fn once(target: Target) -> Self {
        Self { is_kept: false, ..Self::to(target) }
    }
}

/// The operator's own visitors stay at one edge per prefix.
fn own_edge(plan: &Plan, region: &RegionId, client: IpNet) -> Option<EdgeId> {
    let edges: Vec<&EdgeId> = plan.usable_edges(region).map(|(id, _)| id).collect();
    let octets = match client.addr() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let hash = octets.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835) >> 64;
    let index = hash.checked_rem(u128::try_from(edges.len()).ok()?)?;
    edges.get(usize::try_from(index).ok()?).map(|edge| (*edge).clone())
}

/// A lease ends with the purchase: the TTL is cut to what is left of it. `None` if that is less
/// than a second.
fn lease_ttl(max: Duration, left: Duration) -> Option<Duration> {
    let ttl = max.min(left);
    (ttl.as_secs() >= 1).then(|| Duration::from_secs(ttl.as_secs()))
}

/// The remainder is cached until the next purchase begins at the latest, so that visitors are
/// mapped anew at its first moment.
fn remainder_ttl(max: Duration, left: Duration) -> Duration {
    let ttl = left.min(max);
    let begun = u64::from(ttl.subsec_nanos() > 0);
    Duration::from_secs((ttl.as_secs() + begun).max(1))
}

#[cfg(test)]
mod tests;

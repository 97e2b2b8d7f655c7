//! The answer to a mapping request: an edge if the lease fits the budget, else the remainder.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use headroom_units::{EdgeId, HostName, NameServerId, RegionId, RequestRate, SiteId, Timestamp};
use ipnet::IpNet;

use crate::{
    AssignAlgorithm, Budgets, LeaseBudget, Ledger, Owner, Plan, PrefixMap, Remainder, Server, Site,
    SiteRegion,
};

/// Clients are counted over this many TTLs.
const CENSUS_TTLS: u32 = 2;

/// Where a mapping request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// To one of our edges.
    Edge(EdgeId),
    /// Back to the purchaser's own name.
    Name(HostName),
    /// To these addresses of the purchaser's.
    Addresses(Vec<IpAddr>),
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
}

/// What one name server did since the last report, of one site in one region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SteeringReport {
    /// Mapping requests answered.
    pub mapping_requests: u64,
    /// Of these, answered with an edge.
    pub mapped_to_edges: u64,
    /// The load leased out at the moment of the report.
    pub leased: RequestRate,
}

/// One name server's side of steering: the plan, the budgets and a ledger per site and region.
#[derive(Debug)]
pub struct Steering {
    name_server: NameServerId,
    plan: Arc<Plan>,
    prefixes: PrefixMap,
    budgets: Option<Budgets>,
    ledgers: BTreeMap<SiteRegion, Ledger>,
    counts: BTreeMap<SiteRegion, (u64, u64)>,
    turns: BTreeMap<SiteId, u64>,
}

impl Steering {
    /// The steering of `name_server` under its first plan.
    #[must_use]
    pub fn new(name_server: NameServerId, plan: Arc<Plan>) -> Self {
        Self {
            name_server,
            prefixes: PrefixMap::of(&plan),
            plan,
            budgets: None,
            ledgers: BTreeMap::new(),
            counts: BTreeMap::new(),
            turns: BTreeMap::new(),
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
        self.prefixes = PrefixMap::of(&plan);
        self.ledgers.retain(|(site, _), _| plan.sites.contains_key(site));
        self.turns.retain(|site, _| plan.sites.contains_key(site));
        self.plan = plan;
        true
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
        self.budgets = Some(budgets);
        true
    }

    /// Answers a mapping request for `site` from `client`; `None` if the plan has no such site.
    pub fn answer(&mut self, site: &SiteId, client: IpNet, now: Timestamp) -> Option<Answer> {
        let plan = Arc::clone(&self.plan);
        let planned = plan.sites.get(site)?;
        let region = self.prefixes.region(client).clone();
        let place = (site.clone(), region);
        let edge = match planned.owner {
            Owner::Operator => own_edge(&plan, &place.1, client).map(|edge| (edge, plan.ttl)),
            Owner::Purchaser(_) => self.leased_edge(&plan, planned, &place, client, now),
        };
        let counts = self.counts.entry(place.clone()).or_default();
        counts.0 += 1;
        let (target, ttl) = match edge {
            Some((edge, ttl)) => {
                counts.1 += 1;
                (Target::Edge(edge), ttl)
            }
            None => (self.remainder(site, planned), remainder_ttl(&plan, planned, &place.1, now)),
        };
        Some(Answer { target, ttl, region: place.1 })
    }

    /// What was done since the last report.
    pub fn report(&mut self) -> BTreeMap<SiteRegion, SteeringReport> {
        let counts = std::mem::take(&mut self.counts);
        let report = |(place, (mapping_requests, mapped_to_edges)): (SiteRegion, (u64, u64))| {
            let leased = self.ledgers.get(&place).map(Ledger::leased).unwrap_or_default();
            (place, SteeringReport { mapping_requests, mapped_to_edges, leased })
        };
        counts.into_iter().map(report).collect()
    }

    fn leased_edge(
        &mut self,
        plan: &Plan,
        site: &Site,
        place: &SiteRegion,
        client: IpNet,
        now: Timestamp,
    ) -> Option<(EdgeId, Duration)> {
        let budget = self.budget(site, place, now);
        let ledger = self.ledgers.entry(place.clone()).or_default();
        ledger.note(client, now, plan.ttl * CENSUS_TTLS);
        let ttl = lease_ttl(plan, site, &place.1, now)?;
        let edges: Vec<&EdgeId> = plan.usable_edges(&place.1).map(|(id, _)| id).collect();
        let edge = ledger.lease(client, budget, &edges, ttl, now)?;
        Some((edge, ttl))
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

    fn remainder(&mut self, id: &SiteId, site: &Site) -> Target {
        match &site.remainder {
            Remainder::ReturnName(name) => Target::Name(name.clone()),
            Remainder::ReturnAddresses(addresses) => Target::Addresses(addresses.clone()),
            Remainder::Assign { algorithm, servers } => {
                let turn = self.turns.entry(id.clone()).or_default();
                let server = assign(*algorithm, servers, *turn);
                *turn = turn.wrapping_add(1);
                Target::Addresses(server.map(|server| server.addresses.clone()).unwrap_or_default())
            }
        }
    }
}

/// The server whose turn it is. Weighted turns are spread evenly by stepping through the weights
/// in golden-ratio strides, so that no server gets its part in one burst.
fn assign(algorithm: AssignAlgorithm, servers: &[Server], turn: u64) -> Option<&Server> {
    let count = u64::try_from(servers.len()).unwrap_or(u64::MAX);
    let total: u64 = servers.iter().map(|server| u64::from(server.weight)).sum();
    if algorithm == AssignAlgorithm::RoundRobin || total == 0 {
        let index = turn.checked_rem(count)?;
        return servers.get(usize::try_from(index).ok()?);
    }
    let stride = turn.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut point = u64::try_from((u128::from(stride) * u128::from(total)) >> 64).ok()?;
    servers.iter().find(|server| {
        let weight = u64::from(server.weight);
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    })
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

/// A lease ends with the purchase: the TTL is cut to what is left of it. `None` if nothing is
/// active, or less than a second is left.
fn lease_ttl(plan: &Plan, site: &Site, region: &RegionId, now: Timestamp) -> Option<Duration> {
    let left = site.active_until(region, now)?.since(now);
    let ttl = plan.ttl.min(left);
    (ttl.as_secs() >= 1).then(|| Duration::from_secs(ttl.as_secs()))
}

/// The remainder is cached until the next purchase begins at the latest, so that visitors are
/// mapped anew at its first moment.
fn remainder_ttl(plan: &Plan, site: &Site, region: &RegionId, now: Timestamp) -> Duration {
    let wait = site.next_start(region, now).map_or(plan.ttl, |start| start.since(now));
    let seconds = wait.min(plan.ttl).as_nanos().div_ceil(1_000_000_000);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    const SECOND: Duration = Duration::from_secs(1);

    fn steering(change: impl FnOnce(&mut crate::PlanInput)) -> Steering {
        let mut input = testing::input(Timestamp::EPOCH);
        input.entitlements.push(testing::entitlement("shop", "east", 1, 100, 200, 50));
        change(&mut input);
        Steering::new("ns1".parse().unwrap(), Arc::new(crate::plan(&input)))
    }

    fn ask(steering: &mut Steering, site: &str, client: &str, millis: u64) -> Answer {
        let client = client.parse().unwrap();
        steering.answer(&site.parse().unwrap(), client, Timestamp::from_millis(millis)).unwrap()
    }

    #[test]
    fn traffic_begins_with_the_first_slot_and_ends_with_the_last() {
        let mut steering = steering(|_| {});
        let name = Target::Name("origin.shop.example".parse().unwrap());
        let mut at = |millis| {
            let answer = ask(&mut steering, "shop", "10.0.1.0/24", millis);
            (answer.target != name, answer.ttl.as_secs())
        };
        assert_eq!(at(10_000), (false, 20));
        assert_eq!(at(95_500), (false, 5), "not cached beyond the start");
        assert_eq!(at(99_900), (false, 1));
        assert_eq!(at(100_000), (true, 20));
        assert_eq!(at(190_500), (true, 9), "not leased beyond the end");
        assert_eq!(at(199_200), (false, 20));
        assert_eq!(at(200_000), (false, 20));
    }

    #[test]
    fn a_purchase_in_one_region_serves_no_other() {
        let mut steering = steering(|_| {});
        let answer = ask(&mut steering, "shop", "10.200.1.0/24", 150_000);
        assert_eq!(answer.region.as_str(), "west");
        assert!(matches!(answer.target, Target::Name(_)));
    }

    #[test]
    fn the_operators_own_site_is_always_at_the_edges() {
        let mut steering = steering(|_| {});
        let first = ask(&mut steering, "own", "10.0.1.0/24", 0);
        assert!(matches!(first.target, Target::Edge(_)));
        assert_eq!(ask(&mut steering, "own", "10.0.1.0/24", 5_000), first);
        assert!(steering.answer(&"none".parse().unwrap(), first_net(), Timestamp::EPOCH).is_none());
    }

    fn first_net() -> IpNet {
        "10.0.0.0/24".parse().unwrap()
    }

    #[test]
    fn the_remainder_is_assigned_as_the_purchaser_says() {
        let server =
            |address: &str, weight| Server { addresses: vec![address.parse().unwrap()], weight };
        let servers = vec![server("198.51.100.1", 1), server("198.51.100.2", 3)];
        for (algorithm, expected) in
            [(AssignAlgorithm::RoundRobin, 500_usize), (AssignAlgorithm::Weighted, 250)]
        {
            let servers = servers.clone();
            let mut steering = steering(|input| {
                input.sites[0].remainder = Remainder::Assign { algorithm, servers };
            });
            let first = Target::Addresses(vec!["198.51.100.1".parse().unwrap()]);
            let count = (0..1_000)
                .filter(|_| ask(&mut steering, "shop", "10.0.1.0/24", 0).target == first)
                .count();
            assert!(expected.abs_diff(count) <= 2, "{algorithm:?}: {count}");
        }
    }

    #[test]
    fn plans_and_budgets_only_go_forward() {
        let mut steering = steering(|_| {});
        let mut input = testing::input(Timestamp::EPOCH);
        assert!(!steering.install(Arc::new(crate::plan(&input))), "the same generation");
        input.generation = headroom_units::Generation::new(2);
        assert!(steering.install(Arc::new(crate::plan(&input))));
        let budgets = |sequence| Budgets {
            sequence,
            generation: input.generation,
            issued_at: Timestamp::EPOCH,
            expires_at: Timestamp::EPOCH.after(SECOND),
            leases: BTreeMap::new(),
            shares: BTreeMap::new(),
        };
        assert!(steering.renew(budgets(5), Timestamp::EPOCH));
        assert!(!steering.renew(budgets(5), Timestamp::EPOCH));
        assert!(!steering.renew(budgets(4), Timestamp::EPOCH));
    }

    #[test]
    fn a_report_tells_the_fraction() {
        let mut steering = steering(|_| {});
        for client in 0..100 {
            ask(&mut steering, "shop", &format!("10.0.{client}.0/24"), 99_000);
        }
        for client in 0..100 {
            ask(&mut steering, "shop", &format!("10.0.{client}.0/24"), 100_000);
        }
        let report = steering.report();
        let east = &report[&("shop".parse().unwrap(), "east".parse().unwrap())];
        assert_eq!((east.mapping_requests, east.mapped_to_edges), (200, 50));
        assert_eq!(east.leased, RequestRate::from_requests_per_second(50));
        assert!(steering.report().is_empty());
    }
}

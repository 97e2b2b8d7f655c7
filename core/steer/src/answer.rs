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

    /// The load leased out of each place, with what no lease accounts for: what this name server
    /// tells the exchange each second.
    #[must_use]
    pub fn accounted(&self) -> BTreeMap<SiteRegion, Leased> {
        let accounted =
            |(place, ledger): (&SiteRegion, &Ledger)| (place.clone(), ledger.accounted());
        self.ledgers.iter().map(accounted).collect()
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

    /// What was done since the last report.
    pub fn report(&mut self) -> BTreeMap<SiteRegion, SteeringReport> {
        let counts = std::mem::take(&mut self.counts);
        let report = |(place, (mapping_requests, mapped_to_edges)): (SiteRegion, (u64, u64))| {
            let leased = self.ledgers.get(&place).map(Ledger::accounted).unwrap_or_default();
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
        let later = ask(&mut steering, "own", "10.0.1.0/24", 5_000);
        assert_eq!((later.target, later.ttl), (first.target, first.ttl));
        assert!(steering.answer(&"none".parse().unwrap(), first_net(), Timestamp::EPOCH).is_none());
    }

    fn first_net() -> IpNet {
        "10.0.0.0/24".parse().unwrap()
    }

    fn assign(text: &str) -> Remainder {
        Remainder::Assign(text.parse().unwrap())
    }

    const PAIR: &str = "v=headroom1; algorithm=weighted; server=198.51.100.1; \
                        server=198.51.100.2,2001:db8::2,weight=3";

    #[test]
    fn the_remainder_is_assigned_as_the_purchaser_says() {
        for (algorithm, expected) in [("round-robin", 500_usize), ("weighted", 250)] {
            let remainder = assign(&PAIR.replace("weighted", algorithm));
            let mut steering = steering(|input| input.sites[0].remainder = remainder);
            let mut target = |client: usize| {
                let client = format!("10.{}.{}.0/24", client / 256, client % 256);
                let answer = ask(&mut steering, "shop", &client, 0);
                assert_eq!(answer.target, ask(&mut steering, "shop", &client, 9_000).target);
                assert!(answer.hold.is_some() && answer.server.is_some());
                answer.target
            };
            let first = Target::Addresses(vec!["198.51.100.1".parse().unwrap()]);
            let count = (0..1_000).filter(|client| target(*client) == first).count();
            assert!(expected.abs_diff(count) <= 5, "{algorithm}: {count}");
        }
    }

    #[test]
    fn a_server_that_goes_down_is_left_at_once_and_come_back_to() {
        let remainder = assign(&PAIR.replace("weighted", "ordered"));
        let mut steering = steering(|input| input.sites[0].remainder = remainder);
        let shop = "shop".parse().unwrap();
        let mut at = |down: &[&str]| {
            let down = down.iter().map(|address| address.parse().unwrap()).collect();
            steering.assignments_mut().states_mut(&shop).set_down(down);
            ask(&mut steering, "shop", "10.0.1.0/24", 0).server
        };
        assert_eq!([at(&[]), at(&["198.51.100.1"]), at(&[])], [Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn what_a_name_server_provides_is_in_force_until_it_provides_something_else() {
        let host = "www.shop.example".parse().unwrap();
        let mut steering =
            steering(|input| input.sites[0].remainder = Remainder::AssignByDns { host });
        let shop: SiteId = "shop".parse().unwrap();
        let mut asked = |provided: Option<&str>| {
            if let Some(text) = provided {
                steering.assignments_mut().provide(shop.clone(), text.parse().unwrap());
            }
            let answer = ask(&mut steering, "shop", "10.0.1.0/24", 0);
            assert_eq!((answer.hold, answer.server), (None, None), "it is not in the plan");
            answer.target
        };
        assert_eq!(asked(None), Target::Name("origin.shop.example".parse().unwrap()));
        let one = "v=headroom1; algorithm=ordered; server=198.51.100.7";
        let seven = Target::Addresses(vec!["198.51.100.7".parse().unwrap()]);
        assert_eq!(asked(Some(one)), seven);
        assert_eq!(asked(None), seven);
        assert_ne!(asked(Some(&one.replace('7', "8"))), seven);
    }

    #[test]
    fn what_is_repeated_is_what_would_be_answered() {
        let mut steering = steering(|_| {});
        for millis in (80_000..205_000).step_by(93) {
            let answer = ask(&mut steering, "shop", "10.0.1.0/24", millis);
            let hold = answer.hold.expect("its remainder takes no turns");
            let now = Timestamp::from_millis(millis);
            assert_eq!(hold.ttl(now), Some(answer.ttl), "{millis}");
            assert!(hold.until.since(now) <= limits::HOLD_MAX && hold.ttl(hold.until).is_none());
            let later = Timestamp::from_millis(millis + 700);
            let same = ask(&mut steering, "shop", "10.0.1.0/24", millis + 700);
            if same.target == answer.target {
                assert_eq!(hold.ttl(later), Some(same.ttl), "{millis}");
            }
        }
    }

    #[test]
    fn what_may_be_another_the_next_time_is_not_repeated() {
        let remainder = Remainder::ReturnRecords;
        let mut steering = steering(|input| input.sites[0].remainder = remainder);
        assert_eq!(ask(&mut steering, "shop", "10.0.1.0/24", 50_000).hold, None);
        let leased = ask(&mut steering, "shop", "10.0.1.0/24", 150_000);
        assert!(matches!(leased.target, Target::Edge(_)) && leased.hold.is_some());
    }

    #[test]
    fn a_lease_covers_what_is_repeated() {
        let mut steering = steering(|_| {});
        let answer = ask(&mut steering, "shop", "10.0.1.0/24", 110_000);
        let last = answer.hold.unwrap().until.before(Duration::from_millis(1));
        let ttl = answer.hold.unwrap().ttl(last).unwrap();
        let place = ("shop".parse().unwrap(), "east".parse().unwrap());
        steering.ledgers.get_mut(&place).unwrap().learn(&LeaseBudget::default(), last.after(ttl));
        assert_eq!(steering.ledgers[&place].count(), 1);
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

    /// 20,000 clients that bring one request a second each, asked about 50 times, when 30 % of their
    /// load is purchased.
    #[test]
    fn of_a_million_questions_the_purchased_part_goes_to_the_edges_and_nobody_moves() {
        let mut steering = steering(|input| {
            input.entitlements = vec![testing::entitlement("shop", "east", 1, 100, 900, 6_000)];
        });
        let place: SiteRegion = ("shop".parse().unwrap(), "east".parse().unwrap());
        let clients: Vec<IpNet> = (0..20_000_u32)
            .map(|number| format!("10.{}.{}.0/24", number / 256, number % 256).parse().unwrap())
            .collect();
        let mut round = |number: u64| {
            let now = Timestamp::from_seconds(100 + number * 10);
            let targets: Vec<_> = clients
                .iter()
                .map(|client| steering.answer(&place.0, *client, now).unwrap().target)
                .collect();
            let at_edges = |(client, target): (&IpNet, &Target)| {
                matches!(target, Target::Edge(_))
                    .then_some((*client, RequestRate::from_requests_per_second(1)))
            };
            let brought = clients.iter().zip(&targets).filter_map(at_edges).collect();
            let budget = LeaseBudget { measured_second: now, brought, ..LeaseBudget::default() };
            let budgets = Budgets {
                sequence: number + 1,
                generation: headroom_units::Generation::new(1),
                issued_at: now,
                expires_at: now.after(SECOND),
                leases: [(place.clone(), budget)].into(),
                shares: BTreeMap::new(),
            };
            assert!(steering.renew(budgets, now.after(SECOND)));
            targets
        };
        (0..8).for_each(|number| drop(round(number)));
        let first = round(8);
        for number in 9..58 {
            assert_eq!(round(number), first, "round {number}");
        }
        let at_edges = first.iter().filter(|target| matches!(target, Target::Edge(_))).count();
        assert!(at_edges.abs_diff(6_000) <= 20, "0.1 point of 20,000: {at_edges}");
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
        assert_eq!(east.leased.load, RequestRate::from_requests_per_second(50));
        assert_eq!(east.leased.strangers, east.leased.load);
        assert!(steering.report().is_empty());
    }
}

//! The exchange: takes reports in, issues budgets each second, and makes the plan. The market is
//! left out: there is one contract from the beginning.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use headroom_steer::{
    Budgets, ControlConfig, Controller, Edge, EdgeReport, Entitlement, Fleet, Leased, NameServer,
    OverShare, Owner, Plan, PlanInput, Region, Remainder, SiteInput, SiteRegion, SiteRules, plan,
};
use headroom_units::{
    BitRate, Class, ContractId, EdgeId, Generation, NameServerId, RegionId, SiteId, Timestamp,
};

use crate::{Approach, Settings, baseline::Baseline, draw::as_f64};

/// The only contract.
pub(crate) const CONTRACT: ContractId = ContractId::new(1);

/// Makes plans and issues budgets.
#[derive(Debug)]
pub(crate) struct Exchange {
    input: PlanInput,
    plan: Arc<Plan>,
    lifetime: Duration,
    edge_timeout: Duration,
    started: Timestamp,
    /// When each edge was heard of last.
    heard: BTreeMap<EdgeId, Timestamp>,
    /// Edges that are known to have stopped.
    fenced: BTreeSet<EdgeId>,
    controller: Controller,
    baseline: Baseline,
    /// What each edge was last said to be offered.
    offered: BTreeMap<EdgeId, u64>,
    purchased: f64,
}

impl Exchange {
    pub(crate) fn new(
        approach: Approach,
        settings: &Settings,
        (from, until): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Self {
        let input = input(settings, (from, until), now);
        let lifetime = settings.budget_lifetime;
        Self {
            plan: Arc::new(plan(&input)),
            input,
            lifetime,
            edge_timeout: settings.edge_timeout,
            started: now,
            heard: BTreeMap::new(),
            fenced: BTreeSet::new(),
            controller: Controller::new(ControlConfig { budget_lifetime: lifetime }, now),
            baseline: Baseline::new(approach, settings),
            offered: BTreeMap::new(),
            purchased: settings.purchased.as_f64(),
        }
    }

    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The contract as edges know it.
    pub(crate) fn entitlement(&self) -> &Entitlement {
        &self.input.entitlements[0].1
    }

    /// Another exchange takes over, and knows the plan alone.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        let config = ControlConfig { budget_lifetime: self.lifetime };
        self.controller = Controller::new(config, now);
        self.started = now;
        self.heard.clear();
        self.fenced.clear();
    }

    /// `edge` is known to have stopped.
    pub(crate) fn fence(&mut self, edge: EdgeId, now: Timestamp) {
        self.controller.fence(&edge, now);
        self.fenced.insert(edge);
    }

    /// Makes a plan without the edges that are silent or fenced, if it says anything new.
    pub(crate) fn replan(&mut self, now: Timestamp) {
        let edges = self.input.fleet.regions.values().flat_map(|region| region.edges.keys());
        let silent = |edge: &&EdgeId| {
            let heard = self.heard.get(*edge).copied().unwrap_or(self.started);
            now.since(heard) > self.edge_timeout
        };
        let down = edges.filter(|edge| silent(edge) || self.fenced.contains(*edge));
        let down: BTreeSet<EdgeId> = down.cloned().collect();
        if down != self.input.down {
            self.input.down = down;
            self.input.generation = self.input.generation.next();
            self.input.now = now;
            self.plan = Arc::new(plan(&self.input));
        }
    }

    /// A name server tells what it has leased out.
    pub(crate) fn observe_leased(
        &mut self,
        name_server: &NameServerId,
        (second, leased): (Timestamp, &BTreeMap<SiteRegion, Leased>),
        now: Timestamp,
    ) {
        for (place, leased) in leased {
            self.controller.observe_leased((name_server, place), second, *leased, now);
        }
    }

    pub(crate) fn observe(&mut self, report: &EdgeReport, now: Timestamp) {
        self.heard.insert(report.edge.clone(), now);
        self.fenced.remove(&report.edge);
        if self.controller.observe(&self.plan, report, now) {
            let offered = report.contracts.iter().map(|meter| meter.offered).sum();
            self.offered.insert(report.edge.clone(), offered);
        }
    }

    /// The next budgets, and the fraction of who works with one.
    pub(crate) fn control(&mut self, now: Timestamp) -> (Arc<Budgets>, f64) {
        let offered = as_f64(self.offered.values().sum());
        if self.entitlement().is_active(now) {
            self.baseline.control(offered / self.purchased);
        }
        (Arc::new(self.controller.control(&self.plan, now)), self.baseline.fraction())
    }
}

/// The id of the edge with this number.
pub(crate) fn edge_id(number: usize) -> EdgeId {
    format!("east-{:04}", number + 1).parse().expect("letters and digits")
}

/// The id of the name server with this number.
pub(crate) fn name_server_id(number: usize) -> NameServerId {
    format!("ns{}", number + 1).parse().expect("letters and digits")
}

/// The only purchaser's site.
pub(crate) fn site_id() -> SiteId {
    "shop".parse().expect("letters")
}

/// The only region.
pub(crate) fn region_id() -> RegionId {
    "east".parse().expect("letters")
}

fn input(settings: &Settings, (from, until): (Timestamp, Timestamp), now: Timestamp) -> PlanInput {
    let edge =
        |number| (edge_id(number), Edge { addresses: vec![[192, 0, 2, 1].into()], healthy: true });
    let region =
        Region { client_prefixes: Vec::new(), edges: (0..settings.edges).map(edge).collect() };
    let name_server = |number: usize| {
        let host = format!("ns{}.cdn.example", number + 1).parse().expect("a host name");
        (name_server_id(number), NameServer { host, addresses: vec![[192, 0, 2, 53].into()] })
    };
    let entitlement = Entitlement {
        contract: CONTRACT,
        region: region_id(),
        from,
        until,
        requests: settings.purchased,
        egress: BitRate::from_bits_per_second(settings.purchased.millirequests_per_second() * 500),
        class: Class::Firm,
    };
    PlanInput {
        now,
        generation: Generation::new(1),
        fleet: Fleet {
            zone: "cdn.example".parse().expect("a host name"),
            name_servers: (0..settings.name_servers).map(name_server).collect(),
            ttl: settings.ttl,
            default_region: region_id(),
            regions: [(region_id(), region)].into(),
        },
        down: BTreeSet::new(),
        sites: vec![SiteInput {
            id: site_id(),
            owner: Owner::Purchaser("shop-inc".parse().expect("letters")),
            hosts: vec![("www.shop.example".parse().expect("a host name"), true)],
            origins: vec!["198.51.100.1:80".parse().expect("an address")],
            remainder: Remainder::ReturnName("origin.shop.example".parse().expect("a host name")),
            over_share: OverShare::Redirect,
            fallback: "origin.shop.example".parse().expect("a host name"),
            rules: SiteRules::default(),
            purges: Vec::new(),
        }],
        entitlements: vec![(site_id(), entitlement)],
    }
}

//! The name servers: ours answers by its ledger, the others flip a coin.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use headroom_steer::{Budgets, Plan, SiteRegion, Steering, SteeringReport, Target};
use headroom_units::{EdgeId, Generation, NameServerId, SiteId, Timestamp};
use ipnet::IpNet;

use crate::{Approach, draw::Draw};

/// One name server.
#[derive(Debug)]
pub(crate) struct NameServer {
    approach: Approach,
    steering: Steering,
    fraction: f64,
    /// The number of each edge.
    numbers: BTreeMap<EdgeId, usize>,
}

impl NameServer {
    pub(crate) fn new(approach: Approach, id: NameServerId, plan: Arc<Plan>) -> Self {
        let edges = plan.regions.values().flat_map(|region| region.edges.keys());
        let numbers = edges.enumerate().map(|(number, id)| (id.clone(), number)).collect();
        Self { approach, steering: Steering::new(id, plan), fraction: 0.0, numbers }
    }

    pub(crate) fn install(&mut self, plan: Arc<Plan>) {
        self.steering.install(plan);
    }

    pub(crate) fn renew(&mut self, budgets: &Arc<Budgets>, fraction: f64, now: Timestamp) {
        if self.steering.renew(Budgets::clone(budgets), now) {
            self.fraction = fraction;
        }
    }

    /// The newest plan that it has.
    pub(crate) fn generation(&self) -> Generation {
        self.steering.plan().generation
    }

    /// What it did since its last report.
    pub(crate) fn report(&mut self, now: Timestamp) -> BTreeMap<SiteRegion, SteeringReport> {
        self.steering.report(now)
    }

    /// The steering of it.
    pub(crate) fn steering(&self) -> &Steering {
        &self.steering
    }

    /// The edge that `client` is sent to, none for the remainder; and for how long that may be kept.
    pub(crate) fn answer(
        &mut self,
        site: &SiteId,
        client: IpNet,
        draw: &mut Draw,
        now: Timestamp,
    ) -> (Option<usize>, Duration) {
        if self.approach == Approach::Ledger {
            let Some(answer) = self.steering.answer(site, client, now) else {
                return (None, Duration::from_secs(1));
            };
            let edge = match answer.target {
                Target::Edge(edge) => self.numbers.get(&edge).copied(),
                _ => None,
            };
            return (edge, answer.ttl);
        }
        let plan = self.steering.plan();
        let regions = plan.regions.keys();
        let usable: Vec<usize> = regions
            .flat_map(|region| plan.usable_edges(region))
            .filter_map(|(id, _)| self.numbers.get(id).copied())
            .collect();
        let is_active = plan.sites.get(site).is_some_and(|site| {
            site.entitlements.iter().any(|entitlement| entitlement.is_active(now))
        });
        let edge = is_active && draw.happens(self.fraction);
        let number = draw.one_of(usable.len());
        (usable.get(number).copied().filter(|_| edge), plan.ttl)
    }
}

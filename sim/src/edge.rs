//! An edge: the gate of the one contract, and what is counted of each second. What it would serve is
//! left out.

use std::{sync::Arc, time::Duration};

use headroom_steer::{Budgets, ContractMeter, EdgeReport, Entitlement, Gate};
use headroom_units::{ContractId, EdgeId, RequestRate, SiteId, Timestamp};
use ipnet::IpNet;

use crate::{Settings, auditor::Auditor, draw::Draw};

const SECOND: Duration = Duration::from_secs(1);

/// One edge.
#[derive(Debug)]
pub(crate) struct EdgeServer {
    pub(crate) id: EdgeId,
    /// None while it is down.
    gate: Option<Gate>,
    sequence: u64,
    /// What comes in this step: when, and of which asker.
    arrivals: Vec<(Timestamp, usize)>,
    offered: u64,
    served: u64,
    by_asker: Vec<u64>,
    /// How much was available by the end of the last second.
    available: u64,
}

impl EdgeServer {
    pub(crate) fn new(id: EdgeId, askers: usize) -> Self {
        let by_asker = vec![0; askers];
        Self {
            id,
            gate: None,
            sequence: 0,
            arrivals: Vec::new(),
            offered: 0,
            served: 0,
            by_asker,
            available: 0,
        }
    }

    /// It begins to serve.
    pub(crate) fn start(&mut self, held: &Entitlement, settings: &Settings, now: Timestamp) {
        self.gate = Some(if settings.fence.is_some() && held.is_active(now) {
            Gate::waiting(held, settings.edges, settings.burst, now)
        } else {
            Gate::new(held, settings.edges, settings.burst, now)
        });
        (self.sequence, self.available) = (0, 0);
    }

    /// It serves no more, and forgets what it counted.
    pub(crate) fn stop(&mut self) {
        self.gate = None;
        (self.offered, self.served) = (0, 0);
        self.by_asker.fill(0);
    }

    pub(crate) fn renew(&mut self, budgets: &Arc<Budgets>, contract: ContractId, now: Timestamp) {
        if budgets.sequence <= self.sequence {
            return;
        }
        let share = budgets.shares.get(&contract).and_then(|shares| shares.get(&self.id));
        if let Some(gate) = &mut self.gate {
            self.sequence = budgets.sequence;
            if let Some(share) = share {
                *gate = gate.renewed(*share, budgets.expires_at, now);
            }
        }
    }

    /// A visitor comes at `at`.
    pub(crate) fn come(&mut self, at: Timestamp, asker: usize) {
        self.arrivals.push((at, asker));
    }

    /// Admits or refuses who came in this step, in the order in which they came.
    pub(crate) fn admit(&mut self, auditor: &mut Auditor) {
        self.arrivals.sort_unstable();
        for (at, asker) in self.arrivals.drain(..) {
            let Some(gate) = &self.gate else {
                auditor.lost(at);
                continue;
            };
            let admitted = gate.admit(at).is_ok();
            auditor.came(at, admitted);
            self.offered += 1;
            self.served += u64::from(admitted);
            self.by_asker[asker] += 1;
        }
    }

    /// The report of the second that began at `second`; none while it is down.
    pub(crate) fn report(
        &mut self,
        second: Timestamp,
        (site, contract): (&SiteId, ContractId),
        client_of: impl Fn(usize) -> IpNet,
        (noise, draw): (f64, &mut Draw),
    ) -> Option<EdgeReport> {
        let (offered, served) =
            (std::mem::take(&mut self.offered), std::mem::take(&mut self.served));
        let available = self.gate.as_ref()?.available_millirequests(second.after(SECOND));
        let held = available.saturating_sub(std::mem::replace(&mut self.available, available));
        let mut clients = Vec::new();
        for (asker, count) in self.by_asker.iter_mut().enumerate() {
            if *count > 0 {
                let told = draw.noisy(std::mem::take(count), noise);
                clients.push((site.clone(), client_of(asker), told));
            }
        }
        Some(EdgeReport {
            edge: self.id.clone(),
            second,
            budget_sequence: self.sequence,
            contracts: vec![ContractMeter {
                contract,
                offered,
                served,
                available: RequestRate::from_millirequests_per_second(held),
            }],
            clients,
        })
    }
}

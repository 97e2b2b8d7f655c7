//! Budgets: the fast part of control, renewed every second, with an expiry.

use std::collections::BTreeMap;

use headroom_units::{ContractId, EdgeId, Generation, NameServerId, RequestRate, Timestamp};
use ipnet::IpNet;

use crate::SiteRegion;

/// How much load each DNS server may lease out and each edge may admit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Rises with every issue; an older one never replaces a newer.
    pub sequence: u64,
    /// The plan they were made under.
    pub generation: Generation,
    /// When they were made.
    pub issued_at: Timestamp,
    /// When they lose their force.
    pub expires_at: Timestamp,
    /// For the name servers.
    pub leases: BTreeMap<SiteRegion, LeaseBudget>,
    /// For the edges: the live shares of each contract.
    pub shares: BTreeMap<ContractId, BTreeMap<EdgeId, RequestRate>>,
}

/// What demand is told in: so many are the usual level.
pub(crate) const LEVEL: u64 = 1_000_000;

/// How much load of one site in one region may be leased out, and what is known of its clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseBudget {
    /// The load each name server may have leased out at any moment. Of none if that is not known yet:
    /// name servers then go on with what they were told before.
    pub by_name_server: BTreeMap<NameServerId, RequestRate>,
    /// The start of the second that `brought` was measured in.
    pub measured_second: Timestamp,
    /// How demand was then, in millionths of its usual level; zero if that is not known. What the
    /// clients brought is divided by it before their weights are learned.
    pub level: u64,
    /// The load each client prefix brought to the edges in that second.
    pub brought: BTreeMap<IpNet, RequestRate>,
}

impl LeaseBudget {
    /// What `rate`, which is told at the usual level of demand, is at the level of the second.
    pub(crate) fn at_level(&self, rate: RequestRate) -> RequestRate {
        let level = if self.level == 0 { LEVEL } else { self.level };
        let load = u128::from(rate.millirequests_per_second()) * u128::from(level);
        let load = u64::try_from(load / u128::from(LEVEL)).unwrap_or(u64::MAX);
        RequestRate::from_millirequests_per_second(load)
    }

    /// What `rate` would be at the usual level of demand, in thousandths of a request per second.
    pub(crate) fn at_usual_level(&self, rate: RequestRate) -> u64 {
        let level = if self.level == 0 { LEVEL } else { self.level };
        let brought = u128::from(rate.millirequests_per_second()) * u128::from(LEVEL);
        u64::try_from(brought / u128::from(level)).unwrap_or(u64::MAX)
    }
}

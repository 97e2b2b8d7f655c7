//! Steering: where each request goes, and how the purchased capacity is held.
//!
//! ```text
//!  contracts, sites, fleet ──plan()──► Plan ──check()──► published under a generation
//!                                       │
//!        ┌──────────────────────────────┼──────────────────────────┐
//!        ▼                              ▼                          ▼
//!  Steering (in each DNS server)   Gate (in each edge)       Controller (in the exchange)
//!  answers mapping requests from   admits requests against   turns what edges measured into
//!  plan, budget and lease ledger   its share, exactly        the next Budgets
//! ```
//!
//! Everything here is arithmetic on values that are handed in: no clock, no sockets, no random
//! source. The name server, the edge, the exchange and the simulator run this same code.

mod answer;
mod assign;
mod bucket;
mod budget;
mod check;
mod control;
mod gate;
mod lease;
mod level;
pub mod limits;
mod plan;
mod planner;
mod prefix;
mod prefix_map;
mod purge;
mod rules;
mod share;

pub use answer::{Answer, Hold, Steering, SteeringReport, Target};
pub use assign::{
    ASSIGNMENT_MARK, AssignAlgorithm, Assignment, Assignments, CheckedHealth, Server, ServerCheck,
    ServerReport, ServerStates, provided,
};
pub use bucket::{Allowance, Bucket};
pub use budget::{Budgets, LeaseBudget};
pub use check::{Note, Severity, check};
pub use control::{ContractMeter, ControlConfig, Controller, EdgeReport};
pub use gate::{Egress, Gate, Refusal};
pub use lease::{Leased, Ledger};
pub use plan::{
    Edge, Entitlement, NameServer, OverShare, Owner, Plan, Region, Remainder, Site, SiteRegion,
};
pub use planner::{Fleet, PlanInput, SiteInput, plan};
pub use prefix::{client_prefix, is_too_fine};
pub use prefix_map::{ClientRegion, ClientRegions, Match, PrefixMap, PrefixMapError};
pub use purge::{Purge, PurgeScope, fold};
pub use rules::SiteRules;

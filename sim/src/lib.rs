//! A deterministic world on virtual time, in which the product's own control runs.
//!
//! ```text
//!  visitors ─► askers (resolvers, client subnets) ─► name servers: headroom_steer::Steering
//!      │            caches, stretched TTLs              ▲ plan, budgets, late by the network
//!      ▼                                                │
//!   edges: headroom_steer::Gate ──late, noisy reports──► exchange: headroom_steer::Controller
//!      │
//!      └────────► auditor: its own simple truth
//! ```
//!
//! Only sockets, clocks and visitors are played; what decides is the code that production runs. One
//! seed gives one course of events. What is left out: names and packets (the tests of the services
//! have them), caching of responses, egress.

mod asker;
mod auditor;
mod baseline;
mod compare;
mod draw;
mod edge;
mod exchange;
pub mod limits;
mod mapping;
mod plot;
mod scenario;
mod settings;
mod skew;
mod world;

pub use auditor::{Figures, Second};
pub use compare::{Comparison, compare};
pub use plot::svg;
pub use scenario::Scenario;
pub use settings::{Approach, Settings, WrongSettings};
pub use world::{Course, run};

//! The control plane: the API, and the reconcilers that turn measurement into headroom, headroom
//! into offers, bids into contracts, contracts into plans and budgets, meters into settlements.
//!
//! ```text
//!            METERS, NAME_SERVER_REPORTS (bus)
//!                 │ ingest
//!                 ▼
//!  store ◄──► forecast ──offers──► clear ──contracts──► plan ──► PLAN (bus)
//!     ▲           every slot        every minute          on change
//!     │                                          control ──────► BUDGETS (bus), every second
//!     └── settle, after each slot
//!                 ▲
//!  API under /v1 ─┘  purchasers, sites, bids, contracts, ledger, live views
//!          └── reports about purchasers' servers ──► SERVER_REPORTS (bus)
//! ```
//!
//! Each reconciler is a timer plus a signal: it loads, calls core, saves and signals. None has
//! state of its own that a restart would lose. What is decided is decided in core; what is kept is
//! in the store; this crate only runs.

mod api;
mod book;
mod config;
mod error;
pub mod limits;
mod live;
mod metrics;
mod proof;
mod reconcile;
mod secret;
mod servers;
mod start;

pub use config::ExchangeConfig;
pub use error::ExchangeError;
pub use start::{Exchange, OPERATOR_TOKEN_FILE};

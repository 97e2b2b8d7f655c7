//! Authoritative DNS server that steers mapping requests.
//!
//! ```text
//!   UDP ──► Snapshot: the same for everyone? ──► answer
//!               │ no
//!               │  TCP                         bus: PLAN ──check, save──► NameTable, Steering
//!               ▼   ▼                               BUDGETS ────────────► Steering
//!                                                                            │
//!   read ──► FORMERR, NOTIMP, BADVERS                                        │
//!     │                                                                      │
//!     ▼                                                                      ▼
//!   nearest zone ──► name ──► steered? ──► Steering::answer ──► edge or remainder
//!     │                │          no ──► its records, CNAMEs followed
//!     │                └─ none: NXDOMAIN, no such type: NODATA, delegated: referral
//!     ▼
//!   none: REFUSED                              every second: NAME_SERVER_REPORTS
//! ```
//!
//! Served are the network's own zone (`names.rs` lists what stands in it), each proved host name
//! of a site that was delegated to us, and static zones. [`Responder`] is pure: the sockets, the
//! clock and the bus are around it.
//!
//! Left to others: what is decided for a client (`headroom-steer`), what is sold and planned (the
//! exchange), proof that a host name is the purchaser's (the exchange; a plan holds proved names
//! only), recursion (nobody here). Not yet here: steered names on the fast path, DNSSEC, transfers,
//! cookies, rate limits.

mod config;
mod ecs;
mod error;
pub mod limits;
mod listen_tcp;
mod listen_udp;
mod lookup;
mod message;
mod metrics;
mod names;
mod server;
mod snapshot;
mod state;
mod updates;
mod zone;

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod testing;

pub use config::DnsConfig;
pub use error::{DnsError, ZoneError};
pub use names::NameTable;
pub use server::DnsServer;
pub use state::{Responder, Transport};
pub use zone::Zone;

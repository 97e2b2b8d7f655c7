//! Authoritative DNS server that steers mapping requests.
//!
//! ```text
//!   UDP ──► Snapshot: the same for everyone, ──► answer ──► Limiter ──► sent, truncated, dropped
//!           or decided lately?                         (unless the source has a valid cookie)
//!               │ no
//!               │  TCP, TLS          purchasers' name servers ──AXFR, IXFR──► Zone ─┐
//!               │   │                prefix map (a file) ────────────────► Steering │
//!               ▼   ▼                bus: PLAN ────────────check──► Steering, NameTable, Snapshot
//!   NOTIFY ──► the zone is asked for      BUDGETS ────────────────────► Steering
//!     │ no                                                                   │
//!     ▼                                                                      │
//!   read ──► FORMERR, NOTIMP, BADVERS                                        │
//!     │                                                                      ▼
//!     ▼                                                           edge or remainder: a name,
//!   nearest zone ──► name ──► steered? ──► Steering::answer ────► addresses, what a zone says,
//!     │                │          no ──► its records,             or the purchaser's name server
//!     │                │                 CNAMEs followed
//!     │                └─ none: NXDOMAIN, no such type: NODATA, delegated: referral
//!     ▼
//!   none: REFUSED                              every second: NAME_SERVER_REPORTS
//! ```
//!
//! Served are the network's own zone (`names.rs` lists what stands in it), each proved host name
//! of a site that was delegated to us, static zones, and zones taken from purchasers' name servers
//! (`secondary.rs`). [`Responder`] is pure: the sockets, the clock and the bus are around it.
//! A running process hands its sockets to the one that replaces it (`sockets.rs`).
//!
//! Left to others: what is decided for a client (`headroom-steer`), what is sold and planned (the
//! exchange), proof that a host name is the purchaser's (the exchange; a plan holds proved names
//! only), recursion (nobody here). Not yet here: transfers to others.

mod asked;
mod assigned;
mod config;
mod connections;
mod cookies;
mod decisions;
pub mod dnssec;
mod dot;
mod ecs;
mod edns;
mod error;
mod forward;
mod hosts;
pub mod limits;
mod listen_tcp;
mod listen_udp;
mod lookup;
mod message;
mod metrics;
mod names;
mod prefixes;
#[cfg(any(test, fuzzing))]
pub mod probe;
mod rate_limit;
mod replace;
mod secondary;
mod server;
mod snapshot;
mod sockets;
mod stamp;
mod state;
mod steered;
mod tables;
mod transfer;
mod tsig;
mod updates;
mod zone;

#[cfg(test)]
mod conversations;
#[cfg(test)]
mod testing;

pub use assigned::AssignConfig;
pub use config::{DnsConfig, ProtocolConfig, Running};
pub use connections::ConnectionLimit;
pub use cookies::{CookieSecret, CookieSecretError};
pub use dnssec::DnssecConfig;
pub use dot::TlsConfig;
pub use error::{DnsError, ZoneError};
pub use forward::ForwardConfig;
pub use names::NameTable;
pub use rate_limit::RateLimit;
pub use secondary::SecondaryConfig;
pub use server::DnsServer;
pub use state::{Responder, Transport};
pub use transfer::Primary;
pub use tsig::{TsigKey, TsigKeyError};
pub use zone::Zone;

//! What HTTP allows a shared cache to do (RFC 9111), for GET and HEAD.
//!
//! ```text
//!  response ──► storable() ──► StoredPolicy          plain numbers, compiled once
//!  request  ──► StoredPolicy::decide(now) ──► Fresh | Stale | Validate | Miss | GatewayTimeout
//!  304      ──► selects() ──► update_on_304() ──► storable() again
//! ```
//!
//! Everything that costs is done when a response is stored: a hit compares two moments, and the
//! request's `Cache-Control` is read only if there is one. Where the RFC leaves a choice, the
//! choice that cannot show one visitor another one's page is taken.
//!
//! What it does not do: it holds no responses and evicts none, it speaks to no origin, and it has
//! no clock. It does not yet cover ranges, invalidation by unsafe methods, serving stale on error
//! or while revalidating, and targeted cache control (RFC 9213).

mod date;
mod directives;
mod freshness;
mod hop_by_hop;
mod key;
pub mod limits;
mod list;
mod policy;
mod query;
mod storability;
#[cfg(test)]
mod testing;
mod validation;
mod vary;

pub use date::http_date;
pub use directives::{RequestDirectives, ResponseDirectives};
pub use freshness::Exchange;
pub use headroom_units::{QueryRule, Scheme};
pub use hop_by_hop::remove_hop_by_hop;
pub use key::CacheKey;
pub use policy::{Decision, StoredPolicy};
pub use storability::{NotStorable, storable};
pub use validation::{
    conditional_headers, not_modified, remove_conditionals, selects, update_on_304,
};
pub use vary::{VaryRefused, VarySelection};

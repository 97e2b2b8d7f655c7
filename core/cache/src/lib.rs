//! What HTTP allows a shared cache to do (RFC 9111), for GET and HEAD.
//!
//! ```text
//!  request  ──► CacheKey::of()                       site, scheme, host, path, query
//!  response ──► storable() ──► StoredPolicy          plain numbers, compiled once
//!  request  ──► select() ──► decide(now) ──► Fresh | Stale | StaleWhileRevalidate
//!                                            | Validate | Miss | GatewayTimeout
//!           ──► not_modified(), ranges() ──► 200 | 206 | 304 | 416
//!  304      ──► selects() ──► update_on_304() ──► storable() again
//!  HEAD     ──► head_says() ──► the same, or stale
//!  failure  ──► on_error() ──► the stale response, or none
//!  change   ──► invalidates(), related_targets()     what is outdated by it
//! ```
//!
//! Everything that costs is done when a response is stored: a hit compares two moments, and the
//! request's `Cache-Control` is read only if there is one. Where the RFC leaves a choice, the
//! choice that cannot show one visitor another one's page is taken: a response that sets a cookie
//! is not stored unless it says it is public.
//!
//! What it does not do: it holds no responses and evicts none, it speaks to no origin, and it has
//! no clock. It stores only responses to GET, and puts no parts together (RFC 9111 §3.3, §3.4).
//! `If-Match` and `If-Unmodified-Since` are the origin's matter (RFC 9110 §13.2.1).

mod date;
mod directives;
mod freshness;
mod hop_by_hop;
mod invalidation;
mod key;
pub mod limits;
mod list;
mod policy;
mod query;
mod range;
mod storability;
mod targeted;
#[cfg(test)]
mod testing;
mod validation;
mod vary;

pub use date::http_date;
pub use directives::{RequestDirectives, ResponseDirectives};
pub use freshness::{Exchange, Rules};
pub use headroom_units::{QueryRule, Scheme};
pub use hop_by_hop::{HopByHop, remove_hop_by_hop};
pub use invalidation::{invalidates, related_targets};
pub use key::{CacheKey, WrittenKey};
pub use policy::{Decision, OriginFailure, PolicyParts, StoredPolicy, select};
pub use range::{
    ByteRange, Ranges, content_range, multipart_end, multipart_head, multipart_length, ranges,
    unsatisfied,
};
pub use storability::{NotStorable, storable};
pub use validation::{
    HeadNews, conditional_headers, head_says, is_conditional, not_modified, selects, update_on_304,
};
pub use vary::{VaryRefused, VarySelection};

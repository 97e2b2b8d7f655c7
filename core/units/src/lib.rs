//! The words everyone shares: quantities, money, slots, ids.
//!
//! Every quantity has its own type, so that a rate is never added to a price. Text is parsed once,
//! at the edge of the program, and a number without a unit is refused. All arithmetic that can
//! overflow says so in its type.
//!
//! This crate has no policy and no clock: a [`Timestamp`] is always handed in.

mod capacity;
mod class;
mod error;
mod fraction;
mod generation;
mod host_name;
mod id;
pub mod limits;
mod money;
mod origin;
mod public_address;
mod query;
mod rate;
mod scheme;
mod slot;
mod timestamp;

pub use capacity::{UnitSize, Units};
pub use class::Class;
pub use error::ParseError;
pub use fraction::Fraction;
pub use generation::Generation;
pub use host_name::{Authority, HostName};
pub use id::{BidId, ContractId, EdgeId, NameServerId, PurchaserId, RegionId, SiteId};
pub use money::{Currency, Money, Price};
pub use origin::{Origin, OriginHost};
pub use public_address::why_not_public;
pub use query::QueryRule;
pub use rate::{BitRate, Bytes, RequestRate};
pub use scheme::Scheme;
pub use slot::{Slot, SlotLength, SlotRange};
pub use timestamp::Timestamp;

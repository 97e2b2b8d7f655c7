//! The market.
mod auction;
pub mod limits;
mod offer;
mod verify;
pub use auction::{Clearing, Order, SlotClearing, clear};
pub use offer::{Offer, OfferPolicy, OfferStep, offer_curve};
pub use verify::{Flaw, verify};

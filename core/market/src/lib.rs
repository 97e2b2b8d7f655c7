//! The market: offers, bids, auctions, contracts, the ledger and settlement.
//!
//! ```text
//!   forecast ──► offer_curve ──► Offer ─┐
//!                                       ├─ Clear ──► auction::clear ──► Contract ──┐
//!   purchaser ─ Credit, PlaceBid ► Bid ─┘      (one price per region and slot)     │
//!                   │                                                              │
//!                   ▼ money held                                    money charged  ▼
//!                 Ledger ◄──────────── refund, penalty ◄─────────────── Settle(Delivery)
//! ```
//!
//! [`Market`] decides, then applies: a [`Command`] leads to [`Event`]s or a [`Rejection`], and the
//! events, stored by the caller, are the audit trail. [`clear`] is the auction alone, a pure
//! function that is exact in whole units and micro-units; [`verify`] checks its result
//! independently.
//!
//! This crate has no clock (`now` is an argument), does no I/O, and serialises nothing. It does
//! not know who owns a site, what an edge is, or how a forecast is made.

mod auction;
mod audit;
mod bid;
mod command;
mod contract;
mod event;
mod gate;
mod ledger;
pub mod limits;
mod market;
mod offer;
mod rejection;
mod stage;
mod verify;

pub use auction::{
    Auction, Because, CallClearing, Clearing, Group, Order, Rejected, Sale, SlotClearing, Step,
    clear, clear_call, in_turn,
};
pub use audit::{Audit, Finding};
pub use bid::{Bid, BidRecord, BidStatus};
pub use command::{Command, Rules};
pub use contract::{Contract, DeliveredSecond, Delivery, Settlement};
pub use event::{ClearedSlot, Event};
pub use gate::Gate;
pub use ledger::{Account, Ledger, Posting};
pub use market::{Market, Outcome};
pub use offer::{Offer, OfferPolicy, OfferStep, Seller, offer_curve};
pub use rejection::Rejection;
pub use stage::{Entered, Stage, UnknownStage};
pub use verify::{Flaw, verify};

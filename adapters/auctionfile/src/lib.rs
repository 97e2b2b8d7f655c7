//! A call auction on plain files: bids and offers in; fills, prices and sales out.
//!
//! ```text
//!   generate ──► bids.csv, offers.csv ──► clear (headroom-market, on every core)
//!                       │                    │
//!                       ▼                    ▼
//!                     verify ◄── fills.csv, prices.csv, sales.csv
//! ```
//!
//! [`verify`] goes by the files alone and shares nothing with the auction but the reading of them.
//! How fills and prices are found is not known here.

mod book;
mod clear;
mod cores;
mod generate;
pub mod limits;
mod results;
mod table;
mod verify;

pub use book::{BIDS, Book, FileError, OFFERS, Texts};
pub use clear::{Cleared, PassedOver, clear};
pub use generate::{Plan, generate};
pub use results::{FILLS, PRICES, SALES};
pub use table::Mistakes;
pub use verify::{Verdict, verify};

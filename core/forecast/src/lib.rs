//! Measured load to quantiles per slot to headroom at a risk.
//!
//! ```text
//!  samples ──► Forecaster: profile × level, and how wrong that was in the past
//!                  │ forecast(from)
//!                  ▼
//!              Forecast ──► quantile(slot, q) ──► headroom(slot, capacity, risk)
//! ```
//!
//! A [`Forecaster`] observes one region's own traffic. Its point forecast is a robust profile over
//! the season (a day), corrected by how the load ran against that profile lately. How far it may
//! be off is not modelled: the same predictor is replayed out of sample as each sample arrives,
//! and the quantiles of a [`Forecast`] are those of the errors it made at the same distance.
//! Without enough past to know them, a forecast is wide; without any, there is no headroom.
//!
//! What it does not do: it knows nothing of weekdays, holidays or announced events, it does not
//! correct its own coverage, and it says nothing about several slots jointly: each slot carries
//! its risk alone. It has no clock; the caller says which slot is which.

mod config;
mod forecast;
mod forecaster;
mod level;
pub mod limits;
mod profile;
mod residuals;
mod series;

pub use config::{Config, ConfigError, Season};
pub use forecast::{Forecast, Headroom};
pub use forecaster::{Forecaster, Refused};

//! Measured load to quantiles per slot to headroom at a risk.
//!
//! ```text
//!  samples ──► Forecaster ──► past: profile, levels ──hints──► lanes, one per lead
//!                  │            each predicts, waits for its target, learns how wrong it was
//!                  │ forecast(from)
//!                  ▼
//!              Forecast ──► quantile(slot, q) ──► headroom(slot, capacity, risk)
//!                                             └─► run_headroom(slots, capacity, risk)
//! ```
//!
//! A [`Forecaster`] observes one region's own traffic. Its point forecast is a seasonal profile (a
//! day) times what yesterday, last week and the last minutes hint at, weighed by regression. How
//! far it may be off is not modelled but counted: each prediction waits until its target arrives,
//! and the quantiles of a [`Forecast`] are those of the errors that were made. Then the shortages
//! themselves are counted, and quantiles are taken such that the stated risk is the risk kept.
//! Without enough past to know errors, a forecast is wide; without any, there is no headroom.
//! `docs/concepts/forecast.md` tells the whole, with what was measured.
//!
//! What it does not do: it knows no holidays and no announced events. It has no clock; the caller
//! says which slot is which.

pub mod backtest;
mod config;
mod coverage;
mod day;
mod errors;
mod forecast;
mod forecaster;
mod lane;
mod level;
pub mod limits;
mod outage;
mod past;
mod profile;
mod regression;
mod series;
mod spread;

pub use config::{Config, ConfigError, Season};
pub use forecast::{Forecast, Headroom};
pub use forecaster::{Forecaster, Refused};

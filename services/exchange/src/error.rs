//! Why the exchange cannot run, or could not do what it was asked.

use std::{net::SocketAddr, path::PathBuf};

use headroom_bus::BusError;
use headroom_forecast::ConfigError;
use headroom_market::Rejection;
use headroom_steer::Note;
use headroom_store::StoreError;
use headroom_wire::EventOutOfRange;

/// A failure of the exchange.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The API's address is not to be had.
    #[error("the API cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot write {}: {source}", path.display())]
    DataDir {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event log holds what no market has written.
    #[error("event {sequence} of the log cannot be applied: {source}")]
    Log {
        /// Its number.
        sequence: u64,
        /// Why.
        source: EventOutOfRange,
    },
    /// The market refused a command.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The forecast cannot be made as configured.
    #[error("the forecast is misconfigured: {0}")]
    Forecast(#[from] ConfigError),
    /// A message could not be sent.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The next plan fails its check; the last one stays in force.
    #[error("the next plan fails its check: {0}")]
    UnsoundPlan(Note),
    /// An idempotency key was used for another call before.
    #[error("this idempotency key was used for another call; choose a new one")]
    KeyReused,
    /// What the market decided is not what was asked for.
    #[error("the market did not say what has become of a command")]
    Unanswered,
    /// The program ended in the middle of a command.
    #[error("a command was broken off: {0}")]
    BrokenOff(#[from] tokio::task::JoinError),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
}

//! Why an edge cannot start or go on.

use std::{io, net::SocketAddr, path::PathBuf};

use headroom_handover::HandoverError;

/// Why an edge cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A value of the configuration cannot work.
    #[error("the edge cannot run with this {key}: {reason}")]
    Config {
        /// Which value.
        key: &'static str,
        /// Why not.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("the edge cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Responses cannot be kept in this directory.
    #[error(
        "the edge cannot keep responses on disk: {directory} cannot be {what}: {source}; \
         give a directory it may write to",
        directory = directory.display()
    )]
    Disk {
        /// Which directory.
        directory: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Another process keeps its responses in this directory.
    #[error(
        "the edge cannot keep responses on disk: {directory} is used by another process; stop it, \
         or give each edge a directory of its own",
        directory = directory.display()
    )]
    DiskInUse {
        /// Which directory.
        directory: PathBuf,
    },
    /// The access log cannot be written.
    #[error("the edge cannot write its access log {}: {source}", path.display())]
    AccessLog {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The listeners cannot be taken over, or another process has them.
    #[error("the edge cannot have its listeners: {0}")]
    Handover(#[from] HandoverError),
    /// A serving thread cannot be started.
    #[error("the edge cannot start a serving thread: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// A serving thread ended although it was not told to.
    #[error("a serving thread of the edge ended unexpectedly")]
    ThreadLost,
}

//! Log lines to stderr.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::{filter::Targets, prelude::*};

const VARIABLE: &str = "HEADROOM_LOG";

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Begins to log. `HEADROOM_LOG` says what, as levels of crates and modules; else `default`.
pub(super) fn init(format: Format, default: &str) -> anyhow::Result<()> {
    let directives = std::env::var(VARIABLE).unwrap_or_else(|_| default.to_owned());
    let targets: Targets = directives.parse().with_context(|| {
        format!(
            "{VARIABLE}={directives:?} is not a log filter; \
             accepted is such as \"info\" or \"warn,headroom_dns=debug\""
        )
    })?;
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let filtered = tracing_subscriber::registry().with(targets);
    let started = match format {
        Format::Text => filtered.with(lines).try_init(),
        Format::Json => filtered.with(lines.json()).try_init(),
    };
    started.context("cannot log")
}

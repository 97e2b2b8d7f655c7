//! `all`, `exchange`, `edge`, `dns`: roles that run until a signal.

use std::{future::Future, path::PathBuf};

use anyhow::Context;
use headroom_bus::Bus;
use headroom_units::{EdgeId, NameServerId};

use super::log;
use crate::{config::Config, roles};

pub(super) const ALL_EXAMPLES: &str = "Examples:
  headroom all --config config/headroom.toml
  headroom all --config config/headroom.toml --take-over
  HEADROOM_LOG=debug headroom all --config headroom.toml --log-format json

The API's token for the operator is written to operator.token in exchange.data_dir.
With --take-over, a process that runs hands the sockets of its edges and name servers over and ends:
no connection is refused, no query is lost. Its API is away until it has ended.
Ctrl-C or SIGTERM stops all roles and lets them finish; a second one ends them at once.";

pub(super) const EXCHANGE_EXAMPLES: &str = "Examples:
  headroom exchange --config config/headroom.toml

Alone, the exchange has no way to edges and name servers yet: messages cross an in-process bus
only. Use `headroom all` to run a network.";

pub(super) const EDGE_EXAMPLES: &str = "Examples:
  headroom edge --config config/headroom.toml --id east-1
  headroom edge --config config/headroom.toml --id east-1 --plan plan.json
  headroom edge --config config/headroom.toml --id east-1 --take-over

Alone, an edge serves from its plan file. Without a broker it gets no budgets, so it admits each
contract's traffic by its safe share; its meters wait on disk for an exchange.

With --take-over, an edge that is running hands its listeners over and ends: no connection is
refused.";

pub(super) const DNS_EXAMPLES: &str = "Examples:
  headroom dns --config config/headroom.toml --id ns1
  headroom dns --config config/headroom.toml --id ns1 --plan plan.json
  headroom dns --config config/headroom.toml --id ns1 --take-over

Alone, a name server answers from its plan file. Without a broker it gets no budgets, so it leases
its even part of what was bought; the edges hold the limit.

With --take-over, a name server that is running hands its sockets over and ends: no query is lost.";

/// What `all` is told.
#[derive(Debug, clap::Args)]
pub struct AllArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Takes edges and name servers over from the process that serves, if there is one; it ends then
    #[arg(long)]
    take_over: bool,
}

/// What every role is told.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// What `edge` is told.
#[derive(Debug, clap::Args)]
pub struct EdgeArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Which edge of the configuration
    #[arg(long)]
    id: EdgeId,
    /// The plan file, if not the one in exchange.data_dir
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Takes the listeners over from the process that serves this edge, if there is one
    #[arg(long)]
    take_over: bool,
}

/// What `dns` is told.
#[derive(Debug, clap::Args)]
pub struct DnsArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Which name server of the configuration
    #[arg(long)]
    id: NameServerId,
    /// The plan file, if not the one in exchange.data_dir
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Takes the sockets over from the process that serves this name server, if there is one
    #[arg(long)]
    take_over: bool,
}

pub(super) fn all(args: &AllArgs, format: log::Format) -> anyhow::Result<()> {
    let mut config = Config::load(&args.serve.config)?;
    config.edges.iter_mut().for_each(|edge| edge.running.take_over = args.take_over);
    config.dns.iter_mut().for_each(|server| server.running.take_over = args.take_over);
    log::init(format, "info")?;
    block_on(async {
        Box::pin(roles::start(config, &Bus::in_process())).await?.run_until_signal().await
    })
}

pub(super) fn exchange(args: &ServeArgs, format: log::Format) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    log::init(format, "info")?;
    tracing::warn!("no broker: edges and name servers of other processes are not reached");
    block_on(async {
        let bus = Bus::in_process();
        Box::pin(roles::start_exchange(config.exchange, &bus)).await?.run_until_signal().await
    })
}

pub(super) fn edge(args: EdgeArgs, format: log::Format) -> anyhow::Result<()> {
    let config = Config::load(&args.serve.config)?;
    let mut edge = config.edge(&args.id).cloned().with_context(|| {
        let ids: Vec<_> = config.edges.iter().map(|edge| edge.id.to_string()).collect();
        format!("the configuration has no edge {}; it has {}", args.id, ids.join(", "))
    })?;
    edge.plan_file = args.plan.or(edge.plan_file);
    edge.running.take_over = args.take_over;
    log::init(format, "info")?;
    tracing::warn!(plan = ?edge.plan_file, "no broker: serving from the plan file by safe shares");
    block_on(async { roles::start_edge(edge, &Bus::in_process())?.run_until_signal().await })
}

pub(super) fn dns(args: DnsArgs, format: log::Format) -> anyhow::Result<()> {
    let config = Config::load(&args.serve.config)?;
    let mut server = config.name_server(&args.id).cloned().with_context(|| {
        let ids = config.dns.iter().filter_map(|server| server.id.as_ref());
        let ids: Vec<_> = ids.map(ToString::to_string).collect();
        format!("the configuration has no name server {}; it has {}", args.id, ids.join(", "))
    })?;
    server.plan_file = args.plan.or(server.plan_file);
    server.running.take_over = args.take_over;
    log::init(format, "info")?;
    tracing::warn!(plan = ?server.plan_file, "no broker: answering from the plan file, leasing what was bought");
    block_on(async { roles::start_dns(server, &Bus::in_process()).await?.run_until_signal().await })
}

/// Runs `work` on as many threads as there are cores.
pub(super) fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    runtime.block_on(work)
}

//! Composition: the roles of a network, started over one bus, and stopped together.
//!
//! ```text
//!            Config                       all in one process, or one role alone
//!   ┌──────────┼──────────┐
//!  dns ×n    edge ×n   exchange ── API, /metrics
//!   └──────────┴──────────┘
//!             bus
//! ```
//!
//! What each role does is its crate's matter. Here is only the order: name servers and edges take
//! their sockets before the exchange speaks, so that a wrong address stops the start as a whole.

use std::{borrow::Cow, fs, future::Future, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use headroom_bus::Bus;
use headroom_dns::{DnsConfig, DnsServer};
use headroom_edge::{Edge, EdgeConfig, Metrics};
use headroom_exchange::{Exchange, ExchangeConfig};
use prometheus_client::registry::Registry;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::config::Config;

/// How long roles may take to stop before they are left behind. Edges drain in that time.
const STOP_TIME_MAX: Duration = Duration::from_secs(20);

type Roles = JoinSet<(String, anyhow::Result<()>)>;

/// Roles that are running. Dropping it ends them at once; [`Network::stop`] lets them finish.
#[derive(Debug, Default)]
pub struct Network {
    api: Option<SocketAddr>,
    /// Name servers and edges. They stop first, so that their last meters are still taken.
    serving: Roles,
    stop_serving: CancellationToken,
    exchange: Roles,
    stop_exchange: CancellationToken,
}

/// Starts every role of `config` over `bus`.
///
/// # Errors
/// If a role cannot start; none is left running then.
pub async fn start(config: Config, bus: &Bus) -> anyhow::Result<Network> {
    let Config { exchange, edges, dns } = config;
    let mut registry = Registry::default();
    let mut network = Network::default();
    for server in dns {
        network.add_dns(server, bus, &mut registry).await?;
    }
    let metrics = Metrics::register(&mut registry);
    for edge in edges {
        network.add_edge(edge, bus, &metrics)?;
    }
    network.add_exchange(exchange, bus, registry).await?;
    Ok(network)
}

/// Starts the exchange alone.
///
/// # Errors
/// If it cannot start.
pub async fn start_exchange(config: ExchangeConfig, bus: &Bus) -> anyhow::Result<Network> {
    let mut network = Network::default();
    network.add_exchange(config, bus, Registry::default()).await?;
    Ok(network)
}

/// Starts one edge alone. To be called within a runtime.
///
/// # Errors
/// If it cannot start.
pub fn start_edge(config: EdgeConfig, bus: &Bus) -> anyhow::Result<Network> {
    let mut network = Network::default();
    network.add_edge(config, bus, &Metrics::register(&mut Registry::default()))?;
    Ok(network)
}

/// Starts one name server alone.
///
/// # Errors
/// If it cannot start.
pub async fn start_dns(config: DnsConfig, bus: &Bus) -> anyhow::Result<Network> {
    let mut network = Network::default();
    network.add_dns(config, bus, &mut Registry::default()).await?;
    Ok(network)
}

/// Waits for Ctrl-C or SIGTERM; gives the signal's name.
///
/// # Errors
/// If signals cannot be had.
pub async fn signalled() -> anyhow::Result<&'static str> {
    Ok(Signals::new()?.next().await)
}

impl Network {
    /// Where the API listens, if the exchange is among the roles.
    #[must_use]
    pub const fn api(&self) -> Option<SocketAddr> {
        self.api
    }

    /// Waits until a role ends although it was not told to; then says which. While all run, it
    /// waits for ever.
    ///
    /// # Errors
    /// Always, if it returns at all.
    pub async fn failed(&mut self) -> anyhow::Result<()> {
        let ended = tokio::select! {
            Some(ended) = self.serving.join_next() => ended,
            Some(ended) = self.exchange.join_next() => ended,
            else => std::future::pending().await,
        };
        match ended {
            Ok((role, Ok(()))) => anyhow::bail!("{role} has ended without being told to"),
            Ok((role, Err(error))) => Err(error.context(format!("{role} has failed"))),
            Err(error) => Err(error).context("a role has crashed"),
        }
    }

    /// Tells all roles to stop and waits until what is under way is done: first name servers and
    /// edges, then the exchange.
    ///
    /// # Errors
    /// If a role failed while it stopped, or does not stop.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let finish = async {
            self.stop_serving.cancel();
            let serving = finish(&mut self.serving).await;
            self.stop_exchange.cancel();
            serving.and(finish(&mut self.exchange).await)
        };
        tokio::time::timeout(STOP_TIME_MAX, finish)
            .await
            .unwrap_or_else(|_| anyhow::bail!("not all roles have stopped in time"))
    }

    /// Runs until Ctrl-C, SIGTERM or a failure; then stops all roles. A second signal ends it at
    /// once.
    ///
    /// # Errors
    /// If a role failed, or signals cannot be had.
    pub async fn run_until_signal(mut self) -> anyhow::Result<()> {
        let mut signals = Signals::new()?;
        let result = tokio::select! {
            failed = self.failed() => failed,
            name = signals.next() => {
                tracing::info!(signal = name, "stopping");
                Ok(())
            }
        };
        let stopped = tokio::select! {
            stopped = self.stop() => stopped,
            name = signals.next() => Err(anyhow::anyhow!("a second signal, {name}: ended at once")),
        };
        result.and(stopped)
    }

    async fn add_dns(
        &mut self,
        config: DnsConfig,
        bus: &Bus,
        registry: &mut Registry,
    ) -> anyhow::Result<()> {
        let id = config.id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        let role = format!("name server {id}");
        make_folder(config.plan_file.as_deref())?;
        let registry = registry.sub_registry_with_label((Cow::from("server"), Cow::from(id)));
        let listen = config.listen.clone();
        let server = DnsServer::bind(config, bus, registry)
            .await
            .with_context(|| format!("{role} cannot start"))?;
        tracing::info!(role, ?listen, "serving DNS");
        let stop = self.stop_serving.clone();
        spawn(&mut self.serving, role, async move {
            server.run(stop).await;
            Ok(())
        });
        Ok(())
    }

    fn add_edge(&mut self, config: EdgeConfig, bus: &Bus, metrics: &Metrics) -> anyhow::Result<()> {
        let role = format!("edge {}", config.id);
        make_folder(config.plan_file.as_deref())?;
        let listen = config.listen.clone();
        let edge = Edge::bind_with_metrics(config, bus, metrics)
            .with_context(|| format!("{role} cannot start"))?;
        tracing::info!(role, ?listen, "serving HTTP");
        let stop = self.stop_serving.clone();
        spawn(&mut self.serving, role, async move { Ok(edge.run(stop).await?) });
        Ok(())
    }

    async fn add_exchange(
        &mut self,
        config: ExchangeConfig,
        bus: &Bus,
        registry: Registry,
    ) -> anyhow::Result<()> {
        let exchange = Exchange::start(config, bus.clone(), registry)
            .await
            .context("the exchange cannot start")?;
        let api = exchange.local_address().context("the exchange cannot start")?;
        self.api = Some(api);
        tracing::info!(%api, "the exchange is open");
        let stop = self.stop_exchange.clone();
        spawn(&mut self.exchange, "the exchange".to_owned(), async move {
            exchange.run(stop).await;
            Ok(())
        });
        Ok(())
    }
}

fn spawn(
    roles: &mut Roles,
    role: String,
    run: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) {
    let run = Box::pin(run);
    roles.spawn(async move { (role, run.await) });
}

/// Waits for all roles, even if one has failed.
async fn finish(roles: &mut Roles) -> anyhow::Result<()> {
    let mut result = Ok(());
    while let Some(ended) = roles.join_next().await {
        let ended = match ended {
            Ok((role, ended)) => ended.with_context(|| format!("{role} has failed")),
            Err(error) => Err(error).context("a role has crashed"),
        };
        result = result.and(ended);
    }
    result
}

/// The signals that end a program.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("cannot wait for signals");
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

fn make_folder(plan_file: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = plan_file.and_then(Path::parent) else { return Ok(()) };
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {} of a plan file", folder.display()))
}

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
//! A process that replaces another takes over its name servers and edges first, when all of them
//! can start; the other ends then, and leaves the exchange.

use std::{borrow::Cow, fs, future::Future, net::SocketAddr, path::Path, time::Duration};

use anyhow::Context;
use headroom_bus::Bus;
use headroom_dns::{DnsConfig, DnsServer};
use headroom_edge::{Edge, EdgeConfig, Metrics};
use headroom_exchange::{Exchange, ExchangeConfig};
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, limits::STOP_TIME_MAX};

/// Signals that come sooner than this after the first are the same wish: `timeout` and shells send
/// one to the program and one to its group.
const SAME_WISH: Duration = Duration::from_secs(1);

/// How often one looks whether the process before this one has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

type Roles = JoinSet<(String, anyhow::Result<()>)>;

/// Roles that are running. Dropping it ends them at once; [`Network::stop`] lets them finish.
#[derive(Debug, Default)]
pub struct Network {
    api: Option<SocketAddr>,
    /// Where the edges listen.
    #[cfg(test)]
    bound: Vec<SocketAddr>,
    /// Name servers and edges. They stop first, so that their last meters are still taken.
    serving: Roles,
    stop_serving: CancellationToken,
    /// Of each of them: cancelled when another process has taken over.
    handed_over: Vec<CancellationToken>,
    exchange: Roles,
    /// What the exchange's `/readyz` tells.
    draining: CancellationToken,
    stop_exchange: CancellationToken,
}

/// Starts every role of `config` over `bus`.
///
/// # Errors
/// If a role cannot start; none is left running then.
pub async fn start(config: Config, bus: &Bus) -> anyhow::Result<Network> {
    raise_descriptor_limit();
    let Config { exchange, edges, dns } = config;
    let takes_over = edges.iter().any(|edge| edge.running.take_over)
        || dns.iter().any(|server| server.running.take_over);
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    // The process before this one goes on until all can run.
    let mut servers = Vec::new();
    for server in dns {
        servers.push(bind_dns(server, bus, &mut registry).await?);
    }
    let edges = edges.into_iter().map(|edge| bind_edge(edge, bus, &metrics));
    let edges = edges.collect::<Result<Vec<_>, _>>()?;
    let mut network = Network::default();
    servers.into_iter().for_each(|(role, server)| network.run_dns(role, server));
    edges.into_iter().for_each(|(role, edge)| network.run_edge(role, edge));
    if takes_over {
        wait_until(|| Exchange::is_free(&exchange)).await;
    }
    network.add_exchange(exchange, bus, registry).await?;
    Ok(network)
}

/// Waits as long as the process before this one may take to end. If it takes longer, what is
/// started next says what is wrong.
async fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + STOP_TIME_MAX;
    while !is_so() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Lets the process have as many sockets as the system allows it: the usual 1,024 are taken by a
/// thousand idle visitors, and the API and the database would go without.
fn raise_descriptor_limit() {
    let held = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: held.maximum, maximum: held.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = held.current, "the number of sockets cannot be raised");
    }
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
    let metrics = Metrics::register(&mut Registry::default());
    let (role, edge) = bind_edge(config, bus, &metrics)?;
    let mut network = Network::default();
    network.run_edge(role, edge);
    Ok(network)
}

/// Starts one name server alone.
///
/// # Errors
/// If it cannot start.
pub async fn start_dns(config: DnsConfig, bus: &Bus) -> anyhow::Result<Network> {
    let (role, server) = bind_dns(config, bus, &mut Registry::default()).await?;
    let mut network = Network::default();
    network.run_dns(role, server);
    Ok(network)
}

/// Waits for Ctrl-C or SIGTERM; gives the signal's name.
///
/// # Errors
/// If signals cannot be had.
pub async fn signalled() -> anyhow::Result<&'static str> {
    Ok(Signals::new()?.next().await)
}

/// Waits for a signal that is another wish than the one that came just now.
async fn second_signal() -> anyhow::Result<&'static str> {
    tokio::time::sleep(SAME_WISH).await;
    signalled().await
}

impl Network {
    /// Where the API listens, if the exchange is among the roles.
    #[must_use]
    pub const fn api(&self) -> Option<SocketAddr> {
        self.api
    }

    /// Waits until a role ends although it was not told to; says which. While all run, it waits
    /// for ever.
    pub async fn failed(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.serving.join_next() => ended,
            Some(ended) = self.exchange.join_next() => ended,
            else => std::future::pending().await,
        };
        match ended {
            Ok((role, Ok(()))) => anyhow::anyhow!("{role} has ended without being told to"),
            Ok((role, Err(error))) => error.context(format!("{role} has failed")),
            Err(error) => anyhow::Error::new(error).context("a role has crashed"),
        }
    }

    /// Tells all roles to stop and waits until what is under way is done: first name servers and
    /// edges, then the exchange.
    ///
    /// # Errors
    /// If a role failed while it stopped, or does not stop.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let finish = async {
            self.draining.cancel();
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
        let handed_over = handed_over(self.handed_over.clone());
        let result = tokio::select! {
            error = self.failed() => Err(error),
            name = signals.next() => {
                tracing::info!(signal = name, "stopping");
                Ok(())
            }
            () = handed_over => {
                tracing::info!("another process serves now: stopping");
                Ok(())
            }
        };
        let stopped = tokio::select! {
            stopped = self.stop() => stopped,
            name = second_signal() => {
                name.and_then(|name| anyhow::bail!("a second signal, {name}: ended at once"))
            }
        };
        result.and(stopped)
    }

    fn run_dns(&mut self, role: String, server: DnsServer) {
        let handed_over = server.handed_over();
        self.run(role, handed_over, |stop| async move {
            server.run(stop).await;
            Ok(())
        });
    }

    fn run_edge(&mut self, role: String, edge: Edge) {
        #[cfg(test)]
        self.bound.extend(edge.local_addresses());
        let handed_over = edge.handed_over();
        self.run(role, handed_over, |stop| async move { Ok(edge.run(stop).await?) });
    }

    /// Runs a name server or an edge.
    fn run<R>(
        &mut self,
        role: String,
        handed_over: CancellationToken,
        run: impl FnOnce(CancellationToken) -> R,
    ) where
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = self.stop_serving.clone();
        self.handed_over.push(handed_over.clone());
        let running = run(stop.clone());
        spawn(&mut self.serving, role, async move {
            running.await?;
            if handed_over.is_cancelled() {
                // It ends when the others do.
                stop.cancelled().await;
            }
            Ok(())
        });
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
        self.draining = exchange.draining();
        tracing::info!(%api, "the exchange is open");
        let stop = self.stop_exchange.clone();
        spawn(&mut self.exchange, "the exchange".to_owned(), async move {
            exchange.run(stop).await;
            Ok(())
        });
        Ok(())
    }
}

/// A name server with its sockets, and the name of its role.
async fn bind_dns(
    config: DnsConfig,
    bus: &Bus,
    registry: &mut Registry,
) -> anyhow::Result<(String, DnsServer)> {
    let id = config.id.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let role = format!("name server {id}");
    make_folder(config.plan_file.as_deref())?;
    let registry = registry.sub_registry_with_label((Cow::from("server"), Cow::from(id)));
    let listen = config.listen.clone();
    let server = DnsServer::bind(config, bus, registry)
        .await
        .with_context(|| format!("{role} cannot start"))?;
    tracing::info!(role, ?listen, "serving DNS");
    Ok((role, server))
}

/// An edge with its sockets, and the name of its role.
fn bind_edge(config: EdgeConfig, bus: &Bus, metrics: &Metrics) -> anyhow::Result<(String, Edge)> {
    let role = format!("edge {}", config.id);
    make_folder(config.plan_file.as_deref())?;
    let listen = config.listen.clone();
    let edge = Edge::bind_with_metrics(config, bus, metrics)
        .with_context(|| format!("{role} cannot start"))?;
    tracing::info!(role, ?listen, "serving HTTP");
    Ok((role, edge))
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

/// Waits until all name servers and edges are handed over, if there are any.
async fn handed_over(roles: Vec<CancellationToken>) {
    if roles.is_empty() {
        std::future::pending::<()>().await;
    }
    for role in roles {
        role.cancelled().await;
    }
}

fn make_folder(plan_file: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = plan_file.and_then(Path::parent) else { return Ok(()) };
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {} of a plan file", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONES: &str = r#"
        [network]
        zone = "cdn.example"
        [[name_servers]]
        id = "ns1"
        host = "ns1.cdn.example"
        addresses = ["127.0.0.1"]
        [[name_servers]]
        id = "ns2"
        host = "ns2.cdn.example"
        addresses = ["127.0.0.2"]
        [[regions]]
        id = "east"
        edges = [
          { id = "east-1", addresses = ["127.0.0.1"], capacity = "100 units" },
          { id = "east-2", addresses = ["127.0.0.2"], capacity = "100 units" },
        ]
        [exchange]
        listen = "127.0.0.1:0"
        [edge]
        threads = 1
    "#;

    /// A network on free ports, with its data in `folder`.
    fn config(folder: &Path) -> Config {
        let mut config = Config::parse(ZONES, folder).unwrap();
        let edges = config.edges.iter_mut().flat_map(|edge| &mut edge.listen);
        let servers = config.dns.iter_mut().flat_map(|server| &mut server.listen);
        edges.chain(servers).for_each(|address| address.set_port(0));
        config
    }

    async fn get(url: String) -> String {
        let get = move || ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        tokio::task::spawn_blocking(get).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn all_roles_start_publish_metrics_and_stop() {
        let folder = tempfile::tempdir().unwrap();
        let network = start(config(folder.path()), &Bus::in_process()).await.unwrap();
        let api = network.api().unwrap();
        assert_eq!(get(format!("http://{api}/healthz")).await, "ok\n");
        assert_eq!(get(format!("http://{api}/readyz")).await, "ready\n");
        let metrics = get(format!("http://{api}/metrics")).await;
        for series in ["headroom_edge_", "headroom_dns_", "server=\"ns1\"", "server=\"ns2\""] {
            assert!(metrics.contains(series), "no {series} in\n{metrics}");
        }
        network.stop().await.unwrap();
        assert!(std::net::TcpStream::connect(api).is_err());
        for file in ["edges/east-1", "edges/east-2", "dns/ns1", "dns/ns2", "operator.token"] {
            assert!(folder.path().join("headroom-data").join(file).exists(), "{file}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_network_is_replaced_while_its_visitors_ask() {
        let folder = tempfile::tempdir().unwrap();
        let config = || config(folder.path());
        let mut old = start(config(), &Bus::in_process()).await.unwrap();
        old.bound.sort();
        let (edges, api) = (old.bound.clone(), old.api().unwrap());
        let ending = tokio::spawn(old.run_until_signal());
        let stop = CancellationToken::new();
        let visitor = tokio::spawn(visit(edges[0], stop.clone()));
        let mut next = config();
        next.exchange.listen = api;
        next.edges.iter_mut().for_each(|edge| edge.running.take_over = true);
        next.dns.iter_mut().for_each(|server| server.running.take_over = true);
        let mut new = start(next, &Bus::in_process()).await.unwrap();
        ending.await.unwrap().unwrap();
        assert_eq!(get(format!("http://{api}/readyz")).await, "ready\n");
        new.bound.sort();
        assert_eq!(new.bound, edges);
        stop.cancel();
        assert!(visitor.await.unwrap() > 10);
        new.stop().await.unwrap();
    }

    /// Asks again and again; every question is answered, if only with 421.
    async fn visit(edge: SocketAddr, stop: CancellationToken) -> usize {
        let mut asked = 0;
        while !stop.is_cancelled() {
            let ask = move || {
                let agent = ureq::Agent::config_builder().http_status_as_error(false).build();
                agent.new_agent().get(format!("http://{edge}/")).call().unwrap().status()
            };
            assert_eq!(tokio::task::spawn_blocking(ask).await.unwrap(), 421);
            asked += 1;
        }
        asked
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_address_in_use_is_told_with_its_role() {
        let folder = tempfile::tempdir().unwrap();
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = config(folder.path());
        config.edges[1].listen = vec![taken.local_addr().unwrap()];
        let error = start(config, &Bus::in_process()).await.unwrap_err();
        let address = taken.local_addr().unwrap();
        let told = format!("{error:#}");
        assert!(told.starts_with("edge east-2 cannot start: "), "{told}");
        assert!(told.contains(&address.to_string()), "{told}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_edge_serves_alone() {
        let folder = tempfile::tempdir().unwrap();
        let edge = config(folder.path()).edges.remove(0);
        let mut network = start_edge(edge, &Bus::in_process()).unwrap();
        let ended = tokio::time::timeout(Duration::from_millis(100), network.failed()).await;
        assert!(ended.is_err(), "{ended:?}");
        assert_eq!(network.api(), None);
        network.stop().await.unwrap();
    }
}

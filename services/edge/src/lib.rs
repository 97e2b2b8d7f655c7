//! The edge: a caching reverse proxy that admits exactly what was purchased.
//!
//! ```text
//!  visitor                                                               origin
//!     │ accept    limits; ambiguous and malformed requests refused          │
//!     │ identify  Host ─► site of the plan; 421 if unknown                  │
//!     │ admit     operator's own always; else the site's gates, firm first; │
//!     │           none admits: 307 to the fallback, or passed through ──────┤
//!     │ key       site, scheme, host, path and query                        │
//!     │ look_up   memory                                                    │
//!     │ decide    fresh ─► send; stale ─► validate; else                    │
//!     │ fetch     one for all who wait for the same key ────────────────────┤
//!     │ store     if the response may be shared, came whole and fits ◄──────┘
//!     │ send      to the visitor
//!     ▼ meter     requests at admission, bytes as they go
//!
//!  exchange ──PLAN, BUDGETS──► table of sites and gates        counts ──METERS──► exchange
//! ```
//!
//! Each thread has its own runtime, listeners, origin connections and counters; they share the
//! cache and the table, which is replaced as a whole. The edge starts from the plan file and goes
//! on with everything else gone: budgets expire by themselves in the gates.
//!
//! It leaves to others: what a plan says and what a share is (`headroom-steer`), what may be
//! stored and used (`headroom-cache`), which visitors come (`headroom-dns`), what is charged (the
//! exchange). It speaks HTTP/1.1 and HTTP/2, in the clear and over TLS.

mod body;
mod cache;
mod config;
mod connection;
mod control;
#[cfg_attr(not(test), expect(dead_code, reason = "the cache uses the disk tier in a next step"))]
mod disk;
mod error;
mod fetch;
mod fill;
mod frames;
mod guard;
pub mod limits;
mod listen;
mod meter;
mod metrics;
mod object;
mod origin;
mod pace;
mod proxy;
mod pulse;
mod purge;
mod report;
mod request;
mod respond;
mod socket;
mod table;
#[cfg(test)]
mod testing;
mod tls;
mod upgrade;
mod visitors;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use arc_swap::ArcSwap;
pub use config::{EdgeConfig, VisitorConfig};
use control::Control;
pub use error::EdgeError;
use fill::{Fills, Unshared};
use headroom_bus::Bus;
use headroom_planfile as planfile;
use http::HeaderValue;
use listen::Doors;
use meter::ThreadMeter;
pub use metrics::Metrics;
use origin::Origins;
use prometheus_client::registry::Registry;
use proxy::{Shared, Worker};
use pulse::Times;
use table::Table;
use tls::Tls;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use visitors::Visitors;

/// An edge whose sockets are bound and which knows its last plan.
#[derive(Debug)]
pub struct Edge {
    config: EdgeConfig,
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    doors: Vec<Doors>,
    shared: Arc<Shared>,
    threads: Vec<Arc<ThreadMeter>>,
    control: Control,
}

impl Edge {
    /// Binds all sockets, so that a mistake shows at once, and loads the last plan.
    ///
    /// # Errors
    /// If the configuration cannot work or an address cannot be listened on. A plan file that
    /// cannot be used is no reason not to start: the exchange will send a plan.
    pub fn bind(config: EdgeConfig, bus: &Bus, registry: &mut Registry) -> Result<Self, EdgeError> {
        Self::bind_with_metrics(config, bus, &Metrics::register(registry))
    }

    /// The same for one of several edges in one process: they share `metrics`, registered once.
    ///
    /// # Errors
    /// As [`Edge::bind`].
    pub fn bind_with_metrics(
        config: EdgeConfig,
        bus: &Bus,
        metrics: &Metrics,
    ) -> Result<Self, EdgeError> {
        config.check()?;
        let connections_max = visitors::connections_max();
        let clear = listen::bind(&config.listen, config.threads)?;
        let tls = listen::bind(&config.visitors.tls_listen, config.threads)?;
        let (addresses, tls_addresses) = (local_addresses(&clear), local_addresses(&tls));
        let doors = clear.into_iter().zip(tls).map(|(clear, tls)| Doors { clear, tls }).collect();
        let via = HeaderValue::try_from(format!("1.1 {}.headroom", config.id))
            .expect("an id is made of letters, digits and hyphens");
        let shared = Arc::new(Shared {
            table: ArcSwap::from_pointee(last_table(&config)),
            cache: cache::Cache::new(&config)?,
            fills: Arc::<Fills>::default(),
            unshared: Unshared::new(),
            metrics: metrics.of(&config.id),
            via,
            object_bytes_max: config.object_bytes_max.count(),
            follow_max: config.origin_connect_timeout + config.origin_response_timeout,
            visitors: Arc::new(Visitors::new(connections_max, config.visitors.per_client_max)),
            tls: config.visitors.certificates.clone().map(Tls::new).transpose()?.map(Arc::new),
            times: times(&config),
        });
        let threads: Vec<Arc<ThreadMeter>> = (0..config.threads).map(|_| Arc::default()).collect();
        let (edge, plan_file) = (config.id.clone(), config.plan_file.clone());
        let control = Control::new(edge, Arc::clone(&shared), threads.clone(), plan_file, bus);
        Ok(Self { config, addresses, tls_addresses, doors, shared, threads, control })
    }

    /// Where it listens, with the ports that were chosen.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it listens for TLS, with the ports that were chosen.
    #[must_use]
    pub fn local_tls_addresses(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// Serves until `stop`; then accepts no more, lets the requests in flight end within
    /// [`limits::DRAIN_MAX`], and sends the last meters. Ends also if it is dropped.
    ///
    /// # Errors
    /// If a thread cannot be started or is lost.
    pub async fn run(self, stop: CancellationToken) -> Result<(), EdgeError> {
        let Self { config, doors, shared, threads, mut control, .. } = self;
        let stop_serving = stop.child_token();
        let _stop_when_dropped = stop_serving.clone().drop_guard();
        let mut serving = Vec::new();
        for (doors, counts) in doors.into_iter().zip(threads) {
            let worker = Arc::new(Worker {
                shared: Arc::clone(&shared),
                counts,
                origins: Origins::new(&config),
            });
            serving.push(start(&config, worker, doors, stop_serving.clone())?);
        }
        let served = CancellationToken::new();
        let all_served = async {
            let mut result = Ok(());
            for thread in serving {
                result = thread.await.map_err(|_| EdgeError::ThreadLost).and(result);
            }
            served.cancel();
            result
        };
        let certificates = async {
            if let Some(tls) = &shared.tls {
                tls.keep(&served, |count| shared.metrics.count_certificates(count)).await;
            }
        };
        let (result, (), ()) = tokio::join!(all_served, control.run(&served), certificates);
        control.finish();
        result
    }
}

/// Where the listeners of each thread listen.
fn local_addresses(by_thread: &[Vec<TcpListener>]) -> Vec<SocketAddr> {
    let first = by_thread.first().into_iter().flatten();
    first.filter_map(|listener| listener.local_addr().ok()).collect()
}

/// How long visitors are waited for.
fn times(config: &EdgeConfig) -> Times {
    let visitors = &config.visitors;
    // An origin may be asked several times for one request.
    let origin = (config.origin_connect_timeout + config.origin_response_timeout) * 4;
    Times {
        opening: limits::OPENING_MAX.min(visitors.head_timeout),
        head: visitors.head_timeout,
        idle: visitors.idle_timeout,
        send: visitors.send_timeout,
        stalled: origin.max(visitors.idle_timeout),
        tunnel: limits::TUNNEL_SILENCE_MAX,
    }
}

/// The table of the last plan on disk, or of none.
fn last_table(config: &EdgeConfig) -> Table {
    let empty = Table::empty(config.id.clone(), config.burst);
    let loaded = config.plan_file.as_deref().map_or(Ok(None), planfile::load);
    match loaded {
        Ok(Some(plan)) => empty.with_plan(&plan, headroom_clock::now()).unwrap_or(empty),
        Ok(None) => empty,
        Err(error) => {
            tracing::error!(%error, "the edge starts without a plan");
            empty
        }
    }
}

/// Starts a serving thread; the receiver is told when it ended well.
fn start(
    config: &EdgeConfig,
    worker: Arc<Worker>,
    doors: Doors,
    stop: CancellationToken,
) -> Result<oneshot::Receiver<()>, EdgeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| EdgeError::Thread { source })?;
    let (tell, ended) = oneshot::channel();
    thread::Builder::new()
        .name(format!("edge-{}", config.id))
        .spawn(move || {
            // One thread that is lost ends the others: an edge does not serve with half a heart.
            let _stop_all = stop.clone().drop_guard();
            match runtime.block_on(listen::serve(worker, doors, stop)) {
                Ok(()) => drop(tell.send(())),
                Err(error) => tracing::error!(%error, "a thread cannot serve"),
            }
        })
        .map_err(|source| EdgeError::Thread { source })?;
    Ok(ended)
}

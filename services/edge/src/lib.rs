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
//! exchange). It speaks HTTP/1.1 in the clear so far.

mod body;
mod cache;
mod config;
mod control;
mod error;
mod fetch;
mod fill;
mod guard;
pub mod limits;
mod listen;
mod meter;
mod metrics;
mod origin;
mod proxy;
mod purge;
mod report;
mod request;
mod respond;
mod table;
#[cfg(test)]
mod testing;

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
};

use arc_swap::ArcSwap;
pub use config::EdgeConfig;
use control::Control;
pub use error::EdgeError;
use fill::Fills;
use headroom_bus::Bus;
use headroom_planfile as planfile;
use http::HeaderValue;
use meter::ThreadMeter;
pub use metrics::Metrics;
use origin::{OriginTls, Origins};
use prometheus_client::registry::Registry;
use proxy::{Shared, Worker};
use table::Table;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// An edge whose sockets are bound and which knows its last plan.
#[derive(Debug)]
pub struct Edge {
    config: EdgeConfig,
    addresses: Vec<SocketAddr>,
    listeners: Vec<Vec<TcpListener>>,
    shared: Arc<Shared>,
    threads: Vec<Arc<ThreadMeter>>,
    origin_tls: OriginTls,
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
        let origin_tls = OriginTls::load(config.origin_ca_file.as_deref())?;
        let listeners = listen::bind(&config.listen, config.threads)?;
        let addresses = listeners.first().into_iter().flatten().map(TcpListener::local_addr);
        let addresses = addresses.collect::<Result<Vec<_>, _>>();
        let addresses =
            addresses.map_err(|source| EdgeError::Listen { address: config.listen[0], source })?;
        let via = HeaderValue::try_from(format!("1.1 {}.headroom", config.id))
            .expect("an id is made of letters, digits and hyphens");
        let shared = Arc::new(Shared {
            table: ArcSwap::from_pointee(last_table(&config)),
            cache: cache::Cache::new(&config)?,
            fills: Arc::<Fills>::default(),
            metrics: metrics.of(&config.id),
            via,
            object_bytes_max: config.object_bytes_max.count(),
            follow_max: config.origin_connect_timeout + config.origin_response_timeout,
        });
        let threads: Vec<Arc<ThreadMeter>> = (0..config.threads).map(|_| Arc::default()).collect();
        let (edge, plan_file) = (config.id.clone(), config.plan_file.clone());
        let control = Control::new(edge, Arc::clone(&shared), threads.clone(), plan_file, bus);
        Ok(Self { config, addresses, listeners, shared, threads, origin_tls, control })
    }

    /// Where it listens, with the ports that were chosen.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop`; then accepts no more, lets the requests in flight end within
    /// [`limits::DRAIN_MAX`], and sends the last meters. Ends also if it is dropped.
    ///
    /// # Errors
    /// If a thread cannot be started or is lost.
    pub async fn run(self, stop: CancellationToken) -> Result<(), EdgeError> {
        let Self { config, listeners, shared, threads, origin_tls, mut control, .. } = self;
        let stop_serving = stop.child_token();
        let _stop_when_dropped = stop_serving.clone().drop_guard();
        let mut serving = Vec::new();
        for (listeners, counts) in listeners.into_iter().zip(threads) {
            let worker = Arc::new(Worker {
                shared: Arc::clone(&shared),
                counts,
                origins: Origins::new(&config, origin_tls.clone(), Arc::clone(&shared)),
            });
            serving.push(start(&config, worker, listeners, stop_serving.clone())?);
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
        let (result, ()) = tokio::join!(all_served, control.run(&served));
        control.finish();
        result
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
    listeners: Vec<TcpListener>,
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
            match runtime.block_on(listen::serve(worker, listeners, stop)) {
                Ok(()) => drop(tell.send(())),
                Err(error) => tracing::error!(%error, "a thread cannot serve"),
            }
        })
        .map_err(|source| EdgeError::Thread { source })?;
    Ok(ended)
}

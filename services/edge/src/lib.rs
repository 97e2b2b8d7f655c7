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
//!  exchange ──PLAN, BUDGETS──► table of sites and gates   counts ─► spool ──METERS──► exchange
//!                                                                    ◄──METER_ACKS──
//! ```
//!
//! Each thread has its own runtime, listeners, origin connections and counters; they share the
//! cache and the table, which is replaced as a whole. The edge starts from the plan file and goes
//! on with everything else gone: budgets expire by themselves in the gates.
//!
//! It leaves to others: what a plan says and what a share is (`headroom-steer`), what may be
//! stored and used (`headroom-cache`), which visitors come (`headroom-dns`), what is charged (the
//! exchange). It speaks HTTP/1.1 and HTTP/2, in the clear and over TLS.

mod access_log;
mod block;
mod body;
mod cache;
mod codec;
mod config;
mod connection;
mod content;
mod control;
mod desk;
mod disk;
mod error;
mod fetch;
mod fill;
mod guard;
mod hit;
mod http1;
mod http2;
mod interim;
pub mod limits;
mod listen;
mod memory_file;
mod meter;
mod metrics;
mod object;
mod origin;
mod outbox;
mod pace;
#[cfg(any(test, fuzzing))]
pub mod probe;
mod proxy;
mod pulse;
mod purge;
mod reply;
mod report;
mod request;
mod respond;
mod socket;
mod spare;
mod spool;
mod store;
mod table;
#[cfg(test)]
mod testing;
mod text;
mod tls;
mod trace;
mod upgrade;
mod upstream;
mod visitors;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
};

use access_log::AccessLogs;
use arc_swap::ArcSwap;
pub use config::{EdgeConfig, Running, VisitorConfig};
use control::Control;
pub use error::EdgeError;
use fill::{Fills, Unshared};
use headroom_bus::Bus;
use headroom_handover::{Offer, Taken, refuse_second};
use headroom_planfile as planfile;
use http::HeaderValue;
use listen::Doors;
use meter::ThreadMeter;
pub use metrics::Metrics;
use origin::{OriginTls, Origins};
use prometheus_client::registry::Registry;
use proxy::{Shared, Worker};
use pulse::Times;
use spool::Spool;
use table::Table;
use tls::Tls;
pub use tls::check_certificates;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
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
    origin_tls: OriginTls,
    control: Control,
    log: Option<AccessLogs>,
    taken: Option<Taken>,
    handed_over: CancellationToken,
}

impl Edge {
    /// Loads the last plan, opens the caches, and binds all sockets, so that a mistake shows at
    /// once. If the configuration says so, the sockets are taken over from the process that
    /// serves: it goes on until [`Edge::run`]. That blocks; do not call it on the one thread that
    /// the old edge also needs.
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
        let descriptors = visitors::descriptors_max();
        memory_file::allow(visitors::memory_files_max(descriptors));
        let connections_max =
            visitors::connections_max(descriptors).min(config.visitors.connections_max);
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
            disk_body_max: match config.cache_directory {
                Some(_) => config.cache_disk_bytes.count() / limits::DISK_BODIES_MIN,
                None => 0,
            },
            follow_max: config.origin_connect_timeout + config.origin_response_timeout,
            visitors: Arc::new(Visitors::new(connections_max, config.visitors.per_client_max)),
            tls: config.visitors.certificates.clone().map(Tls::new).transpose()?.map(Arc::new),
            times: times(&config),
        });
        let threads: Vec<Arc<ThreadMeter>> = (0..config.threads).map(|_| Arc::default()).collect();
        let (edge, plan_file) = (config.id.clone(), config.plan_file.clone());
        let spool_dir = config.running.spool_dir.as_deref();
        let incarnation = headroom_clock::now().nanos();
        let dropped = shared.metrics.meters_dropped.clone();
        let spool = Spool::open(edge.clone(), spool_dir, incarnation, dropped);
        let control =
            Control::new(edge, Arc::clone(&shared), threads.clone(), plan_file, spool, bus);
        let log = access_log(&config, &shared)?;
        let (doors, taken) = take_doors(&config)?;
        let first = doors.first();
        let addresses = local_addresses(first.map_or(&[], |doors| &doors.clear));
        let tls_addresses = local_addresses(first.map_or(&[], |doors| &doors.tls));
        let handed_over = CancellationToken::new();
        Ok(Self {
            config,
            addresses,
            tls_addresses,
            doors,
            shared,
            threads,
            origin_tls,
            control,
            log,
            taken,
            handed_over,
        })
    }

    /// Where it listens, with the ports that were chosen.
    #[must_use]
    pub fn local_addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Cancelled when another process has taken over: [`Edge::run`] drains and ends then.
    #[must_use]
    pub fn handed_over(&self) -> CancellationToken {
        self.handed_over.clone()
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
        let Self { config, doors, shared, threads, origin_tls, mut control, log, .. } = self;
        let (taken, handed_over) = (self.taken, self.handed_over);
        let stop_serving = stop.child_token();
        let _stop_when_dropped = stop_serving.clone().drop_guard();
        let offered = to_offer(&config, &doors);
        let mut serving = Vec::new();
        for (thread, (doors, counts)) in doors.into_iter().zip(threads).enumerate() {
            let worker = Arc::new(Worker {
                shared: Arc::clone(&shared),
                counts,
                origins: Origins::new(&config, origin_tls.clone(), Arc::clone(&shared)),
                log: log.as_ref().and_then(|log| log.of_thread(thread)),
            });
            serving.push(start(&config, worker, doors, stop_serving.clone())?);
        }
        if let Some(taken) = taken {
            taken.confirm();
        }
        // Only now: until then the next process would ask the old one.
        let offered = offered.and_then(|held| Some((offer(&config)?, held)));
        let served = CancellationToken::new();
        let handing_over = async {
            if let Some((offer, listeners)) = offered
                && offer.hand_over(config.id.as_str(), listeners, &stop_serving).await
            {
                handed_over.cancel();
                stop_serving.cancel();
            }
        };
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
                let looked = |count, expiry| shared.metrics.show_certificates(count, expiry);
                tls.keep(&served, looked).await;
            }
        };
        let log_again = reopen_on_hangup(log.as_ref(), &served);
        let controlled = control.run(&stop_serving, &served);
        let (result, (), (), (), ()) =
            tokio::join!(all_served, controlled, log_again, handing_over, certificates);
        control.finish().await;
        shared.cache.close();
        result
    }
}

/// The doors of all threads, and the process they were taken over from.
fn take_doors(config: &EdgeConfig) -> Result<(Vec<Doors>, Option<Taken>), EdgeError> {
    let mut taken = match (&config.running.handover_socket, config.running.take_over) {
        (Some(path), true) => Taken::ask(path, config.id.as_str())?,
        (Some(path), false) => refuse_second(path, config.id.as_str()).map(|()| None)?,
        (None, _) => None,
    };
    let inherited = taken.iter_mut().flat_map(|taken| taken.sockets.drain(..));
    let mut inherited = inherited.map(TcpListener::from).collect();
    let clear = listen::bind(&config.listen, config.threads, &mut inherited)?;
    let tls = listen::bind(&config.visitors.tls_listen, config.threads, &mut inherited)?;
    let doors = clear.into_iter().zip(tls).map(|(clear, tls)| Doors { clear, tls });
    Ok((doors.collect(), taken))
}

/// The listeners to hand over one day.
fn to_offer(config: &EdgeConfig, doors: &[Doors]) -> Option<Vec<OwnedFd>> {
    config.running.handover_socket.as_ref()?;
    let all = doors.iter().flat_map(|doors| doors.clear.iter().chain(&doors.tls));
    let held: Result<_, _> = all.map(|held| held.try_clone().map(OwnedFd::from)).collect();
    held.map_err(|error| tracing::error!(%error, "the edge cannot be replaced without a gap")).ok()
}

/// The hand-over socket. An edge serves also without.
fn offer(config: &EdgeConfig) -> Option<Offer> {
    let path = config.running.handover_socket.as_deref()?;
    let told = |error: io::Error| {
        let path = path.display();
        tracing::error!(%path, %error, "the edge cannot be replaced without a gap");
    };
    Offer::bind(path).map_err(told).ok()
}

fn access_log(config: &EdgeConfig, shared: &Shared) -> Result<Option<AccessLogs>, EdgeError> {
    let Some(path) = &config.running.access_log else { return Ok(None) };
    let with_query = !config.running.access_log_without_query;
    let dropped = &shared.metrics.access_log_dropped;
    AccessLogs::open(path, &config.id, with_query, config.threads, dropped).map(Some)
}

/// Opens the log again whenever `SIGHUP` comes, until all is `served`.
async fn reopen_on_hangup(log: Option<&AccessLogs>, served: &CancellationToken) {
    let Some(log) = log else { return };
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            tracing::error!(%error, "SIGHUP will not open the access log again");
            return;
        }
    };
    while served.run_until_cancelled(hangups.recv()).await.flatten().is_some() {
        log.reopen();
    }
}

/// Where listeners listen, each address once.
fn local_addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> =
        listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    addresses.dedup();
    addresses
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
            let served = runtime.block_on(listen::serve(worker, doors, stop));
            // What is cut off ends, and is counted and logged, before the edge does.
            drop(runtime);
            match served {
                Ok(()) => drop(tell.send(())),
                Err(error) => tracing::error!(%error, "a thread cannot serve"),
            }
        })
        .map_err(|source| EdgeError::Thread { source })?;
    Ok(ended)
}

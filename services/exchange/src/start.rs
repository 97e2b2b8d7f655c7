//! Starting and stopping the exchange, and what all its parts share.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use headroom_bus::Bus;
use headroom_market::{Offer, Rules};
use headroom_steer::{ControlConfig, Controller, Plan};
use headroom_store::{Store, TokenHash, TokenOwner};
use headroom_units::{RegionId, Timestamp};
use prometheus_client::registry::Registry;
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    ExchangeConfig, ExchangeError, api, book::Book, limits::STOP_TIME_MAX, live::Live,
    metrics::Metrics, reconcile, secret, servers::Servers,
};

/// The file in the data folder that the operator's token is written to, once.
pub const OPERATOR_TOKEN_FILE: &str = "operator.token";
/// The file in the data folder that is locked while an exchange uses it: two would not know of
/// each other's events.
const LOCK_FILE: &str = "exchange.lock";

/// What the API and the reconcilers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ExchangeConfig,
    pub(crate) store: Store,
    pub(crate) book: Book,
    pub(crate) bus: Bus,
    pub(crate) live: Live,
    pub(crate) servers: Servers,
    pub(crate) metrics: Metrics,
    pub(crate) registry: Registry,
    pub(crate) started_at: Timestamp,
    pub(crate) stop: CancellationToken,
    /// Cancelled when the process has begun to stop: it is alive, and wants no new work.
    pub(crate) draining: CancellationToken,
    /// Signalled when contracts or sites have changed.
    pub(crate) plan_wanted: Notify,
    /// Signalled when a series was imported.
    pub(crate) series_imported: Notify,
    /// The highest plan generation that an edge has told of.
    pub(crate) generation_seen: AtomicU64,
    offers: Mutex<BTreeMap<RegionId, Vec<Offer>>>,
    plan: Mutex<Option<Arc<Plan>>>,
    controller: Mutex<Controller>,
}

impl Shared {
    /// What is offered in each region, sold units included.
    pub(crate) fn offers(&self) -> BTreeMap<RegionId, Vec<Offer>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_offers(&self, region: RegionId, offers: Vec<Offer>) {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner).insert(region, offers);
    }

    /// The plan in force, if one was published yet.
    pub(crate) fn plan(&self) -> Option<Arc<Plan>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_plan(&self, plan: Arc<Plan>) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(plan);
    }

    /// Works with the controller; never across an await.
    pub(crate) fn with_controller<T>(&self, work: impl FnOnce(&mut Controller) -> T) -> T {
        work(&mut self.controller.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The control plane, listening and not yet running.
#[derive(Debug)]
pub struct Exchange {
    shared: Arc<Shared>,
    listener: TcpListener,
    reconcilers: reconcile::Reconcilers,
    /// Held until the end.
    lock: fs::File,
}

impl Exchange {
    /// Opens the database, replays the market, publishes the last plan, and listens.
    ///
    /// # Errors
    /// If the data folder, the database or the API's address cannot be used.
    pub async fn start(
        config: ExchangeConfig,
        bus: Bus,
        mut registry: Registry,
    ) -> Result<Self, ExchangeError> {
        let address = config.listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| ExchangeError::Listen { address, source })?;
        fs::create_dir_all(&config.data_dir)
            .map_err(|source| ExchangeError::DataDir { path: config.data_dir.clone(), source })?;
        let lock = lock(&config.data_dir)?;
        let store = Store::open(&config.data_dir.join("headroom.db")).await?;
        let slot_seconds = config.slot_length.seconds().to_string();
        store.hold_fact("slot length in seconds", &slot_seconds).await?;
        store.hold_fact("currency", config.currency.as_str()).await?;
        ensure_operator_token(&store, &config.data_dir).await?;
        let now = headroom_clock::now();
        let book = Book::open(store.clone(), rules(&config)).await?;
        let control = ControlConfig { budget_lifetime: config.budget_lifetime };
        let metrics = Metrics::register(&mut registry);
        let shared = Arc::new(Shared {
            store,
            book,
            bus,
            live: Live::default(),
            servers: Servers::default(),
            metrics,
            registry,
            started_at: now,
            stop: CancellationToken::new(),
            draining: CancellationToken::new(),
            plan_wanted: Notify::new(),
            series_imported: Notify::new(),
            generation_seen: AtomicU64::new(0),
            offers: Mutex::default(),
            plan: Mutex::default(),
            controller: Mutex::new(Controller::new(control, now)),
            config,
        });
        let reconcilers = reconcile::Reconcilers::prepare(&shared).await?;
        Ok(Self { shared, listener, reconcilers, lock })
    }

    /// True if nobody else uses the data folder or the address of `config`: what one waits for
    /// that is to follow another exchange.
    #[must_use]
    pub fn is_free(config: &ExchangeConfig) -> bool {
        let folder = !config.data_dir.exists() || lock(&config.data_dir).is_ok();
        folder && std::net::TcpListener::bind(config.listen).is_ok()
    }

    /// Where the API listens.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// To be cancelled when the process begins to stop, before [`Exchange::run`] is told: from then
    /// on `/readyz` says so.
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.shared.draining.clone()
    }

    /// Runs until `stop`; then lets calls under way end, though not for long, and closes the
    /// database.
    pub async fn run(self, stop: CancellationToken) {
        let Self { shared, listener, reconcilers, lock } = self;
        let mut tasks = JoinSet::new();
        reconcilers.spawn(&shared, &mut tasks);
        let router = api::router(Arc::clone(&shared));
        let stopping = shared.stop.clone();
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(async move { stopping.cancelled().await });
        let mut serving = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the API has ended");
            }
        });
        stop.cancelled().await;
        shared.stop.cancel();
        while tasks.join_next().await.is_some() {}
        if tokio::time::timeout(STOP_TIME_MAX, &mut serving).await.is_err() {
            tracing::warn!("callers who were still sending are cut off");
            serving.abort();
        }
        shared.store.close().await;
        drop(lock);
    }
}

/// Takes the data folder for this exchange alone.
fn lock(data_dir: &Path) -> Result<fs::File, ExchangeError> {
    let path = data_dir.join(LOCK_FILE);
    let opened = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let locked = opened.and_then(|file| match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(std::io::Error::other("another exchange uses this folder"))
        }
        Err(fs::TryLockError::Error(error)) => Err(error),
    });
    locked.map_err(|source| ExchangeError::DataDir { path, source })
}

fn rules(config: &ExchangeConfig) -> Rules {
    Rules {
        slot_length: config.slot_length,
        unit: config.unit,
        lead: config.lead,
        horizon_slots: config.horizon_slots,
        gate: config.gate,
        reserve: config.offer.reserve,
        penalty: config.offer.penalty,
        notice: config.recall_notice,
        regions: config.fleet.regions.keys().cloned().collect(),
    }
}

/// The operator's first token: written to a file that only its user can read, kept as a hash.
async fn ensure_operator_token(store: &Store, data_dir: &Path) -> Result<(), ExchangeError> {
    if store.has_operator_token().await? {
        return Ok(());
    }
    let token = secret::new("hr_operator_")?;
    let path = data_dir.join(OPERATOR_TOKEN_FILE);
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{token}").and_then(|()| file.sync_all()))
        .map_err(|source| ExchangeError::DataDir { path: path.clone(), source })?;
    store.add_token(&TokenHash::of(&token), &TokenOwner::Operator).await?;
    tracing::info!(file = %path.display(), "the operator's token is written");
    Ok(())
}

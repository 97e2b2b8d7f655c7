//! The remainder from the purchaser's own name server, asked for the client's network.
//!
//! ```text
//!   query ──► known? ── yes, fresh or not ──► answered at once
//!               │ no: "ask again over TCP"         ▲
//!               ▼                                  │
//!             wish ──► ask: UDP, then TCP ──► Cache, by name, type and the network it is for
//! ```
//!
//! No query waits: what is not known yet is asked for beside, and is known when the resolver comes
//! back. What is known stays known, and is answered on while the name server is silent. Whom to ask
//! is the operator's configuration: a purchaser cannot point us at anything.

mod ask;
mod cache;
mod metrics;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::base::Rtype;
use headroom_units::{HostName, Timestamp};
use ipnet::IpNet;
use tokio::{
    sync::{Notify, Semaphore, futures::Notified, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub(crate) use cache::{Found, Known};
pub(crate) use metrics::ForwardMetrics;

use crate::{limits, message::Name, names::name_of};
use cache::Cache;

/// Where the addresses of names are asked for that no zone held here has.
#[derive(Debug, Clone)]
pub struct ForwardConfig {
    /// All names within it.
    pub zone: HostName,
    /// The purchaser's name servers, asked in this order.
    pub name_servers: Vec<SocketAddr>,
}

/// What is known of such names, and who finds it out.
#[derive(Debug)]
pub(crate) struct Forwarder {
    routes: Vec<(Name, Vec<SocketAddr>)>,
    cache: Mutex<Cache>,
    wishes: mpsc::Sender<Wish>,
    /// Tells that something was found out.
    found: Notify,
    metrics: ForwardMetrics,
}

/// An answer that is not known, or no longer fresh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    pub(crate) name: Name,
    pub(crate) rtype: Rtype,
    /// The network of the client.
    pub(crate) client: IpNet,
}

impl Forwarder {
    /// A forwarder, and the wishes that [`run`] has to fulfil.
    pub(crate) fn new(
        configs: &[ForwardConfig],
        metrics: ForwardMetrics,
    ) -> (Self, mpsc::Receiver<Wish>) {
        let route = |config: &ForwardConfig| (name_of(&config.zone), config.name_servers.clone());
        let (wishes, wished) = mpsc::channel(limits::FORWARD_WISHES_MAX);
        let routes = configs.iter().map(route).collect();
        let (cache, found) = (Mutex::default(), Notify::new());
        (Self { routes, cache, wishes, found, metrics }, wished)
    }

    /// Whether somebody can be asked for a name.
    pub(crate) fn covers(&self, name: &Name) -> bool {
        self.servers(name).is_some()
    }

    /// What is known of a name. What is missing, or no longer fresh, is asked for.
    pub(crate) fn known(&self, wish: Wish, now: Timestamp) -> Known {
        let mut cache = self.cache();
        let known = cache.get(&wish, now);
        if !known.is_fresh() && cache.begin(&wish) && self.wishes.try_send(wish.clone()).is_err() {
            self.metrics.count_dropped();
            cache.end(&wish);
        }
        known
    }

    /// What the name servers of a name say, asked now.
    ///
    /// # Errors
    /// In words, if none of them says anything.
    pub(crate) async fn ask(&self, wish: &Wish) -> Result<Found, String> {
        let servers = self.servers(&wish.name).unwrap_or_default();
        ask::ask(servers, wish).await.map_err(|error| error.to_string())
    }

    /// Until something is found out.
    pub(crate) fn found(&self) -> Notified<'_> {
        self.found.notified()
    }

    /// The servers of the nearest zone that encloses a name.
    fn servers(&self, name: &Name) -> Option<&[SocketAddr]> {
        let enclosing = self.routes.iter().filter(|(zone, _)| name.ends_with(zone));
        let nearest = enclosing.max_by_key(|(zone, _)| zone.len());
        nearest.map(|(_, servers)| servers.as_slice())
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // What panicked before left each entry whole.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fulfil(&self, wish: Wish) {
        let servers = self.servers(&wish.name).unwrap_or_default();
        match ask::ask(servers, &wish).await {
            Ok(found) => {
                self.metrics.count(true);
                let mut cache = self.cache();
                cache.put(&wish, found, headroom_clock::now());
                cache.end(&wish);
                drop(cache);
                self.found.notify_waiters();
            }
            Err(error) => {
                self.metrics.count(false);
                tracing::warn!(name = %wish.name, rtype = %wish.rtype, %error,
                    "a purchaser's name server cannot be asked");
                // Until then nobody asks again.
                tokio::time::sleep(limits::FORWARD_PAUSE).await;
                self.cache().end(&wish);
            }
        }
    }
}

/// Fulfils wishes until told to stop, many at a time.
pub(crate) async fn run(
    forwarder: Arc<Forwarder>,
    mut wishes: mpsc::Receiver<Wish>,
    stop: CancellationToken,
) {
    let slots = Arc::new(Semaphore::new(limits::FORWARDS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        let wish = tokio::select! {
            () = stop.cancelled() => return,
            Some(_) = tasks.join_next() => continue,
            wish = wishes.recv() => wish,
        };
        let Some(wish) = wish else { return };
        let slot = tokio::select! {
            () = stop.cancelled() => return,
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let forwarder = Arc::clone(&forwarder);
        tasks.spawn(async move {
            forwarder.fulfil(wish).await;
            drop(slot);
        });
    }
}

#[cfg(test)]
mod tests;

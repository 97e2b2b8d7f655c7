//! The connections of one thread, and how each origin answered lately.
//!
//! A connection is used again for the same site alone: what one purchaser's requests do to a
//! connection cannot reach another's, even if both name the same server.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use headroom_units::{Origin, SiteId};
use hyper::client::conn::{http1, http2};
use quick_cache::DefaultHashBuilder;
use tokio::time::Instant;

use super::{UpstreamBody, health::Health, http1::Connection};
use crate::limits;

/// A connection for requests with a body.
pub(super) type Sender = http1::SendRequest<UpstreamBody>;

/// The way a request goes.
pub(super) enum Way {
    /// Over HTTP/1.1.
    Http1(Box<Connection>),
    /// With a body, over HTTP/1.1 of hyper's.
    Upload(Sender),
    /// Over HTTP/2, with what stands for the request on it, until its response has come whole.
    Http2(http2::SendRequest<UpstreamBody>, Stream),
}

/// One request on a connection that many share.
pub(super) type Stream = Arc<Places>;

/// How many requests a connection takes at a time, as the origin says.
#[derive(Debug)]
pub(super) struct Places {
    most: AtomicUsize,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { most: AtomicUsize::new(limits::ORIGIN_HTTP2_STREAMS_MAX) })
    }

    /// The origin takes so many.
    pub(super) fn limit(&self, most: usize) {
        self.most.store(most.min(limits::ORIGIN_HTTP2_STREAMS_MAX), Ordering::Relaxed);
    }
}

/// The connections of one thread.
#[derive(Debug, Default)]
pub(super) struct Pool {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sites: HashMap<SiteId, Known, DefaultHashBuilder>,
    sweeping: bool,
}

#[derive(Debug)]
struct Known {
    slots: Arc<[Arc<Slot>]>,
    used: Instant,
}

/// What is known of one origin of one site, and the connections to it.
pub(super) struct Slot {
    pub(super) site: SiteId,
    pub(super) origin: Origin,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    idle: Vec<(Box<Connection>, Instant)>,
    uploads: Vec<(Sender, Instant)>,
    http2: Vec<Shared>,
    health: Health,
}

/// A connection that many requests share.
#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<UpstreamBody>,
    /// Held here, by what drives the connection, and by each request on it.
    streams: Stream,
    used: Instant,
}

impl Shared {
    /// A place on it, if there is one. Visitors take their responses at their own pace: so few
    /// share a connection that those who take nothing cannot use up its window.
    fn place(&mut self, now: Instant) -> Option<Way> {
        // One reference is held here, and one by what drives the connection.
        if Arc::strong_count(&self.streams) >= self.streams.most.load(Ordering::Relaxed) + 2 {
            return None;
        }
        self.used = now;
        Some(Way::Http2(self.sender.clone(), Arc::clone(&self.streams)))
    }

    fn is_worth_keeping(&self, now: Instant) -> bool {
        let busy = Arc::strong_count(&self.streams) > 2;
        !self.sender.is_closed() && (busy || !is_old(self.used, now))
    }
}

fn is_old(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= limits::ORIGIN_IDLE_MAX
}

impl Pool {
    /// What is known of the origins of `site`, in their order.
    pub(super) fn slots(
        self: &Arc<Self>,
        site: &SiteId,
        origins: &[Origin],
        now: Instant,
    ) -> Arc<[Arc<Slot>]> {
        let mut state = self.lock();
        if !state.sweeping {
            state.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        let known = state.sites.get_mut(site);
        if let Some(known) = known {
            known.used = now;
            if known.slots.iter().map(|slot| &slot.origin).eq(origins) {
                return Arc::clone(&known.slots);
            }
        }
        // The origins are new, or others than before: of those that stay all goes on.
        let before = state.sites.remove(site);
        let mut slots: Vec<Arc<Slot>> = Vec::with_capacity(origins.len());
        for origin in origins {
            let mut known = before.iter().flat_map(|known| known.slots.iter()).chain(&slots);
            let slot = known.find(|slot| slot.origin == *origin).cloned();
            slots.push(slot.unwrap_or_else(|| Slot::new(site, origin)));
        }
        let slots: Arc<[_]> = slots.into();
        state.sites.insert(site.clone(), Known { slots: Arc::clone(&slots), used: now });
        slots
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("site", &self.site)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Slot {
    fn new(site: &SiteId, origin: &Origin) -> Arc<Self> {
        let (site, origin) = (site.clone(), origin.clone());
        Arc::new(Self { site, origin, kept: Mutex::default() })
    }

    /// A connection that is open and has nothing to do; for HTTP/2, one that is open. `uploads`
    /// says whether the request has a body.
    pub(super) fn take(&self, uploads: bool, now: Instant) -> Option<Way> {
        let mut kept = self.lock();
        if !kept.http2.is_empty() {
            kept.http2.retain(|shared| shared.sender.is_ready());
            if let Some(place) = kept.http2.iter_mut().find_map(|shared| shared.place(now)) {
                return Some(place);
            }
        }
        // The one used last is the least likely to be closed under the request.
        while uploads && let Some((sender, since)) = kept.uploads.pop() {
            if sender.is_ready() && !is_old(since, now) {
                return Some(Way::Upload(sender));
            }
        }
        while let Some((mut connection, since)) = kept.idle.pop() {
            if !is_old(since, now) && connection.is_quiet() {
                return Some(Way::Http1(connection));
            }
        }
        None
    }

    /// Keeps a connection whose response has come whole.
    pub(super) fn keep(&self, connection: Box<Connection>) {
        let mut kept = self.lock();
        if kept.idle.len() < limits::ORIGIN_IDLE_CONNECTIONS_MAX {
            kept.idle.push((connection, Instant::now()));
        }
    }

    /// Keeps a connection for requests with a body that has become idle.
    pub(super) fn keep_upload(&self, sender: Sender) {
        let mut kept = self.lock();
        if kept.uploads.len() < limits::ORIGIN_IDLE_CONNECTIONS_MAX {
            kept.uploads.push((sender, Instant::now()));
        }
    }

    /// Keeps a new connection that many requests share, and gives the first place on it.
    pub(super) fn keep_http2(
        &self,
        sender: http2::SendRequest<UpstreamBody>,
        streams: Stream,
        now: Instant,
    ) -> Way {
        let first = Way::Http2(sender.clone(), Arc::clone(&streams));
        self.lock().http2.push(Shared { sender, streams, used: now });
        first
    }

    /// Changes what is known of the origin's health.
    pub(super) fn with_health<T>(&self, work: impl FnOnce(&mut Health) -> T) -> T {
        work(&mut self.lock().health)
    }

    /// What is known of the origin's health.
    pub(super) fn health(&self) -> Health {
        self.lock().health
    }

    /// Says in the log that a response is not sound.
    pub(super) fn tell_unsound(&self, reason: &str) {
        let (site, origin) = (&self.site, &self.origin);
        tracing::warn!(%site, %origin, reason, "an origin's response is not sound");
    }

    /// Lets go of what is idle for too long, or closed. True if there is anything left.
    fn sweep(&self, now: Instant) -> bool {
        let mut kept = self.lock();
        kept.idle.retain_mut(|(connection, since)| !is_old(*since, now) && connection.is_quiet());
        let twice = kept.idle.len().saturating_mul(2);
        kept.idle.shrink_to(twice);
        kept.uploads.retain(|(sender, since)| !sender.is_closed() && !is_old(*since, now));
        let twice = kept.uploads.len().saturating_mul(2);
        kept.uploads.shrink_to(twice);
        kept.http2.retain(|shared| shared.is_worth_keeping(now));
        !(kept.idle.is_empty() && kept.uploads.is_empty() && kept.http2.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks through all connections, as long as there is anything.
async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(limits::ORIGIN_SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        let (mut state, now) = (pool.lock(), Instant::now());
        state.sites.retain(|_, known| {
            let busy = known.slots.iter().filter(|slot| slot.sweep(now)).count() > 0;
            busy || !is_old(known.used, now)
        });
        if state.sites.is_empty() {
            state.sweeping = false;
            return;
        }
    }
}

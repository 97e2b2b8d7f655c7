//! The connections of one thread, and how each origin answered lately.
//!
//! A connection is used again for the same site alone: what one purchaser's requests do to a
//! connection cannot reach another's, even if both name the same server.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use headroom_units::{Origin, SiteId};
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use super::{UpstreamBody, health::Health};
use crate::limits;

/// Whose connections: one site's to one of its origins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) site: SiteId,
    pub(super) origin: Origin,
}

/// A connection that requests are sent on.
pub(super) enum Connection {
    Http1(http1::SendRequest<UpstreamBody>),
    /// With what stands for the request on it, until its response has come whole.
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
    slots: HashMap<Key, Slot>,
    sweeping: bool,
}

#[derive(Debug)]
struct Slot {
    idle: Vec<(http1::SendRequest<UpstreamBody>, Instant)>,
    http2: Vec<Shared>,
    health: Health,
    used: Instant,
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
    fn place(&mut self, now: Instant) -> Option<Connection> {
        // One reference is held here, and one by what drives the connection.
        if Arc::strong_count(&self.streams) >= self.streams.most.load(Ordering::Relaxed) + 2 {
            return None;
        }
        self.used = now;
        Some(Connection::Http2(self.sender.clone(), Arc::clone(&self.streams)))
    }

    fn is_worth_keeping(&self, now: Instant) -> bool {
        let busy = Arc::strong_count(&self.streams) > 2;
        !self.sender.is_closed() && (busy || !is_old(self.used, now))
    }
}

fn is_old(since: Instant, now: Instant) -> bool {
    now.duration_since(since) >= limits::ORIGIN_IDLE_MAX
}

impl Pool {
    /// A connection that is open and has nothing to do; for HTTP/2, one that is open.
    pub(super) fn take(&self, key: &Key, now: Instant) -> Option<Connection> {
        let mut state = self.lock();
        let slot = state.slots.get_mut(key)?;
        slot.used = now;
        slot.http2.retain(|shared| shared.sender.is_ready());
        if let Some(place) = slot.http2.iter_mut().find_map(|shared| shared.place(now)) {
            return Some(place);
        }
        // The one used last is the least likely to be closed under the request.
        while let Some((sender, since)) = slot.idle.pop() {
            if sender.is_ready() && !is_old(since, now) {
                return Some(Connection::Http1(sender));
            }
        }
        None
    }

    /// Keeps a connection that has become idle.
    pub(super) fn keep_http1(
        self: &Arc<Self>,
        key: &Key,
        sender: http1::SendRequest<UpstreamBody>,
        now: Instant,
    ) {
        let mut state = self.lock();
        let slot = state.slot(key, now);
        if slot.idle.len() < limits::ORIGIN_IDLE_CONNECTIONS_MAX {
            slot.idle.push((sender, now));
        }
        self.sweep_from_now_on(&mut state);
    }

    /// Keeps a new connection that many requests share, and gives the first place on it.
    pub(super) fn keep_http2(
        self: &Arc<Self>,
        key: &Key,
        sender: http2::SendRequest<UpstreamBody>,
        streams: Stream,
        now: Instant,
    ) -> Connection {
        let first = Connection::Http2(sender.clone(), Arc::clone(&streams));
        let mut state = self.lock();
        state.slot(key, now).http2.push(Shared { sender, streams, used: now });
        self.sweep_from_now_on(&mut state);
        first
    }

    /// Looks at, and changes, what is known of an origin's health.
    pub(super) fn with_health<T>(
        self: &Arc<Self>,
        key: &Key,
        now: Instant,
        work: impl FnOnce(&mut Health) -> T,
    ) -> T {
        let mut state = self.lock();
        let result = work(&mut state.slot(key, now).health);
        self.sweep_from_now_on(&mut state);
        result
    }

    /// What is known of an origin's health.
    pub(super) fn health(&self, key: &Key) -> Health {
        self.lock().slots.get(key).map(|slot| slot.health).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of what is idle for too long, as long as there is anything.
    fn sweep_from_now_on(self: &Arc<Self>, state: &mut State) {
        if !state.sweeping {
            state.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }
}

async fn sweep(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(limits::ORIGIN_SWEEP_EVERY).await;
        let Some(pool) = pool.upgrade() else { return };
        let (mut state, now) = (pool.lock(), Instant::now());
        state.slots.retain(|_, slot| {
            slot.idle.retain(|(sender, since)| !sender.is_closed() && !is_old(*since, now));
            slot.idle.shrink_to(slot.idle.len().saturating_mul(2));
            slot.http2.retain(|shared| shared.is_worth_keeping(now));
            !is_old(slot.used, now) || !slot.idle.is_empty() || !slot.http2.is_empty()
        });
        if state.slots.is_empty() {
            state.sweeping = false;
            return;
        }
    }
}

impl State {
    fn slot(&mut self, key: &Key, now: Instant) -> &mut Slot {
        let slot = self.slots.entry(key.clone()).or_insert_with(|| Slot {
            idle: Vec::new(),
            http2: Vec::new(),
            health: Health::default(),
            used: now,
        });
        slot.used = now;
        slot
    }
}

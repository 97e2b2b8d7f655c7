//! The connections of one thread, and how each origin answered lately.
//!
//! A connection is used again for the same site alone: what one purchaser's requests do to a
//! connection cannot reach another's, even if both name the same server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
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
    Http2(http2::SendRequest<UpstreamBody>),
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
    http2: Option<http2::SendRequest<UpstreamBody>>,
    health: Health,
    used: Instant,
}

impl Pool {
    /// A connection that is open and has nothing to do; for HTTP/2, one that is open.
    pub(super) fn take(&self, key: &Key, now: Instant) -> Option<Connection> {
        let mut state = self.lock();
        let slot = state.slots.get_mut(key)?;
        slot.used = now;
        if let Some(sender) = &slot.http2 {
            if sender.is_ready() {
                return Some(Connection::Http2(sender.clone()));
            }
            slot.http2 = None;
        }
        // The one used last is the least likely to be closed under the request.
        while let Some((sender, since)) = slot.idle.pop() {
            if sender.is_ready() && now.duration_since(since) < limits::ORIGIN_IDLE_MAX {
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

    /// Keeps a connection that many requests share.
    pub(super) fn keep_http2(
        self: &Arc<Self>,
        key: &Key,
        sender: http2::SendRequest<UpstreamBody>,
        now: Instant,
    ) {
        let mut state = self.lock();
        state.slot(key, now).http2 = Some(sender);
        self.sweep_from_now_on(&mut state);
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
        let idle = |since: Instant| now.duration_since(since) >= limits::ORIGIN_IDLE_MAX;
        state.slots.retain(|_, slot| {
            slot.idle.retain(|(sender, since)| !sender.is_closed() && !idle(*since));
            slot.idle.shrink_to(slot.idle.len().saturating_mul(2));
            let http2 = slot.http2.take();
            slot.http2 = http2.filter(|sender| !sender.is_closed() && !idle(slot.used));
            !idle(slot.used) || !slot.idle.is_empty() || slot.http2.is_some()
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
            http2: None,
            health: Health::default(),
            used: now,
        });
        slot.used = now;
        slot
    }
}

//! The connections of a name server, over TCP and TLS together: how many there are, whose they
//! are, and which of them makes room for a new one.
//!
//! When there are too many, of all or of one client prefix, the one that has been idle longest is
//! closed, not the new one refused: who holds connections open without using them keeps nobody out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use headroom_steer::client_prefix;
use headroom_units::Timestamp;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::limits;

/// How many connections a name server has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// In all; at least one.
    pub total: usize,
    /// Of one client prefix (IPv4 /24, IPv6 /56); zero is no limit.
    pub per_client: usize,
}

impl Default for ConnectionLimit {
    fn default() -> Self {
        Self { total: limits::TCP_CONNECTIONS, per_client: limits::TCP_CONNECTIONS_PER_CLIENT }
    }
}

/// The open connections.
#[derive(Debug)]
pub(crate) struct Connections {
    limit: ConnectionLimit,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    /// The number of the next one.
    next: u64,
    by_number: HashMap<u64, Arc<Peer>>,
}

#[derive(Debug)]
struct Peer {
    prefix: IpNet,
    /// When it last did something, in nanoseconds since the epoch.
    used_at: AtomicU64,
    displaced: CancellationToken,
}

/// The place of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    number: u64,
    peer: Arc<Peer>,
    connections: Arc<Connections>,
}

impl Connections {
    pub(crate) fn new(limit: ConnectionLimit) -> Arc<Self> {
        let limit = ConnectionLimit { total: limit.total.max(1), ..limit };
        Arc::new(Self { limit, open: Mutex::default() })
    }

    /// Lets a connection in, and tells those that have to go for it; how many they are comes along.
    pub(crate) fn admit(self: &Arc<Self>, source: IpAddr, now: Timestamp) -> (Slot, u64) {
        let prefix = client_prefix(source, u8::MAX);
        let peer = Arc::new(Peer {
            prefix,
            used_at: AtomicU64::new(now.nanos()),
            displaced: CancellationToken::new(),
        });
        let mut open = self.open();
        let mut displaced = 0;
        let of_client = |peer: &Peer| peer.prefix == prefix;
        let held = open.by_number.values().filter(|peer| of_client(peer)).count();
        if self.limit.per_client > 0 && held >= self.limit.per_client {
            displaced += open.displace(of_client);
        }
        if open.by_number.len() >= self.limit.total {
            displaced += open.displace(|_| true);
        }
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, Arc::clone(&peer));
        (Slot { number, peer, connections: Arc::clone(self) }, displaced)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Each change of the map is one step.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Tells the one of those `among` that has been idle longest to end.
    fn displace(&mut self, among: impl Fn(&Peer) -> bool) -> u64 {
        let candidates = self.by_number.iter().filter(|(_, peer)| among(peer));
        let used_at = |peer: &Peer| peer.used_at.load(Ordering::Relaxed);
        // Of two that are equally idle, the older goes.
        let idle = candidates.min_by_key(|(number, peer)| (used_at(peer), **number));
        let Some(number) = idle.map(|(number, _)| *number) else { return 0 };
        let Some(peer) = self.by_number.remove(&number) else { return 0 };
        peer.displaced.cancel();
        1
    }
}

impl Slot {
    /// Says that the connection did something.
    pub(crate) fn touch(&self, now: Timestamp) {
        self.peer.used_at.store(now.nanos(), Ordering::Relaxed);
    }

    /// Waits until the connection has to make room for another.
    pub(crate) async fn displaced(&self) {
        self.peer.displaced.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_displaced(slot: &Slot) -> bool {
        slot.peer.displaced.is_cancelled()
    }

    fn admit(connections: &Arc<Connections>, source: &str, at: u64) -> Slot {
        connections.admit(source.parse().unwrap(), Timestamp::from_seconds(at)).0
    }

    #[test]
    fn when_all_are_taken_the_longest_idle_goes() {
        let connections = Connections::new(ConnectionLimit { total: 3, per_client: 0 });
        let old = admit(&connections, "192.0.2.1", 1);
        let idle = admit(&connections, "192.0.2.1", 2);
        let busy = admit(&connections, "198.51.100.1", 3);
        old.touch(Timestamp::from_seconds(4));
        busy.touch(Timestamp::from_seconds(4));
        let new = admit(&connections, "203.0.113.1", 5);
        assert!(is_displaced(&idle));
        assert!(![&old, &busy, &new].into_iter().any(is_displaced));
        drop(busy);
        let _next = admit(&connections, "203.0.113.1", 6);
        assert!(!is_displaced(&old), "there was room");
    }

    #[test]
    fn one_client_takes_room_from_itself_alone() {
        let connections = Connections::new(ConnectionLimit { total: 10, per_client: 2 });
        let other = admit(&connections, "192.0.2.1", 1);
        let first = admit(&connections, "198.51.100.1", 2);
        let second = admit(&connections, "198.51.100.2", 3);
        let third = admit(&connections, "198.51.100.3", 4);
        assert!(is_displaced(&first), "the same /24");
        assert!(![&other, &second, &third].into_iter().any(is_displaced));
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_the_limits_and_the_new_one_stays(
            total in 1..6_usize,
            per_client in 0..4_usize,
            steps in prop::collection::vec((0..4_u8, any::<Option<prop::sample::Index>>()), 1..60),
        ) {
            let connections = Connections::new(ConnectionLimit { total, per_client });
            let mut slots: Vec<(u8, Slot)> = Vec::new();
            for (at, (client, closed)) in (0..).zip(steps) {
                if let Some(closed) = closed.filter(|_| !slots.is_empty()) {
                    drop(slots.swap_remove(closed.index(slots.len())));
                }
                let source = IpAddr::from([192, 0, client, 1]);
                let before = slots.iter().filter(|(_, slot)| !is_displaced(slot)).count();
                let (slot, displaced) = connections.admit(source, Timestamp::from_seconds(at));
                prop_assert!(!is_displaced(&slot));
                slots.push((client, slot));
                let open: Vec<_> = slots.iter().filter(|(_, slot)| !is_displaced(slot)).collect();
                prop_assert_eq!(before + 1 - usize::try_from(displaced).unwrap(), open.len());
                prop_assert!(open.len() <= total);
                let own = open.iter().filter(|(of, _)| *of == client).count();
                prop_assert!(per_client == 0 || own <= per_client);
                prop_assert_eq!(connections.open().by_number.len(), open.len());
            }
        }
    }
}

//! How many connections there may be, in all and of one client.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits;

/// The connections of all threads of an edge.
#[derive(Debug)]
pub(crate) struct Visitors {
    max: usize,
    /// Zero if it is not limited.
    per_client_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// The place of one connection; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    visitors: Arc<Visitors>,
    client: IpAddr,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are too many connections.
    All,
    /// This client has too many.
    Client,
}

impl Visitors {
    pub(crate) fn new(max: usize, per_client_max: usize) -> Self {
        Self { max, per_client_max, held: Mutex::default() }
    }

    /// A place for a connection of `peer`.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Full> {
        self.enter_of(peer, self.max)
    }

    /// The place of a connection that is about to leave.
    pub(crate) fn enter_instead(self: &Arc<Self>, peer: IpAddr) -> Result<Place, Full> {
        self.enter_of(peer, self.max + limits::LEAVING_MAX)
    }

    fn enter_of(self: &Arc<Self>, peer: IpAddr, max: usize) -> Result<Place, Full> {
        let client = client(peer);
        let mut held = self.lock();
        let of_client = held.by_client.get(&client).copied().unwrap_or_default();
        // Asked first: who has too many of its own makes no room.
        if self.per_client_max > 0 && of_client >= self.per_client_max {
            return Err(Full::Client);
        }
        if held.all >= max {
            return Err(Full::All);
        }
        if self.per_client_max > 0 {
            held.by_client.insert(client, of_client + 1);
        }
        held.all += 1;
        Ok(Place { visitors: Arc::clone(self), client })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.visitors.lock();
        held.all -= 1;
        if let Some(count) = held.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                held.by_client.remove(&self.client);
            }
        }
    }
}

/// Who counts as one client: an IPv4 address, or the network a provider gives to one subscriber.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - limits::CLIENT_PREFIX_V6);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
        address => address,
    }
}

/// How many file descriptors this process can hold. Raises the soft limit as far as it may.
pub(crate) fn descriptors_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::debug!(%error, "the limit of open files stays as it is");
            limit.current
        }
    };
    files.unwrap_or(u64::MAX)
}

/// How many bodies in memory may take one of `descriptors`.
pub(crate) fn memory_files_max(descriptors: u64) -> usize {
    usize::try_from(descriptors / limits::DESCRIPTORS_PER_MEMORY_FILE).unwrap_or(usize::MAX)
}

/// How many connections there may be with `descriptors`: each may need another one to an origin.
pub(crate) fn connections_max(descriptors: u64) -> usize {
    let others = limits::DESCRIPTORS_KEPT + descriptors / limits::DESCRIPTORS_PER_MEMORY_FILE;
    let pairs = descriptors.saturating_sub(others) / 2;
    usize::try_from(pairs).unwrap_or(usize::MAX).clamp(1, limits::CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(visitors: &Arc<Visitors>, peer: &str) -> Result<Place, Full> {
        visitors.enter(peer.parse().unwrap())
    }

    #[test]
    fn a_client_has_so_many_places_and_no_more() {
        let visitors = Arc::new(Visitors::new(100, 2));
        let held =
            [enter(&visitors, "192.0.2.1").unwrap(), enter(&visitors, "::ffff:192.0.2.1").unwrap()];
        assert_eq!(enter(&visitors, "192.0.2.1").unwrap_err(), Full::Client);
        let other = enter(&visitors, "192.0.2.2").unwrap();
        drop(held);
        drop(enter(&visitors, "192.0.2.1").unwrap());
        drop(other);
        assert!(visitors.lock().by_client.is_empty());
    }

    #[test]
    fn a_subscriber_with_ipv6_is_one_client() {
        let visitors = Arc::new(Visitors::new(100, 1));
        let _held = enter(&visitors, "2001:db8:1:2ff::1").unwrap();
        assert_eq!(enter(&visitors, "2001:db8:1:200:1::2").unwrap_err(), Full::Client);
        drop(enter(&visitors, "2001:db8:1:300::1").unwrap());
    }

    #[test]
    fn all_places_may_be_taken() {
        let visitors = Arc::new(Visitors::new(2, 0));
        let _held = [enter(&visitors, "::1").unwrap(), enter(&visitors, "::1").unwrap()];
        assert_eq!(enter(&visitors, "::1").unwrap_err(), Full::All);
        let instead = |_| visitors.enter_instead("::1".parse().unwrap());
        let entered: Vec<_> = (0..limits::LEAVING_MAX + 1).map(instead).collect();
        assert!(entered[..limits::LEAVING_MAX].iter().all(Result::is_ok));
        assert!(entered[limits::LEAVING_MAX].is_err(), "those who leave have not left yet");
    }

    #[test]
    fn a_process_can_hold_connections() {
        let holds = connections_max(descriptors_max());
        assert!((1..=limits::CONNECTIONS_MAX).contains(&holds));
        assert_eq!((connections_max(20_000), memory_files_max(20_000)), (9_559, 625));
        assert_eq!(connections_max(u64::MAX), limits::CONNECTIONS_MAX);
        assert_eq!((connections_max(3), memory_files_max(3)), (1, 0));
    }
}

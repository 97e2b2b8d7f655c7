//! What is where: the hash of every key with the place of its record. In memory, in shards.
//!
//! Whoever changes an entry tells the writer while the shard is locked, so that the log has the
//! changes of one key in the order in which they happened here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::limits;

/// A value on its way to the log; readers have it at once.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) hash: u64,
    pub(super) key: Vec<u8>,
    pub(super) value: Bytes,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Entry {
    Queued(Arc<Queued>),
    Stored(Spot),
    /// Nothing, but the logs may hold an older record of the key: a removal has to be written.
    Lost,
}

impl Entry {
    fn is(&self, queued: &Arc<Queued>) -> bool {
        matches!(self, Self::Queued(held) if Arc::ptr_eq(held, queued))
    }
}

type Shard = HashMap<u64, Entry>;

#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<Mutex<Shard>>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { shards: (0..limits::DISK_INDEX_SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let shards = u64::try_from(self.shards.len()).unwrap_or(1);
        let shard = usize::try_from(hash % shards).unwrap_or(0);
        lock(&self.shards[shard])
    }

    pub(super) fn find(&self, hash: u64) -> Option<Entry> {
        self.shard(hash).get(&hash).filter(|entry| !matches!(entry, Entry::Lost)).cloned()
    }

    pub(super) fn holds(&self, hash: u64) -> bool {
        self.shard(hash).get(&hash).is_some_and(|entry| !matches!(entry, Entry::Lost))
    }

    /// Whether `queued` is still the newest of its key.
    pub(super) fn is_newest(&self, queued: &Arc<Queued>) -> bool {
        self.shard(queued.hash).get(&queued.hash).is_some_and(|entry| entry.is(queued))
    }

    /// Holds `queued` if `tell` could be told.
    pub(super) fn queue(&self, queued: &Arc<Queued>, tell: impl FnOnce() -> bool) -> bool {
        let mut shard = self.shard(queued.hash);
        let told = tell();
        if told {
            shard.insert(queued.hash, Entry::Queued(Arc::clone(queued)));
        }
        told
    }

    /// Removes what has this hash and `matches`, and tells that it did.
    pub(super) fn remove(
        &self,
        hash: u64,
        matches: impl FnOnce(&Entry) -> bool,
        tell: impl FnOnce(),
    ) {
        let mut shard = self.shard(hash);
        if shard.get(&hash).is_some_and(matches) {
            shard.remove(&hash);
            tell();
        }
    }

    /// `queued` is in the log; a newer one or a removal that came meanwhile has precedence.
    pub(super) fn stored(&self, queued: &Arc<Queued>, spot: Spot) {
        if let Some(entry) = self.shard(queued.hash).get_mut(&queued.hash)
            && entry.is(queued)
        {
            *entry = Entry::Stored(spot);
        }
    }

    /// `queued` could not be written.
    pub(super) fn lost(&self, queued: &Arc<Queued>) {
        if let Some(entry) = self.shard(queued.hash).get_mut(&queued.hash)
            && entry.is(queued)
        {
            *entry = Entry::Lost;
        }
    }

    /// At the start, what the logs say, in their order.
    pub(super) fn replay(&self, hash: u64, spot: Option<Spot>) {
        match spot {
            Some(spot) => self.shard(hash).insert(hash, Entry::Stored(spot)),
            None => self.shard(hash).remove(&hash),
        };
    }

    /// Forgets the records of `segment`, which are at most these; of an unknown list, all.
    pub(super) fn forget(&self, segment: u32, hashes: Option<impl Iterator<Item = u64>>) {
        let gone = |entry: &Entry| matches!(entry, Entry::Stored(spot) if spot.segment == segment);
        if let Some(hashes) = hashes {
            hashes.for_each(|hash| self.remove(hash, gone, || ()));
        } else {
            self.retain(|entry| !gone(entry));
        }
    }

    pub(super) fn retain(&self, keep: impl Fn(&Entry) -> bool) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, entry| keep(entry));
            let room = shard.len() * 2;
            shard.shrink_to(room);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

/// A shard stays right if a thread panics: each change of it is one call.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_absent_and_its_removal_is_still_told() {
        let index = Index::new();
        let key = b"a".to_vec();
        let queued = Arc::new(Queued { hash: 7, key, value: Bytes::from_static(b"b") });
        assert!(index.queue(&queued, || true));
        index.lost(&queued);
        assert!(index.find(7).is_none() && !index.holds(7));
        let mut told = 0;
        index.remove(7, |_| true, || told += 1);
        index.remove(7, |_| true, || told += 1);
        assert_eq!(told, 1, "an older record in the logs must not come back");
    }
}

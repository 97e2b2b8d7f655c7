//! Stored responses: in memory, weighed by their bytes, and behind it on disk.
//!
//! What may be stored and how it may be used is `headroom_cache`'s matter; this keeps it and lets
//! go of what is used least. Memory is scan-resistant: what is asked for once leaves before what is
//! asked for again. Each entry holds the variants of one key, the newest first.

use std::sync::Arc;

use headroom_cache::{CacheKey, select};
use http::HeaderMap;
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache as Memory, DefaultLifecycle},
};

use crate::{EdgeConfig, EdgeError, limits, object::StoredObject};

/// What an entry takes in the tables of the cache, roughly.
const ENTRY_OVERHEAD: usize = 64;
/// What the cache guesses to hold: an object of this many bytes on average.
const OBJECT_BYTES_GUESS: u64 = 16 * 1024;

/// The responses stored under one key, the newest first.
#[derive(Debug, Clone)]
pub(crate) enum Variants {
    One(Arc<StoredObject>),
    Many(Arc<[Arc<StoredObject>]>),
}

impl Variants {
    pub(crate) fn as_slice(&self) -> &[Arc<StoredObject>] {
        match self {
            Self::One(object) => std::slice::from_ref(object),
            Self::Many(objects) => objects,
        }
    }

    /// The one that answers `request`, if any does (RFC 9111 §4.1).
    pub(crate) fn select(&self, request: &HeaderMap) -> Option<&Arc<StoredObject>> {
        if let Self::One(object) = self {
            return object.policy.vary().matches(request).then_some(object);
        }
        let objects = self.as_slice();
        let selected = select(objects.iter().map(|object| &object.policy), request)?;
        objects.get(selected)
    }

    /// With `object` in place of those that answer the same requests.
    fn with(&self, object: Arc<StoredObject>) -> Self {
        let same = |held: &&Arc<StoredObject>| held.policy.vary() != object.policy.vary();
        let others = self.as_slice().iter().filter(same).cloned();
        let mut all = vec![Arc::clone(&object)];
        all.extend(others.take(limits::VARIANTS_MAX - 1));
        Self::of(all).unwrap_or(Self::One(object))
    }

    /// Without `object`.
    fn without(&self, object: &Arc<StoredObject>) -> Option<Self> {
        let others = self.as_slice().iter().filter(|held| !Arc::ptr_eq(held, object));
        Self::of(others.cloned().collect())
    }

    fn of(objects: Vec<Arc<StoredObject>>) -> Option<Self> {
        match <[Arc<StoredObject>; 1]>::try_from(objects) {
            Ok([object]) => Some(Self::One(object)),
            Err(objects) => (!objects.is_empty()).then(|| Self::Many(objects.into())),
        }
    }

    fn weight(&self) -> usize {
        self.as_slice().iter().map(|object| object.weight()).sum()
    }
}

/// The stored responses of all sites.
#[derive(Debug)]
pub(crate) struct Cache {
    memory: Memory<CacheKey, Variants, ByBytes>,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<CacheKey, Variants> for ByBytes {
    fn weight(&self, key: &CacheKey, variants: &Variants) -> u64 {
        u64::try_from(key.weight() + variants.weight() + ENTRY_OVERHEAD).unwrap_or(u64::MAX)
    }
}

impl Cache {
    pub(crate) fn new(config: &EdgeConfig) -> Result<Self, EdgeError> {
        let capacity = config.cache_bytes.count();
        let largest = config.object_bytes_max.count().max(1);
        let room = capacity / largest.saturating_mul(limits::OBJECTS_PER_SHARD_MIN);
        let shards = room.clamp(1, limits::CACHE_SHARDS_MAX);
        let unfit = |reason: String| EdgeError::Config { key: "cache_bytes", reason };
        let items = usize::try_from(capacity / OBJECT_BYTES_GUESS);
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).map_err(|error| unfit(error.to_string()))?)
            .estimated_items_capacity(items.map_err(|error| unfit(error.to_string()))?)
            .weight_capacity(capacity)
            .build()
            .map_err(|error| unfit(error.to_string()))?;
        let (hasher, lifecycle) = (DefaultHashBuilder::default(), DefaultLifecycle::default());
        Ok(Self { memory: Memory::with_options(options, ByBytes, hasher, lifecycle) })
    }

    /// What is stored under `key`, in memory.
    pub(crate) fn get(&self, key: &CacheKey) -> Option<Variants> {
        self.memory.get(key)
    }

    /// Stores `object` beside the other variants of `key`.
    pub(crate) fn insert(&self, key: CacheKey, object: Arc<StoredObject>) {
        let variants = match self.memory.get(&key) {
            Some(held) => held.with(object),
            None => Variants::One(object),
        };
        self.memory.insert(key, variants);
    }

    /// Removes all variants of `key`.
    pub(crate) fn remove(&self, key: &CacheKey) {
        self.memory.remove(key);
    }

    /// Removes one variant of `key`, if it is still there.
    pub(crate) fn remove_variant(&self, key: &CacheKey, object: &Arc<StoredObject>) {
        match self.memory.get(key).map(|held| held.without(object)) {
            Some(Some(left)) => self.memory.insert(key.clone(), left),
            Some(None) => drop(self.memory.remove(key)),
            None => {}
        }
    }

    /// How many keys have stored responses.
    pub(crate) fn objects(&self) -> u64 {
        u64::try_from(self.memory.len()).unwrap_or(u64::MAX)
    }

    /// How much memory they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.weight()
    }
}

//! Stored responses: in memory, weighed by their bytes, and behind it on disk.
//!
//! What may be stored and how it may be used is `headroom_cache`'s matter; this keeps it and lets
//! go of what is used least. Memory is scan-resistant: what is asked for once leaves before what is
//! asked for again. Each entry holds the variants of one key, the newest first.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use headroom_cache::{CacheKey, select};
use http::HeaderMap;
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache as Memory, DefaultLifecycle},
};

use crate::{
    EdgeConfig, EdgeError, codec,
    disk::{Disk, DiskConfig},
    limits,
    object::{CHUNK, StoredBody, StoredObject},
};

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
    pub(crate) fn without(&self, object: &Arc<StoredObject>) -> Option<Self> {
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

/// What a chunk of a body is on disk under. No cache key begins with a zero.
pub(crate) fn chunk_key(number: u64, index: u32) -> Vec<u8> {
    let mut key = vec![0];
    key.extend(number.to_be_bytes());
    key.extend(index.to_be_bytes());
    key
}

/// The stored responses of all sites.
#[derive(Debug)]
pub(crate) struct Cache {
    memory: Memory<CacheKey, Variants, ByBytes>,
    disk: Option<Arc<Disk>>,
    /// Rises whenever something is removed: what was read from disk before is not put in memory.
    removals: AtomicU64,
    /// The number of the next body on disk; begins at random, so that starts do not collide.
    next_number: AtomicU64,
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
        let disk = match &config.cache_directory {
            Some(directory) => {
                let (directory, bytes) = (directory.clone(), config.cache_disk_bytes.count());
                let opened =
                    Disk::open_within(&DiskConfig { directory, bytes }, limits::DISK_LOCK_MAX)?;
                Some(Arc::new(opened))
            }
            None => None,
        };
        Ok(Self {
            memory: Memory::with_options(options, ByBytes, hasher, lifecycle),
            disk,
            removals: AtomicU64::new(0),
            next_number: AtomicU64::new(RandomState::new().build_hasher().finish()),
        })
    }

    /// What is stored under `key`, in memory.
    pub(crate) fn get(&self, key: &CacheKey) -> Option<Variants> {
        self.memory.get(key)
    }

    /// The same for the key whose text is `key`.
    pub(crate) fn get_by_text(&self, key: &str) -> Option<Variants> {
        self.memory.get(key)
    }

    /// False if nothing is on disk under `key`.
    pub(crate) fn may_be_on_disk(&self, key: &CacheKey) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.may_hold(key.as_str().as_bytes()))
    }

    /// What is stored under `key`, on disk; from then on it is in memory too.
    pub(crate) async fn get_from_disk(&self, key: &CacheKey) -> Option<Variants> {
        let disk = self.disk.as_ref()?;
        let removals = self.removals.load(Ordering::Acquire);
        let blob = disk.get(key.as_str().as_bytes()).await?;
        let variants = Variants::of(codec::decode(blob)?)?;
        if self.removals.load(Ordering::Acquire) != removals && !self.may_be_on_disk(key) {
            return None;
        }
        if self.memory.get(key).is_none() {
            self.memory.insert(key.clone(), variants.clone());
        }
        Some(variants)
    }

    /// Stores `object` beside the other variants of `key`.
    pub(crate) fn insert(&self, key: CacheKey, object: Arc<StoredObject>) {
        let variants = match self.memory.get(&key) {
            Some(held) => held.with(object),
            None => Variants::One(object),
        };
        self.put_on_disk(&key, &variants);
        self.memory.insert(key, variants);
    }

    fn put_on_disk(&self, key: &CacheKey, variants: &Variants) {
        let Some(disk) = &self.disk else { return };
        let key = key.as_str().as_bytes();
        match codec::encode(variants.as_slice(), disk.value_bytes_max()) {
            Some(blob) => drop(disk.put(key.to_vec(), blob)),
            None => disk.remove(key),
        }
    }

    /// Removes all variants of `key`.
    pub(crate) fn remove(&self, key: &CacheKey) {
        self.removals.fetch_add(1, Ordering::AcqRel);
        if let Some(disk) = &self.disk {
            disk.remove(key.as_str().as_bytes());
        }
        self.memory.remove(key);
    }

    /// Removes one variant of `key`, if it is still there.
    pub(crate) fn remove_variant(&self, key: &CacheKey, object: &Arc<StoredObject>) {
        match self.memory.get(key).map(|held| held.without(object)) {
            Some(Some(left)) => {
                self.removals.fetch_add(1, Ordering::AcqRel);
                self.put_on_disk(key, &left);
                self.memory.insert(key.clone(), left);
            }
            Some(None) => self.remove(key),
            None => {}
        }
    }

    /// False if a part of the object's body is lost: the disk made room, or it was damaged. Asks
    /// memory alone.
    pub(crate) fn has_body(&self, object: &StoredObject) -> bool {
        let StoredBody::OnDisk(number) = object.body else { return true };
        let chunk = u64::try_from(CHUNK).unwrap_or(u64::MAX);
        let chunks = u32::try_from(object.length.div_ceil(chunk)).unwrap_or(u32::MAX);
        let disk = self.disk.as_ref();
        disk.is_some_and(|disk| (0..chunks).all(|index| disk.may_hold(&chunk_key(number, index))))
    }

    /// The tier that bodies on disk are read from.
    pub(crate) fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
    }

    /// A number for a body on disk.
    pub(crate) fn number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes what is queued for the disk.
    pub(crate) fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.close();
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

//! Stored responses, in memory, weighed by their bytes.
//!
//! What may be stored and how it may be used is `headroom_cache`'s matter; this keeps it and lets
//! go of what is used least. One response per key: another variant replaces it.

use std::sync::Arc;

use bytes::Bytes;
use headroom_cache::{CacheKey, Exchange, StoredPolicy, http_date};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AGE, CONTENT_LENGTH, DATE},
};
use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache as Memory, DefaultLifecycle},
};

use crate::{EdgeConfig, EdgeError, limits, respond};

/// What an entry takes beside its key, head and body, roughly.
const ENTRY_OVERHEAD: usize = size_of::<StoredObject>() + 256;
/// What the cache guesses to hold: an object of this many bytes on average.
const OBJECT_BYTES_GUESS: u64 = 16 * 1024;

/// A response as it is sent again.
#[derive(Debug)]
pub(crate) struct StoredObject {
    pub(crate) status: StatusCode,
    /// Without fields of one hop and without `Age`.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) policy: StoredPolicy,
}

impl StoredObject {
    /// `headers` are the origin's, without fields of one hop; `body` is a copy of its own.
    pub(crate) fn new(
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
        policy: StoredPolicy,
        times: Exchange,
    ) -> Self {
        let mut headers = compact(headers);
        headers.remove(AGE);
        // RFC 9110 §6.6.1: who stores a response without Date notes when it came.
        if !headers.contains_key(DATE) {
            headers.insert(DATE, http_date(times.received_at));
        }
        if status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, body.len().into());
        }
        Self { status, headers, body, policy }
    }

    fn weight(&self) -> usize {
        respond::head_bytes(&self.headers) + self.body.len() + ENTRY_OVERHEAD
    }
}

/// A copy that holds on to nothing else: fields of a received head share the whole read buffer.
fn compact(headers: &HeaderMap) -> HeaderMap {
    let copied = |value: &HeaderValue| {
        HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
    };
    headers.iter().map(|(name, value)| (name.clone(), copied(value))).collect()
}

/// The stored responses of all sites.
#[derive(Debug)]
pub(crate) struct Cache {
    memory: Memory<CacheKey, Arc<StoredObject>, ByBytes>,
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<CacheKey, Arc<StoredObject>> for ByBytes {
    fn weight(&self, key: &CacheKey, object: &Arc<StoredObject>) -> u64 {
        u64::try_from(key.weight() + object.weight()).unwrap_or(u64::MAX)
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

    pub(crate) fn get(&self, key: &CacheKey) -> Option<Arc<StoredObject>> {
        self.memory.get(key)
    }

    pub(crate) fn insert(&self, key: CacheKey, object: Arc<StoredObject>) {
        self.memory.insert(key, object);
    }

    pub(crate) fn remove(&self, key: &CacheKey) {
        self.memory.remove(key);
    }

    /// How many responses are stored.
    pub(crate) fn objects(&self) -> u64 {
        u64::try_from(self.memory.len()).unwrap_or(u64::MAX)
    }

    /// How much memory they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.weight()
    }
}

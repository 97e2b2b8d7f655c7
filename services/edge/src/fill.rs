//! One fetch for many: requests that miss the same key at the same time wait for the first.
//!
//! The first leads: it fetches and stores. The others follow: they wait until the response is
//! stored whole, or it is known that it will not be, and then go on their own. A leader that ends
//! in any way without storing lets its followers go, so nobody waits for nothing.
//!
//! Only leaders store. A request that changes the resource makes a fill that runs outdated, so that
//! what was fetched before the change is not stored after it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use headroom_cache::CacheKey;
use tokio::sync::watch;

use crate::{
    cache::{Cache, StoredObject},
    limits,
};

/// The fills that run, by key.
#[derive(Debug, Default)]
pub(crate) struct Fills {
    running: Mutex<HashMap<CacheKey, Running>>,
}

#[derive(Debug)]
struct Running {
    number: Arc<()>,
    progress: watch::Receiver<Progress>,
}

#[derive(Debug, Clone)]
enum Progress {
    Running,
    Stored(Arc<StoredObject>),
}

/// What a request that misses does.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It fetches.
    Lead(Lead),
    /// It waits.
    Follow(Follow),
    /// It goes on its own: too many fills run.
    Alone,
}

/// The right to fill one key, and the duty to tell the followers; letting it go tells them to go
/// on their own.
#[derive(Debug)]
pub(crate) struct Lead {
    fills: Arc<Fills>,
    key: CacheKey,
    number: Arc<()>,
    progress: watch::Sender<Progress>,
}

/// Waits for a leader.
#[derive(Debug)]
pub(crate) struct Follow {
    progress: watch::Receiver<Progress>,
}

impl Fills {
    /// Leads the fill of `key`, or follows the one that runs.
    pub(crate) fn join(self: &Arc<Self>, key: &CacheKey) -> Joined {
        let mut running = self.lock();
        if let Some(running) = running.get(key) {
            return Joined::Follow(Follow { progress: running.progress.clone() });
        }
        if running.len() >= limits::FILLS_MAX {
            return Joined::Alone;
        }
        let (sender, progress) = watch::channel(Progress::Running);
        let number = Arc::new(());
        running.insert(key.clone(), Running { number: Arc::clone(&number), progress });
        let fills = Arc::clone(self);
        Joined::Lead(Lead { fills, key: key.clone(), number, progress: sender })
    }

    /// Removes what is stored under `key`, and keeps a fill that runs from storing.
    pub(crate) fn invalidate(&self, key: &CacheKey, cache: &Cache) {
        // Under the lock, so that no leader stores between the two.
        let mut running = self.lock();
        running.remove(key);
        cache.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CacheKey, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// The key it fills.
    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }

    /// Stores `object`, unless the key was invalidated meanwhile, and hands it to the followers.
    pub(crate) fn store(self, object: Arc<StoredObject>, cache: &Cache) {
        let running = self.fills.lock();
        if self.is_current(&running) {
            cache.insert(self.key.clone(), Arc::clone(&object));
            self.progress.send_replace(Progress::Stored(object));
        }
        drop(running);
    }

    /// Hands the followers what another fill has stored.
    pub(crate) fn share(self, object: Arc<StoredObject>) {
        self.progress.send_replace(Progress::Stored(object));
    }

    fn is_current(&self, running: &HashMap<CacheKey, Running>) -> bool {
        running.get(&self.key).is_some_and(|running| Arc::ptr_eq(&running.number, &self.number))
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut running = self.fills.lock();
        if self.is_current(&running) {
            running.remove(&self.key);
        }
    }
}

impl Follow {
    /// What the leader stored; `None` if it stored nothing.
    pub(crate) async fn stored(mut self) -> Option<Arc<StoredObject>> {
        match self.progress.wait_for(|progress| matches!(progress, Progress::Stored(_))).await {
            Ok(progress) => match &*progress {
                Progress::Stored(object) => Some(Arc::clone(object)),
                Progress::Running => None,
            },
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use headroom_cache::{Exchange, QueryRule, Scheme, storable};
    use headroom_units::Timestamp;
    use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header::CACHE_CONTROL};

    use super::*;
    use crate::EdgeConfig;

    fn cache() -> Cache {
        Cache::new(&EdgeConfig {
            id: "east-1".parse().unwrap(),
            listen: Vec::new(),
            threads: 1,
            cache_bytes: "1 MiB".parse().unwrap(),
            burst: Duration::ZERO,
            origin_connect_timeout: Duration::ZERO,
            origin_response_timeout: Duration::ZERO,
            object_bytes_max: "64 KiB".parse().unwrap(),
            plan_file: None,
            visitors: crate::VisitorConfig::default(),
        })
        .unwrap()
    }

    fn key() -> CacheKey {
        key_of(&Uri::from_static("/a"))
    }

    fn key_of(uri: &Uri) -> CacheKey {
        let (site, host) = ("shop".parse().unwrap(), "www.shop.example".parse().unwrap());
        CacheKey::of(&site, Scheme::Http, &host, uri, &QueryRule::Keep)
    }

    fn object() -> Arc<StoredObject> {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
        let now = Timestamp::from_seconds(1);
        let times = Exchange { requested_at: now, received_at: now };
        let request = HeaderMap::new();
        let policy = storable(&Method::GET, &request, StatusCode::OK, &headers, &times).unwrap();
        Arc::new(StoredObject::new(StatusCode::OK, &headers, Bytes::new(), policy, times))
    }

    fn lead(fills: &Arc<Fills>) -> Lead {
        match fills.join(&key()) {
            Joined::Lead(lead) => lead,
            Joined::Follow(_) | Joined::Alone => panic!("a fill is running"),
        }
    }

    fn follow(fills: &Arc<Fills>) -> Follow {
        match fills.join(&key()) {
            Joined::Lead(_) | Joined::Alone => panic!("no fill is running"),
            Joined::Follow(follow) => follow,
        }
    }

    #[tokio::test]
    async fn followers_get_what_the_leader_stored() {
        let (fills, cache) = (Arc::new(Fills::default()), cache());
        let (lead, follow) = (lead(&fills), follow(&fills));
        lead.store(object(), &cache);
        assert!(follow.stored().await.is_some());
        assert!(cache.get(&key()).is_some());
        assert!(fills.lock().is_empty());
    }

    #[test]
    fn fills_are_limited() {
        let fills = Arc::new(Fills::default());
        let key_of = |index: usize| key_of(&format!("/{index}").parse().unwrap());
        let mut leads: Vec<Joined> =
            (0..limits::FILLS_MAX).map(|index| fills.join(&key_of(index))).collect();
        assert!(matches!(fills.join(&key()), Joined::Alone));
        assert!(matches!(fills.join(&key_of(0)), Joined::Follow(_)));
        leads.pop();
        assert!(matches!(fills.join(&key()), Joined::Lead(_)));
    }

    #[tokio::test]
    async fn a_leader_that_gives_up_lets_its_followers_go() {
        let fills = Arc::new(Fills::default());
        let (leader, follow) = (lead(&fills), follow(&fills));
        drop(leader);
        assert!(follow.stored().await.is_none());
        drop(lead(&fills));
    }

    #[tokio::test]
    async fn what_was_fetched_before_a_change_is_not_stored_after_it() {
        let (fills, cache) = (Arc::new(Fills::default()), cache());
        let (outdated, follow) = (lead(&fills), follow(&fills));
        fills.invalidate(&key(), &cache);
        let newer = lead(&fills);
        outdated.store(object(), &cache);
        assert!(follow.stored().await.is_none());
        assert!(cache.get(&key()).is_none());
        newer.store(object(), &cache);
        assert!(cache.get(&key()).is_some());
    }
}

//! One fill: asks the origin, says what was found to all who wait, and stores it if that is
//! allowed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use headroom_cache::{
    Exchange, OriginFailure, conditional_headers, selects, storable, update_on_304,
};
use http::{HeaderMap, Method, Response, StatusCode, request};
use http_body::Body as _;
use tokio::runtime::Handle;

use crate::{
    fill::{Answer, FilledHead, Lead},
    object::{Parts, StoredObject},
    origin::{FetchError, OriginResponse},
    proxy::Worker,
    store::{Keep, Storing},
    table::ServedSite,
    upstream::UpstreamHead,
};

/// One fill.
pub(super) struct Filling {
    pub(super) worker: Arc<Worker>,
    pub(super) lead: Lead,
    pub(super) site: Arc<ServedSite>,
    /// The visitor's request, for what the response varies on and whether it may be stored.
    pub(super) request: Arc<request::Parts>,
    /// What the origin is asked, without conditions.
    pub(super) head: UpstreamHead,
    pub(super) stale: Option<Arc<StoredObject>>,
    /// The newest purge of the site when the fill began.
    pub(super) stamp: u64,
}

/// What a fill has for the visitor who led to it.
pub(super) enum Led {
    /// A response that is not shared.
    Unshared(OriginResponse),
    /// One that is stored, with the age it came with.
    Stored(Response<Bytes>, Duration),
}

/// What a fill comes to when its origin has answered.
enum Found {
    Led(Option<Led>),
    /// A body is read and stored.
    Storing(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// A fill that its visitor drives. If that stops, it goes on by itself: others may read along.
pub(super) struct Driven<F: Future<Output = Option<Led>> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output = Option<Led>> + Send + 'static> Driven<F> {
    pub(super) fn new(filling: F) -> Self {
        Self(Some(Box::pin(filling)))
    }

    /// Ready at its end.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Led>> {
        let Some(filling) = &mut self.0 else { return Poll::Ready(None) };
        let ended = filling.as_mut().poll(cx);
        if ended.is_ready() {
            self.0 = None;
        }
        ended
    }
}

impl<F: Future<Output = Option<Led>> + Send + 'static> Drop for Driven<F> {
    fn drop(&mut self) {
        // There is no runtime any more when the edge has ended.
        if let (Some(filling), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(filling);
        }
    }
}

impl Filling {
    /// Fetches, tells what was found, and stores it if that is allowed. A response that is not
    /// shared, or was stored at once, comes back for the visitor who led to it.
    ///
    /// The future is written out: that of an `async fn` would hold the fill twice.
    #[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
    pub(super) fn run(self) -> impl Future<Output = Option<Led>> + Send {
        async move {
            let answer = self.ask().await;
            match self.found(answer) {
                Found::Led(led) => led,
                Found::Storing(storing) => {
                    storing.await;
                    None
                }
            }
        }
    }

    /// What an origin's answer means.
    fn found(self, answer: Result<(OriginResponse, Exchange), FetchError>) -> Found {
        let (response, times) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.lead.answer(Answer::Failed(error));
                return Found::Led(None);
            }
        };
        let not_modified = response.status() == StatusCode::NOT_MODIFIED;
        match self.stale.clone() {
            Some(stale) if not_modified => self.freshen(&stale, response.headers(), times),
            Some(stale) if self.stale_is_better(&stale, response.status()) => {
                self.lead.answer(Answer::Stale(stale));
            }
            _ if not_modified => self.lead.answer(Answer::Failed(FetchError::Unsound)),
            _ => return self.take_over(response, times),
        }
        Found::Led(None)
    }

    /// Asks about the stale response if there is one. An answer about another is none: then it is
    /// asked again without conditions (RFC 9111 §4.3.4).
    async fn ask(&self) -> Result<(OriginResponse, Exchange), FetchError> {
        if let Some(stale) = &self.stale {
            let mut head = self.head.clone();
            for (name, value) in &conditional_headers(&stale.policy) {
                head.add(name.as_str(), value.as_bytes());
            }
            let (response, times) = Box::pin(self.ask_for(&head)).await?;
            let other = response.status() == StatusCode::NOT_MODIFIED
                && !selects(&stale.policy, response.headers());
            if !other {
                return Ok((response, times));
            }
        }
        self.ask_for(&self.head).await
    }

    async fn ask_for(&self, head: &UpstreamHead) -> Result<(OriginResponse, Exchange), FetchError> {
        let requested_at = headroom_clock::now();
        let response = self.worker.fetch(&self.site, head).await?;
        Ok((response, Exchange { requested_at, received_at: headroom_clock::now() }))
    }

    /// RFC 5861 §4: an error of the origin's, and what is stored may stand in.
    fn stale_is_better(&self, stale: &StoredObject, status: StatusCode) -> bool {
        let failed = matches!(status.as_u16(), 500 | 502 | 503 | 504);
        let now = headroom_clock::now();
        failed
            && stale
                .policy
                .on_error(&self.request.headers, OriginFailure::ServerError, now)
                .is_some()
    }

    /// Stores the stale response again with what the 304 says.
    fn freshen(self, stale: &Arc<StoredObject>, news: &HeaderMap, times: Exchange) {
        let cache = &self.worker.shared.cache;
        match renewed(stale, news, &self.request.headers, &self.site, times) {
            Some(object) => {
                let object = Arc::new(object);
                self.lead.store(Arc::clone(&object), cache);
                self.lead.answer(Answer::Renewed(object));
            }
            None => {
                // Valid for who asked, and not to be kept.
                cache.remove_variant(self.lead.key(), stale);
                self.lead.answer(Answer::Renewed(Arc::clone(stale)));
            }
        }
    }

    /// Takes a new response: for all if it may be shared, into the cache if it fits. If it may not
    /// be shared, or is stored at once, it comes back.
    fn take_over(self, response: OriginResponse, times: Exchange) -> Found {
        let shared = &self.worker.shared;
        let (request, rules) = (&self.request.headers, self.site.cache_rules());
        let (status, headers) = (response.status(), response.headers());
        let policy = storable(&Method::GET, request, status, headers, &times, &rules);
        let Some(policy) = policy.ok().filter(|_| response.body().is_delimited()) else {
            if let Some(stale) = self.stale.filter(|_| !status.is_server_error()) {
                shared.cache.remove_variant(self.lead.key(), &stale);
            }
            if self.lead.is_followed() {
                shared.unshared.remember(self.lead.key(), times.received_at);
            }
            self.lead.answer(Answer::Unshared);
            return Found::Led(Some(Led::Unshared(response)));
        };
        let (mut parts, mut body) = response.into_parts();
        self.worker.pass_on(&mut parts.headers);
        let keep = Keep::begin(shared, body.size_hint().lower());
        if keep.is_in_memory()
            && let Some(whole) = body.take_whole()
        {
            let (headers, stamp, age) = (&parts.headers, self.stamp, policy.initial_age());
            let stored = Parts { status, headers, policy, times, stamp };
            let Some(object) = StoredObject::small(stored, &whole) else {
                self.lead.answer(Answer::Failed(FetchError::Unsound));
                return Found::Led(None);
            };
            let object = Arc::new(object);
            self.lead.store(Arc::clone(&object), &shared.cache);
            self.lead.answer(Answer::Stored(object));
            return Found::Led(Some(Led::Stored(Response::from_parts(parts, whole), age)));
        }
        let stored = !matches!(keep, Keep::Nothing);
        let head = Arc::new(FilledHead { status, headers: parts.headers, policy, stored });
        if !keep.is_in_memory() {
            self.lead.pass_through();
        }
        self.lead.answer(Answer::Response(Arc::clone(&head)));
        let storing = Storing { head, times, stamp: self.stamp };
        let (worker, lead) = (self.worker, self.lead);
        Found::Storing(Box::pin(async move { storing.store(&worker, lead, body, keep).await }))
    }
}

/// `object` with what a 304 says of it, if it may still be stored.
pub(super) fn renewed(
    object: &StoredObject,
    news: &HeaderMap,
    request: &HeaderMap,
    site: &ServedSite,
    times: Exchange,
) -> Option<StoredObject> {
    let mut headers = object.headers();
    update_on_304(&mut headers, news);
    let rules = site.cache_rules();
    let policy = storable(&Method::GET, request, object.status, &headers, &times, &rules).ok()?;
    let (status, stamp) = (object.status, object.stamp);
    object.renewed(Parts { status, headers: &headers, policy, times, stamp })
}

//! The phase fetch: from the origin to the visitor, and on to [`crate::store`].
//!
//! ```text
//!  forward   past the cache: one visitor, one fetch, streamed as fast as the visitor takes it
//!  fill      one fetch for all who miss the same: who waits reads along, and what may be stored
//!            is stored whole. Its visitor drives it until there is an answer; what is left then,
//!            or when the visitor leaves, goes on by itself
//!  refresh   a fill that no visitor waits for: what is stored was good enough for now
//! ```

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use headroom_cache::{
    CacheKey, Decision, Exchange, HeadNews, OriginFailure, conditional_headers, head_says,
    invalidates, related_targets, remove_hop_by_hop, selects, storable, update_on_304,
};
use http::{
    HeaderMap, Method, Response, StatusCode,
    header::{AGE, AUTHORIZATION, CONTENT_LENGTH},
    request,
};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::{runtime::Handle, time::timeout};

use crate::{
    body::{EdgeBody, Source, Tally},
    fill::{Answer, FilledHead, Joined, Lead, Reader},
    metrics::Outcome,
    object::{Parts, StoredObject, TAG_FIELDS},
    origin::{FetchError, TimedBody},
    proxy::{Reply, Visit, Worker, forwarded_because, key_of},
    respond::{self, Refusal},
    store::{Keep, Storing},
    table::ServedSite,
    upstream::{Purpose, UpstreamHead},
};

/// One fill.
struct Filling {
    worker: Arc<Worker>,
    lead: Lead,
    site: Arc<ServedSite>,
    /// The visitor's request, for what the response varies on and whether it may be stored.
    request: Arc<request::Parts>,
    /// What the origin is asked, without conditions.
    head: UpstreamHead,
    stale: Option<Arc<StoredObject>>,
    /// The newest purge of the site when the fill began.
    stamp: u64,
}

/// A response for one visitor.
type Own = Response<TimedBody>;

/// What a fill has for the visitor who led to it.
enum Led {
    /// A response that is not shared.
    Unshared(Own),
    /// One that is stored, with the age it came with.
    Stored(Response<Bytes>, Duration),
}

/// A fill that its visitor drives. If that stops, it goes on by itself: others may read along.
struct Driven<F: Future<Output = Option<Led>> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output = Option<Led>> + Send + 'static> Driven<F> {
    /// Ready at its end.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Led>> {
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

impl Worker {
    /// Fetches for one visitor, past the cache. `why` is what `Cache-Status` says of it.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Arc<request::Parts>,
        body: Option<Incoming>,
        why: &'static str,
    ) -> Reply {
        let head = visit.upstream_head(&parts, &self.shared.via, Purpose::Visitor)?;
        let (origins, site) = (&self.origins, &visit.site);
        let fetched = match body {
            None => self.fetch(site, &head).await,
            Some(body) => self.told(site, Box::pin(origins.fetch_with(site, &head, body)).await),
        };
        let response = fetched.map_err(Refusal::Fetch)?;
        if invalidates(&parts.method, response.status()) {
            self.invalidate(visit, &parts, response.headers());
        } else if parts.method == Method::HEAD {
            self.learn_from_head(visit, &parts, &response);
        }
        let outcome = if parts.method.is_safe() { Outcome::Miss } else { Outcome::Bypass };
        Ok((outcome, self.passed_on(visit, response, why)))
    }

    /// An origin's response as it goes to the one visitor it is for.
    fn passed_on(
        self: &Arc<Self>,
        visit: &Visit,
        response: Own,
        why: &'static str,
    ) -> Response<EdgeBody> {
        let (mut parts, body) = response.into_parts();
        self.pass_on(&mut parts.headers);
        TAG_FIELDS.iter().for_each(|tag| drop(parts.headers.remove(tag)));
        respond::add_cache_status(&mut parts.headers, why);
        let body = EdgeBody::streamed(Source::Origin(body), self.tally(visit));
        Response::from_parts(parts, body)
    }

    /// RFC 9111 §4.4: what is stored is not what is there now.
    fn invalidate(&self, visit: &Visit, parts: &request::Parts, news: &HeaderMap) {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let related = related_targets(news, &parts.uri, visit.scheme, &visit.host);
        for target in related.iter().map(String::as_str).chain([target]) {
            if let Ok(uri) = target.parse() {
                self.shared.fills.invalidate(&key_of(visit, &uri), &self.shared.cache);
            }
        }
    }

    /// RFC 9111 §4.3.5: a response to HEAD tells whether what is stored for GET is still that.
    fn learn_from_head(&self, visit: &Visit, parts: &request::Parts, response: &Own) {
        let key = key_of(visit, &parts.uri);
        let Some(variants) = self.shared.cache.get(&key) else { return };
        let Some(object) = variants.select(&parts.headers) else { return };
        let news = response.headers();
        let now = headroom_clock::now();
        let times = Exchange { requested_at: visit.now, received_at: now };
        match head_says(&object.policy, Some(object.length), news, response.status()) {
            HeadNews::Nothing => {}
            HeadNews::Changed => self.shared.cache.remove_variant(&key, object),
            HeadNews::Same => {
                let mut news = news.clone();
                self.pass_on(&mut news);
                let request = &parts.headers;
                if let Some(renewed) = renewed(object, &news, request, &visit.site, times) {
                    self.shared.cache.insert(key, Arc::new(renewed));
                }
            }
        }
    }

    /// Fetches for all who want the same now, through the cache. `stale` is what is stored.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        visit: &Visit,
        key: &CacheKey,
        parts: Arc<request::Parts>,
        stale: Option<Arc<StoredObject>>,
    ) -> Reply {
        let why = forwarded_because(stale.is_some());
        // Boxed but for the most common, so that its future is not as large as the largest.
        match self.shared.fills.join(key) {
            Joined::Alone => Box::pin(self.forward(visit, parts, None, why)).await,
            // What comes for one visitor may take long and will hardly be shared: no one waits.
            Joined::Follow(_)
                if parts.headers.contains_key(AUTHORIZATION)
                    || self.shared.unshared.holds(key, visit.now) =>
            {
                Box::pin(self.forward(visit, parts, None, why)).await
            }
            Joined::Follow(reader) => Box::pin(self.follow(visit, parts, reader, stale)).await,
            Joined::Lead(lead, reader) => self.lead(visit, parts, lead, reader, stale).await,
        }
    }

    async fn lead(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Arc<request::Parts>,
        lead: Lead,
        reader: Reader,
        stale: Option<Arc<StoredObject>>,
    ) -> Reply {
        // Another fill may have ended between looking up and leading.
        if let Some(variants) = self.shared.cache.get(lead.key())
            && let Some(object) = variants.select(&parts.headers)
            && let Some(response) = self.collapsed(visit, &parts, object)
        {
            lead.answer(Answer::Renewed(Arc::clone(object)));
            return Ok((Outcome::Collapsed, response));
        }
        let why = forwarded_because(stale.is_some());
        let filling = self.filling(visit, Arc::clone(&parts), lead, stale.clone())?;
        let mut filling = Driven(Some(Box::pin(filling.run())));
        let found = poll_fn(|cx| match filling.poll(cx) {
            Poll::Ready(Some(led)) => Poll::Ready(Ok(led)),
            Poll::Ready(None) | Poll::Pending => reader.poll_answer(cx).map(Err),
        });
        let answer = match found.await {
            Ok(Led::Unshared(own)) => {
                let response = self.passed_on(visit, own, why);
                return Ok((Outcome::Miss, respond::unless_known(&parts, response)));
            }
            Ok(Led::Stored(response, age)) => {
                let why = stored_because(stale.is_some());
                return Ok((Outcome::Miss, just_stored(&parts, response, age, why)));
            }
            Err(answer) => answer,
        };
        match answer {
            Answer::Response(head) => {
                let why = if head.stored { stored_because(stale.is_some()) } else { why };
                Ok((Outcome::Miss, self.read_along(visit, &parts, &head, reader, why)))
            }
            Answer::Renewed(object) => {
                let age = object.policy.age(headroom_clock::now());
                let why = "headroom; fwd=stale; fwd-status=304; stored";
                Ok((Outcome::Revalidated, self.stored_reply(visit, &parts, &object, age, why)))
            }
            Answer::Stale(object) => self
                .in_place_of_error(visit, &parts, Some(object), OriginFailure::ServerError)
                .ok_or(Refusal::Fetch(FetchError::Unreachable)),
            Answer::Failed(error) => self.failed(visit, &parts, stale, error),
            // Who led to these has them already.
            Answer::Stored(_) | Answer::Unshared => Err(Refusal::Fetch(FetchError::Unreachable)),
        }
    }

    /// Waits for what another request has found, and reads along if it is for this one too.
    async fn follow(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Arc<request::Parts>,
        reader: Reader,
        stale: Option<Arc<StoredObject>>,
    ) -> Reply {
        let answer = timeout(self.shared.follow_max, reader.answer()).await;
        match answer.unwrap_or(Answer::Unshared) {
            Answer::Response(head) => {
                let now = headroom_clock::now();
                let decision = head.policy.decide(&parts.headers, now);
                if matches!(decision, Decision::Fresh { .. }) && !reader.is_cut_off() {
                    let why = "headroom; fwd=miss; collapsed";
                    let response = self.read_along(visit, &parts, &head, reader, why);
                    return Ok((Outcome::Collapsed, response));
                }
            }
            Answer::Stored(object) | Answer::Renewed(object) => {
                if let Some(response) = self.collapsed(visit, &parts, &object) {
                    return Ok((Outcome::Collapsed, response));
                }
            }
            Answer::Stale(object) => {
                let failure = OriginFailure::ServerError;
                if let Some(reply) = self.in_place_of_error(visit, &parts, Some(object), failure) {
                    return Ok(reply);
                }
            }
            Answer::Failed(error) => return self.failed(visit, &parts, stale, error),
            Answer::Unshared => {}
        }
        self.forward(visit, parts, None, "headroom; fwd=miss").await
    }

    /// There is no response: what is stored if it may stand in, else a refusal.
    fn failed(
        self: &Arc<Self>,
        visit: &Visit,
        parts: &request::Parts,
        stale: Option<Arc<StoredObject>>,
        error: FetchError,
    ) -> Reply {
        self.in_place_of_error(visit, parts, stale, OriginFailure::Unreachable)
            .ok_or(Refusal::Fetch(error))
    }

    /// RFC 5861 §4, RFC 9111 §4.2.4: something stale in place of an error, if that is allowed.
    fn in_place_of_error(
        self: &Arc<Self>,
        visit: &Visit,
        parts: &request::Parts,
        stale: Option<Arc<StoredObject>>,
        failure: OriginFailure,
    ) -> Option<(Outcome, Response<EdgeBody>)> {
        let object = stale?;
        let now = headroom_clock::now();
        let age = object.policy.on_error(&parts.headers, failure, now)?;
        let why = "headroom; hit; fwd=stale; detail=origin-failed";
        Some((Outcome::Stale, self.stored_reply(visit, parts, &object, age, why)))
    }

    /// A response that another request has just stored, if it is fresh for this one too.
    fn collapsed(
        self: &Arc<Self>,
        visit: &Visit,
        parts: &request::Parts,
        object: &Arc<StoredObject>,
    ) -> Option<Response<EdgeBody>> {
        match object.policy.decide(&parts.headers, headroom_clock::now()) {
            Decision::Fresh { age } => {
                let why = "headroom; fwd=miss; collapsed";
                Some(self.stored_reply(visit, parts, object, age, why))
            }
            _ => None,
        }
    }

    /// The response whose body is read from a fill.
    fn read_along(
        self: &Arc<Self>,
        visit: &Visit,
        parts: &request::Parts,
        head: &FilledHead,
        reader: Reader,
        why: &'static str,
    ) -> Response<EdgeBody> {
        let mut response =
            Response::new(EdgeBody::streamed(Source::Fill(reader), self.tally(visit)));
        *response.status_mut() = head.status;
        // A clone has no room for what is added, and would be copied once more.
        let mut headers = HeaderMap::with_capacity(head.headers.len() + 1);
        for (name, value) in head.headers.iter().filter(|(name, _)| !TAG_FIELDS.contains(name)) {
            headers.append(name, value.clone());
        }
        *response.headers_mut() = headers;
        let mut response = respond::unless_known(parts, response);
        if parts.method == Method::HEAD {
            *response.body_mut() = EdgeBody::empty();
        }
        respond::add_cache_status(response.headers_mut(), why);
        response
    }

    /// Renews what is stored in the background, unless that is being done.
    pub(crate) fn refresh(
        self: &Arc<Self>,
        visit: &Visit,
        key: &CacheKey,
        parts: &Arc<request::Parts>,
        stale: &Arc<StoredObject>,
    ) {
        if let Some(lead) = self.shared.fills.lead(key)
            && let Ok(mut filling) =
                self.filling(visit, Arc::clone(parts), lead, Some(Arc::clone(stale)))
        {
            filling.head.interim = None;
            tokio::spawn(filling.run());
        }
    }

    fn filling(
        self: &Arc<Self>,
        visit: &Visit,
        request: Arc<request::Parts>,
        lead: Lead,
        stale: Option<Arc<StoredObject>>,
    ) -> Result<Filling, Refusal> {
        let head = visit.upstream_head(&request, &self.shared.via, Purpose::Cache)?;
        Ok(Filling {
            worker: Arc::clone(self),
            lead,
            site: Arc::clone(&visit.site),
            request,
            head,
            stale,
            stamp: visit.site.newest_purge(),
        })
    }

    pub(crate) fn tally(self: &Arc<Self>, visit: &Visit) -> Tally {
        Tally::new(Arc::clone(self), Arc::clone(&visit.site), visit.account())
    }

    #[tracing::instrument(level = "trace", skip_all)]
    async fn fetch(&self, site: &ServedSite, head: &UpstreamHead) -> Result<Own, FetchError> {
        self.told(site, self.origins.fetch(site, head).await)
    }

    /// Counts how an origin answered.
    fn told(&self, site: &ServedSite, answer: Result<Own, FetchError>) -> Result<Own, FetchError> {
        let metrics = &self.shared.metrics;
        match &answer {
            Ok(response) if response.status().is_informational() => {
                return Err(FetchError::Unsound);
            }
            Ok(_) => metrics.origin_answered.inc(),
            Err(FetchError::Timeout | FetchError::ConnectTimeout) => metrics.origin_timeout.inc(),
            Err(error) => {
                tracing::debug!(site = %site.id, %error, "no response from the origin");
                metrics.origin_unreachable.inc()
            }
        };
        answer
    }

    /// Makes an origin's head one of ours.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) {
        remove_hop_by_hop(headers);
        respond::add_via(headers, &self.shared.via);
    }
}

impl Filling {
    /// Fetches, tells what was found, and stores it if that is allowed. A response that is not
    /// shared, or was stored at once, comes back for the visitor who led to it.
    async fn run(self) -> Option<Led> {
        let (response, times) = match self.ask().await {
            Ok(answer) => answer,
            Err(error) => {
                self.lead.answer(Answer::Failed(error));
                return None;
            }
        };
        let not_modified = response.status() == StatusCode::NOT_MODIFIED;
        match self.stale.clone() {
            Some(stale) if not_modified => self.freshen(&stale, response.headers(), times),
            Some(stale) if self.stale_is_better(&stale, response.status()) => {
                self.lead.answer(Answer::Stale(stale));
            }
            _ if not_modified => self.lead.answer(Answer::Failed(FetchError::Unsound)),
            _ => return self.take_over(response, times).await,
        }
        None
    }

    /// Asks about the stale response if there is one. An answer about another is none: then it is
    /// asked again without conditions (RFC 9111 §4.3.4).
    async fn ask(&self) -> Result<(Own, Exchange), FetchError> {
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

    async fn ask_for(&self, head: &UpstreamHead) -> Result<(Own, Exchange), FetchError> {
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
    async fn take_over(self, response: Own, times: Exchange) -> Option<Led> {
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
            return Some(Led::Unshared(response));
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
                return None;
            };
            let object = Arc::new(object);
            self.lead.store(Arc::clone(&object), &shared.cache);
            self.lead.answer(Answer::Stored(object));
            return Some(Led::Stored(Response::from_parts(parts, whole), age));
        }
        let stored = !matches!(keep, Keep::Nothing);
        let head = Arc::new(FilledHead { status, headers: parts.headers, policy, stored });
        if !keep.is_in_memory() {
            self.lead.pass_through();
        }
        self.lead.answer(Answer::Response(Arc::clone(&head)));
        let storing = Storing { head, times, stamp: self.stamp };
        Box::pin(storing.store(&self.worker, self.lead, body, keep)).await;
        None
    }
}

/// What `Cache-Status` says of a response that is stored now, in place of a stale one or not.
fn stored_because(is_renewal: bool) -> &'static str {
    if is_renewal { "headroom; fwd=stale; stored" } else { "headroom; fwd=miss; stored" }
}

/// A response that was just stored, as the answer to the request that led to it. Its `age` is
/// told unless the origin has just made it (RFC 9111 §5.1).
fn just_stored(
    parts: &request::Parts,
    response: Response<Bytes>,
    age: Duration,
    why: &'static str,
) -> Response<EdgeBody> {
    let (status, length) = (response.status(), response.body().len());
    let mut response = response.map(EdgeBody::whole);
    let headers = response.headers_mut();
    TAG_FIELDS.iter().for_each(|tag| drop(headers.remove(tag)));
    headers.remove(AGE);
    if age.as_secs() > 0 {
        headers.insert(AGE, age.as_secs().into());
    }
    if status != StatusCode::NO_CONTENT && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let mut response = respond::unless_known(parts, response);
    respond::add_cache_status(response.headers_mut(), why);
    response
}

/// `object` with what a 304 says of it, if it may still be stored.
fn renewed(
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

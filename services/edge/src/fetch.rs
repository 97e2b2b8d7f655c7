//! The phase fetch: from the origin to the visitor, and on to [`crate::store`].
//!
//! ```text
//!  forward   past the cache: one visitor, one fetch, streamed as fast as the visitor takes it
//!  fill      one fetch for all who miss the same: who waits reads along, and what may be stored
//!            is stored whole. Its visitor drives it until there is an answer; what is left then,
//!            or when the visitor leaves, goes on by itself
//!  refresh   a fill that no visitor waits for: what is stored was good enough for now
//! ```

mod filling;

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use headroom_cache::{
    CacheKey, Decision, Exchange, HeadNews, OriginFailure, head_says, invalidates, related_targets,
    remove_hop_by_hop,
};
use http::{
    HeaderMap, Method, Response, StatusCode,
    header::{AGE, AUTHORIZATION, CONTENT_LENGTH},
    request,
};
use tokio::time::timeout;
use tracing::Instrument as _;

use self::filling::{Driven, Filling, Led, renewed};
use crate::{
    body::{EdgeBody, Source, Tally},
    content::RequestBody,
    fill::{Answer, FilledHead, Joined, Lead, Reader},
    metrics::Outcome,
    object::{StoredObject, TAG_FIELDS, remove_tags},
    origin::{FetchError, OriginResponse},
    proxy::{Reply, Visit, Worker, forwarded_because, key_of},
    respond::{self, Refusal},
    table::ServedSite,
    upstream::{Purpose, UpstreamHead},
};

impl Worker {
    /// Fetches for one visitor, past the cache. `why` is what `Cache-Status` says of it.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Arc<request::Parts>,
        body: Option<RequestBody>,
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
        response: OriginResponse,
        why: &'static str,
    ) -> Response<EdgeBody> {
        let (mut parts, mut body) = response.into_parts();
        self.pass_on(&mut parts.headers);
        remove_tags(&mut parts.headers);
        respond::add_cache_status(&mut parts.headers, why);
        let body = match body.take_whole() {
            // What came at once is counted and paid with its head.
            Some(whole) => EdgeBody::whole(whole),
            None => EdgeBody::streamed(Source::Origin(body), self.tally(visit)),
        };
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
    fn learn_from_head(&self, visit: &Visit, parts: &request::Parts, response: &OriginResponse) {
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
        let mut filling = Driven::new(filling.run());
        let found = poll_fn(|cx| match filling.poll(cx) {
            Poll::Ready(Some(led)) => Poll::Ready(Ok(led)),
            Poll::Ready(None) | Poll::Pending => reader.poll_answer(cx).map(Err),
        });
        let answer = match found.await {
            Ok(Led::Unshared(own)) => {
                let response = self.passed_on(visit, own, why);
                return Ok((Outcome::Miss, unless_known(visit, &parts, response)));
            }
            Ok(Led::Stored(response, age)) => {
                let why = stored_because(stale.is_some());
                return Ok((Outcome::Miss, just_stored(visit, &parts, response, age, why)));
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
        let mut response = unless_known(visit, parts, response);
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

    async fn fetch(
        &self,
        site: &ServedSite,
        head: &UpstreamHead,
    ) -> Result<OriginResponse, FetchError> {
        let fetched = self.origins.fetch(site, head).instrument(tracing::trace_span!("fetch"));
        self.told(site, fetched.await)
    }

    /// Counts how an origin answered.
    fn told(
        &self,
        site: &ServedSite,
        answer: Result<OriginResponse, FetchError>,
    ) -> Result<OriginResponse, FetchError> {
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

/// `response`, or 304 if the visitor said it has just that.
fn unless_known(
    visit: &Visit,
    parts: &request::Parts,
    response: Response<EdgeBody>,
) -> Response<EdgeBody> {
    if visit.asks_plainly() { response } else { respond::unless_known(parts, response) }
}

/// What `Cache-Status` says of a response that is stored now, in place of a stale one or not.
fn stored_because(is_renewal: bool) -> &'static str {
    if is_renewal { "headroom; fwd=stale; stored" } else { "headroom; fwd=miss; stored" }
}

/// A response that was just stored, as the answer to the request that led to it. Its `age` is
/// told unless the origin has just made it (RFC 9111 §5.1).
fn just_stored(
    visit: &Visit,
    parts: &request::Parts,
    response: Response<Bytes>,
    age: Duration,
    why: &'static str,
) -> Response<EdgeBody> {
    let (status, length) = (response.status(), response.body().len());
    let mut response = response.map(EdgeBody::whole);
    let headers = response.headers_mut();
    remove_tags(headers);
    headers.remove(AGE);
    if age.as_secs() > 0 {
        headers.insert(AGE, age.as_secs().into());
    }
    if status != StatusCode::NO_CONTENT && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let mut response = unless_known(visit, parts, response);
    respond::add_cache_status(response.headers_mut(), why);
    response
}

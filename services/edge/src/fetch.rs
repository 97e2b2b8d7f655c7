//! The phases fetch and store: from the origin to the visitor, and into the cache.
//!
//! ```text
//!  forward   past the cache: one visitor, one fetch, streamed as fast as the visitor takes it
//!  fill      one fetch for all who miss the same: runs on its own, so that it goes on when its
//!            visitor leaves; what it reads goes to the visitor at once, and into the cache whole
//! ```

use std::sync::Arc;

use bytes::Bytes;
use headroom_cache::{
    CacheKey, Decision, Exchange, StoredPolicy, conditional_headers, remove_conditionals,
    remove_hop_by_hop, selects, storable, update_on_304,
};
use http::{HeaderMap, Method, Response, StatusCode, request::Parts};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    body::{EdgeBody, Piece, Source, Tally},
    cache::StoredObject,
    fill::{Joined, Lead},
    metrics::Outcome,
    origin::{FetchError, TimedBody, UpstreamHead},
    proxy::{Reply, Visit, Worker, key, stored_reply, unless_known},
    request, respond,
    respond::Refusal,
    table::ServedSite,
};

/// What a fill has for its own visitor.
enum Filled {
    /// What is stored was still valid, and is again.
    Revalidated(Arc<StoredObject>),
    /// A response, and what the cache did.
    Response(Response<Source>, &'static str),
}

type Fetched = Result<Filled, FetchError>;

/// One fill, on its own task.
struct Filling {
    worker: Arc<Worker>,
    lead: Lead,
    site: Arc<ServedSite>,
    /// The visitor's request, for what the response varies on and whether it may be stored.
    request: HeaderMap,
    /// What the origin is asked, without conditions.
    head: UpstreamHead,
    stale: Option<Arc<StoredObject>>,
}

/// A response that is read into the cache.
struct Storing {
    lead: Lead,
    status: StatusCode,
    headers: HeaderMap,
    policy: StoredPolicy,
    times: Exchange,
}

impl Worker {
    /// Fetches for one visitor, past the cache.
    pub(crate) async fn forward(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Parts,
        body: Option<Incoming>,
        status: &'static str,
    ) -> Reply {
        let head = request::upstream_head(&parts, &visit.host, visit.peer, &self.shared.via)?;
        let fetched = self.fetch(&visit.site, head, body).await;
        let mut response = fetched.map_err(Refusal::Fetch)?.map(Source::Origin);
        let changed = response.status().is_success() || response.status().is_redirection();
        if !parts.method.is_safe() && changed {
            // RFC 9111 §4.4: what is stored is not what is there now.
            self.shared.fills.invalidate(&key(visit, &parts.uri), &self.shared.cache);
        }
        pass_on(response.headers_mut(), self);
        respond::add_cache_status(response.headers_mut(), status);
        let tally = Tally::new(Arc::clone(self), visit.account());
        let outcome = if parts.method.is_safe() { Outcome::Miss } else { Outcome::Bypass };
        Ok((outcome, response.map(|source| EdgeBody::Streamed(source, tally))))
    }

    /// Fetches for all who want the same now, through the cache. `stale` is what is stored.
    pub(crate) async fn fill(
        self: &Arc<Self>,
        visit: &Visit,
        key: &CacheKey,
        parts: Parts,
        stale: Option<Arc<StoredObject>>,
    ) -> Reply {
        let lead = match self.shared.fills.join(key) {
            Joined::Lead(lead) => lead,
            Joined::Alone => return self.forward(visit, parts, None, "headroom; fwd=miss").await,
            Joined::Follow(follow) => {
                let stored = timeout(self.shared.follow_max, follow.stored()).await;
                return match stored.ok().flatten().and_then(|object| collapsed(&parts, &object)) {
                    Some(response) => Ok((Outcome::Collapsed, response)),
                    None => self.forward(visit, parts, None, "headroom; fwd=miss").await,
                };
            }
        };
        // Another fill may have ended between looking up and leading.
        if let Some(object) = self.shared.cache.get(key)
            && let Some(response) = collapsed(&parts, &object)
        {
            lead.share(object);
            return Ok((Outcome::Collapsed, response));
        }
        let mut head = request::upstream_head(&parts, &visit.host, visit.peer, &self.shared.via)?;
        remove_conditionals(&mut head.headers);
        let filling = Filling {
            worker: Arc::clone(self),
            lead,
            site: Arc::clone(&visit.site),
            request: parts.headers.clone(),
            head,
            stale,
        };
        let (tell, told) = oneshot::channel();
        tokio::spawn(filling.run(tell));
        match told.await.unwrap_or(Err(FetchError::Unreachable)).map_err(Refusal::Fetch)? {
            Filled::Revalidated(object) => {
                let age = object.policy.age(headroom_clock::now());
                let status = "headroom; fwd=stale; fwd-status=304; stored";
                Ok((Outcome::Revalidated, stored_reply(&parts, &object, age, status)))
            }
            Filled::Response(response, status) => {
                let tally = Tally::new(Arc::clone(self), visit.account());
                let response = response.map(|source| EdgeBody::Streamed(source, tally));
                let mut response = unless_known(&parts, response);
                respond::add_cache_status(response.headers_mut(), status);
                Ok((Outcome::Miss, response))
            }
        }
    }

    #[tracing::instrument(level = "trace", skip_all)]
    async fn fetch(
        &self,
        site: &ServedSite,
        head: UpstreamHead,
        body: Option<Incoming>,
    ) -> Result<Response<TimedBody>, FetchError> {
        let answer = match body {
            None => self.origins.fetch(site, &head).await,
            Some(body) => self.origins.fetch_with(site, head, body).await,
        };
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
}

impl Filling {
    async fn run(self, tell: oneshot::Sender<Fetched>) {
        match self.ask().await {
            Err(error) => drop(tell.send(Err(error))),
            Ok((response, times)) => match &self.stale {
                Some(stale) if response.status() == StatusCode::NOT_MODIFIED => {
                    let stale = Arc::clone(stale);
                    self.freshen(&stale, response.headers(), times, tell);
                }
                _ if response.status() == StatusCode::NOT_MODIFIED => {
                    drop(tell.send(Err(FetchError::Unsound)));
                }
                _ => self.take_over(response, times, tell).await,
            },
        }
    }

    /// Asks about the stale response if there is one. An answer about another is none: then it is
    /// asked again without conditions (RFC 9111 §4.3.4).
    async fn ask(&self) -> Result<(Response<TimedBody>, Exchange), FetchError> {
        if let Some(stale) = &self.stale {
            let mut head = self.head.clone();
            head.headers.extend(conditional_headers(&stale.policy));
            let (response, times) = self.ask_for(head).await?;
            let other = response.status() == StatusCode::NOT_MODIFIED
                && !selects(&stale.policy, response.headers());
            if !other {
                return Ok((response, times));
            }
        }
        self.ask_for(self.head.clone()).await
    }

    async fn ask_for(
        &self,
        head: UpstreamHead,
    ) -> Result<(Response<TimedBody>, Exchange), FetchError> {
        let requested_at = headroom_clock::now();
        let response = self.worker.fetch(&self.site, head, None).await?;
        Ok((response, Exchange { requested_at, received_at: headroom_clock::now() }))
    }

    /// Stores the stale response again with what the 304 says.
    fn freshen(
        self,
        stale: &StoredObject,
        news: &HeaderMap,
        times: Exchange,
        tell: oneshot::Sender<Fetched>,
    ) {
        let mut headers = stale.headers.clone();
        update_on_304(&mut headers, news);
        let policy = storable(&Method::GET, &self.request, stale.status, &headers, &times);
        let keep = policy.is_ok();
        let policy = policy.unwrap_or_else(|_| stale.policy.clone());
        let body = stale.body.clone();
        let object = Arc::new(StoredObject::new(stale.status, &headers, body, policy, times));
        if keep {
            self.lead.store(Arc::clone(&object), &self.worker.shared.cache);
        } else {
            self.worker.shared.cache.remove(self.lead.key());
        }
        drop(tell.send(Ok(Filled::Revalidated(object))));
    }

    /// Takes a new response: into the cache if it may and fits, else to the visitor alone.
    async fn take_over(
        self,
        response: Response<TimedBody>,
        times: Exchange,
        tell: oneshot::Sender<Fetched>,
    ) {
        let shared = &self.worker.shared;
        let (mut parts, body) = response.into_parts();
        let policy = storable(&Method::GET, &self.request, parts.status, &parts.headers, &times);
        let fits = fits(&body, shared.object_bytes_max);
        pass_on(&mut parts.headers, &self.worker);
        let status = match (&self.stale, policy.is_ok() && fits) {
            (None, true) => "headroom; fwd=miss; stored",
            (None, false) => "headroom; fwd=miss",
            (Some(_), true) => "headroom; fwd=stale; stored",
            (Some(_), false) => "headroom; fwd=stale",
        };
        let Some(policy) = policy.ok().filter(|_| fits) else {
            if !parts.status.is_server_error() {
                shared.cache.remove(self.lead.key());
            }
            drop(self.lead);
            let response = Response::from_parts(parts, Source::Origin(body));
            drop(tell.send(Ok(Filled::Response(response, status))));
            return;
        };
        let (pieces, received) = mpsc::unbounded_channel();
        let (code, headers) = (parts.status, parts.headers.clone());
        let response = Response::from_parts(parts, Source::Fill(received));
        drop(tell.send(Ok(Filled::Response(response, status))));
        let storing = Storing { lead: self.lead, status: code, headers, policy, times };
        storing.store(&self.worker, body, &pieces).await;
    }
}

impl Storing {
    /// Reads the body to its end and stores it. A body that is cut off, or longer than what is
    /// stored, is not.
    #[tracing::instrument(level = "trace", skip_all)]
    async fn store(
        self,
        worker: &Worker,
        mut body: TimedBody,
        visitor: &mpsc::UnboundedSender<Piece>,
    ) {
        let shared = &worker.shared;
        let mut content = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = match frame.map(|frame| frame.into_data()) {
                Ok(Ok(data)) => data,
                // Trailers are not stored.
                Ok(Err(_)) => continue,
                Err(error) => {
                    tracing::debug!(%error, "a response is not stored");
                    drop(visitor.send(Piece::Failed(error)));
                    return;
                }
            };
            content.extend_from_slice(&data);
            drop(visitor.send(Piece::Data(data)));
            if u64::try_from(content.len()).unwrap_or(u64::MAX) > shared.object_bytes_max {
                drop(self.lead);
                drop(visitor.send(Piece::Rest(body)));
                return;
            }
        }
        content.shrink_to_fit();
        let (body, Self { lead, status, headers, policy, times }) = (Bytes::from(content), self);
        let object = StoredObject::new(status, &headers, body, policy, times);
        lead.store(Arc::new(object), &shared.cache);
        drop(visitor.send(Piece::End));
    }
}

/// A response that another request has just stored, if it is fresh for this one too.
fn collapsed(parts: &Parts, object: &StoredObject) -> Option<Response<EdgeBody>> {
    match object.policy.decide(&parts.headers, headroom_clock::now()) {
        Decision::Fresh { age } => {
            Some(stored_reply(parts, object, age, "headroom; fwd=miss; collapsed"))
        }
        _ => None,
    }
}

/// True if a body's end can be told from its being cut off, and it is not known to be too large.
/// A body that ends with its connection is never known to be whole.
fn fits(body: &TimedBody, max: u64) -> bool {
    match body.size_hint().exact() {
        Some(length) => length <= max,
        None => body.is_delimited(),
    }
}

/// Makes an origin's head one of ours.
fn pass_on(headers: &mut HeaderMap, worker: &Worker) {
    remove_hop_by_hop(headers);
    respond::add_via(headers, &worker.shared.via);
}

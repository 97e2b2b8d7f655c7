//! One request from its head to its response: the phases, in order.
//!
//! [`Worker::serve`] is the whole way; each phase is one function of the phase's name. What has to
//! do with origins (fetch, store) stands in [`crate::fetch`].

use std::{borrow::Cow, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use headroom_cache::{CacheKey, Decision, QueryRule, RequestDirectives, Scheme, not_modified};
use headroom_steer::{OverShare, client_prefix};
use headroom_units::{HostName, Timestamp};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CACHE_CONTROL, CONTENT_LENGTH, ETAG, LAST_MODIFIED},
    request::Parts,
};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::{
    access_log::{AccessLog, Asked, Record},
    body::EdgeBody,
    cache::{Cache, StoredObject},
    fill::Fills,
    meter::{Account, ThreadMeter},
    metrics::{EdgeMetrics, Outcome},
    origin::{Origins, UpstreamHead},
    request,
    respond::{self, Refusal},
    table::{ServedSite, Table, Verdict},
    trace::TraceContext,
};

/// What all threads of an edge share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) cache: Cache,
    pub(crate) fills: Arc<Fills>,
    pub(crate) metrics: EdgeMetrics,
    /// What this edge writes into `Via`, and knows itself by.
    pub(crate) via: HeaderValue,
    pub(crate) object_bytes_max: u64,
    /// How long a request waits for another that fetches the same.
    pub(crate) follow_max: Duration,
}

/// One serving thread.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) counts: Arc<ThreadMeter>,
    pub(crate) origins: Origins,
    pub(crate) log: Option<AccessLog>,
}

/// A request that is known and judged.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) now: Timestamp,
    pub(crate) peer: IpAddr,
    pub(crate) host: HostName,
    pub(crate) site: Arc<ServedSite>,
    /// Known from the start if it is logged.
    pub(crate) trace: Option<TraceContext>,
    verdict: Verdict,
}

impl Visit {
    /// Whose traffic it is.
    pub(crate) fn account(&self) -> Account {
        match self.verdict {
            Verdict::Own => Account::Own,
            Verdict::Purchased(contract) => Account::Contract(contract),
            Verdict::OverShare | Verdict::NoContract => Account::Nobody,
        }
    }

    /// The head of the request to an origin, with the trace it belongs to.
    pub(crate) fn upstream_head(
        &self,
        parts: &Parts,
        via: &HeaderValue,
    ) -> Result<UpstreamHead, Refusal> {
        let mut head = request::upstream_head(parts, &self.host, self.peer, via)?;
        let new = || TraceContext::of(&parts.headers, || fastrand::u64(..));
        self.trace.unwrap_or_else(new).pass_on(&mut head.headers);
        Ok(head)
    }
}

/// A response and how it came about; or why there is none.
pub(crate) type Reply = Result<(Outcome, Response<EdgeBody>), Refusal>;

/// What to do with a request that may use the cache.
enum Decided {
    Serve(Arc<StoredObject>, Duration),
    /// Ask the origin; about this object, if there is one.
    Fetch(Option<Arc<StoredObject>>),
    NotCached,
}

impl Worker {
    /// Serves one request.
    pub(crate) async fn serve(
        self: Arc<Self>,
        peer: IpAddr,
        request: Request<Incoming>,
    ) -> Response<EdgeBody> {
        let now = headroom_clock::now();
        let trace =
            self.log.as_ref().map(|_| TraceContext::of(request.headers(), || fastrand::u64(..)));
        let begun = self.log.as_ref().zip(trace);
        let mut record = begun.map(|(log, trace)| log.begin(Asked::of(&request, peer, now, trace)));
        let visit = match self.receive(peer, &request, now) {
            Ok(visit) => Visit { trace, ..visit },
            Err(refusal) => {
                self.shared.metrics.count(refusal.outcome());
                return logged(record, refusal.outcome(), refusal.response());
            }
        };
        if let Some(record) = &mut record {
            record.judged(&visit.site, visit.account());
        }
        let (parts, body) = request.into_parts();
        let body = (!body.is_end_stream()).then_some(body);
        let reply = match visit.verdict {
            Verdict::OverShare | Verdict::NoContract => self.turn_away(&visit, parts, body).await,
            Verdict::Own | Verdict::Purchased(_) => self.answer(&visit, parts, body).await,
        };
        let (outcome, response) =
            reply.unwrap_or_else(|refusal| (refusal.outcome(), refusal.response()));
        logged(record, outcome, self.send(&visit, outcome, response))
    }

    /// The phases before the request's way divides: all without waiting, on one table.
    fn receive(
        &self,
        peer: IpAddr,
        request: &Request<Incoming>,
        now: Timestamp,
    ) -> Result<Visit, Refusal> {
        let host = self.accept(request)?;
        let table = self.shared.table.load();
        let (host, site) = identify(&table, &host)?;
        let verdict = self.admit(&table, site, peer, now);
        Ok(Visit { now, peer, host: host.clone(), site: Arc::clone(site), trace: None, verdict })
    }

    #[tracing::instrument(level = "trace", skip_all)]
    fn accept<'r>(&self, request: &'r Request<Incoming>) -> Result<Cow<'r, str>, Refusal> {
        request::host_of(request.method(), request.uri(), request.headers(), &self.shared.via)
    }

    #[tracing::instrument(level = "trace", skip_all)]
    fn admit(&self, table: &Table, site: &ServedSite, peer: IpAddr, now: Timestamp) -> Verdict {
        self.counts.count(now, |counts| {
            if site.is_operators() {
                counts.own_request();
            } else {
                counts.client(&site.id, client_prefix(peer, u8::MAX), 1);
            }
            table.admit(site, now, |contract, asked| counts.asked(contract, asked))
        })
    }

    /// Over the share: back to the purchaser, as the site says. Without a contract only by a
    /// redirect: who has bought nothing is not proxied.
    async fn turn_away(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Parts,
        body: Option<Incoming>,
    ) -> Reply {
        let policy = match visit.verdict {
            Verdict::NoContract => OverShare::Redirect,
            _ => visit.site.over_share,
        };
        match policy {
            OverShare::Redirect => {
                let target = parts.uri.path_and_query();
                let target = target.ok_or(Refusal::Bad("the target is not served"))?;
                Ok((Outcome::Redirected, respond::redirect(&visit.site.fallback, target)))
            }
            OverShare::PassThrough => {
                let (_, response) =
                    self.forward(visit, parts, body, "headroom; fwd=bypass").await?;
                Ok((Outcome::PassedThrough, response))
            }
        }
    }

    /// From the cache, or from the origin through the cache, or past the cache.
    async fn answer(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Parts,
        body: Option<Incoming>,
    ) -> Reply {
        if !request::may_use_cache(&parts, body.is_some()) {
            let known = parts.method == Method::GET || parts.method == Method::HEAD;
            let status = if known { "headroom; fwd=request" } else { "headroom; fwd=method" };
            return self.forward(visit, parts, body, status).await;
        }
        let key = key(visit, &parts.uri);
        let stored = self.look_up(&key);
        match decide(stored, &parts.headers, visit.now) {
            Decided::Serve(object, age) => {
                Ok((Outcome::Hit, stored_reply(&parts, &object, age, "headroom; hit")))
            }
            Decided::NotCached => Err(Refusal::NotCached),
            Decided::Fetch(stale) if request::may_fill(&parts) => {
                self.fill(visit, &key, parts, stale).await
            }
            Decided::Fetch(Some(_)) => {
                self.forward(visit, parts, body, "headroom; fwd=stale").await
            }
            Decided::Fetch(None) => self.forward(visit, parts, body, "headroom; fwd=miss").await,
        }
    }

    #[tracing::instrument(level = "trace", skip_all)]
    fn look_up(&self, key: &CacheKey) -> Option<Arc<StoredObject>> {
        self.shared.cache.get(key)
    }

    /// Hands the response over to the connection, and counts what is at hand of it.
    #[tracing::instrument(level = "trace", skip_all)]
    fn send(
        &self,
        visit: &Visit,
        outcome: Outcome,
        response: Response<EdgeBody>,
    ) -> Response<EdgeBody> {
        let hit = outcome == Outcome::Hit;
        // A hit is sent in the moment it came; anything else took its time.
        let now = if hit { visit.now } else { headroom_clock::now() };
        let bytes = respond::bytes_at_hand(&response);
        self.meter(visit.account(), hit, u64::try_from(bytes).unwrap_or(u64::MAX), now);
        self.shared.metrics.count(outcome);
        response
    }

    /// Counts bytes that are sent, and charges them to the contract.
    #[tracing::instrument(level = "trace", skip_all)]
    pub(crate) fn meter(&self, account: Account, hit: bool, bytes: u64, now: Timestamp) {
        self.counts.count(now, |counts| {
            counts.sent(account, bytes);
            if hit {
                counts.hit(account);
            }
        });
        if let Account::Contract(contract) = account {
            self.shared.table.load().charge(contract, bytes, now);
        }
        self.shared.metrics.sent_bytes.inc_by(bytes);
    }
}

/// Ends the record of a request with its response, or with the response's body.
fn logged(
    record: Option<Record>,
    outcome: Outcome,
    mut response: Response<EdgeBody>,
) -> Response<EdgeBody> {
    if let Some(mut record) = record {
        let bytes = respond::bytes_at_hand(&response);
        record.answered(response.status(), outcome, u64::try_from(bytes).unwrap_or(u64::MAX));
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        response.body_mut().ends(record, length);
    }
    response
}

#[tracing::instrument(level = "trace", skip_all)]
fn identify<'t>(table: &'t Table, host: &str) -> Result<&'t (HostName, Arc<ServedSite>), Refusal> {
    table.site(host).ok_or(Refusal::UnknownHost)
}

#[tracing::instrument(level = "trace", skip_all)]
pub(crate) fn key(visit: &Visit, uri: &Uri) -> CacheKey {
    CacheKey::of(&visit.site.id, Scheme::Http, &visit.host, uri, &QueryRule::Keep)
}

#[tracing::instrument(level = "trace", skip_all)]
fn decide(stored: Option<Arc<StoredObject>>, request: &HeaderMap, now: Timestamp) -> Decided {
    let Some(object) = stored else {
        let only_if_cached =
            request.contains_key(CACHE_CONTROL) && RequestDirectives::of(request).only_if_cached;
        return if only_if_cached { Decided::NotCached } else { Decided::Fetch(None) };
    };
    match object.policy.decide(request, now) {
        Decision::Fresh { age } | Decision::Stale { age } => Decided::Serve(object, age),
        Decision::Validate => Decided::Fetch(Some(object)),
        Decision::Miss => Decided::Fetch(None),
        Decision::GatewayTimeout => Decided::NotCached,
    }
}

/// A stored response as the answer to a request: whole, without content for HEAD, or as 304 if the
/// visitor has it.
pub(crate) fn stored_reply(
    parts: &Parts,
    object: &StoredObject,
    age: Duration,
    status: &'static str,
) -> Response<EdgeBody> {
    let response = respond::stored(object, age, parts.method == Method::HEAD);
    let mut response = unless_known(parts, response);
    respond::add_cache_status(response.headers_mut(), status);
    response
}

/// `response`, or 304 if the visitor said it has just that (RFC 9110 §13.2.1: only in place of a
/// success).
pub(crate) fn unless_known(parts: &Parts, response: Response<EdgeBody>) -> Response<EdgeBody> {
    let headers = response.headers();
    let known = response.status() == StatusCode::OK
        && not_modified(&parts.headers, headers.get(ETAG), headers.get(LAST_MODIFIED));
    if known { respond::as_not_modified(response) } else { response }
}

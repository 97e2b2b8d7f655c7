//! One request from its head to its response: the phases, in order.
//!
//! [`Worker::serve`] is the whole way; each phase is one function of the phase's name. What has to
//! do with origins (fetch, store) stands in [`crate::fetch`].

use std::{borrow::Cow, collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use headroom_cache::{CacheKey, Decision, RequestDirectives};
use headroom_steer::{OverShare, client_prefix};
use headroom_units::{HostName, Scheme, Timestamp};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{CACHE_CONTROL, CONTENT_LENGTH, VIA},
    request::Parts,
};

use crate::{
    access_log::{AccessLog, Asked, Record},
    body::{EdgeBody, Source, StoredSource},
    cache::{Cache, Variants},
    connection::{Line, Peer},
    content::RequestBody,
    fill::{Fills, Unshared},
    interim::Interim,
    meter::{Account, Counts, ThreadMeter},
    metrics::{EdgeMetrics, Outcome},
    object::{Segment, StoredObject},
    origin::Origins,
    pulse::Times,
    request,
    respond::{self, Content, Refusal},
    table::{ServedSite, Table, Verdict},
    tls::Tls,
    trace::TraceContext,
    upgrade::{self, Upgrade},
    upstream::{Purpose, UpstreamHead},
    visitors::Visitors,
};

/// What all threads of an edge share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: ArcSwap<Table>,
    pub(crate) cache: Cache,
    pub(crate) fills: Arc<Fills>,
    pub(crate) unshared: Unshared,
    pub(crate) metrics: EdgeMetrics,
    /// What this edge writes into `Via`, and knows itself by.
    pub(crate) via: HeaderValue,
    /// The largest response in memory, and on disk.
    pub(crate) object_bytes_max: u64,
    pub(crate) disk_body_max: u64,
    /// How long a request waits for another that fetches the same.
    pub(crate) follow_max: Duration,
    /// The connections there are.
    pub(crate) visitors: Arc<Visitors>,
    /// Without it, visitors are served in the clear only.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long visitors are waited for.
    pub(crate) times: Times,
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
    pub(crate) peer: Peer,
    pub(crate) scheme: Scheme,
    pub(crate) host: HostName,
    pub(crate) site: Arc<ServedSite>,
    /// Known from the start if it is logged.
    pub(crate) trace: Option<TraceContext>,
    verdict: Verdict,
    /// Known from the start if the visitor asks plainly: then it was looked up already.
    key: Option<CacheKey>,
    /// Where interim responses go, if the visitor can get them.
    interim: Option<Interim>,
}

impl Visit {
    pub(crate) fn new(
        peer: Peer,
        host: &HostName,
        site: &Arc<ServedSite>,
        verdict: Verdict,
        now: Timestamp,
    ) -> Self {
        let (host, site) = (host.clone(), Arc::clone(site));
        let scheme = peer.scheme;
        Self { now, peer, scheme, host, site, trace: None, verdict, key: None, interim: None }
    }

    /// The same of a request that asks plainly, with its key, which was looked up already.
    pub(crate) fn asking_plainly(self, key: CacheKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// True if it is known to be a GET or HEAD without content that any fresh response answers: no
    /// field of it says how a stored response may be used, so none has to be looked for.
    pub(crate) fn asks_plainly(&self) -> bool {
        self.key.is_some()
    }

    /// True if it may be tunnelled in another protocol.
    fn may_upgrade(&self) -> bool {
        self.site.may_upgrade() && self.account() != Account::Nobody
    }

    /// Whose traffic it is.
    pub(crate) fn account(&self) -> Account {
        self.verdict.account()
    }

    /// The head of the request to an origin, with the trace it belongs to.
    pub(crate) fn upstream_head(
        &self,
        parts: &Parts,
        via: &HeaderValue,
        purpose: Purpose,
    ) -> Result<UpstreamHead, Refusal> {
        let head = UpstreamHead::of(parts, &self.host, purpose);
        let mut head = head.ok_or(Refusal::Bad("the target is not served"))?;
        head.add_forwarded(&self.host, self.peer);
        head.add(VIA.as_str(), via.as_bytes());
        let new = || TraceContext::of(&parts.headers, || fastrand::u64(..));
        self.trace.unwrap_or_else(new).pass_on(&parts.headers, &mut head);
        head.interim = self.interim.clone();
        Ok(head)
    }
}

/// A response and how it came about; or why there is none.
pub(crate) type Reply = Result<(Outcome, Response<EdgeBody>), Refusal>;

/// What to do with a request that may use the cache.
pub(crate) enum Decided {
    Serve(Arc<StoredObject>, Duration),
    /// The same, and renew it behind the visitor's back.
    ServeAndRefresh(Arc<StoredObject>, Duration),
    /// Ask the origin; about this object, if there is one.
    Fetch(Option<Arc<StoredObject>>),
    NotCached,
}

impl Worker {
    /// Serves one request; `visit` is what is known of it already. Interim responses go to `interim`.
    ///
    /// What needs no wait is done before the future is made, so that it holds only what is left.
    pub(crate) fn serve(
        self: Arc<Self>,
        line: &Arc<Line>,
        mut request: Request<Option<RequestBody>>,
        visit: Option<Visit>,
        interim: Option<Interim>,
    ) -> impl Future<Output = Response<EdgeBody>> + Send + use<> {
        let now = visit.as_ref().map_or_else(headroom_clock::now, |visit| visit.now);
        let trace =
            self.log.as_ref().map(|_| TraceContext::of(request.headers(), || fastrand::u64(..)));
        let mut record = self.log.as_ref().zip(trace).map(|(log, trace)| {
            Box::new(log.begin(Asked::of(&request, line.peer.address, now, trace)))
        });
        let received = visit.map_or_else(|| self.receive(line, &request, now), Ok);
        let visit = received.map(|visit| Visit { trace, interim, ..visit });
        if let (Some(record), Ok(visit)) = (&mut record, &visit) {
            record.judged(&visit.site, visit.account());
        }
        let may_upgrade = visit.as_ref().is_ok_and(Visit::may_upgrade);
        let upgrade = may_upgrade.then(|| upgrade::asked(&request)).flatten();
        let upgrade = upgrade.map(|protocol| {
            Box::new(Upgrade {
                protocol,
                visitor: hyper::upgrade::on(&mut request),
                line: Arc::clone(line),
            })
        });
        let (parts, body) = request.into_parts();
        let parts = Arc::new(parts);
        async move {
            let visit = match visit {
                Ok(visit) => visit,
                Err(refusal) => {
                    self.shared.metrics.count(refusal.outcome());
                    return logged(record, refusal.outcome(), refusal.response());
                }
            };
            let reply = match visit.verdict {
                Verdict::OverShare | Verdict::NoContract => {
                    Box::pin(self.turn_away(&visit, parts, body)).await
                }
                Verdict::Own | Verdict::Purchased(_) => match upgrade {
                    Some(upgrade) => Box::pin(self.upgrade(&visit, &parts, *upgrade)).await,
                    None => self.answer(&visit, parts, body).await,
                },
            };
            let (outcome, response) =
                reply.unwrap_or_else(|refusal| (refusal.outcome(), refusal.response()));
            logged(record, outcome, self.send(&visit, outcome, response))
        }
    }

    /// The phases before the request's way divides: all without waiting, on one table.
    fn receive(
        &self,
        line: &Line,
        request: &Request<Option<RequestBody>>,
        now: Timestamp,
    ) -> Result<Visit, Refusal> {
        let host = self.accept(line.peer.scheme, request)?;
        let table = self.shared.table.load();
        let (host, site) = identify(&table, &host, line.server_name.as_deref())?;
        let verdict = self
            .counts
            .count(now, |counts| self.admit(counts, &table, site, line.peer.address, now));
        Ok(Visit::new(line.peer, host, site, verdict, now))
    }

    #[tracing::instrument(level = "trace", skip_all)]
    fn accept<'r>(
        &self,
        scheme: Scheme,
        request: &'r Request<Option<RequestBody>>,
    ) -> Result<Cow<'r, str>, Refusal> {
        request::host_of(request, scheme, &self.shared.via)
    }

    #[tracing::instrument(level = "trace", skip_all)]
    pub(crate) fn admit(
        &self,
        counts: &mut Counts,
        table: &Table,
        site: &ServedSite,
        peer: IpAddr,
        now: Timestamp,
    ) -> Verdict {
        if site.is_operators() {
            counts.own_request();
        } else {
            counts.client(&site.id, client_prefix(peer, u8::MAX), 1);
        }
        table.admit(site, now, |contract, asked| counts.asked(contract, asked))
    }

    /// Over the share: back to the purchaser, as the site says. Without a contract only by a
    /// redirect or a refusal: who has bought nothing is not proxied.
    async fn turn_away(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Arc<Parts>,
        body: Option<RequestBody>,
    ) -> Reply {
        let policy = match visit.verdict {
            Verdict::NoContract if visit.site.over_share == OverShare::PassThrough => {
                OverShare::Redirect
            }
            _ => visit.site.over_share,
        };
        match policy {
            OverShare::Redirect => {
                let target = parts.uri.path_and_query();
                let target = target.ok_or(Refusal::Bad("the target is not served"))?;
                Ok((
                    Outcome::Redirected,
                    respond::redirect(visit.peer.scheme, &visit.site.fallback, target),
                ))
            }
            OverShare::PassThrough => {
                let (_, response) =
                    self.forward(visit, parts, body, "headroom; fwd=bypass").await?;
                Ok((Outcome::PassedThrough, response))
            }
            OverShare::Refuse => Err(Refusal::OverShare),
        }
    }

    /// From the cache, or from the origin through the cache, or past the cache. What is not a fill
    /// is boxed, so that the future is not as large as the largest.
    async fn answer(
        self: &Arc<Self>,
        visit: &Visit,
        parts: Arc<Parts>,
        body: Option<RequestBody>,
    ) -> Reply {
        let plainly = visit.asks_plainly();
        if !plainly && !request::may_use_cache(&parts, body.is_some()) {
            let known = parts.method == Method::GET || parts.method == Method::HEAD;
            let why = if known { "headroom; fwd=request" } else { "headroom; fwd=method" };
            return Box::pin(self.forward(visit, parts, body, why)).await;
        }
        let key = visit.key.clone().unwrap_or_else(|| key_of(visit, &parts.uri));
        let stored = self.look_up(visit, &key).await;
        let decided = match &stored {
            None if plainly => Decided::Fetch(None),
            stored => decide(stored.as_ref(), &parts.headers, visit.now),
        };
        match decided {
            Decided::Serve(object, age) => {
                let response = self.stored_reply(visit, &parts, &object, age, respond::HIT);
                Ok((Outcome::Hit, response))
            }
            Decided::ServeAndRefresh(object, age) => {
                self.refresh(visit, &key, &parts, &object);
                let response = self.stored_reply(visit, &parts, &object, age, respond::HIT);
                Ok((Outcome::Stale, response))
            }
            Decided::NotCached => Err(Refusal::NotCached),
            Decided::Fetch(stale)
                if plainly && parts.method == Method::GET
                    || request::may_fill(&parts, stale.is_some()) =>
            {
                self.fill(visit, &key, parts, stale).await
            }
            Decided::Fetch(stale) => {
                let why = forwarded_because(stale.is_some());
                Box::pin(self.forward(visit, parts, body, why)).await
            }
        }
    }

    /// What is stored, was not purged, and is whole: in memory, or on disk.
    #[tracing::instrument(level = "trace", skip_all)]
    async fn look_up(&self, visit: &Visit, key: &CacheKey) -> Option<Variants> {
        let cache = &self.shared.cache;
        let mut found = match cache.get(key) {
            Some(variants) => variants,
            None if cache.may_be_on_disk(key) => Box::pin(cache.get_from_disk(key)).await?,
            None => return None,
        };
        let is_gone = |object: &&Arc<StoredObject>| {
            visit.site.is_purged(key, object) || !cache.has_body(object)
        };
        while let Some(object) = found.as_slice().iter().find(is_gone).cloned() {
            cache.remove_variant(key, &object);
            found = found.without(&object)?;
        }
        Some(found)
    }

    /// A stored response as the answer to a request: whole, in part, without content for HEAD, or
    /// as 304 if the visitor has it.
    pub(crate) fn stored_reply(
        self: &Arc<Self>,
        visit: &Visit,
        parts: &Parts,
        object: &Arc<StoredObject>,
        age: Duration,
        why: &'static str,
    ) -> Response<EdgeBody> {
        let mut response = respond::stored(parts, object, age).map(|content| match content {
            Content::None => EdgeBody::empty(),
            Content::Whole(bytes) => EdgeBody::whole(bytes),
            Content::Segments(segments) => {
                EdgeBody::streamed(self.stored(segments), self.tally(visit))
            }
        });
        respond::add_cache_status(response.headers_mut(), why);
        response
    }

    /// Hands the response over to the connection, and counts and pays what is at hand of it.
    #[tracing::instrument(level = "trace", skip_all)]
    fn send(
        self: &Arc<Self>,
        visit: &Visit,
        outcome: Outcome,
        mut response: Response<EdgeBody>,
    ) -> Response<EdgeBody> {
        let hit = outcome == Outcome::Hit;
        // A hit is sent in the moment it came; anything else took its time.
        let now = if hit { visit.now } else { headroom_clock::now() };
        let interim = visit.interim.as_ref().map_or(0, Interim::bytes);
        let head = respond::head_bytes(response.headers()) + interim;
        let body = match response.body() {
            EdgeBody::Whole(Some(bytes)) => bytes.len(),
            EdgeBody::Whole(None) | EdgeBody::Streamed(_) => 0,
        };
        let account = visit.account();
        let mut bytes = u64::try_from(head + body).unwrap_or(u64::MAX);
        if let Account::Contract(contract) = account {
            let table = self.shared.table.load();
            if !table.pay_egress(contract, bytes, now) {
                // Too much for now: the head goes, the body when there is room for it.
                bytes = u64::try_from(head).unwrap_or(u64::MAX);
                table.charge(contract, bytes, now);
                response = response.map(|body| self.paced(visit, body));
            }
        }
        self.counts.count(now, |counts| self.meter(counts, account, hit, bytes));
        self.shared.metrics.count(outcome);
        response
    }

    fn paced(self: &Arc<Self>, visit: &Visit, body: EdgeBody) -> EdgeBody {
        match body {
            EdgeBody::Whole(Some(bytes)) => {
                EdgeBody::streamed(self.stored([Segment::Bytes(bytes)].into()), self.tally(visit))
            }
            EdgeBody::Whole(None) | EdgeBody::Streamed(_) => body,
        }
    }

    fn stored(&self, segments: VecDeque<Segment>) -> Source {
        Source::Stored(StoredSource::new(segments, self.shared.cache.disk()))
    }

    /// Counts bytes that are sent and paid.
    #[tracing::instrument(level = "trace", skip_all)]
    pub(crate) fn meter(&self, counts: &mut Counts, account: Account, hit: bool, bytes: u64) {
        counts.sent(account, bytes);
        if hit {
            counts.hit(account);
        }
        self.shared.metrics.sent_bytes.inc_by(bytes);
    }
}

/// What `Cache-Status` says of a response that is not stored, beside a stale one or not.
pub(crate) fn forwarded_because(is_stale: bool) -> &'static str {
    if is_stale { "headroom; fwd=stale" } else { "headroom; fwd=miss" }
}

/// Ends the record of a request with its response, or with the response's body.
fn logged(
    record: Option<Box<Record>>,
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

/// The site of `host`. It has to be that of the name the visitor asked for in TLS, whose
/// certificate it checked (RFC 9110 §7.4).
#[tracing::instrument(level = "trace", skip_all)]
pub(crate) fn identify<'t>(
    table: &'t Table,
    host: &str,
    server_name: Option<&str>,
) -> Result<&'t (HostName, Arc<ServedSite>), Refusal> {
    let found = table.site(host).ok_or(Refusal::UnknownHost)?;
    match server_name {
        Some(name) if name != host => {
            let same = table.site(name).is_some_and(|(_, named)| named.id == found.1.id);
            same.then_some(found).ok_or(Refusal::UnknownHost)
        }
        _ => Ok(found),
    }
}

#[tracing::instrument(level = "trace", skip_all)]
pub(crate) fn key_of(visit: &Visit, uri: &Uri) -> CacheKey {
    CacheKey::of(&visit.site.id, visit.scheme, &visit.host, uri, visit.site.query_rule())
}

#[tracing::instrument(level = "trace", skip_all)]
pub(crate) fn decide(stored: Option<&Variants>, request: &HeaderMap, now: Timestamp) -> Decided {
    let Some(object) = stored.and_then(|variants| variants.select(request)) else {
        let only_if_cached =
            request.contains_key(CACHE_CONTROL) && RequestDirectives::of(request).only_if_cached;
        return if only_if_cached { Decided::NotCached } else { Decided::Fetch(None) };
    };
    let object = Arc::clone(object);
    match object.policy.decide(request, now) {
        Decision::Fresh { age } | Decision::Stale { age } => Decided::Serve(object, age),
        Decision::StaleWhileRevalidate { age } => Decided::ServeAndRefresh(object, age),
        Decision::Validate => Decided::Fetch(Some(object)),
        Decision::Miss => Decided::Fetch(None),
        Decision::GatewayTimeout => Decided::NotCached,
    }
}

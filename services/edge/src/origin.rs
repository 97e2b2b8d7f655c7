//! The way to the purchasers' origin servers: which one, over which connection, how often, how
//! long.
//!
//! ```text
//!  order     the healthy ones in turn, then those set aside, the least recently failed first
//!  connect   a kept connection, or a new one: resolve ─► deny list ─► TCP ─► TLS
//!  send      HTTP/1.1, or HTTP/2 if TLS agreed on it
//!  answer    the head in time; its body in [`TimedBody`]
//!            no answer: the next one, if nothing was sent or it may be sent again
//! ```
//!
//! It decides nothing about caching. Each thread has its own connections, so that none wanders
//! between threads.

mod body;
mod connect;
mod deny;
mod health;
mod pool;
mod tls;

use std::{
    error::Error as _,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub(crate) use body::{BodyError, TimedBody};
use bytes::Bytes;
use connect::{ConnectError, Connected, Connector, Names};
use headroom_units::Origin;
use http::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
    uri::PathAndQuery,
};
use http_body_util::{Either, Empty};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pool::{Connection, Key, Places, Pool, Stream};
pub(crate) use tls::OriginTls;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{EdgeConfig, limits, proxy::Shared, respond, table::ServedSite};

/// What is sent to an origin as a body.
type UpstreamBody = Either<Empty<Bytes>, TimedBody>;

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no origin server can be reached")]
    Unreachable,
    #[error("no origin server could be reached in time")]
    ConnectTimeout,
    #[error("the origin server did not answer in time")]
    Timeout,
    #[error("the request's content did not come, or not in time")]
    Upload,
    #[error("the origin server's response is not sound")]
    Unsound,
}

/// The head of a request as it goes to an origin.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamHead {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
}

/// The way of one thread to all origins.
#[derive(Debug)]
pub(crate) struct Origins {
    connector: Connector,
    pool: Arc<Pool>,
    /// How long an origin may take to begin its response, and to go on with it.
    response_max: Duration,
    /// The origins are begun with in turn.
    turn: AtomicUsize,
}

/// A request that got no response.
struct Failure {
    error: FetchError,
    /// The request, if nothing of it was sent.
    unsent: Option<Box<Request<UpstreamBody>>>,
    /// Whether it speaks against the origin.
    counts: bool,
}

impl Origins {
    pub(crate) fn new(config: &EdgeConfig, tls: OriginTls, shared: Arc<Shared>) -> Self {
        let response_max = config.origin_response_timeout;
        let connector = Connector {
            tls,
            denied: shared.metrics.origins_denied.clone(),
            is_fleet: Box::new(move |address| shared.table.load().is_fleet(address)),
            allow_private: config.allow_private_origins,
            step_max: config.origin_connect_timeout,
            send_silence_max: response_max,
            names: Names::System,
        };
        Self { connector, pool: Arc::default(), response_max, turn: AtomicUsize::new(0) }
    }

    /// The response to a request without a body. If the method is idempotent, one origin after
    /// the other is tried, and the first once more: a kept connection may have closed under the
    /// request.
    pub(crate) async fn fetch(
        &self,
        site: &ServedSite,
        head: &UpstreamHead,
    ) -> Result<Response<TimedBody>, FetchError> {
        let repeat = || request(head.clone(), Either::Left(Empty::new()));
        let again = head.method.is_idempotent().then_some(&repeat as &(dyn Fn() -> _ + Sync));
        self.ask_in_order(site, repeat(), again, Some(self.response_max)).await
    }

    /// The response to a request with a body, which can be sent only once.
    pub(crate) async fn fetch_with(
        &self,
        site: &ServedSite,
        head: UpstreamHead,
        body: Incoming,
    ) -> Result<Response<TimedBody>, FetchError> {
        let (progress, progressed) = watch::channel(());
        let body = TimedBody::of_request(body, limits::UPLOAD_SILENCE_MAX, progress);
        let request = request(head, Either::Right(body));
        tokio::select! {
            answer = self.ask_in_order(site, request, None, None) => answer,
            () = self.late(progressed) => Err(FetchError::Timeout),
        }
    }

    /// Ends when the origin took too long to take the next piece of a body, or to answer after the
    /// last. The body is sent at the visitor's pace, and has a time of its own for that.
    async fn late(&self, mut progressed: watch::Receiver<()>) {
        let piece_max = limits::UPLOAD_SILENCE_MAX + self.response_max;
        loop {
            match timeout(piece_max, progressed.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return tokio::time::sleep(self.response_max).await,
                Err(_) => return,
            }
        }
    }

    /// Asks one origin after the other until one answers. After a request that was sent it goes on
    /// only if `again` makes another.
    async fn ask_in_order(
        &self,
        site: &ServedSite,
        request: Request<UpstreamBody>,
        again: Option<&(dyn Fn() -> Request<UpstreamBody> + Sync)>,
        head_max: Option<Duration>,
    ) -> Result<Response<TimedBody>, FetchError> {
        let order = self.order(site);
        let tries = order.len() + 1;
        let mut next = Some(request);
        let mut result = Err(FetchError::Unreachable);
        for (tried, key) in order.iter().cycle().take(tries).enumerate() {
            let Some(request) = next.take() else { break };
            self.pool.with_health(key, Instant::now(), |health| health.asked(Instant::now()));
            let failure = match self.ask(key, request, tried > 0, head_max).await {
                Ok(response) => {
                    self.judge(key, !is_failing(response.status()), "it says that it cannot");
                    return Ok(response);
                }
                Err(failure) => failure,
            };
            if failure.counts {
                self.judge(key, false, failure.error);
            }
            result = Err(failure.error);
            let gone =
                matches!(failure.error, FetchError::Unreachable | FetchError::ConnectTimeout);
            let unsent = failure.unsent.map(|unsent| *unsent);
            next = unsent.or_else(|| again.filter(|_| gone).map(|again| again()));
        }
        result
    }

    /// The healthy origins from the one whose turn it is on, then those that are set aside.
    fn order(&self, site: &ServedSite) -> Vec<Key> {
        let now = Instant::now();
        let key = |origin: &Origin| Key { site: site.id.clone(), origin: origin.clone() };
        let (mut well, mut aside) = (Vec::new(), Vec::new());
        for key in site.origins.iter().map(key) {
            let health = self.pool.health(&key);
            if health.is_available(now) {
                well.push(key);
            } else {
                aside.push((health.last_failure(), key));
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(well.len()).unwrap_or_default();
        well.rotate_left(first);
        aside.sort_by_key(|(failed, _)| *failed);
        well.extend(aside.into_iter().map(|(_, key)| key));
        well
    }

    fn judge(&self, key: &Key, good: bool, why: impl std::fmt::Display) {
        let now = Instant::now();
        let aside = self.pool.with_health(key, now, |health| match good {
            true => {
                health.succeeded();
                false
            }
            false => health.failed(now),
        });
        if aside {
            tracing::warn!(site = %key.site, origin = %key.origin, %why, "an origin is set aside");
        }
    }

    /// Asks one origin: over kept connections as long as they turn out to be closed, then over a
    /// new one; at once over a new one if it is `anew`.
    async fn ask(
        &self,
        key: &Key,
        mut request: Request<UpstreamBody>,
        anew: bool,
        head_max: Option<Duration>,
    ) -> Result<Response<TimedBody>, Failure> {
        let kept = || if anew { None } else { self.pool.take(key, Instant::now()) };
        while let Some(connection) = kept() {
            match self.send(key, connection, request, head_max).await {
                Err(Failure { unsent: Some(unsent), .. }) => request = *unsent,
                // What happened to a kept connection says nothing of the origin, but a timeout.
                Err(failure) => {
                    let counts = failure.error != FetchError::Unreachable && failure.counts;
                    return Err(Failure { counts, ..failure });
                }
                Ok(response) => return Ok(response),
            }
        }
        match self.connect(key).await {
            Ok(connection) => self.send(key, connection, request, head_max).await,
            Err(error) => {
                tracing::debug!(site = %key.site, origin = %key.origin, %error, "not reached");
                Err(Failure {
                    error: error.meaning(),
                    unsent: Some(Box::new(request)),
                    counts: true,
                })
            }
        }
    }

    async fn connect(&self, key: &Key) -> Result<Connection, ConnectError> {
        let connected = self.connector.connect(&key.origin, true).await;
        if let Err(ConnectError::Denied(address, reason)) = &connected
            && self.pool.health(key).last_failure().is_none()
        {
            // Told once, and not with each request.
            tracing::warn!(site = %key.site, origin = %key.origin, %address, reason, "denied");
        }
        let Connected { stream, h2 } = connected?;
        let stream = TokioIo::new(stream);
        let failed = |error| ConnectError::Connect(std::io::Error::other(error));
        if h2 {
            let (sender, mut driver) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_header_list_size(limits::ORIGIN_HEADER_LIST_BYTES_MAX)
                .initial_stream_window_size(limits::ORIGIN_HTTP2_STREAM_WINDOW)
                .initial_connection_window_size(limits::ORIGIN_HTTP2_CONNECTION_WINDOW)
                .keep_alive_interval(limits::ORIGIN_PING_EVERY)
                .keep_alive_timeout(self.response_max)
                .handshake(stream)
                .await
                .map_err(failed)?;
            let places = Places::new();
            let told = Arc::clone(&places);
            tokio::spawn(poll_fn(move |cx| {
                let ended = Pin::new(&mut driver).poll(cx);
                told.limit(driver.current_max_send_streams());
                ended
            }));
            return Ok(self.pool.keep_http2(key, sender, places, Instant::now()));
        }
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .handshake(stream)
            .await
            .map_err(failed)?;
        tokio::spawn(driver);
        Ok(Connection::Http1(sender))
    }

    /// The response to a request without a body that may change the protocol (RFC 9110 §7.8), from
    /// the first origin that can be reached, over an HTTP/1.1 connection of its own.
    pub(crate) async fn fetch_upgrade(
        &self,
        site: &ServedSite,
        head: UpstreamHead,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut result = Err(FetchError::Unreachable);
        for key in self.order(site) {
            match self.connector.connect(&key.origin, false).await {
                Ok(connected) => return self.upgrade_over(connected, head).await,
                Err(error) => {
                    tracing::debug!(site = %key.site, origin = %key.origin, %error, "not reached");
                    self.judge(&key, false, &error);
                    result = Err(error.meaning());
                }
            }
        }
        result
    }

    async fn upgrade_over(
        &self,
        connected: Connected,
        head: UpstreamHead,
    ) -> Result<Response<Incoming>, FetchError> {
        let (mut sender, driver) = http1::Builder::new()
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|_| FetchError::Unreachable)?;
        // It ends with the response's content, or when the connection is given to the tunnel.
        tokio::spawn(driver.with_upgrades());
        let request = request(head, Either::Left(Empty::new()));
        let sent = answered(sender.try_send_request(request), Some(self.response_max)).await;
        sent.map_err(|failure| failure.error)
    }

    async fn send(
        &self,
        key: &Key,
        connection: Connection,
        request: Request<UpstreamBody>,
        head_max: Option<Duration>,
    ) -> Result<Response<TimedBody>, Failure> {
        let (response, stream) = match connection {
            Connection::Http1(mut sender) => {
                let response = answered(sender.try_send_request(request), head_max).await;
                if response.is_ok() {
                    self.keep_when_idle(key, sender);
                }
                (response, None)
            }
            Connection::Http2(mut sender, stream) => {
                let response = match as_http2(request, &key.origin) {
                    Ok(request) => answered(sender.try_send_request(request), head_max).await,
                    Err(error) => Err(Failure { error, unsent: None, counts: false }),
                };
                let back = |failure: Failure| Failure {
                    unsent: failure.unsent.map(|unsent| Box::new(as_http1(*unsent))),
                    ..failure
                };
                (response.map_err(back), Some(stream))
            }
        };
        let taken = |response| self.taken(key, response, stream);
        let unsound = |error| Failure { error, unsent: None, counts: true };
        response.and_then(|response| taken(response).map_err(unsound))
    }

    /// A response with a body that is timed, if its head is sound.
    fn taken(
        &self,
        key: &Key,
        response: Response<Incoming>,
        stream: Option<Stream>,
    ) -> Result<Response<TimedBody>, FetchError> {
        let headers = response.headers();
        let chunked = headers.contains_key(TRANSFER_ENCODING);
        let two_lengths = chunked && headers.contains_key(CONTENT_LENGTH);
        // hyper looks at its own limits only before the head is complete.
        let long = headers.len() > limits::HEADERS_MAX
            || respond::head_bytes(headers) > limits::HEAD_BYTES_MAX;
        if two_lengths || long {
            let (site, origin) = (&key.site, &key.origin);
            tracing::warn!(%site, %origin, two_lengths, long, "an origin's response is not sound");
            return Err(FetchError::Unsound);
        }
        let delimited = chunked
            || response.version() == Version::HTTP_2
            || http_body::Body::size_hint(response.body()).exact().is_some();
        let silence_max = self.response_max;
        Ok(response.map(|body| TimedBody::of_response(body, silence_max, delimited, stream)))
    }

    /// Keeps the connection once the response has come whole.
    fn keep_when_idle(&self, key: &Key, mut sender: http1::SendRequest<UpstreamBody>) {
        let (pool, key) = (Arc::downgrade(&self.pool), key.clone());
        tokio::spawn(async move {
            if sender.ready().await.is_ok()
                && let Some(pool) = pool.upgrade()
            {
                pool.keep_http1(&key, sender, Instant::now());
            }
        });
    }
}

/// A request in the form of HTTP/1.1.
fn request(head: UpstreamHead, body: UpstreamBody) -> Request<UpstreamBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = Uri::from(head.target);
    *request.headers_mut() = head.headers;
    request
}

/// The same for HTTP/2: the host stands in `:authority` (RFC 9113 §8.3.1).
fn as_http2(
    mut request: Request<UpstreamBody>,
    origin: &Origin,
) -> Result<Request<UpstreamBody>, FetchError> {
    let host = request.headers_mut().remove(HOST).ok_or(FetchError::Unsound)?;
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::builder()
        .scheme(origin.scheme.as_str())
        .authority(host.as_bytes())
        .path_and_query(target.unwrap_or_else(|| PathAndQuery::from_static("/")))
        .build()
        .map_err(|_| FetchError::Unsound)?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

/// And back, if it was not sent.
fn as_http1(mut request: Request<UpstreamBody>) -> Request<UpstreamBody> {
    let (uri, headers) = (request.uri().clone(), request.headers_mut());
    if let Some(host) = uri.authority().and_then(|host| host.as_str().try_into().ok()) {
        headers.insert(HOST, host);
    }
    if let Some(target) = uri.path_and_query().cloned() {
        *request.uri_mut() = Uri::from(target);
    }
    *request.version_mut() = Version::HTTP_11;
    request
}

/// True for what an origin says when it cannot serve, whatever is asked.
fn is_failing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

async fn answered(
    sending: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<UpstreamBody>>>>,
    head_max: Option<Duration>,
) -> Result<Response<Incoming>, Failure> {
    let sent = match head_max {
        Some(head_max) => timeout(head_max, sending).await,
        None => Ok(sending.await),
    };
    match sent {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(mut failed)) => {
            let unsent = failed.take_message().map(Box::new);
            let error = meaning(&failed.into_error());
            Err(Failure { error, unsent, counts: error != FetchError::Upload })
        }
        Err(_) => Err(Failure { error: FetchError::Timeout, unsent: None, counts: true }),
    }
}

/// What a failure means for the visitor.
fn meaning(error: &hyper::Error) -> FetchError {
    tracing::debug!(?error, "an origin did not answer");
    let timed_out = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::TimedOut;
    match error {
        _ if error.is_user() => FetchError::Upload,
        _ if error.is_parse() => FetchError::Unsound,
        _ if error.source().and_then(|cause| cause.downcast_ref()).is_some_and(timed_out) => {
            FetchError::Timeout
        }
        _ => FetchError::Unreachable,
    }
}

//! The way to the purchasers' origin servers: which one, over which connection, how often, how
//! long.
//!
//! ```text
//!  order     the healthy ones in turn, then those set aside, the least recently failed first
//!  connect   a kept connection, or a new one: resolve ─► deny list ─► TCP ─► TLS
//!  send      without a body over our own HTTP/1.1; with one, or if TLS agreed on HTTP/2, by hyper
//!  answer    the head in time; its body in [`TimedBody`]
//!            no answer: the next one, if nothing was sent or it may be sent again
//! ```
//!
//! It decides nothing about caching. Each thread has its own connections, so that none wanders
//! between threads.

mod body;
mod connect;
mod health;
mod http1;
mod message;
mod pool;
mod tls;

use std::{
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
use connect::{ConnectError, Connected, Connector, Names, OriginStream};
use health::Health;
use http::{
    Response, StatusCode, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
};
use http_body_util::{Either, Empty};
use http1::{Connection, Lost};
use hyper::{
    body::Incoming,
    client::conn::{http1::Builder as Http1Builder, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use message::{Failure, Message, request};
use pool::{Places, Pool, Sender, Slot, Stream, Way};
use smallvec::SmallVec;
pub(crate) use tls::OriginTls;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::either::Either as EitherFuture;

use crate::{
    EdgeConfig, content::RequestBody, limits, proxy::Shared, respond, table::ServedSite,
    upstream::UpstreamHead,
};

/// What is sent to an origin as a body.
type UpstreamBody = Either<Empty<Bytes>, TimedBody>;

/// An origin's response. In a box, as it goes through many hands: each would copy it.
pub(crate) type OriginResponse = Box<Response<TimedBody>>;

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
    pub(crate) fn fetch(
        &self,
        site: &ServedSite,
        head: &UpstreamHead,
    ) -> impl Future<Output = Result<OriginResponse, FetchError>> + Send {
        self.ask_in_order(site, Message::Head(head))
    }

    /// The response to a request with a body, which can be sent only once.
    pub(crate) async fn fetch_with(
        &self,
        site: &ServedSite,
        head: &UpstreamHead,
        body: RequestBody,
    ) -> Result<OriginResponse, FetchError> {
        let (progress, progressed) = watch::channel(());
        let body = TimedBody::of_request(body, limits::UPLOAD_SILENCE_MAX, progress);
        let request = Message::WithBody(Box::new(request(head, Either::Right(body))));
        tokio::select! {
            answer = self.ask_in_order(site, request) => answer,
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
    /// only if that may be sent again.
    async fn ask_in_order(
        &self,
        site: &ServedSite,
        message: Message<'_>,
    ) -> Result<OriginResponse, FetchError> {
        let mut now = Instant::now();
        let slots = self.pool.slots(&site.id, &site.origins, now);
        let order = self.order(&slots, now);
        let again = message.again();
        let mut next = Some(message);
        let mut error = FetchError::Unreachable;
        for (tried, slot) in order.iter().cycle().take(order.len() + 1).enumerate() {
            let Some(message) = next.take() else { break };
            if tried > 0 {
                now = Instant::now();
            }
            slot.with_health(|health| health.asked(now));
            let kept = if tried > 0 { None } else { Some(now) };
            let failure = match self.ask(slot, message, kept).await {
                Ok(response) if is_failing(response.status()) => {
                    set_back(slot, "it says that it cannot");
                    return Ok(response);
                }
                Ok(response) => {
                    slot.with_health(Health::succeeded);
                    return Ok(response);
                }
                Err(failure) => failure,
            };
            if failure.counts {
                set_back(slot, failure.error);
            }
            error = failure.error;
            let gone =
                matches!(failure.error, FetchError::Unreachable | FetchError::ConnectTimeout);
            let repeated = again.as_ref().filter(|_| gone).and_then(Message::again);
            next = failure.unsent.or(repeated);
        }
        Err(error)
    }

    /// The healthy origins from the one whose turn it is on, then those that are set aside.
    fn order<'s>(&self, slots: &'s [Arc<Slot>], now: Instant) -> SmallVec<[&'s Arc<Slot>; 2]> {
        let (mut well, mut aside) = (SmallVec::new(), Vec::new());
        for slot in slots {
            let health = slot.health();
            if health.is_available(now) {
                well.push(slot);
            } else {
                aside.push((health.last_failure(), slot));
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(well.len()).unwrap_or_default();
        well.rotate_left(first);
        aside.sort_by_key(|(failed, _)| *failed);
        well.extend(aside.into_iter().map(|(_, slot)| slot));
        well
    }

    /// Asks one origin: over connections that were `kept` until now as long as they turn out to be
    /// closed, then over a new one.
    async fn ask<'h>(
        &self,
        slot: &Arc<Slot>,
        mut message: Message<'h>,
        kept: Option<Instant>,
    ) -> Result<OriginResponse, Failure<'h>> {
        while let Some(way) = kept.and_then(|now| slot.take(message.has_body(), now)) {
            match self.send(slot, way, message).await {
                Err(Failure { unsent: Some(unsent), .. }) => message = unsent,
                // What happened to a kept connection says nothing of the origin, but a timeout.
                Err(failure) => {
                    let counts = failure.error != FetchError::Unreachable && failure.counts;
                    return Err(Failure { counts, ..failure });
                }
                Ok(response) => return Ok(response),
            }
        }
        match Box::pin(self.connect(slot)).await {
            Ok(way) => self.send(slot, way, message).await,
            Err(error) => {
                tracing::debug!(site = %slot.site, origin = %slot.origin, %error, "not reached");
                Err(Failure { error: error.meaning(), unsent: Some(message), counts: true })
            }
        }
    }

    async fn connect(&self, slot: &Slot) -> Result<Way, ConnectError> {
        let connected = self.connector.connect(&slot.origin, true).await;
        if let Err(ConnectError::Denied(address, reason)) = &connected
            && slot.health().last_failure().is_none()
        {
            // Told once, and not with each request.
            tracing::warn!(site = %slot.site, origin = %slot.origin, %address, reason, "denied");
        }
        match connected? {
            Connected { stream, h2: true } => self.connect_http2(slot, stream).await,
            Connected { stream, .. } => Ok(Way::Http1(Connection::new(stream, self.response_max))),
        }
    }

    async fn connect_http2(&self, slot: &Slot, stream: OriginStream) -> Result<Way, ConnectError> {
        let (sender, mut driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(limits::ORIGIN_HEADER_LIST_BYTES_MAX)
            .initial_stream_window_size(limits::ORIGIN_HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(limits::ORIGIN_HTTP2_CONNECTION_WINDOW)
            .keep_alive_interval(limits::ORIGIN_PING_EVERY)
            .keep_alive_timeout(self.response_max)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(no_connection)?;
        let places = Places::new();
        let told = Arc::clone(&places);
        tokio::spawn(poll_fn(move |cx| {
            let ended = Pin::new(&mut driver).poll(cx);
            told.limit(driver.current_max_send_streams());
            ended
        }));
        Ok(slot.keep_http2(sender, places, Instant::now()))
    }

    /// The response to a request without a body that may change the protocol (RFC 9110 §7.8), from
    /// the first origin that can be reached, over an HTTP/1.1 connection of its own.
    pub(crate) async fn fetch_upgrade(
        &self,
        site: &ServedSite,
        head: UpstreamHead,
    ) -> Result<Response<Incoming>, FetchError> {
        let mut meaning = FetchError::Unreachable;
        let now = Instant::now();
        let slots = self.pool.slots(&site.id, &site.origins, now);
        for slot in self.order(&slots, now) {
            match self.connector.connect(&slot.origin, false).await {
                Ok(connected) => return self.upgrade_over(connected, &head).await,
                Err(error) => {
                    tracing::debug!(site = %slot.site, origin = %slot.origin, %error, "not reached");
                    set_back(slot, &error);
                    meaning = error.meaning();
                }
            }
        }
        Err(meaning)
    }

    async fn upgrade_over(
        &self,
        connected: Connected,
        head: &UpstreamHead,
    ) -> Result<Response<Incoming>, FetchError> {
        let (mut sender, driver) = Http1Builder::new()
            .max_buf_size(limits::HEAD_BYTES_MAX)
            .handshake(TokioIo::new(connected.stream))
            .await
            .map_err(|_| FetchError::Unreachable)?;
        // It ends with the response's content, or when the connection is given to the tunnel.
        tokio::spawn(driver.with_upgrades());
        let send = |request| sender.try_send_request(request);
        let sent = Message::Head(head).send_by_hyper(send, None, Some(self.response_max)).await;
        sent.map_err(|failure| failure.error)
    }

    fn send<'h>(
        &self,
        slot: &Arc<Slot>,
        way: Way,
        message: Message<'h>,
    ) -> impl Future<Output = Result<OriginResponse, Failure<'h>>> + Send {
        match (way, message) {
            (Way::Http1(connection), Message::Head(head)) => {
                EitherFuture::Left(self.send_head(slot, connection, head))
            }
            // Boxed, as what is rare or large makes the common way larger.
            (way, message) => EitherFuture::Right(Box::pin(self.send_by_hyper(slot, way, message))),
        }
    }

    async fn send_by_hyper<'h>(
        &self,
        slot: &Arc<Slot>,
        way: Way,
        message: Message<'h>,
    ) -> Result<OriginResponse, Failure<'h>> {
        // A body is sent at the visitor's pace, and has a time of its own.
        let head_max = (!message.has_body()).then_some(self.response_max);
        let mut sender = match way {
            Way::Http2(mut sender, stream) => {
                let send = |request| sender.try_send_request(request);
                let response = message.send_by_hyper(send, Some(&slot.origin), head_max).await?;
                return self.taken(slot, response, Some(stream)).map_err(Failure::of);
            }
            Way::Upload(sender) => sender,
            Way::Http1(connection) => match by_hyper(connection.into_stream()).await {
                Ok(sender) => sender,
                Err(error) => {
                    let error = error.meaning();
                    return Err(Failure { error, unsent: Some(message), counts: true });
                }
            },
        };
        let send = |request| sender.try_send_request(request);
        let response = message.send_by_hyper(send, None, head_max).await?;
        keep_when_idle(slot, sender);
        self.taken(slot, response, None).map_err(Failure::of)
    }

    async fn send_head<'h>(
        &self,
        slot: &Arc<Slot>,
        connection: Box<Connection>,
        head: &'h UpstreamHead,
    ) -> Result<OriginResponse, Failure<'h>> {
        let lost = match connection.ask(head, slot).await {
            Ok(response) => return Ok(response),
            Err(lost) => lost,
        };
        let (site, origin) = (&slot.site, &slot.origin);
        Err(match lost {
            Lost::Unsent => Failure {
                error: FetchError::Unreachable,
                unsent: Some(Message::Head(head)),
                counts: true,
            },
            Lost::Broken(error) => {
                tracing::debug!(%site, %origin, %error, "an origin did not answer");
                Failure::of(FetchError::Unreachable)
            }
            Lost::Timeout => Failure::of(FetchError::Timeout),
            Lost::Unsound(reason) => {
                slot.tell_unsound(reason);
                Failure::of(FetchError::Unsound)
            }
        })
    }

    /// A response with a body that is timed, if its head is sound.
    fn taken(
        &self,
        slot: &Slot,
        response: Response<Incoming>,
        stream: Option<Stream>,
    ) -> Result<OriginResponse, FetchError> {
        let headers = response.headers();
        let chunked = headers.contains_key(TRANSFER_ENCODING);
        let two_lengths = chunked && headers.contains_key(CONTENT_LENGTH);
        // hyper looks at its own limits only before the head is complete.
        let long = headers.len() > limits::HEADERS_MAX
            || respond::head_bytes(headers) > limits::HEAD_BYTES_MAX;
        if two_lengths || long {
            let two = "it has two lengths";
            slot.tell_unsound(if two_lengths { two } else { "its head is too long" });
            return Err(FetchError::Unsound);
        }
        let delimited = chunked
            || response.version() == Version::HTTP_2
            || http_body::Body::size_hint(response.body()).exact().is_some();
        let silence_max = self.response_max;
        let timed = |body| TimedBody::of_response(body, silence_max, delimited, stream);
        Ok(Box::new(response.map(timed)))
    }
}

/// What happened speaks against the origin.
fn set_back(slot: &Slot, why: impl std::fmt::Display) {
    if slot.with_health(|health| health.failed(Instant::now())) {
        tracing::warn!(site = %slot.site, origin = %slot.origin, %why, "an origin is set aside");
    }
}

/// HTTP/1.1 for requests with a body.
async fn by_hyper(stream: OriginStream) -> Result<Sender, ConnectError> {
    let (sender, driver) = Http1Builder::new()
        .max_buf_size(limits::HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(no_connection)?;
    tokio::spawn(driver);
    Ok(sender)
}

fn no_connection(error: hyper::Error) -> ConnectError {
    ConnectError::Connect(std::io::Error::other(error))
}

/// Keeps the connection once the response has come whole.
fn keep_when_idle(slot: &Arc<Slot>, mut sender: Sender) {
    let slot = Arc::downgrade(slot);
    tokio::spawn(async move {
        if sender.ready().await.is_ok()
            && let Some(slot) = slot.upgrade()
        {
            slot.keep_upload(sender);
        }
    });
}

/// True for what an origin says when it cannot serve, whatever is asked.
fn is_failing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

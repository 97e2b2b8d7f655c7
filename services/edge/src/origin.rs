//! The way to the purchasers' origin servers: connections, order, timeouts.
//!
//! It decides nothing about caching. Each thread has its own pool, so that no connection wanders
//! between threads.

use std::{
    error::Error as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use headroom_units::{Origin, Scheme};
use http::{
    HeaderMap, Method, Request, Response, Uri, Version,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    uri::PathAndQuery,
};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error as ClientError, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, timeout},
};

use crate::{EdgeConfig, limits, pace::Pace};

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

/// Why a body ends before its end.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the content was cut off: {0}")]
    CutOff(Arc<hyper::Error>),
    #[error("the visitor took the content too slowly for the others who wait for it")]
    TooSlow,
    #[error("the contract that paid for it is over")]
    ContractOver,
    #[error("nothing came for too long")]
    Silence,
    #[error("the fetch ended before the content")]
    Lost,
}

/// The head of a request as it goes to an origin.
#[derive(Debug, Clone)]
pub(crate) struct UpstreamHead {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
}

/// The connections of one thread to all origins.
#[derive(Debug)]
pub(crate) struct Origins {
    client: Client<HttpConnector, UpstreamBody>,
    answer_within: Duration,
    silence_max: Duration,
    /// The origins are begun with in turn.
    turn: AtomicUsize,
}

impl Origins {
    pub(crate) fn new(config: &EdgeConfig) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(config.origin_connect_timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits::ORIGIN_IDLE_MAX)
            .pool_max_idle_per_host(limits::ORIGIN_IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(limits::HEAD_BYTES_MAX)
            .http1_max_headers(limits::HEADERS_MAX)
            .build(connector);
        let silence_max = config.origin_response_timeout;
        let answer_within = config.origin_connect_timeout + silence_max;
        Self { client, answer_within, silence_max, turn: AtomicUsize::new(0) }
    }

    /// The response to a request without a body. If the method is idempotent, the origins are
    /// tried from the one whose turn it is on, and that one once more: a kept connection may have closed under the
    /// request.
    pub(crate) async fn fetch(
        &self,
        origins: &[Origin],
        head: &UpstreamHead,
    ) -> Result<Response<TimedBody>, FetchError> {
        let (first, tries) = match head.method.is_idempotent() {
            true => (self.turn(origins), origins.len() + 1),
            false => (0, 1),
        };
        let mut result = Err(FetchError::Unreachable);
        for origin in origins.iter().cycle().skip(first).take(tries) {
            let asked = self.ask(origin, head.clone(), Either::Left(Empty::new()));
            result = timeout(self.answer_within, asked).await.unwrap_or(Err(FetchError::Timeout));
            if !matches!(result, Err(FetchError::Unreachable | FetchError::ConnectTimeout)) {
                break;
            }
        }
        result
    }

    fn turn(&self, origins: &[Origin]) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed) % origins.len().max(1)
    }

    /// The response to a request with a body, which can be sent only once.
    pub(crate) async fn fetch_with(
        &self,
        origins: &[Origin],
        head: UpstreamHead,
        body: Incoming,
    ) -> Result<Response<TimedBody>, FetchError> {
        let Some(first) = origins.first() else { return Err(FetchError::Unreachable) };
        let (sending, sent) = oneshot::channel();
        let body = TimedBody::new(body, limits::UPLOAD_SILENCE_MAX, Some(sending));
        let late = async {
            // The body is sent at the visitor's pace; the origin's time runs from its end.
            let _ = sent.await;
            tokio::time::sleep(self.answer_within).await;
        };
        tokio::select! {
            answer = self.ask(first, head, Either::Right(body)) => answer,
            () = late => Err(FetchError::Timeout),
        }
    }

    async fn ask(
        &self,
        origin: &Origin,
        head: UpstreamHead,
        body: UpstreamBody,
    ) -> Result<Response<TimedBody>, FetchError> {
        // Names and TLS are not spoken yet.
        let Some(address) = origin.socket_address().filter(|_| origin.scheme == Scheme::Http)
        else {
            return Err(FetchError::Unreachable);
        };
        let mut request = Request::new(body);
        *request.method_mut() = head.method;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(address.to_string())
            .path_and_query(head.target)
            .build()
            .map_err(|_| FetchError::Unsound)?;
        *request.headers_mut() = head.headers;
        let response =
            self.client.request(request).await.map_err(|error| judge(address, &error))?;
        let headers = response.headers();
        if headers.contains_key(CONTENT_LENGTH) && headers.contains_key(TRANSFER_ENCODING) {
            tracing::warn!(%address, "an origin's response has two lengths");
            return Err(FetchError::Unsound);
        }
        Ok(response.map(|body| TimedBody::new(body, self.silence_max, None)))
    }
}

/// What a failure means for the visitor; the log says the rest.
fn judge(address: SocketAddr, error: &ClientError) -> FetchError {
    tracing::debug!(%address, ?error, "an origin did not answer");
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            if error.is_user() {
                return FetchError::Upload;
            }
            if error.is_parse() {
                tracing::warn!(%address, %error, "an origin's response is not HTTP");
                return FetchError::Unsound;
            }
        }
        let timed_out = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        if cause.downcast_ref().is_some_and(timed_out) && error.is_connect() {
            return FetchError::ConnectTimeout;
        }
        source = cause.source();
    }
    FetchError::Unreachable
}

/// A body that comes over a connection; a silence that is too long is an error.
#[derive(Debug)]
pub(crate) struct TimedBody {
    inner: Incoming,
    silence_max: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    upload: Option<Box<Upload>>,
}

/// What only content from a visitor has.
#[derive(Debug)]
struct Upload {
    /// How slow a visitor may be; an origin may only not be silent.
    pace: Pace,
    /// Let go with the body, which tells the other side that it was sent.
    _sending: oneshot::Sender<()>,
}

impl TimedBody {
    pub(crate) fn new(
        inner: Incoming,
        silence_max: Duration,
        sending: Option<oneshot::Sender<()>>,
    ) -> Self {
        let upload = |sending| Box::new(Upload { pace: Pace::new(silence_max), _sending: sending });
        Self { inner, silence_max, alarm: None, upload: sending.map(upload) }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            self.alarm = None;
            if let (Some(upload), Some(Ok(frame))) = (&mut self.upload, &frame) {
                upload.pace.came(frame.data_ref().map_or(0, Bytes::len), Instant::now());
            }
            // RFC 9110 §6.5.1: trailers are not passed on.
            let frame = frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers));
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|error| BodyError::CutOff(Arc::new(error)))),
            );
        }
        let silence_max = self.silence_max;
        let pace = self.upload.as_mut().map(|upload| upload.pace.wait(Instant::now()));
        let silence_max = pace.map_or(silence_max, |pace| pace.min(silence_max));
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
        match alarm.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Silence))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

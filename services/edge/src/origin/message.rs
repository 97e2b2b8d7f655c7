//! A request on its way: as a head alone, or in the form of hyper, which carries what has a body
//! and what goes over HTTP/2.

use std::{error::Error as _, time::Duration};

use headroom_units::Origin;
use http::{Request, Response, Uri, Version, header::HOST, uri::PathAndQuery};
use http_body_util::{Either, Empty};
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::timeout;

use super::{FetchError, UpstreamBody};
use crate::upstream::UpstreamHead;

/// A request that was not sent yet.
#[derive(Debug)]
pub(super) enum Message<'h> {
    /// It has no body, and can be sent again.
    Head(&'h UpstreamHead),
    /// Its body can be sent once.
    WithBody(Box<Request<UpstreamBody>>),
}

/// A request that got no response.
pub(super) struct Failure<'h> {
    pub(super) error: FetchError,
    /// The request, if nothing of it was sent.
    pub(super) unsent: Option<Message<'h>>,
    /// Whether it speaks against the origin.
    pub(super) counts: bool,
}

impl Failure<'_> {
    /// A request that was sent.
    pub(super) fn of(error: FetchError) -> Self {
        Failure { error, unsent: None, counts: true }
    }
}

impl<'h> Message<'h> {
    pub(super) fn has_body(&self) -> bool {
        matches!(self, Self::WithBody(_))
    }

    /// The same once more, if it may be sent twice (RFC 9110 §9.2.2).
    pub(super) fn again(&self) -> Option<Self> {
        match self {
            Self::Head(head) if head.method.is_idempotent() => Some(Self::Head(head)),
            Self::Head(_) | Self::WithBody(_) => None,
        }
    }

    /// Sends it by `send`, over HTTP/2 or HTTP/1.1 of hyper's.
    pub(super) async fn send_by_hyper<S>(
        self,
        send: impl FnOnce(Request<UpstreamBody>) -> S,
        http2: Option<&Origin>,
        head_max: Option<Duration>,
    ) -> Result<Response<Incoming>, Failure<'h>>
    where
        S: Future<Output = Result<Response<Incoming>, TrySendError<Request<UpstreamBody>>>>,
    {
        let (head, request) = match self {
            Self::Head(head) => (Some(head), request(head, Either::Left(Empty::new()))),
            Self::WithBody(request) => (None, *request),
        };
        let request = match http2 {
            Some(origin) => as_http2(request, origin).map_err(|error| Failure {
                error,
                unsent: None,
                counts: false,
            })?,
            None => request,
        };
        let failed = match answered(send(request), head_max).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let (error, unsent) = failed;
        let unsent = unsent.map(|unsent| match head {
            Some(head) => Self::Head(head),
            None => Self::WithBody(Box::new(as_http1(unsent))),
        });
        Err(Failure { error, unsent, counts: error != FetchError::Upload })
    }
}

/// A request in the form of HTTP/1.1.
pub(super) fn request(head: &UpstreamHead, body: UpstreamBody) -> Request<UpstreamBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from(head.target.clone());
    *request.headers_mut() = head.headers();
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

/// The response that comes in time, or why there is none, with what was not sent.
async fn answered(
    sending: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<UpstreamBody>>>>,
    head_max: Option<Duration>,
) -> Result<Response<Incoming>, (FetchError, Option<Request<UpstreamBody>>)> {
    let sent = match head_max {
        Some(head_max) => timeout(head_max, sending).await,
        None => Ok(sending.await),
    };
    match sent {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(mut failed)) => {
            let unsent = failed.take_message();
            Err((meaning(&failed.into_error()), unsent))
        }
        Err(_) => Err((FetchError::Timeout, None)),
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

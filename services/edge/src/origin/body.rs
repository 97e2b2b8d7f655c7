//! Bodies that come over a connection: a silence that is too long is an error.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};

use super::{http1::Http1Body, pool::Stream};
use crate::{content::RequestBody, pace::Pace};

/// Why a body ends before its end.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the content was cut off: {0}")]
    CutOff(Arc<hyper::Error>),
    #[error("the connection broke within the content: {0}")]
    Broken(Arc<std::io::Error>),
    #[error("the content is not sound: {0}")]
    Unsound(&'static str),
    #[error("the visitor gave the content up")]
    Withdrawn,
    #[error("the visitor took the content too slowly for the others who wait for it")]
    TooSlow,
    #[error("the contract that paid for it is over")]
    ContractOver,
    #[error("nothing came for too long")]
    Silence,
    #[error("the fetch ended before the content")]
    Lost,
}

impl BodyError {
    /// What hyper says of a body.
    pub(crate) fn cut_off(error: hyper::Error) -> Self {
        Self::CutOff(Arc::new(error))
    }
}

/// A body that comes over a connection; a silence that is too long is an error.
#[derive(Debug)]
pub(crate) struct TimedBody {
    inner: Inner,
    silence_max: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    delimited: bool,
    /// Its place on a connection that others share.
    _stream: Option<Stream>,
    /// Only content from a visitor has it.
    upload: Option<Box<Upload>>,
}

/// Where a body comes from.
#[derive(Debug)]
enum Inner {
    /// Over hyper's connections: what comes over HTTP/2 or answers an upload.
    Hyper(Incoming),
    /// From a visitor.
    Visitor(RequestBody),
    /// Over our own connections. It minds silence by itself.
    Http1(Http1Body),
}

/// What only content from a visitor has.
#[derive(Debug)]
struct Upload {
    /// How slow a visitor may be; an origin may only not be silent.
    pace: Pace,
    /// Told of each piece that is taken; let go with the body.
    progress: watch::Sender<()>,
}

impl TimedBody {
    /// A response's body. `delimited` says whether its end is told from its being cut off.
    pub(super) fn of_response(
        inner: Incoming,
        silence_max: Duration,
        delimited: bool,
        stream: Option<Stream>,
    ) -> Self {
        let inner = Inner::Hyper(inner);
        Self { inner, silence_max, alarm: None, delimited, _stream: stream, upload: None }
    }

    /// The body of a response to a request without one.
    pub(super) fn of_http1(body: Http1Body, silence_max: Duration) -> Self {
        let (delimited, inner) = (body.is_delimited(), Inner::Http1(body));
        Self { inner, silence_max, alarm: None, delimited, _stream: None, upload: None }
    }

    /// The body of a response that is sent on as it comes, over a connection that is then at its
    /// end.
    pub(crate) fn of_last_response(inner: Incoming, silence_max: Duration) -> Self {
        Self::of_response(inner, silence_max, false, None)
    }

    /// A request's body, which tells of its progress.
    pub(super) fn of_request(
        content: RequestBody,
        silence_max: Duration,
        progress: watch::Sender<()>,
    ) -> Self {
        let upload = Some(Box::new(Upload { pace: Pace::new(silence_max), progress }));
        let inner = Inner::Visitor(content);
        Self { inner, silence_max, alarm: None, delimited: true, _stream: None, upload }
    }

    /// All of it, if that is at hand and nothing was taken of it.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.inner {
            Inner::Hyper(_) | Inner::Visitor(_) => None,
            Inner::Http1(body) => body.take_whole(),
        }
    }

    /// True if its end can be told from its being cut off: only then it is known to be whole.
    pub(crate) fn is_delimited(&self) -> bool {
        self.delimited
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.inner {
            Inner::Hyper(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::cut_off),
            Inner::Visitor(content) => Pin::new(content).poll_frame(cx),
            Inner::Http1(body) => {
                return body.poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)));
            }
        };
        if let Poll::Ready(frame) = frame {
            self.alarm = None;
            if let Some(upload) = &mut self.upload {
                upload.progress.send_replace(());
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                upload.pace.came(data.map_or(0, Bytes::len), Instant::now());
            }
            // RFC 9110 §6.5.1: trailers are not passed on.
            return Poll::Ready(
                frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers)),
            );
        }
        let pace = self.upload.as_mut().map(|upload| upload.pace.wait(Instant::now()));
        let silence_max = pace.map_or(self.silence_max, |pace| pace.min(self.silence_max));
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
        match alarm.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Silence))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Hyper(incoming) => incoming.is_end_stream(),
            Inner::Visitor(content) => content.is_end_stream(),
            Inner::Http1(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Hyper(incoming) => incoming.size_hint(),
            Inner::Visitor(content) => content.size_hint(),
            Inner::Http1(body) => body.size_hint(),
        }
    }
}

//! What is left of a request body when the call is answered: read and thrown away, up to a limit. A
//! caller that is still sending would find its connection broken, and never see the answer.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    extract::Request,
    http::header,
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use crate::limits::{DRAINED_BODY_BYTES_MAX, REQUEST_TIME_MAX};

/// Drains what the call leaves of its body. Who waits for a `100 Continue` (RFC 9110 §10.1.1) has
/// sent nothing yet, and is not made to.
pub(super) async fn drain_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = if body.is_end_stream() || parts.headers.contains_key(header::EXPECT) {
        body
    } else {
        Body::from_stream(Drained { left: body.into_data_stream(), seen: 0, ended: false })
    };
    next.run(Request::from_parts(parts, body)).await
}

/// A body that is read to its end when it is dropped before.
struct Drained {
    left: BodyDataStream,
    seen: usize,
    ended: bool,
}

impl Stream for Drained {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.left.poll_next_unpin(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => self.seen = self.seen.saturating_add(frame.len()),
            Poll::Ready(None | Some(Err(_))) => self.ended = true,
            Poll::Pending => {}
        }
        polled
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut left = mem::replace(&mut self.left, Body::empty().into_data_stream());
        let mut seen = self.seen;
        let drain = async move {
            while let Some(Ok(frame)) = left.next().await {
                seen = seen.saturating_add(frame.len());
                if seen > DRAINED_BODY_BYTES_MAX {
                    return;
                }
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(tokio::time::timeout(REQUEST_TIME_MAX, drain)));
        }
    }
}

//! What is sent as the body of a response, and the counting of its bytes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::{
    access_log::Record,
    meter::Account,
    origin::{BodyError, TimedBody},
    proxy::Worker,
};

/// A piece of a response that is being filled.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Content.
    Data(Bytes),
    /// It is too large to be stored: the rest comes directly from the origin.
    Rest(TimedBody),
    /// The response is whole.
    End,
    /// The response is cut off.
    Failed(BodyError),
}

/// The body of a response to a visitor.
#[derive(Debug)]
pub(crate) enum EdgeBody {
    /// All of it at hand; it was counted when the head was.
    Whole(Option<Bytes>),
    /// Comes in frames, each counted as it goes.
    Streamed(Source, Tally),
}

/// Where frames come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// From the origin as fast as the visitor takes it.
    Origin(TimedBody),
    /// From a fill, which does not wait for the visitor: it holds no more than is to be stored.
    Fill(mpsc::UnboundedReceiver<Piece>),
    /// Nothing more.
    Ended,
}

/// Who counts the frames.
#[derive(Debug)]
pub(crate) struct Tally {
    worker: Arc<Worker>,
    account: Account,
    /// Apart: most bodies are not logged, and a body is moved often.
    record: Option<Box<Record>>,
}

impl Tally {
    pub(crate) fn new(worker: Arc<Worker>, account: Account) -> Self {
        Self { worker, account, record: None }
    }
}

impl EdgeBody {
    /// No content.
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    /// Content at hand.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    /// `record` ends with this body, of which `length` is known.
    pub(crate) fn ends(&mut self, mut record: Record, length: Option<u64>) {
        match self {
            Self::Whole(_) => record.complete(),
            Self::Streamed(source, tally) => {
                record.expects(length);
                if source.is_end_stream() {
                    record.complete();
                }
                tally.record = Some(Box::new(record));
            }
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(source, tally) => {
                let frame = ready!(source.poll_frame(cx));
                if let Some(Ok(frame)) = &frame
                    && let Some(data) = frame.data_ref()
                {
                    let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    tally.worker.meter(tally.account, false, bytes, headroom_clock::now());
                    tally.record.iter_mut().for_each(|record| record.sent(bytes));
                }
                if frame.is_none() || source.is_end_stream() {
                    tally.record.iter_mut().for_each(|record| record.complete());
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(source, _) => source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(Some(bytes)) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Whole(None) | Self::Streamed(Source::Ended, _) => SizeHint::with_exact(0),
            Self::Streamed(Source::Origin(body), _) => body.size_hint(),
            Self::Streamed(Source::Fill(_), _) => SizeHint::default(),
        }
    }
}

impl Source {
    fn is_end_stream(&self) -> bool {
        match self {
            Self::Origin(body) => body.is_end_stream(),
            Self::Fill(_) => false,
            Self::Ended => true,
        }
    }

    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let pieces = match self {
            Self::Ended => return Poll::Ready(None),
            Self::Origin(body) => return Pin::new(body).poll_frame(cx),
            Self::Fill(pieces) => pieces,
        };
        match ready!(pieces.poll_recv(cx)) {
            Some(Piece::Data(bytes)) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Some(Piece::Rest(body)) => {
                *self = Self::Origin(body);
                self.poll_frame(cx)
            }
            Some(Piece::End) => {
                *self = Self::Ended;
                Poll::Ready(None)
            }
            Some(Piece::Failed(error)) => Poll::Ready(Some(Err(error))),
            // A fill that vanishes must not look like the end of the content.
            None => Poll::Ready(Some(Err(BodyError::Lost))),
        }
    }
}

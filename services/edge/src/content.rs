//! The content of a request, on its way from a visitor to an origin.
//!
//! Over HTTP/2 the visitor's connection puts it into an [`Inlet`], and who reads it takes it from
//! the [`Inflow`]. What waits between them is bounded by the stream's window, which is given back
//! as content is taken.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::origin::BodyError;

/// The content of a request.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Over HTTP/1.1, read by hyper.
    Hyper(Incoming),
    /// Over HTTP/2.
    Http2(Inflow),
}

/// Where the content of a request comes out.
#[derive(Debug)]
pub(crate) struct Inflow(Arc<Pipe>);

/// Where the content of a request goes in.
#[derive(Debug)]
pub(crate) struct Inlet(Arc<Pipe>);

#[derive(Debug)]
struct Pipe {
    state: Mutex<State>,
    /// Wakes the connection.
    connection: Waker,
}

#[derive(Debug)]
struct State {
    /// What came and was not taken.
    waiting: Vec<u8>,
    /// How much is still to be taken, if that is known.
    left: Option<u64>,
    end: End,
    /// How much was taken and not told to the connection.
    taken: u32,
    /// Nobody reads any more.
    is_left: bool,
    reader: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// There may be more.
    Open,
    Whole,
    /// It ended before its end.
    CutOff,
}

/// Both ends of what is to carry content of this length, if it is known. `connection` is woken when
/// something is taken.
pub(crate) fn pipe(length: Option<u64>, connection: Waker) -> (Inlet, Inflow) {
    let state = State {
        waiting: Vec::new(),
        left: length,
        end: End::Open,
        taken: 0,
        is_left: false,
        reader: None,
    };
    let pipe = Arc::new(Pipe { state: Mutex::new(state), connection });
    (Inlet(Arc::clone(&pipe)), Inflow(pipe))
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Inlet {
    /// Puts content in, which may be the last; false if nobody wants it.
    pub(crate) fn put(&self, content: &[u8], is_last: bool) -> bool {
        let mut state = self.0.lock();
        if is_last {
            state.end = End::Whole;
        }
        if state.is_left {
            return false;
        }
        state.waiting.extend_from_slice(content);
        state.wake();
        true
    }

    /// How much was taken since it was asked last.
    pub(crate) fn taken(&self) -> u32 {
        std::mem::take(&mut self.0.lock().taken)
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if state.end == End::Open {
            state.end = End::CutOff;
            state.wake();
        }
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_left = true;
        state.taken += length(&std::mem::take(&mut state.waiting));
        drop(state);
        self.0.connection.wake_by_ref();
    }
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.0.lock();
        if state.waiting.is_empty() {
            return match state.end {
                End::Whole => Poll::Ready(None),
                End::CutOff => Poll::Ready(Some(Err(BodyError::Withdrawn))),
                End::Open => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let piece = std::mem::take(&mut state.waiting);
        let taken = length(&piece);
        state.taken += taken;
        state.left = state.left.map(|left| left.saturating_sub(taken.into()));
        drop(state);
        self.0.connection.wake_by_ref();
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.waiting.is_empty() && state.end == End::Whole
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Hyper(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::cut_off),
            Self::Http2(inflow) => Pin::new(inflow).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(incoming) => incoming.is_end_stream(),
            Self::Http2(inflow) => inflow.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(incoming) => incoming.size_hint(),
            Self::Http2(inflow) => inflow.size_hint(),
        }
    }
}

/// No more waits than a window holds.
fn length(content: &[u8]) -> u32 {
    u32::try_from(content.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(flow: &mut Inflow) -> Poll<Option<Result<Bytes, BodyError>>> {
        let polled = Pin::new(flow).poll_frame(&mut Context::from_waker(Waker::noop()));
        polled.map(|frame| frame.map(|frame| frame.map(|frame| frame.into_data().unwrap())))
    }

    #[test]
    fn content_comes_out_as_it_went_in() {
        let (inlet, mut flow) = pipe(Some(5), Waker::noop().clone());
        assert!(take(&mut flow).is_pending());
        assert!(inlet.put(b"he", false) && inlet.put(b"ll", false));
        assert_eq!(flow.size_hint().exact(), Some(5));
        assert!(matches!(take(&mut flow), Poll::Ready(Some(Ok(piece))) if piece == "hell"));
        assert_eq!((inlet.taken(), inlet.taken()), (4, 0));
        assert!(inlet.put(b"o", true) && !flow.is_end_stream());
        drop(inlet);
        assert!(matches!(take(&mut flow), Poll::Ready(Some(Ok(piece))) if piece == "o"));
        assert!(matches!(take(&mut flow), Poll::Ready(None)));
        assert!(flow.is_end_stream());
    }

    #[test]
    fn what_is_cut_off_is_no_whole_content() {
        let (inlet, mut flow) = pipe(None, Waker::noop().clone());
        inlet.put(b"he", false);
        drop(inlet);
        assert!(matches!(take(&mut flow), Poll::Ready(Some(Ok(piece))) if piece == "he"));
        assert!(matches!(take(&mut flow), Poll::Ready(Some(Err(BodyError::Withdrawn)))));
    }

    #[test]
    fn what_nobody_reads_counts_as_taken() {
        let (inlet, flow) = pipe(None, Waker::noop().clone());
        inlet.put(b"hello", false);
        drop(flow);
        assert_eq!(inlet.taken(), 5);
        assert!(!inlet.put(b"more", true));
    }
}

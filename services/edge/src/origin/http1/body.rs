//! The body of a response, which owns its connection. When it has come whole, the connection goes
//! back to the pool, if it may take another request and nothing came behind the body.

use std::{
    fmt, io,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::SizeHint;

use super::{super::body::BodyError, Connection, Unsound, head::Framing};
use crate::{limits, origin::pool::Slot};

/// The body of a response.
pub(in crate::origin) struct Http1Body {
    /// Until the body has come whole, or will not.
    connection: Option<Box<Connection>>,
    /// Where the connection goes then, if it may take another request.
    home: Arc<Slot>,
    keep: bool,
    framing: Framing,
    /// What was read and not handed out.
    behind: Bytes,
    /// Whether more came at once than was expected: then it is worth to expect more.
    much: bool,
    /// What is not sound behind the content that was handed out.
    unsound: Option<Unsound>,
    /// Why it ends before its end, if that is to be told.
    failed: Option<BodyError>,
}

impl fmt::Debug for Http1Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1Body").field("framing", &self.framing).finish_non_exhaustive()
    }
}

impl Http1Body {
    /// The body on `connection`, of which `behind` came with the head.
    pub(super) fn begin(
        connection: Box<Connection>,
        framing: Framing,
        behind: Bytes,
        (home, keep): (Arc<Slot>, bool),
    ) -> Result<Self, Unsound> {
        let mut body = Self {
            connection: Some(connection),
            home,
            keep,
            framing,
            behind,
            much: false,
            unsound: None,
            failed: None,
        };
        body.pass_framing()?;
        Ok(body)
    }

    /// True if its end can be told from its being cut off.
    pub(in crate::origin) fn is_delimited(&self) -> bool {
        !matches!(self.framing, Framing::UntilClose)
    }

    /// True if all of it was handed out.
    pub(in crate::origin) fn is_end(&self) -> bool {
        match &self.framing {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunked) => chunked.is_end(),
            Framing::UntilClose => {
                self.connection.is_none() && self.behind.is_empty() && self.failed.is_none()
            }
        }
    }

    pub(in crate::origin) fn size_hint(&self) -> SizeHint {
        match self.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            _ if self.is_end() => SizeHint::with_exact(0),
            Framing::Chunked(_) | Framing::UntilClose => SizeHint::default(),
        }
    }

    /// All of it, if it came with the head and its length is known.
    pub(in crate::origin) fn take_whole(&mut self) -> Option<Bytes> {
        let Framing::Length(left) = self.framing else { return None };
        match usize::try_from(left) {
            Ok(0) => Some(Bytes::new()),
            Ok(left) if left <= self.behind.len() => self.piece_at_hand(),
            _ => None,
        }
    }

    /// The next piece; none at the end.
    pub(in crate::origin) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let piece = ready!(self.poll_next(cx));
        if let Some(connection) = &mut self.connection {
            connection.alarm.calm();
        }
        Poll::Ready(piece)
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            if let Some(piece) = self.piece_at_hand() {
                return Poll::Ready(Some(Ok(piece)));
            }
            if let Some(unsound) = self.unsound.take() {
                self.home.tell_unsound(unsound);
                return self.fail(cx, BodyError::Unsound(unsound));
            }
            if self.is_end() {
                return Poll::Ready(None);
            }
            let (expected, delimited) = (self.expected(), self.is_delimited());
            let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
            let read = match expected {
                Some(most) => connection.poll_many(cx, most),
                None => connection.poll_few(cx),
            };
            match read {
                Poll::Ready(Ok(bytes)) if !bytes.is_empty() => {
                    self.much = bytes.len() >= expected.unwrap_or(limits::ORIGIN_READ_BYTES);
                    self.behind = bytes;
                    self.unsound = self.pass_framing().err();
                }
                Poll::Ready(Ok(_)) if !delimited => {
                    self.connection = None;
                    return Poll::Ready(None);
                }
                Poll::Ready(read) => {
                    let error = read.err().unwrap_or(io::ErrorKind::UnexpectedEof.into());
                    return self.fail(cx, BodyError::Broken(Arc::new(error)));
                }
                Poll::Pending => {
                    ready!(connection.alarm.poll(cx));
                    return self.fail(cx, BodyError::Silence);
                }
            }
        }
    }

    /// It ends before its end. That is told in the next turn, so that what came before it goes to
    /// the visitor first.
    fn fail<T>(&mut self, cx: &Context<'_>, error: BodyError) -> Poll<T> {
        self.connection = None;
        self.failed = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// How many bytes to make room for, if they are many.
    fn expected(&self) -> Option<usize> {
        let left = match self.framing {
            Framing::Length(left) => usize::try_from(left).unwrap_or(usize::MAX),
            Framing::Chunked(_) | Framing::UntilClose if self.much => usize::MAX,
            Framing::Chunked(_) | Framing::UntilClose => 0,
        };
        (left > limits::ORIGIN_READ_BYTES).then(|| left.min(limits::ORIGIN_BODY_READ_BYTES))
    }

    /// Content that was read already.
    fn piece_at_hand(&mut self) -> Option<Bytes> {
        let most = match &self.framing {
            Framing::Length(left) => *left,
            Framing::Chunked(chunked) => chunked.content(),
            Framing::UntilClose => u64::MAX,
        };
        let taken = usize::try_from(most).unwrap_or(usize::MAX).min(self.behind.len());
        if taken == 0 {
            return None;
        }
        let piece = self.behind.split_to(taken);
        let count = u64::try_from(taken).unwrap_or(most);
        match &mut self.framing {
            Framing::Length(left) => *left -= count,
            Framing::Chunked(chunked) => chunked.took(count),
            Framing::UntilClose => {}
        }
        self.unsound = self.pass_framing().err();
        Some(piece)
    }

    /// Goes on to the next content, or to the end: so that the end is known with the last piece.
    fn pass_framing(&mut self) -> Result<(), Unsound> {
        if let Framing::Chunked(chunked) = &mut self.framing {
            let passed = chunked.framing(&self.behind)?;
            drop(self.behind.split_to(passed));
        }
        if self.is_delimited() && self.is_end() {
            // Nobody asked for what stands behind the body: it could be taken for the next response.
            if let Some(mut connection) = self.connection.take()
                && self.keep
                && self.behind.is_empty()
            {
                connection.alarm.calm();
                self.home.keep(connection);
            }
            self.behind = Bytes::new();
        }
        Ok(())
    }
}

//! What is to be sent and was not taken yet.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWrite;

use crate::{limits, pulse::Pulse, socket::Stream};

/// What is to be sent: bytes that were written here, then a piece that lies elsewhere, then what
/// ends it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    written: Vec<u8>,
    sent: usize,
    piece: Bytes,
    end: &'static [u8],
}

impl Outbox {
    /// Where to write. Only while there is no piece.
    pub(crate) fn writer(&mut self) -> &mut Vec<u8> {
        debug_assert!(self.piece.is_empty() && self.end.is_empty());
        &mut self.written
    }

    /// Sends `piece` next, with `end` behind it.
    pub(crate) fn put(&mut self, piece: Bytes, end: &'static [u8]) {
        if piece.len() <= limits::COPIED_BYTES_MAX {
            self.written.extend_from_slice(&piece);
            self.written.extend_from_slice(end);
        } else {
            self.piece = piece;
            self.end = end;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.written.len() == self.sent && self.piece.is_empty() && self.end.is_empty()
    }

    /// Whether more can be written: not behind a piece that lies elsewhere, nor without end.
    pub(crate) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.end.is_empty() && self.written.len() < limits::OUTBOX_BYTES
    }

    /// Writes into `buffer` from now on.
    pub(crate) fn lend(&mut self, buffer: &mut Vec<u8>) {
        if self.written.capacity() == 0 {
            std::mem::swap(&mut self.written, buffer);
        }
    }

    /// Gives the buffer back, if nothing is in it that was not sent.
    pub(crate) fn give_back(&mut self, buffer: &mut Vec<u8>) {
        if self.written.is_empty() {
            *buffer = std::mem::take(&mut self.written);
        }
    }

    /// Sends all of it. What stays is kept for the next time.
    pub(crate) fn poll_send(
        &mut self,
        stream: &mut Stream,
        pulse: &Pulse,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        while !self.is_empty() {
            let written = &self.written[self.sent..];
            let sent = if self.piece.is_empty() && self.end.is_empty() {
                stream.as_mut().poll_write(cx, written)
            } else {
                let parts = [
                    io::IoSlice::new(written),
                    io::IoSlice::new(&self.piece),
                    io::IoSlice::new(self.end),
                ];
                stream.as_mut().poll_write_vectored(cx, &parts)
            };
            pulse.stuck(sent.is_pending());
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => {
                    pulse.taken(sent);
                    self.went(sent);
                }
            }
        }
        let flushed = stream.poll_flush(cx);
        pulse.stuck(flushed.is_pending());
        ready!(flushed)?;
        self.written.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    fn went(&mut self, mut sent: usize) {
        let now = sent.min(self.written.len() - self.sent);
        self.sent += now;
        sent -= now;
        let now = sent.min(self.piece.len());
        self.piece.advance(now);
        sent -= now;
        self.end = &self.end[sent.min(self.end.len())..];
        if self.piece.is_empty() {
            // Lets go of what it is a part of.
            self.piece = Bytes::new();
        }
    }
}

//! What is to be sent to a visitor and was not taken yet.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::{
    body::Piece,
    limits::{self, OUTBOX_PARTS_MAX},
    memory_file::FilePart,
    pulse::Pulse,
    socket::Stream,
};

/// What is to be sent: bytes that were written here, and pieces between them that lie elsewhere.
/// When all is gone it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    written: Vec<u8>,
    /// How many of these are gone.
    sent: usize,
    pieces: VecDeque<Elsewhere>,
    /// How many bytes the pieces have.
    elsewhere: usize,
}

/// A piece that lies elsewhere.
#[derive(Debug)]
struct Elsewhere {
    /// How many written bytes go before it.
    at: usize,
    piece: Piece,
}

impl Outbox {
    /// Where to write.
    pub(crate) fn writer(&mut self) -> &mut Vec<u8> {
        &mut self.written
    }

    /// Sends `piece` next: a copy if it is small, so that it goes with what is around it.
    pub(crate) fn put(&mut self, piece: Bytes) {
        if piece.len() <= limits::COPIED_BYTES_MAX {
            self.written.extend_from_slice(&piece);
        } else {
            self.refer(piece);
        }
    }

    /// Sends `piece` next, from where it lies.
    pub(crate) fn refer(&mut self, piece: Bytes) {
        self.refer_to(Piece::Bytes(piece));
    }

    /// Sends part of a file next.
    pub(crate) fn put_file(&mut self, part: FilePart) {
        self.refer_to(Piece::File(part));
    }

    fn refer_to(&mut self, piece: Piece) {
        self.elsewhere += piece.len();
        self.pieces.push_back(Elsewhere { at: self.written.len(), piece });
    }

    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.written.len() - self.sent + self.elsewhere
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether more should be written.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < limits::OUTBOX_BYTES
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
            let sent = if self.pieces.is_empty() {
                stream.as_mut().poll_write(cx, &self.written[self.sent..])
            } else {
                let mut parts = [IoSlice::new(b""); OUTBOX_PARTS_MAX];
                match self.parts(&mut parts) {
                    (0, Some(file)) => stream.poll_send_file(file, cx),
                    (count, Some(_)) => stream.poll_write_before_file(&parts[..count], cx),
                    (count, None) => stream.as_mut().poll_write_vectored(cx, &parts[..count]),
                }
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
        if self.pieces.capacity() > 0 {
            self.pieces = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// The next parts, in order; how many there are, and the part of a file behind them.
    fn parts<'s>(
        &'s self,
        parts: &mut [IoSlice<'s>; OUTBOX_PARTS_MAX],
    ) -> (usize, Option<&'s FilePart>) {
        let (mut count, mut at) = (0, self.sent);
        for next in self.pieces.iter().take(OUTBOX_PARTS_MAX / 2 - 1) {
            if next.at > at {
                parts[count] = IoSlice::new(&self.written[at..next.at]);
                count += 1;
            }
            match &next.piece {
                Piece::Bytes(bytes) => parts[count] = IoSlice::new(bytes),
                Piece::File(part) => return (count, Some(part)),
            }
            count += 1;
            at = next.at;
        }
        let end =
            self.pieces.get(OUTBOX_PARTS_MAX / 2 - 1).map_or(self.written.len(), |piece| piece.at);
        if end > at {
            parts[count] = IoSlice::new(&self.written[at..end]);
            count += 1;
        }
        (count, None)
    }

    fn went(&mut self, mut sent: usize) {
        while sent > 0 {
            let end = self.pieces.front().map_or(self.written.len(), |piece| piece.at);
            let now = sent.min(end - self.sent);
            self.sent += now;
            sent -= now;
            let Some(next) = self.pieces.front_mut().filter(|_| sent > 0) else { return };
            let now = sent.min(next.piece.len());
            next.piece.advance(now);
            self.elsewhere -= now;
            sent -= now;
            if next.piece.len() == 0 {
                // Lets go of what it is a part of.
                self.pieces.pop_front();
            }
        }
    }

    /// How many bytes of memory it holds.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.written.capacity() + self.pieces.capacity() * size_of::<Elsewhere>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory_file::{self, MemoryFile};

    proptest! {
        /// Whatever is taken at a time, all goes out once and in order.
        #[test]
        fn what_is_put_goes_out_in_order(
            puts in prop::collection::vec((0..3, 0_usize..40), 0..40),
            takes in prop::collection::vec(1_usize..60, 1..20),
        ) {
            let (mut outbox, mut expected, mut gone) = (Outbox::default(), Vec::new(), Vec::new());
            let mut takes = takes.iter().cycle();
            let mut take = |outbox: &mut Outbox, gone: &mut Vec<u8>| {
                let mut parts = [IoSlice::new(b""); OUTBOX_PARTS_MAX];
                let (count, file) = outbox.parts(&mut parts);
                let mut all: Vec<u8> = parts[..count].iter().flat_map(|part| part.to_vec()).collect();
                if let Some(file) = file.filter(|_| count == 0) {
                    all.extend_from_slice(&file.read().unwrap());
                }
                let sent = *takes.next().unwrap().min(&all.len());
                gone.extend_from_slice(&all[..sent]);
                outbox.went(sent);
            };
            memory_file::allow(1_000);
            for (index, (kind, length)) in puts.into_iter().enumerate() {
                let bytes = vec![u8::try_from(index).unwrap(); length];
                expected.extend_from_slice(&bytes);
                match kind {
                    1 if length > 0 => outbox.refer(bytes.into()),
                    2 if length > 0 => {
                        let file = MemoryFile::of(&[bytes.into()]).unwrap();
                        outbox.put_file(FilePart::new(&file, 0, length));
                    }
                    _ => outbox.writer().extend_from_slice(&bytes),
                }
                prop_assert_eq!(outbox.len(), expected.len() - gone.len());
                if index % 3 == 0 {
                    take(&mut outbox, &mut gone);
                }
            }
            while !outbox.is_empty() {
                take(&mut outbox, &mut gone);
            }
            prop_assert_eq!(gone, expected);
        }
    }
}

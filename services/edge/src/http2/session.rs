//! The protocol of one connection, without its socket: what each frame of the visitor means, and
//! what is to be said to it (RFC 9113 §5, §6).
//!
//! Whoever holds it feeds it bytes, does what the [`Event`]s say, and tells it what was sent and
//! which content was taken. Errors of a stream are dealt with here; one of the connection is its
//! end.

mod incoming;

use super::{
    allowance::Allowances,
    fields::Fields,
    frame::{
        FrameHead, HEAD_BYTES, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE,
        PAYLOAD_BYTES, PING, PREFACE, Reason, write, write_go_away, write_reset, write_settings,
        write_window_update,
    },
    hpack::Decoder,
    streams::{Stream, Streams},
    window::{ReceiveWindow, SendWindow, WINDOW_FIRST},
};
use crate::limits;

/// The payload of the PING whose answer tells that the visitor knows it is to ask no more.
const DRAIN_PING: [u8; 8] = *b"draining";
/// And of the one that asks whether somebody is there.
const PROBE_PING: [u8; 8] = *b"are you?";
/// The stream that GOAWAY names while it is not known which is the last (RFC 9113 §6.8).
const ANY_STREAM: u32 = 0x7fff_ffff;

/// What a frame led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event<'b> {
    Nothing,
    /// A request on this new stream, whose fields are at hand; true if it has no content.
    Request(u32, bool),
    /// Content of a request; true if it is the last.
    Content(usize, &'b [u8], bool),
    /// A stream is gone, by either side: nobody waits for its response.
    Gone(usize),
    /// More may be sent on this stream.
    Room(usize),
    /// More may be sent on all streams.
    RoomForAll,
}

/// What stands at the beginning of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Took<'b> {
    /// Less than a frame.
    Partial,
    /// So many bytes, and what they led to.
    Frame(usize, Event<'b>),
}

/// How far the visitor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Preface,
    Settings,
    Done,
}

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// The visitor was told, and may not know it yet.
    Announced,
    /// What comes on streams behind this one is not answered.
    Behind(u32),
}

/// A block that goes on in CONTINUATION frames.
#[derive(Debug)]
struct Begun {
    stream: u32,
    ends: bool,
    is_new: bool,
    block: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    opening: Opening,
    ending: Ending,
    /// The visitor leaves when all is answered.
    leaves: bool,
    allowances: Allowances,
    /// The ticks of the watch, as of the last frame.
    now: u32,
    decoder: Decoder,
    begun: Option<Box<Begun>>,
    pub(crate) streams: Streams,
    /// The highest stream the visitor opened.
    last_stream: u32,
    /// Streams that we have reset, while the visitor may not know it.
    resets: Vec<u32>,
    send: SendWindow,
    receive: ReceiveWindow,
    /// What the visitor lets us send on a new stream, and in a frame.
    stream_window: u32,
    payload_max: usize,
    /// Whether the next head has to say that we use no dynamic table.
    owes_table_size: bool,
}

impl Session {
    /// A connection whose preface has not come; ours goes to `out`.
    pub(crate) fn new(out: &mut Vec<u8>) -> Self {
        let settings = [
            (MAX_CONCURRENT_STREAMS, limits::H2_STREAMS_MAX),
            (INITIAL_WINDOW_SIZE, limits::H2_STREAM_WINDOW),
            (MAX_HEADER_LIST_SIZE, u32::try_from(limits::HEAD_BYTES_MAX).unwrap_or(u32::MAX)),
        ];
        write_settings(out, &settings);
        write_window_update(out, 0, limits::H2_CONNECTION_WINDOW - WINDOW_FIRST);
        Self {
            opening: Opening::Preface,
            ending: Ending::No,
            leaves: false,
            allowances: Allowances::default(),
            now: 0,
            decoder: Decoder::default(),
            begun: None,
            streams: Streams::default(),
            last_stream: 0,
            resets: Vec::new(),
            send: SendWindow::new(WINDOW_FIRST),
            receive: ReceiveWindow::of_connection(),
            stream_window: WINDOW_FIRST,
            payload_max: PAYLOAD_BYTES,
            owes_table_size: false,
        }
    }

    /// Takes the frame that `bytes` begin with, at the tick `now`. Its fields go to `fields`, what
    /// is to be said at once to `out`.
    ///
    /// # Errors
    /// Why the connection ends.
    pub(crate) fn take<'b>(
        &mut self,
        bytes: &'b [u8],
        now: u32,
        fields: &mut Fields,
        out: &mut Vec<u8>,
    ) -> Result<Took<'b>, Reason> {
        self.now = now;
        if self.opening == Opening::Preface {
            let known = bytes.len().min(PREFACE.len());
            if bytes[..known] != PREFACE[..known] {
                return Err(Reason::Protocol);
            }
            if known < PREFACE.len() {
                return Ok(Took::Partial);
            }
            self.opening = Opening::Settings;
            return Ok(Took::Frame(known, Event::Nothing));
        }
        let Some(head) = FrameHead::read(bytes) else { return Ok(Took::Partial) };
        if head.length > PAYLOAD_BYTES {
            return Err(Reason::FrameSize);
        }
        let length = HEAD_BYTES + head.length;
        let Some(payload) = bytes.get(HEAD_BYTES..length) else { return Ok(Took::Partial) };
        if !self.allowances.came(head, now) {
            return Err(Reason::EnhanceYourCalm);
        }
        Ok(Took::Frame(length, self.frame(head, payload, fields, out)?))
    }
}

/// What is asked of it beside frames.
impl Session {
    /// Opens the stream of a request, which has content, and how much if that is said. Its slot.
    pub(crate) fn open(&mut self, id: u32, has_content: bool, expected: Option<u64>) -> usize {
        self.streams.insert(Stream {
            id,
            send: SendWindow::new(self.stream_window),
            receive: ReceiveWindow::of_stream(),
            held: 0,
            receives: has_content,
            expected,
        })
    }

    /// How much may be sent on a stream that is not open yet.
    pub(crate) fn room_for_new(&self) -> usize {
        self.send.room().min(usize::try_from(self.stream_window).unwrap_or(usize::MAX))
    }

    /// How much may be sent on a stream.
    pub(crate) fn room(&self, slot: usize) -> usize {
        self.streams.get(slot).map_or(0, |stream| stream.send.room().min(self.send.room()))
    }

    /// Whether anything may be sent on any stream.
    pub(crate) fn has_room(&self) -> bool {
        self.send.room() > 0
    }

    /// How much may be sent in a frame.
    pub(crate) fn payload_max(&self) -> usize {
        self.payload_max
    }

    /// Notes content that is sent; `slot` is none for a stream that was never opened.
    pub(crate) fn sent(&mut self, slot: Option<usize>, bytes: usize) {
        self.send.take(bytes);
        if let Some(stream) = slot.and_then(|slot| self.streams.get_mut(slot)) {
            stream.send.take(bytes);
        }
    }

    /// Whether the next block has to say that we use no dynamic table.
    pub(crate) fn owes_table_size(&self) -> bool {
        self.owes_table_size
    }

    /// Notes that a block was written.
    pub(crate) fn wrote_block(&mut self) {
        self.owes_table_size = false;
    }

    /// Gives a visitor leave to send as much again as was taken of what it sent on a stream.
    pub(crate) fn used(&mut self, slot: usize, bytes: u32, out: &mut Vec<u8>) {
        let Some(stream) = self.streams.get_mut(slot) else { return };
        if let Some(increment) = stream.receive.used(bytes)
            && stream.receives
        {
            write_window_update(out, stream.id, increment);
        }
        self.give_back(bytes, out);
    }

    /// The same for content that [`Event::Content`] brought.
    pub(crate) fn taken(&mut self, slot: usize, bytes: u32, out: &mut Vec<u8>) {
        if let Some(stream) = self.streams.get_mut(slot) {
            let bytes = bytes.min(stream.held);
            stream.held -= bytes;
            self.used(slot, bytes, out);
        }
    }

    /// Throws content away that [`Event::Content`] brought and nobody wants. Others may send in its
    /// place, but no more comes on this stream.
    pub(crate) fn discard(&mut self, slot: usize, bytes: u32, out: &mut Vec<u8>) {
        if let Some(stream) = self.streams.get_mut(slot) {
            let bytes = bytes.min(stream.held);
            stream.held -= bytes;
            self.give_back(bytes, out);
        }
    }

    /// Ends a stream whose response is whole. If its request is not, nobody wants the rest of it
    /// (RFC 9113 §8.1).
    pub(crate) fn finish(&mut self, slot: usize, out: &mut Vec<u8>) {
        if let Some(stream) = self.remove(slot, out)
            && stream.receives
        {
            self.reset(stream.id, true, Reason::NoError, out);
        }
    }

    /// Resets a stream through no fault of the visitor.
    pub(crate) fn cut(&mut self, slot: usize, out: &mut Vec<u8>) {
        if let Some(stream) = self.remove(slot, out) {
            self.reset(stream.id, stream.receives, Reason::Internal, out);
        }
    }

    /// Resets a stream that is not open here, on which the visitor broke a rule, and may still
    /// send.
    ///
    /// # Errors
    /// If that is one reset too many: those that a visitor provokes count like its own.
    pub(crate) fn refuse(
        &mut self,
        id: u32,
        may_send: bool,
        reason: Reason,
        out: &mut Vec<u8>,
    ) -> Result<(), Reason> {
        self.reset(id, may_send, reason, out);
        if self.allowances.reset(self.now) { Ok(()) } else { Err(Reason::EnhanceYourCalm) }
    }

    /// Resets a stream that is not open here.
    pub(crate) fn reset(&mut self, id: u32, may_send: bool, reason: Reason, out: &mut Vec<u8>) {
        write_reset(out, id, reason);
        if may_send {
            if self.resets.len() >= limits::H2_RESETS_REMEMBERED {
                self.resets.remove(0);
            }
            self.resets.push(id);
        }
    }

    /// Tells the visitor to ask no more on this connection; what it has asked until it knows is
    /// answered (RFC 9113 §6.8).
    pub(crate) fn drain(&mut self, out: &mut Vec<u8>) {
        if self.ending == Ending::No {
            self.ending = Ending::Announced;
            write_go_away(out, ANY_STREAM, Reason::NoError);
            write(out, PING, 0, 0, &DRAIN_PING);
        }
    }

    /// Asks whether somebody is there.
    pub(crate) fn probe(&self, out: &mut Vec<u8>) {
        write(out, PING, 0, 0, &PROBE_PING);
    }

    /// Says why the connection ends.
    pub(crate) fn go_away(&self, reason: Reason, out: &mut Vec<u8>) {
        write_go_away(out, self.last_stream, reason);
    }

    /// True if nothing more is to come of this connection.
    pub(crate) fn is_over(&self) -> bool {
        let ends = self.leaves || matches!(self.ending, Ending::Behind(_));
        ends && self.streams.is_empty() && self.begun.is_none()
    }

    /// How many bytes of memory it holds beside its own.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.decoder.memory()
            + self.begun.as_ref().map_or(0, |begun| begun.block.capacity())
            + self.streams.capacity() * size_of::<Stream>()
            + self.resets.capacity() * size_of::<u32>()
    }

    fn remove(&mut self, slot: usize, out: &mut Vec<u8>) -> Option<Stream> {
        let stream = self.streams.remove(slot)?;
        self.give_back(stream.held, out);
        Some(stream)
    }

    /// Gives back what was used up of the connection's window.
    fn give_back(&mut self, bytes: u32, out: &mut Vec<u8>) {
        if let Some(increment) = self.receive.used(bytes) {
            write_window_update(out, 0, increment);
        }
    }
}

#[cfg(test)]
mod tests;

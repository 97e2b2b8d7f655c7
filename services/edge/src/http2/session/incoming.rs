//! What each frame of the visitor means (RFC 9113 §6).

use super::{Begun, DRAIN_PING, Ending, Event, Opening, Session};
use crate::{
    http2::{
        fields::Fields,
        frame::{
            ACK, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, FrameHead, GOAWAY,
            HAS_PRIORITY, HEADER_TABLE_SIZE, HEADERS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, PADDED,
            PAYLOAD_BYTES, PING, PRIORITY, PUSH_PROMISE, RST_STREAM, Reason, SETTINGS,
            WINDOW_UPDATE, write,
        },
        head,
        streams::Stream,
        window::Overflow,
    },
    limits,
};

impl Session {
    /// A whole frame.
    pub(super) fn frame<'b>(
        &mut self,
        head: FrameHead,
        payload: &'b [u8],
        fields: &mut Fields,
        out: &mut Vec<u8>,
    ) -> Result<Event<'b>, Reason> {
        match (self.opening, head.kind) {
            (Opening::Settings, SETTINGS) if !head.has(ACK) => self.opening = Opening::Done,
            // RFC 9113 §3.4.
            (Opening::Settings, _) => return Err(Reason::Protocol),
            _ => {}
        }
        // RFC 9113 §4.3: nothing comes between the frames of a block.
        if self.begun.is_some() && head.kind != CONTINUATION {
            return Err(Reason::Protocol);
        }
        match head.kind {
            DATA => self.data(head, payload, out),
            HEADERS => self.headers(head, payload, fields, out),
            CONTINUATION => self.continuation(head, payload, fields, out),
            PRIORITY => self.priority(head, out),
            RST_STREAM => self.rst_stream(head, payload, out),
            SETTINGS => self.settings(head, payload, out),
            PING => self.ping(head, payload, out),
            GOAWAY => self.go_away_came(head),
            WINDOW_UPDATE => self.window_update(head, payload, out),
            // RFC 9113 §8.4: clients do not push.
            PUSH_PROMISE => Err(Reason::Protocol),
            // RFC 9113 §4.1.
            _ => Ok(Event::Nothing),
        }
    }

    /// RFC 9113 §6.1.
    fn data<'b>(
        &mut self,
        head: FrameHead,
        payload: &'b [u8],
        out: &mut Vec<u8>,
    ) -> Result<Event<'b>, Reason> {
        if self.is_idle(head.stream) {
            return Err(Reason::Protocol);
        }
        let content = unpadded(head, payload)?;
        let ends = head.has(END_STREAM);
        let (length, padding) = (count(payload), count(payload) - count(content));
        if !self.receive.came(length) {
            return Err(Reason::FlowControl);
        }
        // Padding alone is no work.
        if content.is_empty() && padding > 0 && !ends && !self.allowances.empty(self.now) {
            return Err(Reason::EnhanceYourCalm);
        }
        let Some(slot) = self.streams.find(head.stream) else {
            self.give_back(length, out);
            return self.on_closed(head.stream, ends, Reason::StreamClosed);
        };
        let Some(stream) = self.streams.get_mut(slot) else { return Ok(Event::Nothing) };
        let fault = if !stream.receives {
            Some(Reason::StreamClosed)
        } else if !stream.receive.came(length) {
            Some(Reason::FlowControl)
        } else if !stream.expects(content.len(), ends) {
            // RFC 9113 §8.1.1: as long as it was said to be.
            Some(Reason::Protocol)
        } else {
            None
        };
        if let Some(reason) = fault {
            self.give_back(length, out);
            return self.break_off(slot, reason, out);
        }
        stream.held += count(content);
        stream.receives = !ends;
        self.used(slot, padding, out);
        Ok(Event::Content(slot, content, ends))
    }

    /// RFC 9113 §6.2.
    fn headers(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        fields: &mut Fields,
        out: &mut Vec<u8>,
    ) -> Result<Event<'static>, Reason> {
        // RFC 9113 §5.1.1.
        if head.stream.is_multiple_of(2) {
            return Err(Reason::Protocol);
        }
        let mut block = unpadded(head, payload)?;
        if head.has(HAS_PRIORITY) {
            block = block.get(5..).ok_or(Reason::FrameSize)?;
        }
        let is_new = head.stream > self.last_stream;
        let ends = head.has(END_STREAM);
        if is_new {
            self.last_stream = head.stream;
        } else if self.streams.find(head.stream).is_none() && !self.resets.contains(&head.stream) {
            let again = head.stream == self.last_stream;
            return Err(if again { Reason::StreamClosed } else { Reason::Protocol });
        }
        if head.has(END_HEADERS) {
            return self.block(head.stream, ends, is_new, block, fields, out);
        }
        let begun = Begun { stream: head.stream, ends, is_new, block: block.to_vec() };
        self.begun = Some(Box::new(begun));
        Ok(Event::Nothing)
    }

    /// RFC 9113 §6.10.
    fn continuation(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        fields: &mut Fields,
        out: &mut Vec<u8>,
    ) -> Result<Event<'static>, Reason> {
        let Some(begun) = self.begun.as_mut().filter(|begun| begun.stream == head.stream) else {
            return Err(Reason::Protocol);
        };
        if begun.block.len() + payload.len() > limits::HEAD_BYTES_MAX {
            return Err(Reason::EnhanceYourCalm);
        }
        begun.block.extend_from_slice(payload);
        match self.begun.take_if(|_| head.has(END_HEADERS)) {
            Some(begun) => {
                let Begun { stream, ends, is_new, block } = *begun;
                self.block(stream, ends, is_new, &block, fields, out)
            }
            None => Ok(Event::Nothing),
        }
    }

    /// A whole block: of a request, of trailers, or of what nobody waits for any more. It is
    /// decoded in any case (RFC 9113 §4.3).
    fn block(
        &mut self,
        id: u32,
        ends: bool,
        is_new: bool,
        block: &[u8],
        fields: &mut Fields,
        out: &mut Vec<u8>,
    ) -> Result<Event<'static>, Reason> {
        fields.clear();
        self.decoder.decode(block, fields).map_err(|_| Reason::Compression)?;
        if is_new {
            let is_late = matches!(self.ending, Ending::Behind(last) if id > last);
            if is_late || self.streams.is_full() {
                self.refuse(id, !ends, Reason::RefusedStream, out)?;
                return Ok(Event::Nothing);
            }
            return Ok(Event::Request(id, ends));
        }
        let Some(slot) = self.streams.find(id) else {
            return self.on_closed(id, ends, Reason::StreamClosed);
        };
        let Some(stream) = self.streams.get_mut(slot) else { return Ok(Event::Nothing) };
        // RFC 9113 §8.1: trailers end the request. They are not passed on.
        let fault = if !stream.receives {
            Some(Reason::StreamClosed)
        } else if !ends || !stream.expects(0, true) || !head::are_sound_trailers(fields) {
            Some(Reason::Protocol)
        } else {
            None
        };
        if let Some(reason) = fault {
            return self.break_off(slot, reason, out);
        }
        stream.receives = false;
        Ok(Event::Content(slot, &[], true))
    }

    /// RFC 9113 §6.3: nobody goes by priorities any more.
    fn priority(&mut self, head: FrameHead, out: &mut Vec<u8>) -> Result<Event<'static>, Reason> {
        match (head.stream, head.length) {
            (0, _) => Err(Reason::Protocol),
            (_, 5) => Ok(Event::Nothing),
            _ => match self.streams.find(head.stream) {
                Some(slot) => self.break_off(slot, Reason::FrameSize, out),
                None => Err(Reason::FrameSize),
            },
        }
    }

    /// RFC 9113 §6.4.
    fn rst_stream(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Event<'static>, Reason> {
        if self.is_idle(head.stream) {
            return Err(Reason::Protocol);
        }
        if payload.len() != 4 {
            return Err(Reason::FrameSize);
        }
        self.forget(head.stream);
        let Some(slot) = self.streams.find(head.stream) else { return Ok(Event::Nothing) };
        self.remove(slot, out);
        Ok(Event::Gone(slot))
    }

    /// RFC 9113 §6.5.
    fn settings(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Event<'static>, Reason> {
        if head.stream != 0 {
            return Err(Reason::Protocol);
        }
        if head.has(ACK) {
            return if payload.is_empty() { Ok(Event::Nothing) } else { Err(Reason::FrameSize) };
        }
        let (settings, []) = payload.as_chunks::<6>() else { return Err(Reason::FrameSize) };
        for [a, b, value @ ..] in settings {
            self.setting(u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))?;
        }
        write(out, SETTINGS, ACK, 0, &[]);
        Ok(Event::RoomForAll)
    }

    /// RFC 9113 §6.5.2.
    fn setting(&mut self, name: u16, value: u32) -> Result<(), Reason> {
        match name {
            HEADER_TABLE_SIZE => {
                let size = usize::try_from(value).unwrap_or(usize::MAX);
                // RFC 7541 §4.2: less than it begins with has to be confirmed.
                self.owes_table_size |= size < limits::H2_TABLE_BYTES_MAX;
            }
            ENABLE_PUSH if value > 1 => return Err(Reason::Protocol),
            INITIAL_WINDOW_SIZE => {
                if value > 0x7fff_ffff {
                    return Err(Reason::FlowControl);
                }
                let by = i64::from(value) - i64::from(self.stream_window);
                self.stream_window = value;
                for stream in self.streams.all() {
                    stream.send.change(by).map_err(|Overflow| Reason::FlowControl)?;
                }
            }
            MAX_FRAME_SIZE => {
                self.payload_max = usize::try_from(value)
                    .ok()
                    .filter(|max| (PAYLOAD_BYTES..1 << 24).contains(max))
                    .ok_or(Reason::Protocol)?
                    .min(limits::H2_PAYLOAD_BYTES_MAX);
            }
            // What a visitor takes of fields is advice; the rest is unknown.
            _ => {}
        }
        Ok(())
    }

    /// RFC 9113 §6.7.
    fn ping(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Event<'static>, Reason> {
        if head.stream != 0 {
            return Err(Reason::Protocol);
        }
        if payload.len() != 8 {
            return Err(Reason::FrameSize);
        }
        if !head.has(ACK) {
            write(out, PING, ACK, 0, payload);
        } else if payload == DRAIN_PING && self.ending == Ending::Announced {
            self.ending = Ending::Behind(self.last_stream);
            self.go_away(Reason::NoError, out);
        }
        Ok(Event::Nothing)
    }

    /// RFC 9113 §6.8: the visitor leaves when all is answered.
    fn go_away_came(&mut self, head: FrameHead) -> Result<Event<'static>, Reason> {
        if head.stream != 0 {
            return Err(Reason::Protocol);
        }
        if head.length < 8 {
            return Err(Reason::FrameSize);
        }
        self.leaves = true;
        Ok(Event::Nothing)
    }

    /// RFC 9113 §6.9.
    fn window_update(
        &mut self,
        head: FrameHead,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Event<'static>, Reason> {
        let increment = *payload.as_array::<4>().ok_or(Reason::FrameSize)?;
        let increment = i64::from(u32::from_be_bytes(increment) & 0x7fff_ffff);
        if head.stream == 0 {
            return match (increment, self.send.change(increment)) {
                (0, _) => Err(Reason::Protocol),
                (_, Err(Overflow)) => Err(Reason::FlowControl),
                (_, Ok(())) => Ok(Event::RoomForAll),
            };
        }
        if self.is_idle(head.stream) {
            return Err(Reason::Protocol);
        }
        let Some(slot) = self.streams.find(head.stream) else { return Ok(Event::Nothing) };
        let Some(stream) = self.streams.get_mut(slot) else { return Ok(Event::Nothing) };
        match (increment, stream.send.change(increment)) {
            (0, _) => self.break_off(slot, Reason::Protocol, out),
            (_, Err(Overflow)) => self.break_off(slot, Reason::FlowControl, out),
            (_, Ok(())) => Ok(Event::Room(slot)),
        }
    }

    /// RFC 9113 §5.1: a stream that nobody has opened yet. We open none.
    fn is_idle(&self, stream: u32) -> bool {
        stream > self.last_stream || stream.is_multiple_of(2)
    }

    /// What comes on a stream that is not open: to be expected if we reset it, else an error.
    fn on_closed(&mut self, id: u32, ends: bool, error: Reason) -> Result<Event<'static>, Reason> {
        if !self.resets.contains(&id) {
            return Err(error);
        }
        if ends {
            self.forget(id);
        }
        Ok(Event::Nothing)
    }

    /// The visitor sends no more on a stream that we reset.
    fn forget(&mut self, id: u32) {
        self.resets.retain(|reset| *reset != id);
        if self.resets.is_empty() {
            self.resets = Vec::new();
        }
    }

    /// Ends a stream on which the visitor broke a rule (RFC 9113 §5.4.2).
    fn break_off(
        &mut self,
        slot: usize,
        reason: Reason,
        out: &mut Vec<u8>,
    ) -> Result<Event<'static>, Reason> {
        if let Some(stream) = self.remove(slot, out) {
            self.refuse(stream.id, stream.receives, reason, out)?;
        }
        Ok(Event::Gone(slot))
    }
}

impl Stream {
    /// Takes content off what was said to come; false if it does not fit.
    fn expects(&mut self, bytes: usize, ends: bool) -> bool {
        let Some(expected) = &mut self.expected else { return true };
        let left = u64::try_from(bytes).ok().and_then(|bytes| expected.checked_sub(bytes));
        *expected = left.unwrap_or(0);
        left.is_some_and(|left| left == 0 || !ends)
    }
}

/// The content of a frame that may be padded (RFC 9113 §6.1).
fn unpadded(head: FrameHead, payload: &[u8]) -> Result<&[u8], Reason> {
    if !head.has(PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(Reason::FrameSize)?;
    let length = rest.len().checked_sub(usize::from(*padding)).ok_or(Reason::Protocol)?;
    Ok(&rest[..length])
}

/// How long a payload is; none is longer than [`PAYLOAD_BYTES`].
fn count(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

//! Frames as they go over the wire (RFC 9113 §4, §6): their heads, and those we write.

/// How every HTTP/2 connection of a visitor begins (RFC 9113 §3.4).
pub(crate) const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What stands before the payload of a frame.
pub(crate) const HEAD_BYTES: usize = 9;
/// Where the flags are in it.
pub(crate) const FLAGS_AT: usize = 4;
/// The longest payload that we take, and that every peer takes (RFC 9113 §6.5.2).
pub(crate) const PAYLOAD_BYTES: usize = 16_384;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const HAS_PRIORITY: u8 = 0x20;

/// The parameters of SETTINGS that concern us (RFC 9113 §6.5.2).
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;
pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;

/// Why a stream or a connection ends (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    NoError = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// What stands before the payload of a frame (RFC 9113 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHead {
    /// The head that `bytes` begin with, if it is whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, kind, flags, ref stream @ ..] = bytes.first_chunk::<HEAD_BYTES>()?;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Some(Self { length, kind, flags, stream: u32::from_be_bytes(*stream) & 0x7fff_ffff })
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The same in bytes.
    pub(crate) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let [.., a, b, c] = self.length.to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind, self.flags, d, e, f, g]
    }
}

/// Writes a frame whose payload is at hand.
pub(crate) fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let head = FrameHead { length: payload.len(), kind, flags, stream };
    out.extend_from_slice(&head.to_bytes());
    out.extend_from_slice(payload);
}

pub(crate) fn write_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    write(out, RST_STREAM, 0, stream, &(reason as u32).to_be_bytes());
}

pub(crate) fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    write(out, WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

pub(crate) fn write_go_away(out: &mut Vec<u8>, last_stream: u32, reason: Reason) {
    let [a, b, c, d] = last_stream.to_be_bytes();
    write(out, GOAWAY, 0, 0, &[a, b, c, d, 0, 0, 0, reason as u8]);
}

pub(crate) fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(6 * settings.len());
    for (name, value) in settings {
        payload.extend_from_slice(&name.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    write(out, SETTINGS, 0, 0, &payload);
}

/// Begins a HEADERS frame; the block is written behind it, and [`end_headers`] ends it.
pub(crate) fn begin_headers(out: &mut Vec<u8>, stream: u32) {
    write(out, HEADERS, END_HEADERS, stream, &[]);
}

/// Ends the HEADERS frame that begins at `begin`. A block that is longer than a frame goes on in
/// CONTINUATION frames (RFC 9113 §6.10).
pub(crate) fn end_headers(out: &mut Vec<u8>, begin: usize, ends_stream: bool) {
    let Some(mut head) = FrameHead::read(&out[begin..]) else { return };
    let length = out.len() - begin - HEAD_BYTES;
    head.flags = if ends_stream { END_HEADERS | END_STREAM } else { END_HEADERS };
    head.length = length.min(PAYLOAD_BYTES);
    if length > PAYLOAD_BYTES {
        head.flags &= !END_HEADERS;
        let rest = out.split_off(begin + HEAD_BYTES + PAYLOAD_BYTES);
        let pieces = rest.chunks(PAYLOAD_BYTES);
        let last = pieces.len() - 1;
        for (index, piece) in pieces.enumerate() {
            let flags = if index == last { END_HEADERS } else { 0 };
            write(out, CONTINUATION, flags, head.stream, piece);
        }
    }
    out[begin..begin + HEAD_BYTES].copy_from_slice(&head.to_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let head = FrameHead { length: 0x01_02_03, kind: 4, flags: 5, stream: 0x06_07_08_09 };
        assert_eq!(head.to_bytes(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(FrameHead::read(&[1, 2, 3, 4, 5, 0x86, 7, 8, 9, 10]), Some(head));
        assert_eq!(FrameHead::read(&[1, 2, 3, 4, 5, 6, 7, 8]), None);
    }

    #[test]
    fn a_long_block_goes_on_in_continuations() {
        let ended = |length: usize, ends| {
            let mut out = b"before".to_vec();
            begin_headers(&mut out, 7);
            out.resize(out.len() + length, 1);
            end_headers(&mut out, 6, ends);
            let (mut frames, mut rest) = (Vec::new(), &out[6..]);
            while let Some(head) = FrameHead::read(rest) {
                frames.push((head.kind, head.flags, head.stream, head.length));
                rest = &rest[HEAD_BYTES + head.length..];
            }
            frames
        };
        assert_eq!(ended(3, true), [(HEADERS, END_HEADERS | END_STREAM, 7, 3)]);
        assert_eq!(ended(16_384, false), [(HEADERS, END_HEADERS, 7, 16_384)]);
        let long = [
            (HEADERS, END_STREAM, 7, 16_384),
            (CONTINUATION, 0, 7, 16_384),
            (CONTINUATION, END_HEADERS, 7, 1),
        ];
        assert_eq!(ended(32_769, true), long);
    }
}

//! Writes the heads of responses, and tells how their bodies are framed (RFC 9112 §6).

use std::io::Write as _;

use http::{Response, StatusCode, header::CONNECTION};

use crate::{
    body::{EdgeBody, Piece},
    outbox::Outbox,
    reply::{self, HeadWriter, Length},
    text,
};

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// It has so many bytes.
    Length(u64),
    Chunked,
}

impl Framing {
    /// Puts a piece of a body into the outbox; false if there is more than was said.
    pub(crate) fn put(&mut self, piece: Piece, outbox: &mut Outbox) -> bool {
        match self {
            _ if piece.len() == 0 => {}
            Self::None => return false,
            Self::Length(left) => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                let Some(rest) = left.checked_sub(length) else { return false };
                *left = rest;
                put(piece, outbox);
            }
            Self::Chunked => {
                let _ = write!(outbox.writer(), "{:x}\r\n", piece.len());
                put(piece, outbox);
                outbox.writer().extend_from_slice(b"\r\n");
            }
        }
        true
    }

    /// What stands behind the last piece.
    pub(crate) fn end(self) -> &'static [u8] {
        match self {
            Self::None | Self::Length(_) => b"",
            Self::Chunked => b"0\r\n\r\n",
        }
    }
}

fn put(piece: Piece, outbox: &mut Outbox) {
    match piece {
        Piece::Bytes(bytes) => outbox.put(bytes),
        Piece::File(part) => outbox.put_file(part),
    }
}

/// A head that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// How the body goes on.
    pub(crate) framing: Framing,
    /// Whether the connection ends with the response.
    pub(crate) closes: bool,
}

/// A head in lines, the `last` of its connection or not.
#[derive(Debug)]
pub(crate) struct Lines<'o> {
    pub(crate) out: &'o mut Vec<u8>,
    pub(crate) last: bool,
}

impl HeadWriter for Lines<'_> {
    const TELLS_OF_CONNECTION: bool = true;

    fn status(&mut self, status: StatusCode) {
        write_status(self.out, status);
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        write_field(self.out, name, value);
    }

    fn number(&mut self, name: &'static str, value: u64) {
        write_number(self.out, name, value);
    }

    fn end(&mut self) {
        if self.last {
            write_field(self.out, b"connection", b"close");
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn length(&self) -> usize {
        self.out.len()
    }

    fn truncate(&mut self, length: usize) {
        self.out.truncate(length);
    }
}

/// Writes the head of `response`, which answers HEAD or another method, and which is the `last` of
/// its connection or not.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    response: &Response<EdgeBody>,
    to_head: bool,
    last: bool,
) -> Written {
    let closes = response.headers().get(CONNECTION).is_some_and(|said| said == "close");
    let mut lines = Lines { out, last: last && !closes };
    let framing = match reply::write_head(&mut lines, response, to_head) {
        Length::None => Framing::None,
        Length::Known(_) if to_head => Framing::None,
        Length::Known(length) => Framing::Length(length),
        Length::Unknown => {
            lines.field(b"transfer-encoding", b"chunked");
            if to_head { Framing::None } else { Framing::Chunked }
        }
    };
    lines.end();
    Written { framing, closes: last || closes }
}

/// The line a response begins with.
fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// One line of a head.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// One line of a head whose value is a number.
fn write_number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    text::write_number(out, value);
    out.extend_from_slice(b"\r\n");
}

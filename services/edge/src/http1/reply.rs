//! Writes the heads of responses, and tells how their bodies are framed (RFC 9112 §6).

use std::io::Write as _;

use bytes::Bytes;
use headroom_cache::http_date;
use http::{
    HeaderMap, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, DATE},
};
use http_body::Body as _;

use super::outbox::Outbox;
use crate::{body::EdgeBody, text};

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
    pub(crate) fn put(&mut self, piece: Bytes, outbox: &mut Outbox) -> bool {
        match self {
            _ if piece.is_empty() => {}
            Self::None => return false,
            Self::Length(left) => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                let Some(rest) = left.checked_sub(length) else { return false };
                *left = rest;
                outbox.put(piece, b"");
            }
            Self::Chunked => {
                let _ = write!(outbox.writer(), "{:x}\r\n", piece.len());
                outbox.put(piece, b"\r\n");
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

/// A head that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    /// How the body goes on.
    pub(crate) framing: Framing,
    /// Whether the connection ends with the response.
    pub(crate) closes: bool,
}

/// Writes the head of `response`, which answers HEAD or another method, and which is the `last` of
/// its connection or not.
pub(crate) fn write_head(
    out: &mut Vec<u8>,
    response: &Response<EdgeBody>,
    to_head: bool,
    last: bool,
) -> Written {
    let (status, headers) = (response.status(), response.headers());
    write_status(out, status);
    for (name, value) in headers {
        // RFC 9110 §8.6.
        if status == StatusCode::NO_CONTENT && name == CONTENT_LENGTH {
            continue;
        }
        write_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    if !headers.contains_key(DATE) {
        write_field(out, b"date", http_date(headroom_clock::now()).as_bytes());
    }
    let closes = headers.get(CONNECTION).is_some_and(|said| said == "close");
    if last && !closes {
        write_field(out, b"connection", b"close");
    }
    let framing = framing(out, response, to_head);
    out.extend_from_slice(b"\r\n");
    Written { framing, closes: last || closes }
}

/// Writes an interim response, which is nothing but a head.
pub(crate) fn write_interim(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    write_status(out, status);
    for (name, value) in headers {
        write_field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// RFC 9110 §8.6, RFC 9112 §6.3: what has no content says nothing about it, but for the answer to
/// HEAD, which says what GET would.
fn framing(out: &mut Vec<u8>, response: &Response<EdgeBody>, to_head: bool) -> Framing {
    let (status, headers) = (response.status(), response.headers());
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Framing::None;
    }
    let said = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let known = said.or_else(|| response.body().size_hint().exact());
    if to_head && (said.is_some() || known == Some(0)) {
        return Framing::None;
    }
    let framing = match known {
        Some(length) => {
            if said.is_none() {
                write_number(out, "content-length", length);
            }
            Framing::Length(length)
        }
        None => {
            write_field(out, b"transfer-encoding", b"chunked");
            Framing::Chunked
        }
    };
    if to_head { Framing::None } else { framing }
}

/// The line a response begins with.
pub(crate) fn write_status(out: &mut Vec<u8>, status: StatusCode) {
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
pub(crate) fn write_number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    text::write_number(out, value);
    out.extend_from_slice(b"\r\n");
}

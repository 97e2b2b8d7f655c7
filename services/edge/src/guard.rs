//! Refuses ambiguous request heads before they are parsed (RFC 9112 §6.3, §11.2).
//!
//! hyper repairs what we refuse: of Content-Length beside Transfer-Encoding it silently drops the
//! former, equal Content-Lengths it merges. Whoever stands behind or before us may repair
//! otherwise, and that is how requests are smuggled. So this guard watches the bytes as they come
//! in. It follows the framing of each request, and when a head breaks a rule it overwrites the
//! line's end with a zero byte, which no head may hold: hyper then answers 400 and closes, after
//! it has answered the requests before.
//!
//! It does not judge methods, targets, names or values; hyper and [`crate::proxy`] do.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::CHUNK_DIGITS_MAX;

/// How much of a line is kept when it comes in pieces. A framing field is shorter.
const LINE_KEPT: usize = 256;

/// Follows the framing of the requests of one connection.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    state: State,
    /// The line in progress, as far as it came in earlier pieces; cut at [`LINE_KEPT`].
    line: Vec<u8>,
    /// The last byte of the line in progress, and how long it is.
    last: u8,
    length: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a head, with what its lines said so far.
    Head { begun: bool, framing: Framing },
    /// In content; so many bytes are left.
    Content(u64),
    /// In the line with the size of the next chunk.
    ChunkSize { size: u64, digits: u8, extension: bool },
    /// In a chunk; so many bytes are left, with the line end behind it.
    Chunk(u64),
    /// Behind the last chunk.
    Trailers,
    /// A rule was broken: hyper closes the connection.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

impl Default for State {
    fn default() -> Self {
        Self::HEAD
    }
}

impl State {
    const HEAD: Self = Self::Head { begun: false, framing: Framing::None };
    const CHUNK_SIZE: Self = Self::ChunkSize { size: 0, digits: 0, extension: false };
}

impl Guard {
    /// Looks at the next bytes of the connection, and spoils them where they break a rule.
    pub(crate) fn inspect(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += match self.state {
                State::Head { begun, framing } => self.head(&mut bytes[at..], begun, framing),
                State::Trailers => self.trailers(&bytes[at..]),
                State::ChunkSize { .. } => self.chunk_size(&mut bytes[at..]),
                State::Content(left) => self.skip(bytes.len() - at, left, State::HEAD),
                State::Chunk(left) => self.skip(bytes.len() - at, left, State::CHUNK_SIZE),
                State::Refused => return,
            };
        }
    }

    fn skip(&mut self, available: usize, left: u64, then: State) -> usize {
        let taken = left.min(u64::try_from(available).unwrap_or(u64::MAX));
        self.state = match (self.state, left - taken) {
            (_, 0) => then,
            (State::Content(_), left) => State::Content(left),
            (_, left) => State::Chunk(left),
        };
        usize::try_from(taken).unwrap_or(available)
    }

    /// Reads one line of a head, or its beginning.
    fn head(&mut self, bytes: &mut [u8], begun: bool, framing: Framing) -> usize {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return self.keep(bytes);
        };
        let (line, length, last) = if self.length == 0 {
            (&bytes[..end.min(LINE_KEPT)], end, bytes[..end].last().copied())
        } else {
            self.keep(&bytes[..end]);
            (&self.line[..], self.length, Some(self.last))
        };
        let next = if length <= LINE_KEPT {
            judge_line(line, begun, framing)
        } else {
            judge_long(line, last == Some(b'\r'), begun, framing)
        };
        self.line.clear();
        self.length = 0;
        self.state = next.unwrap_or_else(|| {
            bytes[end] = 0;
            State::Refused
        });
        end + 1
    }

    fn trailers(&mut self, bytes: &[u8]) -> usize {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            return self.keep(bytes);
        };
        self.keep(&bytes[..end]);
        if self.length <= 1 {
            self.state = State::HEAD;
        }
        self.line.clear();
        self.length = 0;
        end + 1
    }

    fn chunk_size(&mut self, bytes: &mut [u8]) -> usize {
        let State::ChunkSize { size, digits, extension } = self.state else { return 0 };
        let digit = char::from(bytes[0]).to_digit(16).filter(|_| !extension);
        let next = match (bytes[0], digit) {
            (_, Some(digit)) if digits < CHUNK_DIGITS_MAX => {
                let size = size << 4 | u64::from(digit);
                Some(State::ChunkSize { size, digits: digits + 1, extension })
            }
            (_, Some(_)) => None,
            (b'\n', _) if digits == 0 => None,
            (b'\n', _) if size == 0 => Some(State::Trailers),
            (b'\n', _) => size.checked_add(2).map(State::Chunk),
            _ if digits == 0 => None,
            _ => Some(State::ChunkSize { size, digits, extension: true }),
        };
        self.state = next.unwrap_or_else(|| {
            bytes[0] = 0;
            State::Refused
        });
        1
    }

    /// Keeps the beginning of a line that is not complete.
    fn keep(&mut self, bytes: &[u8]) -> usize {
        let room = LINE_KEPT.saturating_sub(self.line.len()).min(bytes.len());
        self.line.extend_from_slice(&bytes[..room]);
        self.length = self.length.saturating_add(bytes.len());
        self.last = bytes.last().copied().unwrap_or(self.last);
        bytes.len()
    }
}

/// What follows a line of a head, given without its line feed; `None` if it breaks a rule.
fn judge_line(line: &[u8], begun: bool, framing: Framing) -> Option<State> {
    // §2.2: a lone line feed may be taken for a line end, and is not here.
    let line = line.strip_suffix(b"\r")?;
    match (line.first(), begun) {
        // §2.2: empty lines before a request are ignored.
        (None, false) => Some(State::HEAD),
        (Some(_), false) => Some(State::Head { begun: true, framing }),
        (None, true) => Some(match framing {
            Framing::None | Framing::Length(0) => State::HEAD,
            Framing::Length(length) => State::Content(length),
            Framing::Chunked => State::CHUNK_SIZE,
        }),
        // §5.2: a folded line hides a field from who does not unfold.
        (Some(b' ' | b'\t'), true) => None,
        (Some(_), true) => Some(State::Head { begun, framing: judge_field(line, framing)? }),
    }
}

/// The same of a line that was too long to keep: it may be anything but a framing field.
fn judge_long(kept: &[u8], ends_well: bool, begun: bool, framing: Framing) -> Option<State> {
    let suspect = begun && (kept.starts_with(b" ") || kept.starts_with(b"\t"));
    let is_framing = begun && framing_name(kept).is_some();
    (ends_well && !suspect && !is_framing).then_some(State::Head { begun: true, framing })
}

/// What the framing is after a field; `None` if it contradicts, or is not plain.
fn judge_field(line: &[u8], framing: Framing) -> Option<Framing> {
    let Some((name, value)) = framing_name(line) else { return Some(framing) };
    if framing != Framing::None {
        return None;
    }
    let value = value.trim_ascii();
    if name == Framing::Chunked {
        return value.eq_ignore_ascii_case(b"chunked").then_some(Framing::Chunked);
    }
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok().map(Framing::Length)
}

/// Which framing field a line is, if it is one, with its value.
fn framing_name(line: &[u8]) -> Option<(Framing, &[u8])> {
    let named = |name: &[u8]| {
        let (field, value) = (line.get(..name.len())?, line.get(name.len() + 1..)?);
        let colon = line[name.len()] == b':';
        (colon && field.eq_ignore_ascii_case(name)).then_some(value)
    };
    match line.first()? {
        b'c' | b'C' => named(b"content-length").map(|value| (Framing::Length(0), value)),
        b't' | b'T' => named(b"transfer-encoding").map(|value| (Framing::Chunked, value)),
        _ => None,
    }
}

/// A connection whose requests pass a [`Guard`].
#[derive(Debug)]
pub(crate) struct Guarded<T> {
    inner: T,
    guard: Guard,
}

impl<T> Guarded<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, guard: Guard::default() }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.guard.inspect(&mut buf.filled_mut()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inspects `bytes` in pieces of every size; true if they pass, and the answer must not depend
    /// on the pieces.
    fn passes(bytes: &str) -> bool {
        let verdicts: Vec<bool> = (1..=bytes.len())
            .map(|size| {
                let mut guard = Guard::default();
                let mut bytes = bytes.as_bytes().to_vec();
                bytes.chunks_mut(size).for_each(|piece| guard.inspect(piece));
                assert_eq!(guard.state == State::Refused, bytes.contains(&0));
                guard.state != State::Refused
            })
            .collect();
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
        verdicts[0]
    }

    #[test]
    fn plain_requests_pass_one_after_the_other() {
        assert!(passes(
            "GET / HTTP/1.1\r\nHost: a.example\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        let post = "POST / HTTP/1.1\r\nContent-Length: 7\r\n\r\n\nbad: 1";
        assert!(passes(&format!("{post}{post}\r\n{post}")), "content is not looked at");
    }

    #[test]
    fn chunks_are_followed() {
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let content = "5;x=\"y\"\r\nab\ncd\r\nA\r\n0123456789\r\n0\r\nSome: trailer\r\n\r\n";
        assert!(passes(&format!("{chunked}{content}{chunked}0\r\n\r\nGET / HTTP/1.1\r\n\r\n")));
        let smuggled = format!("{chunked}{content}GET / HTTP/1.1\nHost: a\r\n\r\n");
        assert!(!passes(&smuggled), "the next head is looked at again");
        assert!(!passes(&format!("{chunked}\r\n")), "no size");
        assert!(!passes(&format!("{chunked}11111111111111111\r\n")), "no size that fits");
    }

    #[test]
    fn contradicting_framing_is_refused() {
        let refused = |fields: &str| !passes(&format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n"));
        assert!(refused("Content-Length: 5\r\nTransfer-Encoding: chunked"));
        assert!(refused("transfer-encoding: chunked\r\nA: b\r\ncontent-length: 5"));
        assert!(refused("Content-Length: 5\r\nContent-Length: 5"));
        assert!(refused("Content-Length: 5, 5"));
        assert!(refused("Content-Length: +5"));
        assert!(refused("Content-Length: 99999999999999999999"));
        assert!(refused("Content-Length:"));
        assert!(refused("Transfer-Encoding: gzip, chunked"));
        assert!(refused("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"));
        assert!(refused("Transfer-Encoding: xchunked"));
        assert!(refused(&format!("Content-Length: {}5", " ".repeat(LINE_KEPT))));
    }

    #[test]
    fn ambiguous_lines_are_refused() {
        assert!(!passes("GET / HTTP/1.1\nHost: a\r\n\r\n"), "a lone line feed");
        assert!(!passes("GET / HTTP/1.1\r\nHost: a\r\n folded: 1\r\n\r\n"), "a folded line");
        let long = "x".repeat(3 * LINE_KEPT);
        assert!(passes(&format!("GET /{long} HTTP/1.1\r\nA: {long}\r\n\r\n")));
        assert!(!passes(&format!("GET / HTTP/1.1\r\nA: {long}\n\r\n")));
    }
}

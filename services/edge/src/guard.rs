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

use memchr::memchr;

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
    /// How many heads came to their end.
    heads: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a head, with what its lines said so far.
    Head { begun: bool, framing: Framing },
    /// In content; so many bytes are left.
    Content(u64),
    /// In the line with the size of the next chunk.
    ChunkSize { size: u64, digits: u8, part: SizePart },
    /// In a chunk; so many bytes are left, with the line end behind it.
    Chunk(u64),
    /// Behind the last chunk.
    Trailers,
    /// A rule was broken: hyper closes the connection.
    Refused,
}

/// Where in the line with a chunk's size it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SizePart {
    Digits,
    Extension,
    /// Behind the carriage return.
    End,
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
    const CHUNK_SIZE: Self = Self::ChunkSize { size: 0, digits: 0, part: SizePart::Digits };
}

impl Guard {
    /// Looks at the next bytes of the connection, and spoils them where they break a rule.
    pub(crate) fn inspect(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            at += match self.state {
                State::Head { begun, framing } => self.head(&mut bytes[at..], begun, framing),
                State::Trailers => self.trailers(&mut bytes[at..]),
                State::ChunkSize { .. } => self.chunk_size(&mut bytes[at..]),
                State::Content(left) => self.skip(bytes.len() - at, left, State::HEAD),
                State::Chunk(left) => self.skip(bytes.len() - at, left, State::CHUNK_SIZE),
                State::Refused => return,
            };
        }
    }

    /// True if a rule was broken.
    pub(crate) fn is_refused(&self) -> bool {
        self.state == State::Refused
    }

    /// True within a head, or the size of a chunk: the visitor has begun to say something.
    pub(crate) fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head { begun: true, .. }) || self.length > 0
    }

    /// How many heads came to their end.
    pub(crate) fn heads(&self) -> u32 {
        self.heads
    }

    /// True between two requests.
    pub(crate) fn is_between(&self) -> bool {
        self.state == State::HEAD && self.length == 0
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

    /// Reads the lines of a head. Almost every line is whole, well ended and not about framing; such
    /// lines are passed over here, and only the first other one is judged.
    fn head(&mut self, bytes: &mut [u8], mut begun: bool, framing: Framing) -> usize {
        let mut passed = 0;
        while self.length == 0 {
            match bytes.get(passed..) {
                Some([b'\r', b'\n', ..]) if begun && framing == Framing::None => {
                    self.heads = self.heads.wrapping_add(1);
                    self.state = State::HEAD;
                    return passed + 2;
                }
                Some([first, ..]) if !may_matter(*first, begun) => {}
                Some([b'c' | b'C' | b't' | b'T', ..])
                    if framing_name(&bytes[passed..]).is_none() => {}
                _ => break,
            }
            match memchr(b'\n', &bytes[passed..]) {
                Some(end) if bytes[passed + end - 1] == b'\r' => passed += end + 1,
                _ => break,
            }
            begun = true;
        }
        self.state = State::Head { begun, framing };
        if passed == bytes.len() {
            return passed;
        }
        passed + self.line(&mut bytes[passed..], begun, framing)
    }

    /// Reads one line of a head, or its beginning.
    fn line(&mut self, bytes: &mut [u8], begun: bool, framing: Framing) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
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
        if length <= 1 && begun {
            self.heads = self.heads.wrapping_add(1);
        }
        self.state = next.unwrap_or_else(|| {
            bytes[end] = 0;
            State::Refused
        });
        end + 1
    }

    fn trailers(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr(b'\n', bytes) else {
            return self.keep(bytes);
        };
        self.keep(&bytes[..end]);
        if self.last != b'\r' || self.length == 0 {
            // hyper goes on where a lone line feed stands: the two would disagree on the end.
            bytes[end] = 0;
            self.state = State::Refused;
        } else if self.length == 1 {
            self.state = State::HEAD;
        }
        self.line.clear();
        self.length = 0;
        end + 1
    }

    /// Reads one byte of `1*HEXDIG [ ";" chunk-ext ] CRLF` (RFC 9112 §7.1). The white space that
    /// is allowed before an extension is not let through: nobody sends it in good faith.
    fn chunk_size(&mut self, bytes: &mut [u8]) -> usize {
        let State::ChunkSize { size, digits, part } = self.state else { return 0 };
        let digit = char::from(bytes[0]).to_digit(16).filter(|_| part == SizePart::Digits);
        let then = |part| Some(State::ChunkSize { size, digits, part });
        let next = match (bytes[0], part) {
            _ if digit.is_none() && digits == 0 => None,
            (_, SizePart::Digits) if digit.is_some() => {
                (digits < CHUNK_DIGITS_MAX).then(|| State::ChunkSize {
                    size: size << 4 | u64::from(digit.unwrap_or(0)),
                    digits: digits + 1,
                    part,
                })
            }
            (b'\n', SizePart::End) if size == 0 => Some(State::Trailers),
            (b'\n', SizePart::End) => size.checked_add(2).map(State::Chunk),
            (b'\n', _) | (_, SizePart::End) => None,
            (b'\r', _) => then(SizePart::End),
            (b';', _) | (_, SizePart::Extension) => then(SizePart::Extension),
            _ => None,
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

/// False if a line that begins so decides nothing, as long as it ends well. What may: a line without
/// anything, and within a head also a folded line and the first letters of the framing fields.
fn may_matter(first: u8, begun: bool) -> bool {
    match first {
        b'\r' | b'\n' => true,
        b'c' | b'C' | b't' | b'T' | b' ' | b'\t' => begun,
        _ => false,
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

    mod against_a_simple_reader {
        use proptest::prelude::*;

        use super::*;

        /// What a reader that has all bytes at hand says: `None` if it refuses them.
        fn read(mut rest: &[u8]) -> Option<()> {
            while !rest.is_empty() {
                rest = request(rest)?;
            }
            Some(())
        }

        /// Takes a line off; what has no end is not judged.
        fn line<'b>(rest: &mut &'b [u8]) -> Option<Option<&'b [u8]>> {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                *rest = &[];
                return Some(None);
            };
            let line = rest[..end].strip_suffix(b"\r");
            *rest = &rest[end + 1..];
            line.map(Some)
        }

        fn request(mut rest: &[u8]) -> Option<&[u8]> {
            let (mut length, mut coding) = (None, None);
            let mut first = true;
            loop {
                let Some(text) = line(&mut rest)? else { return Some(&[]) };
                if text.is_empty() && first {
                    return Some(rest);
                }
                if text.is_empty() {
                    break;
                }
                if first {
                    first = false;
                    continue;
                }
                if text[0] == b' ' || text[0] == b'\t' {
                    return None;
                }
                let text = String::from_utf8_lossy(text).to_ascii_lowercase();
                if let Some(value) = text.strip_prefix("content-length:") {
                    let value = value.trim_matches([' ', '\t']);
                    let digits = !value.is_empty() && value.bytes().all(|at| at.is_ascii_digit());
                    let value: u64 = value.parse().ok().filter(|_| digits)?;
                    (length.replace(value).is_none() && coding.is_none()).then_some(())?;
                }
                if let Some(value) = text.strip_prefix("transfer-encoding:") {
                    (value.trim_matches([' ', '\t']) == "chunked").then_some(())?;
                    (coding.replace(()).is_none() && length.is_none()).then_some(())?;
                }
            }
            if coding.is_some() {
                return chunks(rest);
            }
            let length = usize::try_from(length.unwrap_or(0)).unwrap_or(usize::MAX);
            Some(&rest[length.min(rest.len())..])
        }

        fn chunks(mut rest: &[u8]) -> Option<&[u8]> {
            loop {
                let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                    // Half a size: only what it begins with can be wrong.
                    return size(rest, false).map(|_| &[][..]);
                };
                let size = size(&rest[..end], true)?;
                rest = &rest[end + 1..];
                if size == 0 {
                    break;
                }
                let size = usize::try_from(size.checked_add(2)?).unwrap_or(usize::MAX);
                rest = &rest[size.min(rest.len())..];
                if rest.is_empty() {
                    return Some(rest);
                }
            }
            loop {
                let Some(text) = line(&mut rest)? else { return Some(&[]) };
                if text.is_empty() {
                    return Some(rest);
                }
            }
        }

        /// The size in a line, with its carriage return if it is whole.
        fn size(line: &[u8], whole: bool) -> Option<u64> {
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let (digits, rest) = line.split_at(digits);
            if digits.len() > usize::from(CHUNK_DIGITS_MAX) {
                return None;
            }
            if digits.is_empty() {
                return (!whole && rest.is_empty()).then_some(0);
            }
            let returns = rest.iter().position(|byte| *byte == b'\r');
            let ends = returns.is_some_and(|at| at + 1 == rest.len());
            if (whole || returns.is_some()) && !ends {
                return None;
            }
            if !matches!(rest.first(), None | Some(b'\r' | b';')) {
                return None;
            }
            u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
        }

        fn fragment() -> impl Strategy<Value = &'static str> {
            prop::sample::select(vec![
                "GET / HTTP/1.1\r\n",
                "GET / HTTP/1.1\r\nA: b\r\n\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 5\r\n",
                "Host: a.example\r\n",
                "Content-Length: 5\r\n",
                "content-length:0\r\n",
                "Content-Length: 5, 5\r\n",
                "Content-Length: +1\r\n",
                "Transfer-Encoding: chunked\r\n",
                "TRANSFER-ENCODING:\tCHUNKED \r\n",
                "Transfer-Encoding: gzip\r\n",
                "Content-Type: x\r\n",
                "Transfer: x\r\n",
                " folded\r\n",
                "\tfolded\r\n",
                "\r\n",
                "\r\n\r\n",
                "\n",
                "\r",
                "\0",
                "0",
                "5",
                "a",
                ";",
                ";x=\"y\"",
                " ",
                "hello",
                "0\r\n\r\n",
                "5\r\nhello\r\n",
                "ffffffffffffffff\r\n",
                "11111111111111111",
            ])
        }

        proptest! {
            #[test]
            fn the_guard_says_the_same(parts in prop::collection::vec(fragment(), 0..24), size in 1..40_usize) {
                let mut bytes = parts.concat().into_bytes();
                let expected = read(&bytes).is_some();
                let mut guard = Guard::default();
                bytes.chunks_mut(size).for_each(|piece| guard.inspect(piece));
                prop_assert_eq!(guard.state != State::Refused, expected, "{:?}", parts.concat());
            }
        }
    }
}

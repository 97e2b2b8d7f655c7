//! The chunked coding (RFC 9112 §7.1): finds the content between its framing. Refuses what is not
//! exactly of that form, and repairs nothing. Pure.

use super::Unsound;
use crate::limits::{CHUNK_DIGITS_MAX, HEAD_BYTES_MAX, ORIGIN_CHUNK_EXTENSION_BYTES_MAX};

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone)]
pub(super) struct Chunked {
    state: State,
    /// How many bytes the extension or the trailers in progress have.
    passed: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size {
        size: u64,
        digits: u8,
    },
    Extension(u64),
    /// Behind the carriage return.
    SizeEnd(u64),
    Content(u64),
    ContentEnd,
    /// Behind the carriage return.
    ContentFeed,
    /// In the trailers; whether the line has begun.
    Trailers {
        begun: bool,
    },
    /// Behind the carriage return.
    TrailersEnd {
        begun: bool,
    },
    End,
}

impl State {
    const SIZE: Self = Self::Size { size: 0, digits: 0 };
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::SIZE, passed: 0 }
    }

    /// Passes over framing, up to content, the end of the body, or the end of `bytes`. Says how
    /// many bytes that were.
    pub(super) fn framing(&mut self, bytes: &[u8]) -> Result<usize, Unsound> {
        for (at, byte) in bytes.iter().enumerate() {
            if matches!(self.state, State::Content(_) | State::End) {
                return Ok(at);
            }
            self.state = self.after(*byte)?;
        }
        Ok(bytes.len())
    }

    /// How many bytes of content come next.
    pub(super) fn content(&self) -> u64 {
        match self.state {
            State::Content(left) => left,
            _ => 0,
        }
    }

    /// So many bytes of content were taken.
    pub(super) fn took(&mut self, bytes: u64) {
        self.state = match self.content().saturating_sub(bytes) {
            0 => State::ContentEnd,
            left => State::Content(left),
        };
    }

    pub(super) fn is_end(&self) -> bool {
        self.state == State::End
    }

    /// The state behind `byte`, which is no content.
    fn after(&mut self, byte: u8) -> Result<State, Unsound> {
        use State::*;
        Ok(match (self.state, byte) {
            (Size { size, digits }, byte) => size_after(size, digits, byte)?,
            (Extension(size), b'\r') => SizeEnd(size),
            (SizeEnd(size), b'\n') => {
                self.passed = 0;
                if size == 0 { Trailers { begun: false } } else { Content(size) }
            }
            (ContentEnd, b'\r') => ContentFeed,
            (ContentFeed, b'\n') => State::SIZE,
            (Trailers { begun }, b'\r') => TrailersEnd { begun },
            (TrailersEnd { begun: true }, b'\n') => Trailers { begun: false },
            (TrailersEnd { begun: false }, b'\n') => End,
            (Trailers { begun: false }, b' ' | b'\t') => return Err("a trailer is folded"),
            (Extension(_) | Trailers { .. }, byte) if byte.is_ascii_control() && byte != b'\t' => {
                return Err("there is a control character between chunks");
            }
            (Extension(size), _) => {
                self.pass(ORIGIN_CHUNK_EXTENSION_BYTES_MAX, "a chunk's extension is too long")?;
                Extension(size)
            }
            (Trailers { .. }, _) => {
                self.pass(HEAD_BYTES_MAX, "the trailers are too long")?;
                Trailers { begun: true }
            }
            _ => return Err("a chunk does not end where it should"),
        })
    }

    fn pass(&mut self, most: usize, otherwise: Unsound) -> Result<(), Unsound> {
        self.passed += 1;
        if self.passed > most { Err(otherwise) } else { Ok(()) }
    }
}

fn size_after(size: u64, digits: u8, byte: u8) -> Result<State, Unsound> {
    let digit = char::from(byte).to_digit(16);
    match (digit, byte) {
        (Some(_), _) if digits >= CHUNK_DIGITS_MAX => Err("a chunk's size has too many digits"),
        (Some(digit), _) => {
            Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
        }
        (None, b'\r') if digits > 0 => Ok(State::SizeEnd(size)),
        (None, b';') if digits > 0 => Ok(State::Extension(size)),
        _ => Err("a chunk's size is malformed"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a body that comes in pieces of `size` bytes holds, and how many bytes it has.
    fn read_in(size: usize, body: &[u8]) -> Result<(Vec<u8>, Option<usize>), Unsound> {
        let (mut chunked, mut content, mut used) = (Chunked::new(), Vec::new(), 0);
        for mut piece in body.chunks(size) {
            while !piece.is_empty() && !chunked.is_end() {
                let framing = chunked.framing(piece)?;
                piece = &piece[framing..];
                let taken = usize::try_from(chunked.content()).unwrap().min(piece.len());
                if taken > 0 {
                    chunked.took(taken as u64);
                }
                content.extend_from_slice(&piece[..taken]);
                piece = &piece[taken..];
                used += framing + taken;
            }
        }
        Ok((content, chunked.is_end().then_some(used)))
    }

    /// The same, in pieces of every size, which must not matter.
    fn read(body: &str) -> Result<(String, Option<usize>), Unsound> {
        let whole = read_in(body.len(), body.as_bytes());
        for size in 1..body.len() {
            assert_eq!(read_in(size, body.as_bytes()), whole, "{body:?} in pieces of {size}");
        }
        whole.map(|(content, used)| (String::from_utf8(content).unwrap(), used))
    }

    #[test]
    fn content_is_found_between_framing() {
        for (body, content, behind) in [
            ("0\r\n\r\n", "", 0),
            ("4\r\ngood\r\n0\r\n\r\n", "good", 0),
            ("1\r\na\r\n00000002\r\nbc\r\n000\r\n\r\n", "abc", 0),
            ("a;name=\"v\"\t\r\n0123456789\r\n0;x\r\nA: b\r\nC:\r\n\r\nHTTP", "0123456789", 4),
            ("A\r\n\r\n0\r\n\r\n123\r\n0\r\n\r\n", "\r\n0\r\n\r\n123", 0),
        ] {
            assert_eq!(read(body), Ok((content.to_owned(), Some(body.len() - behind))), "{body:?}");
        }
    }

    #[test]
    fn a_body_that_is_cut_off_has_no_end() {
        let body = "4;x\r\ngood\r\n0\r\nA: b\r\n\r\n";
        for end in 1..body.len() {
            let (content, used) = read(&body[..end]).unwrap();
            assert!("good".starts_with(&content) && used.is_none(), "{end}");
        }
    }

    #[test]
    fn what_is_not_of_that_form_is_refused() {
        let long = format!("1;{}\r\na", "x".repeat(ORIGIN_CHUNK_EXTENSION_BYTES_MAX + 1));
        for body in [
            "\r\n",
            ";\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\n",
            "1\ra",
            "1;\n",
            "1;\r\r\n",
            "1;\0\r\n",
            "10000000000000000\r\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\r1",
            "0\r\n\n",
            "0\r\n\r\r",
            "0\r\n a: b\r\n",
            "0\r\nA: b\n",
            "0\r\nA: b\0\r\n",
            &long,
        ] {
            assert!(read(body).is_err(), "{body:?}");
        }
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(HEAD_BYTES_MAX / 4 + 1));
        assert!(read_in(4096, trailers.as_bytes()).is_err(), "endless trailers");
    }

    proptest! {
        #[test]
        fn what_was_chunked_is_read_again(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            behind in prop::collection::vec(any::<u8>(), 0..8),
            size in 1_usize..64,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend(format!("{:x}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\n\r\n");
            let end = body.len();
            body.extend(behind);
            prop_assert_eq!(read_in(size, &body), Ok((chunks.concat(), Some(end))));
        }

        #[test]
        fn any_bytes_are_read_alike_in_any_pieces(
            body in "[0-2afx;\r\n\t A:\0]{0,40}",
            size in 1_usize..8,
        ) {
            let (pieces, whole) = (read_in(size, body.as_bytes()), read_in(64, body.as_bytes()));
            prop_assert_eq!(pieces, whole);
        }
    }
}

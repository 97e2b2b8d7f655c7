//! The head of a response (RFC 9112 §4, §5, §6.3): where it ends, what it says, and how long the
//! body behind it is. Refuses what another reader could understand otherwise. Pure.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use memchr::memchr;

use super::{Unsound, chunked::Chunked};
use crate::{
    block,
    interim::Interim,
    limits::{HEAD_BYTES_MAX, HEADERS_MAX, ORIGIN_INTERIM_MAX},
    spare,
};

/// Room for the fields that the edge adds to a response.
const ADDED_FIELDS: usize = 3;

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    length: Option<u64>,
    chunked: bool,
    /// Whether the connection may take another request.
    pub(super) keep: bool,
}

/// How the end of a body is told.
#[derive(Debug, Clone)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(u64),
    Chunked(Chunked),
    /// With the connection: it cannot be told from being cut off.
    UntilClose,
}

/// A head that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What came of it so far, if that was not all.
    bytes: Vec<u8>,
    /// How far its end was looked for, and where the line there begins.
    searched: usize,
    line: usize,
    interim: u8,
    /// Where they go.
    interim_to: Option<Interim>,
}

impl Reading {
    /// Interim responses go to `interim_to`.
    pub(super) fn new(interim_to: Option<Interim>) -> Self {
        Self { interim_to, ..Self::default() }
    }

    /// Takes in what came. Yields the head when it is complete, with what came behind it. Interim
    /// responses go their own way (RFC 9110 §15.2).
    pub(super) fn came(&mut self, fresh: &[u8]) -> Result<Option<(Head, Bytes)>, Unsound> {
        let mut kept = std::mem::take(&mut self.bytes);
        let mut rest = fresh;
        if !kept.is_empty() {
            kept.extend_from_slice(fresh);
            rest = &kept;
        }
        let came = rest.len();
        while let Some(end) = self.end(rest)? {
            let (head, behind) = rest.split_at(end);
            let head = Head::parse(head)?;
            if !head.status.is_informational() {
                return Ok(Some((head, Bytes::copy_from_slice(behind))));
            }
            self.pass_on(head)?;
            rest = behind;
        }
        self.bytes = if came == kept.len() && rest.len() == came { kept } else { rest.to_vec() };
        Ok(None)
    }

    fn pass_on(&mut self, interim: Head) -> Result<(), Unsound> {
        if interim.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err("it switches protocols unasked");
        }
        // RFC 9112 §6.1, RFC 9110 §8.6: neither may stand there.
        if interim.length.is_some() || interim.chunked {
            return Err("an interim response has content");
        }
        self.interim += 1;
        if self.interim > ORIGIN_INTERIM_MAX {
            return Err("there are too many interim responses");
        }
        if let Some(visitor) = &self.interim_to {
            visitor.put(interim.status, interim.headers);
        }
        (self.searched, self.line) = (0, 0);
        Ok(())
    }

    /// Where the head ends, behind its empty line.
    fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Unsound> {
        let end = loop {
            let Some(feed) = memchr(b'\n', &bytes[self.searched..]) else { break None };
            let feed = self.searched + feed;
            let line = &bytes[self.line..feed];
            // §2.2: a lone line feed may be taken for a line end, and is not here.
            let Some((b'\r', line)) = line.split_last() else {
                return Err("a line of its head does not end with CRLF");
            };
            (self.searched, self.line) = (feed + 1, feed + 1);
            match line.is_empty() {
                true if feed == 1 => return Err("its head begins with an empty line"),
                true => break Some(feed + 1),
                false => {}
            }
        };
        self.searched = end.unwrap_or(bytes.len());
        if self.searched > HEAD_BYTES_MAX { Err("its head is too long") } else { Ok(end) }
    }
}

impl Head {
    /// Reads a head that is complete.
    fn parse(bytes: &[u8]) -> Result<Self, Unsound> {
        let bytes = block::copy(bytes);
        let mut room = [MaybeUninit::<httparse::Header<'_>>::uninit(); HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, &bytes, &mut room) {
            Ok(httparse::Status::Complete(read)) if read == bytes.len() => {}
            Ok(_) => return Err("its head is malformed"),
            Err(error) => return Err(reason(error)),
        }
        let status = parsed.code.filter(|code| *code < 600);
        let status = status.and_then(|code| StatusCode::from_u16(code).ok());
        let version = match parsed.version {
            Some(1) => Version::HTTP_11,
            _ => Version::HTTP_10,
        };
        let mut head = Self {
            status: status.ok_or("its status is none")?,
            version,
            headers: spare::map(parsed.headers.len() + ADDED_FIELDS),
            length: None,
            chunked: false,
            keep: version == Version::HTTP_11,
        };
        for field in parsed.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
            let (Ok(name), Ok(value)) = (name, value) else { return Err("a field is malformed") };
            head.add(name, value)?;
        }
        Ok(head)
    }

    fn add(&mut self, name: HeaderName, value: HeaderValue) -> Result<(), Unsound> {
        if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
            self.add_framing(&name, value.as_bytes())?;
        } else if name == CONNECTION {
            let mut options = value.as_bytes().split(|byte| *byte == b',');
            self.keep &= !options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"));
        }
        self.headers.append(name, value);
        Ok(())
    }

    /// RFC 9112 §6.3: each says once, and alone, how long the body is.
    fn add_framing(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Unsound> {
        if self.length.is_some() || self.chunked {
            return Err("it has two lengths");
        }
        if name == CONTENT_LENGTH {
            let digits = value.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(value).ok().filter(|_| digits);
            let length = length.and_then(|length| length.parse().ok());
            self.length = Some(length.ok_or("its Content-Length is malformed")?);
            return Ok(());
        }
        if self.version != Version::HTTP_11 {
            return Err("it is HTTP/1.0 with Transfer-Encoding");
        }
        self.chunked = value.eq_ignore_ascii_case(b"chunked");
        if self.chunked { Ok(()) } else { Err("its Transfer-Encoding is not chunked") }
    }

    /// How long the body is that answers `method` (RFC 9112 §6.3).
    pub(super) fn framing(&self, method: &Method) -> Framing {
        let bodiless = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match self.length {
            _ if bodiless || *method == Method::HEAD => Framing::Length(0),
            _ if self.chunked => Framing::Chunked(Chunked::new()),
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        }
    }
}

fn reason(error: httparse::Error) -> Unsound {
    match error {
        httparse::Error::HeaderName => "a field's name is malformed",
        httparse::Error::HeaderValue => "a field's value is malformed",
        httparse::Error::TooManyHeaders => "it has too many fields",
        _ => "its status line is malformed",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Read = Result<Option<(u16, Vec<(String, Vec<u8>)>, Bytes)>, Unsound>;

    fn read_in(size: usize, bytes: &[u8]) -> Read {
        let mut reading = Reading::default();
        let mut pieces = bytes.chunks(size);
        while let Some(piece) = pieces.next() {
            if let Some((head, behind)) = reading.came(piece)? {
                let field = |(name, value): (&HeaderName, &HeaderValue)| {
                    (name.to_string(), value.as_bytes().to_vec())
                };
                let rest: Vec<u8> = pieces.flatten().copied().collect();
                let behind = Bytes::from([&behind[..], &rest].concat());
                return Ok(Some((
                    head.status.as_u16(),
                    head.headers.iter().map(field).collect(),
                    behind,
                )));
            }
        }
        Ok(None)
    }

    /// Reads a head in pieces of every size, which must not matter.
    fn read(text: &str) -> Read {
        let whole = read_in(text.len(), text.as_bytes());
        for size in 1..text.len().min(200) {
            assert_eq!(read_in(size, text.as_bytes()), whole, "{text:?} in pieces of {size}");
        }
        whole
    }

    fn head(text: &str) -> Result<Head, Unsound> {
        read(text)?;
        Ok(Reading::default().came(text.as_bytes())?.unwrap().0)
    }

    #[test]
    fn a_head_is_read_with_what_comes_behind_it() {
        let text = "HTTP/1.1 200 OK\r\nA: b\r\nSet-Cookie: c \r\nset-cookie:\r\n\r\n\r\nbody";
        let (status, fields, behind) = read(text).unwrap().unwrap();
        let fields: Vec<(&str, &[u8])> =
            fields.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        assert_eq!(status, 200);
        assert_eq!(fields, [("a", &b"b"[..]), ("set-cookie", b"c"), ("set-cookie", b"")]);
        assert_eq!(&behind[..], b"\r\nbody");
        assert_eq!(read("HTTP/1.1 200 \r\n\r\n").unwrap().unwrap().0, 200);
        assert_eq!(read("HTTP/1.1 200 OK\r\nA: b\r\n"), Ok(None));
    }

    #[test]
    fn interim_responses_are_passed_over() {
        let last = "HTTP/1.1 204 None\r\n\r\n";
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        let many = |count: u8| format!("{}{last}", early.repeat(count.into()));
        let (status, fields, _) = read(&many(2)).unwrap().unwrap();
        assert!(status == 204 && fields.is_empty());
        assert!(read(&many(ORIGIN_INTERIM_MAX)).is_ok());
        assert!(read(&many(ORIGIN_INTERIM_MAX + 1)).is_err());
        for bad in [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n",
            "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(read(&format!("{bad}{last}")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_could_be_understood_otherwise_is_refused() {
        let line = "HTTP/1.1 200 OK\r\n";
        for fields in [
            "Content-Length: 4\r\nContent-Length: 4",
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 4",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding:",
            "Content-Length: 4, 4",
            "Content-Length: +4",
            "Content-Length: -4",
            "Content-Length: 0x4",
            "Content-Length: 4 4",
            "Content-Length:",
            "Content-Length: 18446744073709551616",
            "A: b\r\n c: d",
            " A: b",
            "A : b",
            "A\t: b",
            ": b",
            "A b",
            "A: b\nC: d",
            "A: b\rC: d",
            "A: b\0",
            "A: \u{1}",
            "A: \u{7f}",
            "A\u{e9}: b",
        ] {
            assert!(read(&format!("{line}{fields}\r\n\r\n")).is_err(), "{fields:?}");
        }
        for text in [
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\r\n\n",
            "HTTP/1.1 099 No\r\n\r\n",
            "HTTP/1.1 600 No\r\n\r\n",
            "HTTP/1.1 20 No\r\n\r\n",
            "HTTP/1.1 2000 No\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/1.1 200 O\u{1}K\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.2 200 OK\r\n\r\n",
            "http/1.1 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn heads_have_a_limit() {
        let of =
            |fields: String| read_in(1000, format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes());
        assert!(of("A: b\r\n".repeat(HEADERS_MAX)).is_ok());
        assert!(of("A: b\r\n".repeat(HEADERS_MAX + 1)).is_err());
        let rest = "HTTP/1.1 200 OK\r\nA: \r\n\r\n".len();
        assert!(of(format!("A: {}\r\n", "x".repeat(HEAD_BYTES_MAX - rest))).is_ok());
        assert!(of(format!("A: {}\r\n", "x".repeat(HEAD_BYTES_MAX - rest + 1))).is_err());
        assert!(read_in(1000, &[b'x'; HEAD_BYTES_MAX + 1000]).is_err(), "without an end");
    }

    #[test]
    fn the_framing_is_told() {
        let told = |method: Method, text: &str| match head(text).unwrap().framing(&method) {
            Framing::Length(length) => length.to_string(),
            Framing::Chunked(_) => "chunked".to_owned(),
            Framing::UntilClose => "until close".to_owned(),
        };
        for (method, text, expected) in [
            (Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 007\r\n\r\n", "7"),
            (Method::GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", "chunked"),
            (Method::GET, "HTTP/1.1 200 OK\r\n\r\n", "until close"),
            (Method::GET, "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n", "7"),
            (Method::HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", "0"),
            (Method::HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "0"),
            (Method::HEAD, "HTTP/1.1 200 OK\r\n\r\n", "0"),
            (Method::GET, "HTTP/1.1 204 None\r\nContent-Length: 7\r\n\r\n", "0"),
            (Method::GET, "HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n", "0"),
        ] {
            assert_eq!(told(method, text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_connection_is_kept_unless_it_closes() {
        for (text, keep) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: closed\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nConnection: a ,\tCLOSE\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nConnection: a\r\nConnection: close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false),
        ] {
            assert_eq!(head(text).unwrap().keep, keep, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_alike_in_any_pieces(
            head in "HTTP/1\\.[01] [1-2]0[0-4] ?\r\n([A-C]:? ?[a-c\t]{0,3}\r?\n){0,4}\r?\n[ab\r\n]{0,4}",
            size in 1_usize..16,
        ) {
            prop_assert_eq!(read_in(size, head.as_bytes()), read_in(1024, head.as_bytes()));
        }
    }
}

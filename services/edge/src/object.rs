//! Stored responses, in the one form they have in memory and on disk.
//!
//! The fields of a head are kept encoded in one block with the body behind it: a `HeaderMap` per
//! object would take more memory than a small body. A hit decodes the block; names that are common
//! cost nothing, values share the block.
//!
//! ```text
//!  block   field*  body
//!  field   name (index into COMMON, or OTHER length bytes)  length of value (2 bytes)  value
//! ```

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    sync::{Arc, LazyLock},
};

use bytes::{BufMut as _, Bytes};
use headroom_cache::{ByteRange, Exchange, StoredPolicy, http_date};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{self, AGE, CONTENT_LENGTH, DATE},
};
use quick_cache::DefaultHashBuilder;

use crate::{
    limits,
    memory_file::{FilePart, MemoryFile},
    reply::HeadWriter,
    text,
};

/// Fields in which an origin names the tags of a response, for purges; not shown to visitors.
pub(crate) static TAG_FIELDS: [HeaderName; 2] =
    [HeaderName::from_static("cache-tag"), HeaderName::from_static("surrogate-key")];

/// Removes the fields that tag a response: they are for caches, not for visitors. Most have none.
pub(crate) fn remove_tags(headers: &mut HeaderMap) {
    if headers.keys().any(|name| TAG_FIELDS.contains(name)) {
        TAG_FIELDS.iter().for_each(|tag| drop(headers.remove(tag)));
    }
}

/// Names that take one byte. The order is part of the form on disk: add at the end only.
static COMMON: [HeaderName; 36] = [
    header::ACCEPT_RANGES,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::ALT_SVC,
    header::CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::CONTENT_SECURITY_POLICY,
    header::CONTENT_TYPE,
    DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::LINK,
    header::LOCATION,
    header::PRAGMA,
    header::REFERRER_POLICY,
    header::RETRY_AFTER,
    header::SERVER,
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::VARY,
    header::VIA,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_FRAME_OPTIONS,
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("cache-tag"),
    HeaderName::from_static("surrogate-key"),
    HeaderName::from_static("timing-allow-origin"),
];
/// Where each is in [`COMMON`].
static INDICES: LazyLock<HashMap<HeaderName, u8, DefaultHashBuilder>> =
    LazyLock::new(|| COMMON.iter().cloned().zip(0..).collect());
/// In place of an index: the name stands there in full.
const OTHER: u8 = u8::MAX;
/// Fields the edge adds to a stored head: room for them is made at once.
const ADDED_FIELDS: usize = 4;

/// A response as it is sent again.
#[derive(Debug, Clone)]
pub(crate) struct StoredObject {
    pub(crate) status: StatusCode,
    pub(crate) policy: StoredPolicy,
    /// The newest purge of the site when its fetch began: only later ones concern it.
    pub(crate) stamp: u64,
    pub(crate) body: StoredBody,
    /// How long the body is.
    pub(crate) length: u64,
    fields: u16,
    head: Bytes,
}

/// Where a body is.
#[derive(Debug, Clone)]
pub(crate) enum StoredBody {
    /// In memory, in one piece.
    Whole(Bytes),
    /// In memory, where the system sends it from by itself.
    File(Arc<MemoryFile>),
    /// In memory, in pieces of [`PIECE`] bytes: there was no place for a file.
    Pieces(Box<[Bytes]>),
    /// On disk alone, in chunks under this number.
    OnDisk(u64),
}

/// A part of a body that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Segment {
    /// At hand.
    Bytes(Bytes),
    /// At hand, in a file in memory.
    File(FilePart),
    /// A range of a chunk on disk.
    Chunk { number: u64, index: u32, from: usize, to: usize },
}

impl StoredBody {
    /// A body that is at hand in one piece.
    pub(crate) fn of(bytes: Bytes) -> Self {
        if bytes.len() <= limits::SMALL_BODY_MAX {
            return Self::Whole(bytes);
        }
        let length = bytes.len();
        Self::large(vec![bytes], length)
    }

    /// A body of `length` bytes that is no small one.
    fn large(pieces: Vec<Bytes>, length: usize) -> Self {
        match MemoryFile::of(&pieces) {
            Some(file) => Self::File(file),
            None => Self::Pieces(repacked(pieces, length)),
        }
    }

    /// The bytes of one range, which lies within the body.
    pub(crate) fn slice(&self, range: ByteRange) -> VecDeque<Segment> {
        let pieces = match self {
            Self::Whole(bytes) => std::slice::from_ref(bytes),
            Self::Pieces(pieces) => pieces,
            Self::File(file) => {
                let length = usize::try_from(range.len()).unwrap_or(usize::MAX);
                return [Segment::File(FilePart::new(file, range.first, length))].into();
            }
            Self::OnDisk(number) => return chunks(*number, range),
        };
        let (mut begin, mut slices) = (0, VecDeque::new());
        for piece in pieces {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if let Some((from, to)) = within(range, begin, length) {
                slices.push_back(Segment::Bytes(piece.slice(from..to)));
            }
            begin += length;
        }
        slices
    }
}

/// Which part of what begins at `begin` a range takes, if any.
fn within(range: ByteRange, begin: u64, length: u64) -> Option<(usize, usize)> {
    let at = |at: u64| usize::try_from(at.clamp(begin, begin + length) - begin).ok();
    let (from, to) = (at(range.first)?, at(range.last + 1)?);
    (from < to).then_some((from, to))
}

/// The chunks a range lies in.
fn chunks(number: u64, range: ByteRange) -> VecDeque<Segment> {
    let length = u64::try_from(CHUNK).unwrap_or(u64::MAX);
    let indices = range.first / length..=range.last / length;
    let segment = |index: u64| {
        let (from, to) = within(range, index * length, length)?;
        Some(Segment::Chunk { number, index: u32::try_from(index).ok()?, from, to })
    };
    indices.filter_map(segment).collect()
}

/// What a stored response is made of.
pub(crate) struct Parts<'h> {
    pub(crate) status: StatusCode,
    /// The origin's, without fields of one hop.
    pub(crate) headers: &'h HeaderMap,
    pub(crate) policy: StoredPolicy,
    pub(crate) times: Exchange,
    pub(crate) stamp: u64,
}

impl StoredObject {
    /// A response whose body is `pieces`. `None` if a field is longer than can be kept.
    pub(crate) fn new(parts: Parts<'_>, pieces: Vec<Bytes>) -> Option<Self> {
        let length = pieces.iter().map(Bytes::len).sum::<usize>();
        if length <= limits::SMALL_BODY_MAX {
            return Self::small(parts, &pieces.concat());
        }
        let (fields, head) = encoded_head(&parts, Some(length), &[])?;
        let body = StoredBody::large(pieces, length);
        Some(Self::of(parts, body, u64::try_from(length).ok()?, fields, head))
    }

    /// A response with a small body: it is kept in one block with the head.
    pub(crate) fn small(parts: Parts<'_>, body: &[u8]) -> Option<Self> {
        let (fields, block) = encoded_head(&parts, Some(body.len()), body)?;
        let (head, length) = (block.len() - body.len(), u64::try_from(body.len()).ok()?);
        let body = StoredBody::Whole(block.slice(head..));
        Some(Self::of(parts, body, length, fields, block.slice(..head)))
    }

    /// A response whose body of `length` bytes is on disk, in chunks under `number`.
    pub(crate) fn on_disk(parts: Parts<'_>, number: u64, length: u64) -> Option<Self> {
        let (fields, head) = encoded_head(&parts, usize::try_from(length).ok(), &[])?;
        Some(Self::of(parts, StoredBody::OnDisk(number), length, fields, head))
    }

    /// What [`crate::codec`] has read.
    pub(crate) fn decoded(
        status: StatusCode,
        policy: StoredPolicy,
        stamp: u64,
        (fields, head): (u16, Bytes),
        (length, body): (u64, StoredBody),
    ) -> Self {
        Self { status, policy, stamp, body, length, fields, head }
    }

    /// How many fields the head has, and the head in its stored form.
    pub(crate) fn encoded_head(&self) -> (u16, &Bytes) {
        (self.fields, &self.head)
    }

    /// The same body with a head and terms that a 304 has renewed.
    pub(crate) fn renewed(&self, parts: Parts<'_>) -> Option<Self> {
        let (fields, head) = encoded_head(&parts, usize::try_from(self.length).ok(), &[])?;
        Some(Self::of(parts, self.body.clone(), self.length, fields, head))
    }

    fn of(parts: Parts<'_>, body: StoredBody, length: u64, fields: u16, head: Bytes) -> Self {
        let Parts { status, policy, stamp, .. } = parts;
        Self { status, policy, stamp, body, length, fields, head }
    }

    /// The head as it was stored.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.decode(|_| true)
    }

    /// The head as visitors see it, with room for a few fields more.
    pub(crate) fn shown_headers(&self) -> HeaderMap {
        self.decode(|name| !TAG_FIELDS.contains(name))
    }

    /// Writes the same as fields of a head.
    pub(crate) fn write_shown_fields(&self, out: &mut impl HeadWriter) {
        let mut block = &self.head[..];
        while let Some((name, value)) = split_field(&mut block) {
            let name = match name {
                Name::Common(name) if TAG_FIELDS.contains(name) => continue,
                Name::Common(name) => name.as_str().as_bytes(),
                Name::Other(name) => name,
            };
            out.field(name, value);
        }
    }

    fn decode(&self, keep: impl Fn(&HeaderName) -> bool) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(usize::from(self.fields) + ADDED_FIELDS);
        let mut block = &self.head[..];
        while let Some((name, value)) = split_field(&mut block) {
            let name = match name {
                Name::Common(name) => name.clone(),
                Name::Other(name) => match HeaderName::from_bytes(name) {
                    Ok(name) => name,
                    Err(_) => break,
                },
            };
            let Ok(value) = HeaderValue::from_maybe_shared(self.head.slice_ref(value)) else {
                break;
            };
            if keep(&name) {
                headers.append(name, value);
            }
        }
        headers
    }

    /// The tags it can be purged by.
    pub(crate) fn tags(&self) -> Vec<String> {
        let headers = self.headers();
        let [cache_tag, surrogate_key] = &TAG_FIELDS;
        let lines = headers.get_all(cache_tag).into_iter().chain(headers.get_all(surrogate_key));
        let words = lines.filter_map(|line| line.to_str().ok());
        let words = words.flat_map(|line| line.split([',', ' ', '\t']));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// About how much memory it takes beside its key.
    pub(crate) fn weight(&self) -> usize {
        let body = match &self.body {
            StoredBody::Whole(body) => body.len(),
            StoredBody::Pieces(pieces) => {
                pieces.iter().map(|piece| piece.len() + size_of::<Bytes>()).sum()
            }
            StoredBody::File(_) => usize::try_from(self.length).unwrap_or(usize::MAX),
            StoredBody::OnDisk(_) => 0,
        };
        size_of::<Self>() + ALLOCATIONS + self.head.len() + body
    }
}

/// The same bytes in pieces of [`PIECE`]: received ones hold on to the whole buffers they came in.
fn repacked(pieces: Vec<Bytes>, length: usize) -> Box<[Bytes]> {
    let mut packed = Vec::with_capacity(length.div_ceil(PIECE));
    let mut filling = Vec::with_capacity(PIECE.min(length));
    let mut left = length;
    for mut piece in pieces {
        while !piece.is_empty() {
            let taken = piece.split_to(piece.len().min(PIECE - filling.len()));
            filling.extend_from_slice(&taken);
            left -= taken.len();
            if filling.len() == PIECE || left == 0 {
                let next = Vec::with_capacity(PIECE.min(left));
                packed.push(Bytes::from(std::mem::replace(&mut filling, next)));
            }
        }
    }
    packed.into_boxed_slice()
}

/// How long the pieces of a larger body are.
const PIECE: usize = 1024 * 1024;
/// How long the chunks of a body on disk are. Part of the form on disk.
pub(crate) const CHUNK: usize = 1024 * 1024;
/// What the allocator and reference counts add to an object, roughly.
const ALLOCATIONS: usize = 96;

thread_local! {
    /// Where heads are written before it is known how long they are.
    static HEAD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The head in its stored form with `body` behind it, and how many fields it has.
fn encoded_head(parts: &Parts<'_>, length: Option<usize>, body: &[u8]) -> Option<(u16, Bytes)> {
    HEAD.with_borrow_mut(|head| {
        head.clear();
        let fields = encode_head(parts, length, head)?;
        let mut block = Vec::with_capacity(head.len() + body.len());
        block.extend_from_slice(head);
        block.extend_from_slice(body);
        Some((fields, block.into()))
    })
}

/// Writes the fields that are kept: without `Age`, with `Date` and the length. Returns how many.
fn encode_head(parts: &Parts<'_>, length: Option<usize>, block: &mut Vec<u8>) -> Option<u16> {
    let mut fields = 0;
    let mut write = |name: &HeaderName, value: &[u8]| {
        fields += 1;
        encode_field(name, value, block)
    };
    for (name, value) in parts.headers {
        if name != AGE && name != CONTENT_LENGTH {
            write(name, value.as_bytes())?;
        }
    }
    // RFC 9110 §6.6.1: who stores a response without Date notes when it came.
    if !parts.headers.contains_key(DATE) {
        write(&DATE, http_date(parts.times.received_at).as_bytes())?;
    }
    if let Some(length) = length.filter(|_| parts.status != StatusCode::NO_CONTENT) {
        let mut digits = [b'0'; 20];
        let used = text::write_digits(&mut digits, u64::try_from(length).ok()?).max(1);
        write(&CONTENT_LENGTH, &digits[digits.len() - used..])?;
    }
    u16::try_from(fields).ok()
}

fn encode_field(name: &HeaderName, value: &[u8], block: &mut Vec<u8>) -> Option<()> {
    match INDICES.get(name) {
        Some(index) => block.put_u8(*index),
        None => {
            block.put_u8(OTHER);
            block.put_u16(u16::try_from(name.as_str().len()).ok()?);
            block.put_slice(name.as_str().as_bytes());
        }
    }
    block.put_u16(u16::try_from(value.len()).ok()?);
    block.put_slice(value);
    Some(())
}

/// The name of a field in a block.
enum Name<'b> {
    Common(&'static HeaderName),
    Other(&'b [u8]),
}

/// Splits the next field off a block; `None` at its end, or where it is not sound.
fn split_field<'b>(block: &mut &'b [u8]) -> Option<(Name<'b>, &'b [u8])> {
    let (&index, rest) = block.split_first()?;
    *block = rest;
    let name = match index {
        OTHER => Name::Other(split_counted(block)?),
        index => Name::Common(COMMON.get(usize::from(index))?),
    };
    Some((name, split_counted(block)?))
}

fn split_counted<'b>(block: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = block.split_first_chunk()?;
    let (counted, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *block = rest;
    Some(counted)
}

//! Stored responses as blobs, for the disk: the variants of one key, the newest first.
//!
//! ```text
//!  blob     version (1)  variant*
//!  variant  status (2)  stamp (8)  terms  fields (2)  head (counted)  length (8)  body
//!  body     0  the bytes, counted   |   1  number of its chunks (8)
//! ```
//!
//! A blob of another version, or one that is not sound, is nothing. Numbers are big-endian, times
//! are nanoseconds since 1970, counts have four bytes.

use std::{sync::Arc, time::Duration};

use bytes::{Buf as _, BufMut as _, Bytes};
use headroom_cache::{PolicyParts, StoredPolicy};
use headroom_units::Timestamp;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::object::{StoredBody, StoredObject};

const VERSION: u8 = 1;
const INLINE: u8 = 0;
const CHUNKS: u8 = 1;

/// The variants as one blob, as many of the newest as fit; `None` if not even one does.
pub(crate) fn encode(variants: &[Arc<StoredObject>], max: usize) -> Option<Bytes> {
    let mut blob = vec![VERSION];
    for object in variants {
        let before = blob.len();
        encode_object(object, &mut blob)?;
        if blob.len() > max {
            blob.truncate(before);
            break;
        }
    }
    (blob.len() > 1).then(|| Bytes::from(blob))
}

/// The variants in a blob.
pub(crate) fn decode(mut blob: Bytes) -> Option<Vec<Arc<StoredObject>>> {
    if blob.try_get_u8().ok()? != VERSION {
        return None;
    }
    let mut variants = Vec::new();
    while blob.has_remaining() {
        variants.push(Arc::new(decode_object(&mut blob)?));
    }
    Some(variants)
}

fn encode_object(object: &StoredObject, blob: &mut Vec<u8>) -> Option<()> {
    blob.put_u16(object.status.as_u16());
    blob.put_u64(object.stamp);
    encode_terms(&object.policy.to_parts(), blob)?;
    let (fields, head) = object.encoded_head();
    blob.put_u16(fields);
    put_counted(head, blob)?;
    blob.put_u64(object.length);
    match &object.body {
        StoredBody::Whole(bytes) => {
            blob.put_u8(INLINE);
            put_counted(bytes, blob)?;
        }
        StoredBody::Pieces(pieces) => {
            blob.put_u8(INLINE);
            blob.put_u32(u32::try_from(object.length).ok()?);
            pieces.iter().for_each(|piece| blob.put_slice(piece));
        }
        StoredBody::File(file) => {
            blob.put_u8(INLINE);
            blob.put_u32(u32::try_from(object.length).ok()?);
            file.append_to(usize::try_from(object.length).ok()?, blob).ok()?;
        }
        StoredBody::OnDisk(number) => {
            blob.put_u8(CHUNKS);
            blob.put_u64(*number);
        }
    }
    Some(())
}

fn decode_object(blob: &mut Bytes) -> Option<StoredObject> {
    let status = StatusCode::from_u16(blob.try_get_u16().ok()?).ok()?;
    let stamp = blob.try_get_u64().ok()?;
    let policy = StoredPolicy::from_parts(decode_terms(blob)?);
    let fields = blob.try_get_u16().ok()?;
    let head = take_counted(blob)?;
    let length = blob.try_get_u64().ok()?;
    let body = match blob.try_get_u8().ok()? {
        INLINE => StoredBody::of(take_counted(blob)?),
        CHUNKS => StoredBody::OnDisk(blob.try_get_u64().ok()?),
        _ => return None,
    };
    Some(StoredObject::decoded(status, policy, stamp, (fields, head), (length, body)))
}

fn encode_terms(terms: &PolicyParts, blob: &mut Vec<u8>) -> Option<()> {
    blob.put_u64(terms.received_at.nanos());
    blob.put_u64(u64::try_from(terms.initial_age.as_nanos()).ok()?);
    blob.put_u64(u64::try_from(terms.fresh_for.as_nanos()).ok()?);
    blob.put_u64(terms.date.nanos());
    blob.put_u32(terms.stale_while_revalidate);
    put_option(terms.stale_if_error, blob, |seconds, blob| blob.put_u32(seconds));
    for flag in [terms.no_cache, terms.must_revalidate, terms.heuristic] {
        blob.put_u8(flag.into());
    }
    put_option(terms.last_modified, blob, |at, blob| blob.put_u64(at.nanos()));
    blob.put_u8(terms.etag.is_some().into());
    if let Some(etag) = &terms.etag {
        put_counted(etag.as_bytes(), blob)?;
    }
    blob.put_u32(u32::try_from(terms.vary.len()).ok()?);
    for (name, lines) in &terms.vary {
        put_counted(name.as_str().as_bytes(), blob)?;
        blob.put_u32(u32::try_from(lines.len()).ok()?);
        for line in lines {
            put_counted(line.as_bytes(), blob)?;
        }
    }
    Some(())
}

fn decode_terms(blob: &mut Bytes) -> Option<PolicyParts> {
    Some(PolicyParts {
        received_at: Timestamp::from_nanos(blob.try_get_u64().ok()?),
        initial_age: Duration::from_nanos(blob.try_get_u64().ok()?),
        fresh_for: Duration::from_nanos(blob.try_get_u64().ok()?),
        date: Timestamp::from_nanos(blob.try_get_u64().ok()?),
        stale_while_revalidate: blob.try_get_u32().ok()?,
        stale_if_error: take_option(blob, |blob| blob.try_get_u32().ok())?,
        no_cache: take_flag(blob)?,
        must_revalidate: take_flag(blob)?,
        heuristic: take_flag(blob)?,
        last_modified: take_option(blob, |blob| {
            blob.try_get_u64().ok().map(Timestamp::from_nanos)
        })?,
        etag: take_option(blob, take_value)?,
        vary: decode_vary(blob)?,
    })
}

fn decode_vary(blob: &mut Bytes) -> Option<Vec<(HeaderName, Vec<HeaderValue>)>> {
    let mut vary = Vec::new();
    for _ in 0..blob.try_get_u32().ok()? {
        let name = HeaderName::from_bytes(&take_counted(blob)?).ok()?;
        let mut lines = Vec::new();
        for _ in 0..blob.try_get_u32().ok()? {
            lines.push(take_value(blob)?);
        }
        vary.push((name, lines));
    }
    Some(vary)
}

fn put_option<T>(value: Option<T>, blob: &mut Vec<u8>, put: impl Fn(T, &mut Vec<u8>)) {
    blob.put_u8(value.is_some().into());
    if let Some(value) = value {
        put(value, blob);
    }
}

/// `None` if the blob is not sound.
fn take_option<T>(blob: &mut Bytes, take: impl Fn(&mut Bytes) -> Option<T>) -> Option<Option<T>> {
    if take_flag(blob)? { take(blob).map(Some) } else { Some(None) }
}

fn take_flag(blob: &mut Bytes) -> Option<bool> {
    match blob.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn put_counted(bytes: &[u8], blob: &mut Vec<u8>) -> Option<()> {
    blob.put_u32(u32::try_from(bytes.len()).ok()?);
    blob.put_slice(bytes);
    Some(())
}

fn take_counted(blob: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(blob.try_get_u32().ok()?).ok()?;
    (length <= blob.len()).then(|| blob.split_to(length))
}

/// A copy: a view would keep the whole blob.
fn take_value(blob: &mut Bytes) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&take_counted(blob)?).ok()
}

#[cfg(test)]
mod tests {
    use headroom_cache::{Exchange, Rules, storable};
    use http::{HeaderMap, Method};
    use proptest::prelude::*;

    use super::*;
    use crate::object::Parts;

    fn object(vary: &str, body: Vec<Bytes>) -> Arc<StoredObject> {
        let mut request = HeaderMap::new();
        request.insert("accept", HeaderValue::from_static("text/html, */*"));
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("cache-control", "max-age=60, stale-if-error=9"),
            ("etag", "\"a\""),
            ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-one", "1"),
            ("vary", vary),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let at = Timestamp::from_seconds(1_000_000_000);
        let times = Exchange { requested_at: at, received_at: at };
        let (status, rules) = (StatusCode::OK, Rules::default());
        let policy = storable(&Method::GET, &request, status, &headers, &times, &rules).unwrap();
        let parts = Parts { status, headers: &headers, policy, times, stamp: 7 };
        Arc::new(StoredObject::new(parts, body).unwrap())
    }

    #[test]
    fn what_is_written_is_read() {
        let large = vec![Bytes::from(vec![b'x'; 300_000]), Bytes::from(vec![b'y'; 300_000])];
        let small = vec![Bytes::from_static(b"hello")];
        let variants = [object("accept", small), object("accept-language", large)];
        let read = decode(encode(&variants, usize::MAX).unwrap()).unwrap();
        assert_eq!(read.len(), 2);
        for (written, read) in variants.iter().zip(&read) {
            assert_eq!(read.policy, written.policy);
            assert_eq!((read.status, read.stamp, read.length), (written.status, 7, written.length));
            assert_eq!(read.headers(), written.headers());
            assert_eq!(bytes(read), bytes(written));
        }
    }

    fn bytes(object: &StoredObject) -> Vec<u8> {
        match &object.body {
            StoredBody::Whole(bytes) => bytes.to_vec(),
            StoredBody::Pieces(pieces) => pieces.concat(),
            StoredBody::File(file) => {
                let mut bytes = Vec::new();
                file.append_to(usize::try_from(object.length).unwrap(), &mut bytes).unwrap();
                bytes
            }
            StoredBody::OnDisk(_) => panic!("it is in memory"),
        }
    }

    #[test]
    fn of_many_variants_the_newest_are_kept() {
        let body = || vec![Bytes::from(vec![b'x'; 1_000])];
        let variants = [object("accept", body()), object("accept-language", body())];
        let read = decode(encode(&variants, 1_800).unwrap()).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].policy, variants[0].policy);
        assert!(encode(&variants, 100).is_none());
    }

    proptest! {
        #[test]
        fn no_blob_makes_it_panic(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400) {
            let whole = encode(&[object("accept", vec![Bytes::from_static(b"hello")])], usize::MAX);
            let mut blob = whole.unwrap().to_vec();
            let at = at % blob.len();
            blob[at] = byte;
            blob.truncate(blob.len() - cut.min(blob.len()));
            for object in decode(Bytes::from(blob)).unwrap_or_default() {
                let _ = object.headers();
            }
        }
    }
}

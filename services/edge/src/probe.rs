//! What the fuzz target in `fuzz/` calls, and the test of its seeds: whatever a visitor sends, the
//! guard sees what the reader of heads sees, in whatever pieces it comes; or it panics. Not in a
//! build that is shipped.

use crate::{
    guard::Guard,
    hit::RequestHead as _,
    http1::head::{self, NO_FIELDS, Read},
};

/// Reads what a connection begins with, as plain HTTP/1.1.
///
/// # Panics
/// If the guard refuses what is read as plain, or judges by how the bytes came.
pub fn http1(bytes: &[u8]) {
    let mut fields = NO_FIELDS;
    if let Read::Plain(head) = head::read(bytes, &mut fields) {
        let guard = inspected(&bytes[..head.length()], bytes.len());
        assert!(!guard.is_refused(), "the guard refuses what is plain");
        assert!(guard.is_between() && guard.heads() == 1, "it is one head");
        assert!(head::may_be_whole(bytes, bytes.len()), "a head is whole");
        let (path, query) = head.path_and_query();
        assert!(path.len() + query.map_or(0, str::len) <= bytes.len());
        drop((head.host(), head.request(())));
    }
    let whole = inspected(bytes, bytes.len());
    for size in [1, 2, 7] {
        let pieces = inspected(bytes, size);
        assert_eq!(pieces.is_refused(), whole.is_refused(), "in pieces of {size}");
        assert_eq!(pieces.heads(), whole.heads(), "in pieces of {size}");
    }
}

/// A guard that has seen these bytes in pieces of this size.
fn inspected(bytes: &[u8], size: usize) -> Guard {
    let mut guard = Guard::default();
    for piece in bytes.to_vec().chunks_mut(size.max(1)) {
        guard.inspect(piece);
    }
    guard
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    /// Octets that mean something in a head.
    const TELLING: &[u8] = b"\r\n \t:;,0\0a\xff";

    #[test]
    fn what_is_like_the_seeds_is_seen_alike_by_reader_and_guard() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/http1");
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        let seeds: Vec<_> = files.map(|file| fs::read(file).unwrap()).collect();
        assert!(seeds.len() >= 10, "the seeds are there");
        for seed in seeds {
            for at in 0..seed.len() {
                super::http1(&seed[..at]);
                let mut changed = seed.clone();
                changed.remove(at);
                super::http1(&changed);
                for octet in TELLING {
                    changed.insert(at, *octet);
                    super::http1(&changed);
                    changed.remove(at);
                }
            }
            super::http1(&seed);
        }
    }
}

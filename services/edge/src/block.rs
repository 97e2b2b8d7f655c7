//! Bytes that live about as long as one request: copied side by side into blocks of the thread, so
//! that the allocator is asked once for many.
//!
//! A block is free, or used again, when the last that lies in it is gone. Not for what is kept.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};

use crate::limits;

thread_local! {
    static BLOCK: RefCell<BytesMut> = RefCell::default();
}

/// A copy of `bytes`.
pub(crate) fn copy(bytes: &[u8]) -> Bytes {
    if bytes.len() > limits::BLOCK_PART_MAX {
        return Bytes::copy_from_slice(bytes);
    }
    BLOCK.with_borrow_mut(|block| {
        if block.capacity() < bytes.len() {
            block.reserve(limits::BLOCK_BYTES);
        }
        block.extend_from_slice(bytes);
        block.split().freeze()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_what_was_copied_and_lie_side_by_side() {
        let parts: Vec<_> = (1..=99_u8).map(|byte| vec![byte; usize::from(byte)]).collect();
        let copies: Vec<_> = parts.iter().map(|part| copy(part)).collect();
        assert_eq!(copies, parts);
        let beside =
            |pair: &&[Bytes]| pair[0].as_ptr().addr() + pair[0].len() == pair[1].as_ptr().addr();
        assert!(copies.windows(2).filter(beside).count() > 90);
        let large = vec![1; limits::BLOCK_BYTES + 1];
        assert_eq!(copy(&large), large);
        assert_eq!(copy(b""), b"" as &[u8]);
    }

    #[test]
    fn a_block_is_used_again_when_nothing_lies_in_it() {
        let first = copy(b"one").as_ptr().addr();
        let begun = (0..1_000).map(|_| copy(&[7; 100]).as_ptr().addr());
        assert!(begun.fold(0, |far, at| far.max(at.abs_diff(first))) < limits::BLOCK_BYTES);
    }
}

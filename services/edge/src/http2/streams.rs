//! The streams of a connection that are open: those whose response is not at its end.

use super::window::{ReceiveWindow, SendWindow};
use crate::limits::H2_STREAMS_MAX;

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) send: SendWindow,
    pub(crate) receive: ReceiveWindow,
    /// Content that came and was not taken by anybody yet.
    pub(crate) held: u32,
    /// Whether the visitor may still send: it is not half-closed (RFC 9113 §5.1).
    pub(crate) receives: bool,
    /// How much content is still to come, if that was said.
    pub(crate) expected: Option<u64>,
}

/// Streams, each in a slot of its own. Without any it holds no memory.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    slots: Vec<Option<Stream>>,
    count: usize,
}

impl Streams {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count >= usize::try_from(H2_STREAMS_MAX).unwrap_or(usize::MAX)
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&Stream> {
        self.slots.get(slot)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Stream> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// The slot of a stream, if it is open.
    pub(crate) fn find(&self, id: u32) -> Option<usize> {
        self.slots.iter().position(|stream| stream.as_ref().is_some_and(|stream| stream.id == id))
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().flatten()
    }

    /// Puts a stream into a slot that is free.
    pub(crate) fn insert(&mut self, stream: Stream) -> usize {
        self.count += 1;
        match self.slots.iter().position(Option::is_none) {
            Some(slot) => {
                self.slots[slot] = Some(stream);
                slot
            }
            None => {
                self.slots.push(Some(stream));
                self.slots.len() - 1
            }
        }
    }

    pub(crate) fn remove(&mut self, slot: usize) -> Option<Stream> {
        let stream = self.slots.get_mut(slot)?.take()?;
        self.count -= 1;
        if self.count == 0 {
            self.slots = Vec::new();
        }
        Some(stream)
    }

    /// How many slots it holds memory for.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

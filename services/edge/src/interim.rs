//! Interim responses on their way from an origin to the one visitor who waits for the final one
//! (RFC 9110 §15.2): 103 (Early Hints) above all.
//!
//! The client of origins puts them down, the visitor's connection takes them, both within one task.
//! They are never stored, and who follows another's fill gets none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, StatusCode};

use crate::respond;

/// The interim responses of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interim(Arc<Mutex<Heads>>);

#[derive(Debug, Default)]
struct Heads {
    waiting: Vec<(StatusCode, HeaderMap)>,
    bytes: usize,
}

impl Interim {
    /// Puts one down for the visitor. 100 is between the edge and the origin alone.
    pub(crate) fn put(&self, status: StatusCode, headers: HeaderMap) {
        if status != StatusCode::CONTINUE {
            let mut heads = self.lock();
            heads.bytes += respond::head_bytes(&headers);
            heads.waiting.push((status, headers));
        }
    }

    /// One for the next request: the same if nobody else holds it any more.
    pub(crate) fn renewed(&mut self) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(heads) => *heads = Mutex::default(),
            None => *self = Self::default(),
        }
        self.clone()
    }

    /// Those that were not taken yet.
    pub(crate) fn take(&self) -> Vec<(StatusCode, HeaderMap)> {
        std::mem::take(&mut self.lock().waiting)
    }

    /// About how many bytes all of them have.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Heads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The buffers that the connections of a thread share, each used within one poll. So a connection
//! that waits holds none.

use std::cell::RefCell;

use crate::{http2::Fields, limits};

thread_local! {
    /// The desk of this thread.
    pub(crate) static DESK: RefCell<Desk> = RefCell::new(Desk {
        inbox: vec![0; limits::INBOX_BYTES].into(),
        written: Vec::new(),
        key: String::new(),
        fields: Fields::default(),
    });
}

/// Buffers.
pub(crate) struct Desk {
    /// What a visitor sent.
    pub(crate) inbox: Box<[u8]>,
    /// What goes to one.
    pub(crate) written: Vec<u8>,
    /// The key of what it asks for.
    pub(crate) key: String,
    /// The fields of its request, if it speaks HTTP/2.
    pub(crate) fields: Fields,
}

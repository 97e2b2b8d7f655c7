//! The limits of the bus.

use headroom_wire::limits::MESSAGE_BYTES_MAX;

/// How many messages of a stream wait for a slow receiver before the oldest are lost: more than a
/// minute of meters of a hundred edges.
pub const STREAM_QUEUE_MAX: usize = 8_192;

const _: () = assert!(STREAM_QUEUE_MAX > 60 * 100);
const _: () = assert!(MESSAGE_BYTES_MAX > 0);

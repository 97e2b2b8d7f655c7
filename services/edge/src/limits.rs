//! The limits of the edge, and how they relate.

use std::time::Duration;

/// The longest request head, from the method to the empty line, in bytes; 431 beyond.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most fields of a request or a response head.
pub const HEADERS_MAX: usize = 100;
/// The most hexadecimal digits of a chunk's size: as many as a `u64` has.
pub const CHUNK_DIGITS_MAX: u8 = 16;
/// The most visitors' connections of one edge; beyond it, new ones are closed at once.
pub const CONNECTIONS_MAX: usize = 65_536;
/// How long a visitor may take to send a head, and may keep an idle connection.
pub const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a visitor may be silent within the content it sends.
pub const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(30);
/// How many connections the kernel keeps waiting for one listener.
pub const BACKLOG: u32 = 1_024;
/// How long accepting rests after it failed, for want of file descriptors above all.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How long requests in flight may take to end after the edge was told to stop.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long an idle connection to an origin is kept, and what is known of an origin nobody asks.
pub const ORIGIN_IDLE_MAX: Duration = Duration::from_secs(30);
/// How often idle connections to origins are looked through.
pub const ORIGIN_SWEEP_EVERY: Duration = Duration::from_secs(1);
/// The most addresses of an origin's name that are tried.
pub const ORIGIN_ADDRESSES_MAX: usize = 4;
/// After so many failures in a row an origin is set aside.
pub const ORIGIN_FAILURES_MAX: u32 = 3;
/// How long an origin is set aside first; doubled with each further failure.
pub const ORIGIN_ASIDE_FIRST: Duration = Duration::from_secs(1);
/// The longest time an origin is set aside.
pub const ORIGIN_ASIDE_MAX: Duration = Duration::from_secs(30);
/// The most bytes of fields in a response head over HTTP/2, as RFC 9113 §6.5.2 counts them.
pub const ORIGIN_HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;
/// The most requests on one HTTP/2 connection to an origin; beyond it, another is made.
pub const ORIGIN_HTTP2_STREAMS_MAX: usize = 64;
/// What an origin may send ahead of a response's reader over HTTP/2, in bytes.
pub const ORIGIN_HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all responses of a connection.
pub const ORIGIN_HTTP2_CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// How often an origin is asked whether it is still there, while HTTP/2 requests to it are open.
pub const ORIGIN_PING_EVERY: Duration = Duration::from_secs(10);
/// The most idle connections to one origin that each thread keeps.
pub const ORIGIN_IDLE_CONNECTIONS_MAX: usize = 256;
/// How long after the end of a second its meters are sent: a thread that was interrupted between
/// reading the clock and counting has counted by then.
pub const METER_DELAY: Duration = Duration::from_millis(50);
/// Seconds the meters may be behind and still be reported one by one.
pub const METER_CATCH_UP_MAX: u64 = 10;
/// The most fills that run at a time. Each holds up to the largest object that is stored; beyond
/// it, requests that miss go to the origin on their own and store nothing.
pub const FILLS_MAX: usize = 512;
/// The share of the cache one object may take at most: the cache is divided into shards, and each
/// must hold several of the largest objects.
pub const OBJECTS_PER_SHARD_MIN: u64 = 4;
/// The most shards of the cache.
pub const CACHE_SHARDS_MAX: u64 = 64;
/// How long the edge waits before it listens again to a bus that is gone.
pub const BUS_REST: Duration = Duration::from_secs(1);
/// The most threads.
pub const THREADS_MAX: usize = 1_024;
/// After how many seconds a visitor who is over the share may come back.
pub const RETRY_AFTER_SECONDS: u64 = 2;

const _: () = assert!(ORIGIN_ASIDE_FIRST.as_secs() <= ORIGIN_ASIDE_MAX.as_secs());
const _: () =
    assert!(ORIGIN_ASIDE_MAX.as_secs() <= ORIGIN_IDLE_MAX.as_secs(), "else it is forgotten");
const _: () = assert!(
    ORIGIN_HTTP2_STREAMS_MAX * ORIGIN_HTTP2_STREAM_WINDOW as usize
        <= ORIGIN_HTTP2_CONNECTION_WINDOW as usize,
    "else readers who take nothing stop all others"
);
const _: () = assert!(ORIGIN_SWEEP_EVERY.as_secs() < ORIGIN_IDLE_MAX.as_secs());
const _: () = assert!(FILLS_MAX <= CONNECTIONS_MAX);
const _: () = assert!(METER_DELAY.as_millis() < 1_000);
const _: () = assert!(HEAD_BYTES_MAX >= 8_192, "hyper refuses smaller buffers");
const _: () = assert!(DRAIN_MAX.as_secs() < HEAD_READ_TIMEOUT.as_secs());

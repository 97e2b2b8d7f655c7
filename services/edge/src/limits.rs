//! The limits of the edge, and how they relate.

use std::time::Duration;

/// The longest request head, from the method to the empty line, in bytes; 431 beyond.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The most fields of a request or a response head: hyper's own limit, which is not set anew.
pub const HEADERS_MAX: usize = 100;
/// What a thread reads of a connection at a time, in bytes: more than the longest frame of HTTP/2. A
/// head of HTTP/1.1 that is longer is hyper's.
pub const INBOX_BYTES: usize = 32 * 1024;
/// When so much is to be sent to a visitor, no more is written before it is gone.
pub const OUTBOX_BYTES: usize = 64 * 1024;
/// The most parts of it that are handed over to the system at once.
pub const OUTBOX_PARTS_MAX: usize = 16;
/// What is copied behind a head to go with it in one piece; more goes from where it lies.
pub const COPIED_BYTES_MAX: usize = 16 * 1024;
/// How many bytes the heads of several requests share. Who keeps a request waiting holds so much.
pub const BLOCK_BYTES: usize = 4 * 1024;
/// What is longer lies in a block of its own.
pub const BLOCK_PART_MAX: usize = BLOCK_BYTES / 4;
/// How many maps of fields a thread keeps for later, and for how many fields at most each.
pub const SPARE_MAPS_MAX: usize = 64;
/// A map that grew larger is not kept.
pub const SPARE_MAP_FIELDS_MAX: usize = 32;
/// The most hexadecimal digits of a chunk's size: as many as a `u64` has.
pub const CHUNK_DIGITS_MAX: u8 = 16;
/// The most visitors' connections of one edge; beyond it, one that waits makes room, or the new one
/// is closed at once. Fewer if the process may not open that many files.
pub const CONNECTIONS_MAX: usize = 65_536;
/// File descriptors that are not for visitors or what is fetched for them.
pub const DESCRIPTORS_KEPT: u64 = 256;
/// Of the file descriptors one in so many may be a body in memory, see `memory_file`.
pub const DESCRIPTORS_PER_MEMORY_FILE: u64 = 32;
/// The most bytes of a body in memory that the system is given to send at once: they count as sent
/// from then on.
pub const FILE_PART_BYTES: usize = 1024 * 1024;
/// The most bytes of a body in memory that are copied at once, where the system cannot send it.
pub const COPIED_FILE_BYTES: usize = 64 * 1024;
/// The most connections of one client: an IPv4 address, or an IPv6 /56.
pub const CONNECTIONS_PER_CLIENT: usize = 256;
/// The length of the IPv6 prefix that is one client: what a provider gives to one subscriber.
pub const CLIENT_PREFIX_V6: u8 = 56;
/// How often a thread looks at its connections.
pub const TICK: Duration = Duration::from_millis(500);
/// The same as a number.
pub const TICKS_PER_SECOND: u32 = 2;
/// How long a visitor may take to send a head.
pub const HEAD_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection is kept without a request.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// How long a visitor may take nothing of what is sent to it.
pub const SEND_SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a visitor may take for the TLS handshake, or to show which HTTP it speaks.
pub const OPENING_MAX: Duration = Duration::from_secs(10);
/// When all places are taken, whoever has kept us waiting the longest makes room for a new
/// connection; but nobody before so many ticks.
pub const MAKES_ROOM_AFTER_TICKS: u32 = 2;
/// The most connections of a thread that make room for others between two ticks.
pub const MAKE_ROOM_MAX: usize = 1_024;
/// The most connections beyond those there may be: so many may be about to leave.
pub const LEAVING_MAX: usize = 64;
/// Content that comes or goes with fewer bytes between two ticks keeps us waiting.
pub const SLOW_BYTES_PER_TICK: u64 = 4_096;
/// How long nothing may go through a tunnel.
pub const TUNNEL_SILENCE_MAX: Duration = Duration::from_mins(5);
/// After how many ticks of draining a connection without a request is closed.
pub const DRAIN_IDLE_TICKS: u32 = 2;
/// How long a visitor may be silent within the content it sends, and how long it may fall behind
/// [`UPLOAD_BYTES_PER_SECOND_MIN`].
pub const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(30);
/// The pace below which content comes too slowly.
pub const UPLOAD_BYTES_PER_SECOND_MIN: u32 = 240;
/// The most TLS handshakes of one thread at a time; beyond it, new connections are closed.
pub const HANDSHAKES_MAX: usize = 4_096;
/// How often the certificates are looked at for changes.
pub const CERTIFICATES_REST: Duration = Duration::from_secs(3);
/// The most certificates, and the most bytes of a file of one.
pub const CERTIFICATES_MAX: usize = 65_536;
/// The most bytes of a file with a certificate or a key.
pub const CERTIFICATE_BYTES_MAX: u64 = 256 * 1024;
/// The most requests of an HTTP/2 connection at a time.
pub const H2_STREAMS_MAX: u32 = 128;
/// How much of the content of one request, and of all of a connection, may come unasked.
pub const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all of a connection.
pub const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The largest dynamic table of fields that a visitor may make, as RFC 7541 §4.1 counts bytes. It is
/// what RFC 9113 §6.5.2 begins with, so that nothing need be said of it; a connection has as much
/// memory as its visitor makes use of.
pub const H2_TABLE_BYTES_MAX: usize = 4_096;
/// The most octets of a number in a block of fields behind its prefix (RFC 7541 §5.1): 28 bits, and
/// no length or index that is sound has more.
pub const H2_NUMBER_OCTETS_MAX: u32 = 4;
/// The most content in one frame, in bytes, whatever the visitor takes: so that the responses of a
/// connection go on in turn.
pub const H2_PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Pieces of bodies up to this many bytes are copied behind the head of their frame.
pub const H2_COPIED_BYTES_MAX: usize = 2 * 1024;
/// How many streams that we have reset are remembered: what the visitor sent on them before it knew
/// is no error.
pub const H2_RESETS_REMEMBERED: usize = 128;
/// The most resets at once, of either side, and how many come back each second.
pub const H2_RESETS_MAX: u32 = 200;
/// How many of these come back each second.
pub const H2_RESETS_PER_SECOND: u32 = 20;
/// The most frames at once that are no work but have to be answered or thrown away.
pub const H2_CHATTER_MAX: u32 = 500;
/// How many of these come back each second.
pub const H2_CHATTER_PER_SECOND: u32 = 50;
/// How often a quiet HTTP/2 connection is asked whether somebody is there.
pub const H2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long the answer may take.
pub const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How many connections the kernel keeps waiting for one listener.
pub const BACKLOG: u32 = 1_024;
/// How long accepting rests after it failed, for want of file descriptors above all.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How long a last response may take to be sent on a connection that is cut off.
pub const LAST_WORDS_MAX: Duration = Duration::from_secs(1);
/// How long requests in flight may take to end after the edge was told to stop.
pub const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How long connections may go on as they are after the edge was told to stop: requests that are
/// already on their way are answered, with the word that the connection closes.
pub const DRAIN_LINGER: Duration = Duration::from_secs(1);
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
/// The most interim responses (1xx) before a response.
pub const ORIGIN_INTERIM_MAX: u8 = 16;
/// What is read at a time of a response's head, or of a body that is not known to be longer.
pub const ORIGIN_READ_BYTES: usize = 16 * 1024;
/// What is read at a time of a longer body.
pub const ORIGIN_BODY_READ_BYTES: usize = 64 * 1024;
/// The most bytes of extensions behind a chunk's size in a response; they are passed over.
pub const ORIGIN_CHUNK_EXTENSION_BYTES_MAX: usize = 1024;
/// How long after the end of a second its meters are sent: a thread that was interrupted between
/// reading the clock and counting has counted by then.
pub const METER_DELAY: Duration = Duration::from_millis(50);
/// Seconds the meters may be behind and still be reported one by one.
pub const METER_CATCH_UP_MAX: u64 = 10;
/// The most bytes of reports that wait for the exchange's acknowledgement, in memory and on disk;
/// beyond it the oldest are dropped and counted. About a day of reports of a few contracts.
pub const SPOOL_BYTES_MAX: usize = 32 * 1024 * 1024;
/// A spool file is rewritten when more than this of it is acknowledged.
pub const SPOOL_WASTE_MAX: usize = 256 * 1024;
/// A report that is not acknowledged for this long is sent again.
pub const METER_ACK_TIME: Duration = Duration::from_secs(2);
/// The most reports that are sent again in one second.
pub const METERS_RESENT_MAX: usize = 128;
/// The same while nothing is heard of an exchange.
pub const METERS_PROBED_MAX: usize = 4;
/// An exchange that was not heard of for this long is away.
pub const EXCHANGE_SILENCE_MAX: Duration = Duration::from_secs(5);
/// Seconds between looking for what other runs of this edge left behind.
pub const SPOOL_ADOPT_SECONDS: u64 = 10;
/// How long an edge that ends waits for the acknowledgement of its last reports, if there is an
/// exchange.
pub const LAST_ACK_TIME: Duration = Duration::from_secs(1);
/// A buffer of the access log that has so many bytes is handed to the writer.
pub const ACCESS_LOG_BUFFER_BYTES: usize = 64 * 1024;
/// The most full buffers of one thread that wait for the writer; beyond it lines are dropped.
pub const ACCESS_LOG_BUFFERS_MAX: usize = 8;
/// How long a line waits at most for others to be written with.
pub const ACCESS_LOG_DELAY: Duration = Duration::from_millis(500);
/// Of a longer target or field, so many bytes are logged.
pub const LOGGED_FIELD_BYTES_MAX: usize = 4_096;
/// The most fills that run at a time. Each holds up to the largest object that is stored; beyond
/// it, requests that miss go to the origin on their own and store nothing.
pub const FILLS_MAX: usize = 512;
/// The most bytes that all fills hold to store them; beyond it, they store nothing.
pub const FILLS_HELD_MAX: usize = 256 * 1024 * 1024;
/// How far a fill that is not stored in memory may be ahead of its slowest reader, in bytes.
pub const FILL_WINDOW: usize = 1024 * 1024;
/// How long a reader may hold up the others before it is cut off.
pub const READER_STALL_MAX: Duration = Duration::from_secs(10);
/// How many keys are remembered as not to be shared, and how long.
pub const UNSHARED_MAX: usize = 16_384;
/// See [`UNSHARED_MAX`].
pub const UNSHARED_KEPT: Duration = Duration::from_secs(10);
/// Bodies up to this long stand in one block with their head.
pub const SMALL_BODY_MAX: usize = 64 * 1024;
/// What of the response to an admitted request may still be sent when the contract that pays for it
/// is over and no other follows; more is cut off.
pub const AFTER_CONTRACT_BYTES_MAX: usize = 64 * 1024;
/// The most variants that are stored under one key; the oldest gives way.
pub const VARIANTS_MAX: usize = 16;
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
/// How long a start waits for the process before it to leave the cache directory.
pub const DISK_LOCK_MAX: Duration = Duration::from_secs(15);
/// The disk holds at least this many of the largest bodies.
pub const DISK_BODIES_MIN: u64 = 8;
/// The smallest disk tier.
pub const DISK_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Into how many logs the disk tier is divided, as far as their size allows. The oldest log makes
/// room as a whole.
pub const DISK_SEGMENTS: u64 = 32;
/// The smallest log of the disk tier.
pub const DISK_SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
/// The largest log of the disk tier: a start after a kill reads one.
pub const DISK_SEGMENT_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// The most logs; each keeps a file open.
pub const DISK_SEGMENTS_MAX: usize = 8_192;
/// The longest key on disk.
pub const DISK_KEY_BYTES_MAX: usize = 128 * 1024;
/// The largest value on disk, if half a log has as much; larger objects are stored in chunks.
pub const DISK_VALUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The most bytes that wait to be written to disk; more are not stored.
pub const DISK_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much is written to disk at a time, roughly.
pub const DISK_BATCH_BYTES: usize = 1024 * 1024;
/// How much of a damaged log is looked through at a time; a multiple of 16.
pub const DISK_SCAN_BYTES: usize = 1024 * 1024;
/// The parts of the index of the disk tier, each with its own lock.
pub const DISK_INDEX_SHARDS: usize = 64;
/// How many threads read from disk.
pub const DISK_READERS: usize = 4;
/// The most reads that wait for the disk; more are misses.
pub const DISK_READS_MAX: usize = 1_024;
/// How long a read from disk may take; then it is a miss.
pub const DISK_READ_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a stop waits for the disk.
pub const DISK_CLOSE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long nothing is put on a disk after a log could not be created there.
pub const DISK_REST: Duration = Duration::from_secs(1);
/// How often at most the log tells that the disk fails.
pub const DISK_COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// How long to wait before asking again whether another process has left the directory.
pub const DISK_LOCK_REST: Duration = Duration::from_millis(20);

const _: () = assert!(2 * (LEAVING_MAX as u64) < DESCRIPTORS_KEPT);
const _: () = assert!(DISK_BYTES_MIN >= 8 * DISK_SEGMENT_BYTES_MIN);
const _: () =
    assert!(DISK_SEGMENT_BYTES_MIN >= 8 * 128 * 1024, "the longest key fits beside a value");
const _: () = assert!(DISK_SEGMENT_BYTES_MAX < u32::MAX as u64, "offsets have 32 bits");
const _: () = assert!(DISK_VALUE_BYTES_MAX + DISK_KEY_BYTES_MAX <= DISK_QUEUE_BYTES_MAX);
const _: () = assert!(DISK_SCAN_BYTES.is_multiple_of(16));
const _: () = assert!(ORIGIN_ASIDE_FIRST.as_secs() <= ORIGIN_ASIDE_MAX.as_secs());
const _: () =
    assert!(ORIGIN_ASIDE_MAX.as_secs() <= ORIGIN_IDLE_MAX.as_secs(), "else it is forgotten");
const _: () = assert!(
    ORIGIN_HTTP2_STREAMS_MAX * ORIGIN_HTTP2_STREAM_WINDOW as usize
        <= ORIGIN_HTTP2_CONNECTION_WINDOW as usize,
    "else readers who take nothing stop all others"
);
const _: () =
    assert!(ORIGIN_READ_BYTES <= HEAD_BYTES_MAX, "so that no longer head is read at once");
const _: () = assert!(ORIGIN_READ_BYTES <= ORIGIN_BODY_READ_BYTES);
const _: () = assert!(ORIGIN_READ_BYTES <= SMALL_BODY_MAX, "what came at once is small");
const _: () = assert!(ORIGIN_SWEEP_EVERY.as_secs() < ORIGIN_IDLE_MAX.as_secs());
const _: () = assert!(FILLS_MAX <= CONNECTIONS_MAX);
const _: () = assert!(METER_DELAY.as_millis() < 1_000);
const _: () = assert!(SPOOL_WASTE_MAX < SPOOL_BYTES_MAX);
const _: () = assert!(SPOOL_BYTES_MAX < headroom_wire::limits::MESSAGE_BYTES_MAX);
const _: () = assert!(METERS_PROBED_MAX <= METERS_RESENT_MAX);
const _: () = assert!(HEAD_BYTES_MAX >= 8_192, "hyper refuses smaller buffers");
const _: () = assert!(DRAIN_LINGER.as_secs() < DRAIN_MAX.as_secs());
const _: () = assert!(DRAIN_MAX.as_secs() < HEAD_READ_TIMEOUT.as_secs());
const _: () = assert!(TICK.as_millis() * (TICKS_PER_SECOND as u128) == 1_000);
const _: () = assert!(OPENING_MAX.as_secs() <= HEAD_READ_TIMEOUT.as_secs());
const _: () = assert!(H2_STREAM_WINDOW <= H2_CONNECTION_WINDOW);
const _: () = assert!(INBOX_BYTES > 9 + 16_384, "a whole frame is read at once");
const _: () = assert!(H2_PAYLOAD_BYTES_MAX >= 16_384, "RFC 9113 §6.5.2: every peer takes as much");

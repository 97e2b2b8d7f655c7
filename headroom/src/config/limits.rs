//! What the configuration accepts, and how it relates to what the services can do.

use std::{ops::RangeInclusive, time::Duration};

/// The longest configuration file, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// A longer value is cut in a report, in characters.
pub(super) const VALUE_LEN_MAX: usize = 60;
/// How long a slot may be. Core accepts any that divides a day.
pub(super) const SLOT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// How long a steered answer may be cached.
pub(super) const TTL: RangeInclusive<Duration> =
    headroom_steer::limits::TTL_MIN..=headroom_steer::limits::TTL_MAX;
/// How late meters may be.
pub(super) const SETTLE_DELAY: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);
/// How long an edge may be silent. Edges report every second.
pub(super) const EDGE_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_mins(5);
/// How long budgets last. They are renewed every second.
pub(super) const BUDGET_LIFETIME: RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_mins(1);
/// How much of a second's purchase may come at once.
pub(super) const BURST: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(10);
/// One season of the load.
pub(super) const SEASON: RangeInclusive<Duration> =
    Duration::from_secs(4)..=Duration::from_hours(24 * 28);
/// How far a forecast or a bid may reach.
pub(super) const HORIZON: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24 * 100);
/// How long before its start a slot is last sold.
pub(super) const LEAD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
/// The time from one auction to the next.
pub(super) const AUCTION_EVERY: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24);
/// How long a day is that is sold ahead.
pub(super) const DAY: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24 * 7);
/// How long before a day begins its gate closes.
pub(super) const GATE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 7);
/// How early the holder of an interruptible contract is told of a recall.
pub(super) const RECALL_NOTICE: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24);
/// How long an origin may take.
pub(super) const ORIGIN_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_mins(10);
/// How often a server is checked.
pub(super) const SERVER_CHECK_EVERY: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_mins(1);
/// How long a visitor may take.
pub(super) const VISITOR_TIMEOUT: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(1);
/// How long an error may be remembered that does not say so itself.
pub(super) const NEGATIVE: RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(headroom_steer::limits::NEGATIVE_SECONDS_MAX);
/// Connections of one client; zero is no limit.
pub(super) const CONNECTIONS: RangeInclusive<i64> = 1..=65_536;
pub(super) const CONNECTIONS_PER_CLIENT: RangeInclusive<i64> = 0..=65_536;
/// Answers of a name server a second; zero is no limit.
pub(super) const ANSWER_RATE: RangeInclusive<i64> = 0..=100_000_000;
/// Every how many-th answer over the rate is sent; zero is none.
pub(super) const SLIP: RangeInclusive<i64> = 0..=10;
/// Connections of a name server.
pub(super) const DNS_CONNECTIONS: RangeInclusive<i64> = 1..=16_384;
/// Port numbers.
pub(super) const PORT: RangeInclusive<i64> = 1..=65_535;
/// Threads of one edge.
pub(super) const THREADS: RangeInclusive<i64> = 1..=1_024;
/// Remembered seasons.
pub(super) const HISTORY_SEASONS: RangeInclusive<i64> = 2..=10_000;
/// The least memory of an edge's cache, in bytes.
pub(super) const CACHE_BYTES_MIN: u64 = 1024 * 1024;
/// The most memory of an edge's cache, in bytes.
pub(super) const CACHE_BYTES_MAX: u64 = 1 << 50;
/// The least size of the largest object that is cached, in bytes.
pub(super) const OBJECT_BYTES_MIN: u64 = 1024;
/// The cache must have room for this many of the largest objects, as the edge demands.
pub(super) const OBJECTS_PER_CACHE_MIN: u64 = 4;

const _: () = assert!(OBJECTS_PER_CACHE_MIN * OBJECT_BYTES_MIN <= CACHE_BYTES_MIN);
const _: () = assert!(OBJECT_BYTES_MIN <= CACHE_BYTES_MIN && CACHE_BYTES_MIN < CACHE_BYTES_MAX);
const _: () =
    assert!(headroom_units::limits::SLOT_SECONDS_MIN == 1 && SLOT.end().as_secs() == 86_400);
const _: () = assert!(headroom_edge::limits::CONNECTIONS_MAX == 65_536);
const _: () = assert!(*DNS_CONNECTIONS.end() == 16_384);
const _: () = assert!(headroom_dns::limits::TCP_CONNECTIONS_MAX == 16_384);

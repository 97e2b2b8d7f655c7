//! The limits of the name server, and how they relate.

use std::time::Duration;

/// The largest answer over UDP to one that speaks EDNS (RFC 9715: no fragments on any path).
pub const UDP_ANSWER_MAX: u16 = 1_232;
/// The largest answer over UDP to one that does not speak EDNS (RFC 1035 §4.2.1).
pub const UDP_ANSWER_PLAIN: u16 = 512;
/// The largest message of all (RFC 1035 §4.2.2).
pub const MESSAGE_MAX: usize = 65_535;
/// The header that every message has (RFC 1035 §4.1.1).
pub const HEADER_LENGTH: usize = 12;
/// The longest name on the wire (RFC 1035 §2.3.4).
pub const NAME_MAX: usize = 255;
/// The most octets of a client subnet option, with its code and length: an IPv6 address in full.
pub const CLIENT_SUBNET_MAX: usize = 8 + 16;
/// The receive buffer asked for per UDP socket, so that a burst waits instead of being lost.
pub const UDP_RECEIVE_BUFFER: usize = 4 << 20;
/// How many datagrams are taken, and answered, at a time.
pub const UDP_BATCH: usize = 16;
/// The most queries that still wait at a UDP socket and are answered when the server stops.
pub const UDP_DRAIN_MAX: usize = 10_000;

/// The most TCP connections of one listener; beyond it, new ones are closed at once.
pub const TCP_CONNECTIONS_MAX: usize = 1_024;
/// How long a TCP connection may be silent between queries (RFC 7766 §6.2.3).
pub const TCP_IDLE: Duration = Duration::from_secs(10);
/// How long one message may take to arrive, or its answer to leave, once it has begun.
pub const TCP_MESSAGE_TIME: Duration = Duration::from_secs(2);
/// The connections that may wait to be accepted.
pub const TCP_BACKLOG: i32 = 1_024;
/// How long open connections may finish when the server stops.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// The most CNAMEs followed in one answer.
pub const CHAIN_MAX: usize = 8;
/// The largest master file.
pub const ZONE_BYTES_MAX: usize = 64 << 20;
/// The most records of one static zone.
pub const ZONE_RECORDS_MAX: usize = 1_000_000;
/// The most octets of a query that stand in a log line.
pub const LOGGED_MAX: usize = 512;
/// How often a port is sought that is free for UDP and TCP alike, if any may be taken.
pub const PORT_TRIES: usize = 20;

/// How long the network's own SOA and NS records may be cached, in seconds.
pub const INFRASTRUCTURE_TTL: u32 = 3_600;
/// How long an address of an edge or a name server may be cached when asked by its own name.
pub const ADDRESS_TTL: u32 = 300;
/// How long a denial may be cached: a new site is in business within minutes.
pub const NEGATIVE_TTL: u32 = 60;
/// Refresh, retry and expire of the SOA records that are made here: nobody transfers these zones.
pub const SOA_REFRESH: u32 = 3_600;
/// See [`SOA_REFRESH`].
pub const SOA_RETRY: u32 = 600;
/// See [`SOA_REFRESH`].
pub const SOA_EXPIRE: u32 = 604_800;

const _: () = assert!(UDP_ANSWER_PLAIN < UDP_ANSWER_MAX && (UDP_ANSWER_MAX as usize) < MESSAGE_MAX);
const _: () = assert!(TCP_MESSAGE_TIME.as_millis() < TCP_IDLE.as_millis());
const _: () = assert!(NEGATIVE_TTL <= ADDRESS_TTL && ADDRESS_TTL <= INFRASTRUCTURE_TTL);
const _: () = assert!(SOA_RETRY < SOA_REFRESH && SOA_REFRESH < SOA_EXPIRE);

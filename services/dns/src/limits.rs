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
pub const UDP_BATCH: usize = 32;
/// How long a thread lets datagrams come together when they come one after another, so that its
/// system calls are for many, as network cards do with interrupts. The system adds its timers' slack,
/// which is 50 µs unless it is told otherwise.
pub const UDP_GATHER: Duration = Duration::from_micros(100);
/// The most queries that still wait at a UDP socket and are answered when the server stops.
pub const UDP_DRAIN_MAX: usize = 10_000;

/// How many connections there may be if nothing else is configured; beyond it, the one that has
/// been idle longest is closed.
pub const TCP_CONNECTIONS: usize = 1_024;
/// The most that may be configured: whoever comes when all are taken has the idlest looked for.
pub const TCP_CONNECTIONS_MAX: usize = 16_384;
/// How many of them one client prefix (IPv4 /24, IPv6 /56) may have if nothing else is configured.
pub const TCP_CONNECTIONS_PER_CLIENT: usize = 128;
/// The octets that are read at a time from a connection of which nothing is known yet.
pub const TCP_READ: usize = 2_048;
/// How many octets of answers are sent together, but for the last of them.
pub const TCP_ANSWERS_MAX: usize = 65_536;
/// How long a TLS handshake may take.
pub const TLS_HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// The most bytes of a file with a certificate or a key.
pub const CERTIFICATE_BYTES_MAX: u64 = 256 * 1024;
/// How often the certificate is looked at for changes.
pub const CERTIFICATE_REST: Duration = Duration::from_secs(3);
/// How often the operator's prefix map is looked at for changes.
pub const PREFIX_MAP_REST: Duration = Duration::from_secs(1);
/// How long a TCP connection may be silent between queries (RFC 7766 §6.2.3).
pub const TCP_IDLE: Duration = Duration::from_secs(10);
/// How long one message may take to arrive, or its answer to leave, once it has begun.
pub const TCP_MESSAGE_TIME: Duration = Duration::from_secs(2);
/// The connections that may wait to be accepted.
pub const TCP_BACKLOG: i32 = 1_024;
/// How long open connections may finish when the server stops.
pub const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long open connections may go on as they are after another process has taken over: queries
/// that are already on their way are answered, with the word to ask elsewhere from now on.
pub const HANDOVER_LINGER: Duration = Duration::from_secs(2);

/// Answers a second of one kind to one client prefix that are sent if nothing else is configured.
/// A large resolver asks for less of one kind in a second; an attack that is to hurt needs more.
pub const RATE_PER_CLIENT: u32 = 1_000;
/// Every how many-th answer beyond it is sent truncated if nothing else is configured.
pub const SLIP: u32 = 2;
/// Answers a second over UDP, to all who have no cookie, beyond which none is larger than its
/// question, if nothing else is configured.
pub const RATE_UNVERIFIED: u32 = 200_000;
/// How much of its rate a client prefix may have at once, in nanoseconds: one second.
pub const RATE_BURST: u64 = 1_000_000_000;
/// Buckets in each of the two rows of a thread's rate limiter: 512 KiB in all.
pub const RATE_CELLS: usize = 32_768;
/// What the length of a padded answer is a multiple of (RFC 8467 §4.1).
pub const PADDING_BLOCK: usize = 468;
/// The most octets of the name that a server tells (RFC 5001 sets none).
pub const NSID_MAX: usize = 64;
/// The most secrets that cookies are accepted of: the present one, and those before and after it.
pub const COOKIE_SECRETS_MAX: usize = 4;
/// How many seconds a server cookie is accepted (RFC 9018 §4.3).
pub const COOKIE_AGE_MAX: i32 = 3_600;
/// How many seconds a server cookie is sent back as it came (RFC 9018 §4.3).
pub const COOKIE_FRESH: i32 = 1_800;
/// How many seconds the clock of another name server may be ahead (RFC 9018 §4.3).
pub const COOKIE_AHEAD: i32 = 300;

/// The most CNAMEs followed in one answer.
pub const CHAIN_MAX: usize = 8;
/// The largest master file.
pub const ZONE_BYTES_MAX: usize = 64 << 20;
/// The most records of one static zone.
pub const ZONE_RECORDS_MAX: usize = 1_000_000;
/// The most names of one zone, those without records that lie above others counted too.
pub const ZONE_NAMES_MAX: usize = 2_000_000;
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

/// The shortest secret of a TSIG key, in octets: 128 bits cannot be guessed.
pub const TSIG_SECRET_MIN: usize = 16;
/// How far apart the clocks of two sides that sign may be, in seconds (RFC 8945 §10).
pub const TSIG_FUDGE: u16 = 300;
/// The most messages in a row that are not signed within a signed transfer (RFC 8945 §5.3.1).
pub const TSIG_UNSIGNED_MAX: usize = 99;

/// The most octets of a zone transfer, messages in full: 64 MiB are about a million records.
pub const TRANSFER_OCTETS_MAX: usize = 64 << 20;
/// The most records of a zone transfer, those that are taken away counted too.
pub const TRANSFER_RECORDS_MAX: usize = 1_000_000;
/// The most octets of the data of one transferred record: the largest signature of a known
/// algorithm is half as long, and an answer has to hold the record.
pub const RECORD_DATA_MAX: usize = 16 << 10;
/// The most octets of a message of a transfer that is made here, but for one record that is larger:
/// names are compressed within the first 16 KiB of a message only.
pub const TRANSFER_MESSAGE_MAX: usize = 16 << 10;
/// How long a zone transfer may take from connection to its last message.
pub const TRANSFER_TIME: Duration = Duration::from_secs(300);
/// How long the primary may be silent: until connected, and between its messages.
pub const TRANSFER_IDLE: Duration = Duration::from_secs(10);
/// The most zone transfers at a time; the others wait.
pub const TRANSFERS_MAX: usize = 8;

/// The shortest and the longest time between two questions for a zone's serial, whatever its SOA
/// record says; the longest is a day.
pub const REFRESH_MIN: Duration = Duration::from_secs(30);
/// See [`REFRESH_MIN`].
pub const REFRESH_MAX: Duration = Duration::from_secs(86_400);
/// The shortest time until a failed question is repeated, and the first pause before a zone that
/// was never had is asked for again. Each further pause is twice as long.
pub const RETRY_MIN: Duration = Duration::from_secs(5);
/// The longest time until a failed question is repeated.
pub const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// The shortest time that a zone is served without a word from its primary: a day.
pub const EXPIRE_MIN: Duration = Duration::from_secs(86_400);
/// The longest: four weeks.
pub const EXPIRE_MAX: Duration = Duration::from_secs(28 * 86_400);
/// The shortest time between two visits at a zone's primaries, however often they call.
pub const NOTIFY_GAP: Duration = Duration::from_millis(250);
/// The most primaries of one zone.
pub const PRIMARIES_MAX: usize = 16;
/// How much earlier than due a question may be asked, in percent, so that the questions for many
/// zones do not come together.
pub const JITTER_PERCENT: u64 = 10;

/// How long a purchaser's name server may take for one answer: resolvers wait little longer.
pub const FORWARD_TIME: Duration = Duration::from_secs(1);
/// The most questions to purchasers' name servers at a time.
pub const FORWARDS_MAX: usize = 256;
/// The most questions that wait to be asked; beyond it, they are not asked.
pub const FORWARD_WISHES_MAX: usize = 4_096;
/// How long nobody asks again after a failure.
pub const FORWARD_PAUSE: Duration = Duration::from_secs(1);
/// The most answers that are remembered, each of a name, type and network.
pub const FORWARD_ANSWERS_MAX: usize = 100_000;
/// The most addresses of one answer.
pub const FORWARD_ADDRESSES_MAX: usize = 32;
/// The shortest time that an answer is fresh, whatever it says.
pub const FORWARD_TTL_MIN: Duration = Duration::from_secs(5);
/// The longest.
pub const FORWARD_TTL_MAX: Duration = Duration::from_secs(300);
/// How long an answer is given on that is no longer fresh (RFC 8767 §5).
pub const FORWARD_STALE_MAX: Duration = Duration::from_secs(86_400);
/// How long such an answer may be cached, in seconds.
pub const FORWARD_STALE_TTL: u32 = 5;
/// The most name servers of one zone that are asked in turn.
pub const FORWARD_SERVERS_MAX: usize = 4;

/// How often a server that remainders are assigned to is checked if nothing else is configured.
pub const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How long a check may take at one address of a server.
pub const CHECK_TIME: Duration = Duration::from_secs(2);
/// The most checks at a time.
pub const CHECKS_MAX: usize = 256;
/// The most of them of one purchaser's servers.
pub const CHECKS_PER_PURCHASER_MAX: usize = 32;
/// The most servers that are checked; others are taken to be up.
pub const CHECKED_SERVERS_MAX: usize = 20_000;
/// The most of them of one purchaser.
pub const CHECKED_SERVERS_PER_PURCHASER_MAX: usize = 1_000;
/// How often all is told that is known of these servers; what changes is told within a second.
pub const ASSIGNMENTS_TOLD_EVERY: Duration = Duration::from_secs(10);
/// The shortest time after which a text with an assignment is looked for again, whatever its TTL.
pub const PROVIDED_TTL_MIN: Duration = Duration::from_secs(5);
/// The longest.
pub const PROVIDED_TTL_MAX: Duration = Duration::from_secs(3_600);
/// How long until a name server that was silent is asked again for a text; each further time twice
/// as long.
pub const PROVIDED_RETRY_MIN: Duration = Duration::from_secs(5);
/// The longest.
pub const PROVIDED_RETRY_MAX: Duration = Duration::from_secs(300);
/// The most questions for texts at a time.
pub const PROVIDED_ASKS_MAX: usize = 32;
/// The largest file of texts.
pub const PROVIDED_BYTES_MAX: u64 = 256 << 20;

/// What an OPT record takes before its options: root, type, size, code, version, flags, length
/// (RFC 6891 §6.1.2).
pub const OPT_LENGTH: usize = 11;
/// How many decisions about clients a thread remembers; a power of two. About 4 MiB.
pub const DECISIONS: usize = 1 << 15;
/// How often the threads tell what they have repeated.
pub const REPEATED_EVERY: Duration = Duration::from_millis(100);

/// How long a signature is valid if nothing else is configured: two weeks.
pub const SIGNATURE_VALIDITY: Duration = Duration::from_secs(14 * 86_400);
/// The shortest that may be configured: three days, of which the last quarter is there to notice
/// that nothing is renewed.
pub const SIGNATURE_VALIDITY_MIN: Duration = Duration::from_secs(3 * 86_400);
/// The longest: who has caught an old answer can replay it for so long.
pub const SIGNATURE_VALIDITY_MAX: Duration = Duration::from_secs(90 * 86_400);
/// How long before it is made a signature is valid, for clocks that are late.
pub const SIGNATURE_INCEPTION: Duration = Duration::from_secs(3_600);
/// A signature is renewed when this part of its validity is left.
pub const SIGNATURE_RENEWED_PARTS: u32 = 4;
/// Signatures that are made together expire within this part of their validity.
pub const SIGNATURE_JITTER_PARTS: u32 = 8;
/// How often it is looked whether keys have changed.
pub const KEYS_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked whether signatures are due, and the pause after signing has failed.
pub const SIGNATURES_EVERY: Duration = Duration::from_secs(600);
/// The most files that are read from a folder of keys: two for each of a hundred thousand.
pub const KEY_FILES_MAX: usize = 200_000;
/// The most bytes of a file that is part of a key.
pub const KEY_BYTES_MAX: u64 = 16 << 10;
/// How long a new key is in its zone before its parent is told: all caches know it then, and the
/// file has been brought to all name servers.
pub const KEY_PUBLISHED_MIN: Duration = Duration::from_secs(2 * INFRASTRUCTURE_TTL as u64);
/// The longest time that a parent's DS records may be in caches.
pub const DS_TTL_MAX: Duration = Duration::from_secs(28 * 86_400);
/// The most answers that are signed in advance for one steered name.
pub const VARIANTS_MAX: usize = 1_024;
/// The most iterations of the hash in a transferred zone's NSEC3 records: RFC 9276 §3.2 lets
/// validators refuse more than none, and each is paid for with every denial.
pub const NSEC3_ITERATIONS_MAX: u16 = 150;

const _: () = assert!(UDP_ANSWER_PLAIN < UDP_ANSWER_MAX && (UDP_ANSWER_MAX as usize) < MESSAGE_MAX);
const _: () = assert!(TCP_MESSAGE_TIME.as_millis() < TCP_IDLE.as_millis());
const _: () = assert!(NEGATIVE_TTL <= ADDRESS_TTL && ADDRESS_TTL <= INFRASTRUCTURE_TTL);
const _: () = assert!(SOA_RETRY < SOA_REFRESH && SOA_REFRESH < SOA_EXPIRE);
const _: () = assert!(COOKIE_AHEAD < COOKIE_FRESH && COOKIE_FRESH < COOKIE_AGE_MAX);
const _: () = assert!(TCP_CONNECTIONS_PER_CLIENT < TCP_CONNECTIONS);
const _: () = assert!(TCP_CONNECTIONS <= TCP_CONNECTIONS_MAX);
const _: () =
    assert!(TRANSFER_OCTETS_MAX <= ZONE_BYTES_MAX && TRANSFER_RECORDS_MAX <= ZONE_RECORDS_MAX);
const _: () = assert!(RECORD_DATA_MAX < MESSAGE_MAX / 2);
const _: () = assert!(CHECKS_PER_PURCHASER_MAX < CHECKS_MAX);
const _: () = assert!(CHECK_TIME.as_millis() < CHECK_EVERY.as_millis());
const _: () = assert!(PROVIDED_TTL_MIN.as_secs() < PROVIDED_TTL_MAX.as_secs());
const _: () = assert!(PROVIDED_RETRY_MIN.as_secs() < PROVIDED_RETRY_MAX.as_secs());
const _: () = assert!(TRANSFER_IDLE.as_millis() < TRANSFER_TIME.as_millis());
const _: () = assert!(REFRESH_MAX.as_secs() <= EXPIRE_MIN.as_secs());
const _: () = assert!(SIGNATURE_VALIDITY_MIN.as_secs() <= SIGNATURE_VALIDITY.as_secs());
const _: () = assert!(SIGNATURE_VALIDITY.as_secs() <= SIGNATURE_VALIDITY_MAX.as_secs());
const _: () = assert!(SIGNATURE_RENEWED_PARTS < SIGNATURE_JITTER_PARTS);
const _: () = assert!(KEYS_EVERY.as_secs() <= SIGNATURES_EVERY.as_secs());
const _: () = assert!(SIGNATURES_EVERY.as_secs() * 100 < SIGNATURE_VALIDITY_MIN.as_secs());

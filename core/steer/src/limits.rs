//! The limits of plans, ledgers and budgets, and how they relate.

use std::time::Duration;

/// The most regions a plan may hold.
pub const REGIONS_MAX: usize = 1_000;
/// The most edges of one region.
pub const EDGES_PER_REGION_MAX: usize = 1_000;
/// The most sites a plan may hold.
pub const SITES_MAX: usize = 1_000_000;
/// The most host names of one site.
pub const HOSTS_PER_SITE_MAX: usize = 100;
/// The most origin servers, and the most servers of an assignment, of one site.
pub const SERVERS_PER_SITE_MAX: usize = 64;
/// The most entitlements of one site.
pub const ENTITLEMENTS_PER_SITE_MAX: usize = 10_000;
/// The most addresses of one server of an assignment.
pub const ADDRESSES_PER_SERVER_MAX: usize = 8;
/// The longest assignment that a name server provides, in bytes: every server with one address of
/// each family, a weight and a region fits.
pub const ASSIGNMENT_TEXT_LEN_MAX: usize = 8 * 1024;
/// The most reports about servers that are held of one site: one of each address.
pub const REPORTS_PER_SITE_MAX: usize = SERVERS_PER_SITE_MAX * ADDRESSES_PER_SERVER_MAX;
/// The shortest time that a report about a server counts.
pub const REPORT_LIFETIME_MIN: Duration = Duration::from_secs(1);
/// The longest: what nobody confirms for so long is not known.
pub const REPORT_LIFETIME_MAX: Duration = Duration::from_secs(3_600);
/// The longest path of a check, in bytes.
pub const CHECK_PATH_LEN_MAX: usize = 256;
/// Failed checks in a row after which a server is down: one lost packet is none.
pub const CHECKS_UNTIL_DOWN: u32 = 3;
/// Passed checks in a row after which it is up again.
pub const CHECKS_UNTIL_UP: u32 = 2;
/// The most clients one lease ledger remembers; beyond it, strangers are sent to the remainder.
pub const CLIENTS_PER_LEDGER_MAX: usize = 1_000_000;
/// The most purges of one site in a plan; beyond it the oldest become a purge of everything.
pub const PURGES_PER_SITE_MAX: usize = 1_000;
/// The most bytes that the purges of one site may add to a plan, as texts.
pub const PURGE_BYTES_PER_SITE_MAX: usize = 128 * 1024;
/// The longest URL or prefix of a purge, in bytes.
pub const PURGE_TEXT_LEN_MAX: usize = 2_048;
/// The longest tag of a purge, in bytes.
pub const PURGE_TAG_LEN_MAX: usize = 128;
/// The most parameters that a query rule names.
pub const QUERY_NAMES_MAX: usize = 64;
/// The longest name of a query parameter in a rule, in bytes.
pub const QUERY_NAME_LEN_MAX: usize = 128;
/// The longest time an error may be remembered that does not say how long it is fresh.
pub const NEGATIVE_SECONDS_MAX: u64 = 86_400;
/// The most client prefixes one edge reports for one site and second.
pub const CLIENTS_PER_REPORT_MAX: usize = 10_000;
/// Reports from further ahead than this are a broken clock's.
pub const REPORT_AHEAD_MAX: Duration = Duration::from_secs(2);
/// The shortest time a steered answer may be cached.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// The longest time a steered answer may be cached: beyond it, overshoot grows steeply.
pub const TTL_MAX: Duration = Duration::from_secs(300);
/// A client that keeps an answer longer than this is taken to have lost it.
pub const ANSWER_KEPT_MAX: Duration = Duration::from_secs(900);
/// An answer is repeated to the same client for at most one part in this many of its TTL.
pub const HOLD_PARTS: u32 = 20;
/// And for no longer than budgets stay the same.
pub const HOLD_MAX: Duration = Duration::from_secs(1);
/// How long a plan keeps a contract after its last slot, so that its last second is still metered.
pub const ENTITLEMENT_KEPT: Duration = Duration::from_secs(5);
/// How long before its first slot an edge is given its share of a contract.
pub const SHARE_AHEAD: Duration = Duration::from_secs(30);
/// An edge that began within a purchase and hears of no share for so long takes its safe one.
pub const ALONE_AFTER: Duration = Duration::from_secs(120);
/// IPv4 clients are told apart by this many leading bits.
pub const CLIENT_PREFIX_V4: u8 = 24;
/// IPv6 clients are told apart by this many leading bits.
pub const CLIENT_PREFIX_V6: u8 = 56;
/// The most prefixes that tell the regions of clients: all that a database of countries has, several
/// times.
pub const PREFIXES_MAX: usize = 4_000_000;
/// Bytes are sent in pieces of at least this, or of what a bucket holds if that is less: smaller
/// ones would cost more than they are worth.
pub const EGRESS_PIECE_BYTES: u64 = 16 * 1024;
/// An egress bucket holds at least this, so that a small share is not sent byte by byte.
pub const EGRESS_BUCKET_BYTES_MIN: u64 = 4 * 1024;
/// The longest a sender waits before it asks again: shares change.
pub const EGRESS_WAIT_MAX: Duration = Duration::from_millis(100);
/// The shortest: timers are no finer.
pub const EGRESS_WAIT_MIN: Duration = Duration::from_millis(1);

const _: () = assert!(TTL_MIN.as_secs() >= 1 && TTL_MIN.as_secs() < TTL_MAX.as_secs());
const _: () = assert!(TTL_MAX.as_secs() < ANSWER_KEPT_MAX.as_secs());
const _: () = assert!(HOLD_PARTS > 1 && HOLD_MAX.as_secs() <= TTL_MIN.as_secs());
const _: () = assert!(CHECKS_UNTIL_DOWN >= 2 && CHECKS_UNTIL_UP >= 1);
const _: () = assert!(SERVERS_PER_SITE_MAX * 128 <= ASSIGNMENT_TEXT_LEN_MAX);
const _: () = assert!(REPORT_LIFETIME_MIN.as_secs() < REPORT_LIFETIME_MAX.as_secs());
const _: () = assert!(PURGES_PER_SITE_MAX >= 2);
const _: () = assert!(PURGE_TAG_LEN_MAX <= PURGE_TEXT_LEN_MAX);
const _: () = assert!(PURGE_TEXT_LEN_MAX <= PURGE_BYTES_PER_SITE_MAX);
const _: () = assert!(CLIENT_PREFIX_V4 <= 32 && CLIENT_PREFIX_V6 < 64, "numbers hold their bits");
const _: () = assert!(REGIONS_MAX < u16::MAX as usize);
const _: () = assert!(CLIENTS_PER_REPORT_MAX <= CLIENTS_PER_LEDGER_MAX);
const _: () = assert!(EGRESS_BUCKET_BYTES_MIN <= EGRESS_PIECE_BYTES);

//! The limits of the exchange.

use std::time::Duration;

/// An oversized request body is read and thrown away up to here, so that the caller gets to read
/// the answer; beyond it the connection is closed.
pub const DRAINED_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a caller may take to send a request.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// How long calls that are under way may go on when the exchange stops.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(3);
/// The most live views that are sent at a time.
pub const LIVE_VIEWS_MAX: usize = 1_000;
/// How many seconds of meters are kept in memory for live views.
pub const LIVE_SECONDS: u64 = 10;
/// Slots that began before the exchange started are settled no earlier than this after it: the
/// edges first send again what they metered while it was away.
pub const RESENT_METERS_TIME: Duration = Duration::from_secs(15);
/// How long meters stay in the database.
pub const METERS_KEPT: Duration = Duration::from_secs(14 * 86_400);
/// How many slots back and ahead a list of slots reaches.
pub const SLOTS_LISTED_MAX: u64 = 2_000;
/// The most sites of one purchaser.
pub const SITES_PER_PURCHASER_MAX: usize = 1_000;
/// The most URLs, prefixes and tags of one purge.
pub const PURGES_PER_CALL_MAX: usize = 500;
/// The most sites whose servers are reported of at a time.
pub const REPORTED_SITES_MAX: usize = 10_000;
/// How often reports about servers are sent on, at most: they are in force within a second.
pub const REPORTS_SENT_EVERY: Duration = Duration::from_millis(200);
/// How long it is shown what a name server told of a site's servers: three times as long as it takes
/// to tell it again.
pub const ASSIGNMENTS_KEPT: Duration = Duration::from_secs(30);
/// How long a proof of control may take.
pub const PROOF_TIME_MAX: Duration = Duration::from_secs(10);
/// Part of the edge-seconds of a slot that must be metered for it to enter the series.
pub const SERIES_COVERAGE_MIN: f64 = 0.9;
/// After an outage at most this many slots are summed from meters.
pub const SLOTS_SUMMED_MAX: u64 = 96;
/// No exchange reaches this plan generation: two plans a second for a thousand years.
pub const GENERATION_MAX: u64 = 1 << 36;
/// The most events that one call answers: about 2 MB.
pub const LOG_LINES_MAX: u32 = 5_000;
/// Random bytes of a token and of a challenge.
pub const SECRET_BYTES: usize = 24;

const _: () = assert!(headroom_wire::limits::REQUEST_BODY_BYTES_MAX < DRAINED_BODY_BYTES_MAX);
const _: () = assert!(PURGES_PER_CALL_MAX <= headroom_steer::limits::PURGES_PER_SITE_MAX);
const _: () = assert!(SECRET_BYTES * 8 >= 128);

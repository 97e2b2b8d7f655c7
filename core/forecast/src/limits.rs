//! How much a forecaster keeps and accepts, and the constants of its model.

/// The fewest slots a season may have: fewer have no shape to learn.
pub const SEASON_SLOTS_MIN: u64 = 4;
/// The most slots a season may have: a day of five-second slots.
pub const SEASON_SLOTS_MAX: u64 = 17_280;
/// The fewest seasons of history: one to learn from and one to be tested on.
pub const HISTORY_SEASONS_MIN: u64 = 2;
/// The most slots of history, over all seasons. One takes about 500 bytes at a long horizon.
pub const HISTORY_SLOTS_MAX: u64 = 50_000;
/// The most slots one forecast may reach.
pub const HORIZON_SLOTS_MAX: u64 = 10_000;
/// The highest load that is believed: above what any region serves.
pub const REQUESTS_PER_SECOND_MAX: f64 = 1e12;

/// How many past seasons make the profile.
pub(crate) const PROFILE_SEASONS: u64 = 7;
/// What a season counts in the profile against the one after it.
pub(crate) const PROFILE_DECAY: f64 = 0.9;
/// The profile is smoothed over this part of a season to each side, and at least one slot.
pub(crate) const PROFILE_SMOOTHING: u64 = 144;
/// What a neighbouring position counts against the position itself.
pub(crate) const PROFILE_NEIGHBOUR: f64 = 0.5;

/// The fast level follows the load over this part of a season (a quarter of an hour of a day).
pub(crate) const LEVEL_FAST: u64 = 96;
/// The fast level loses its say over this part of a season (six hours of a day).
pub(crate) const LEVEL_MEMORY: u64 = 4;
/// The furthest that a level may stand from the profile, as a factor either way.
pub(crate) const LEVEL_MAX: f64 = 8.0;

/// Errors are taken relative to the load plus this part of the mean load, so that the quiet hours
/// do not decide about the busy ones.
pub(crate) const FLOOR_OF_MEAN: f64 = 0.25;
/// The least such floor in requests/s.
pub(crate) const FLOOR_MIN: f64 = 0.01;
/// While errors are not known well enough, the load may be this multiple of the highest seen.
pub(crate) const COLD_FACTOR: f64 = 2.0;
/// With fewer samples than this there is no forecast at all.
pub(crate) const COLD_SAMPLES_MIN: usize = 4;

const _: () = assert!(SEASON_SLOTS_MIN * HISTORY_SEASONS_MIN <= HISTORY_SLOTS_MAX);
const _: () = assert!(SEASON_SLOTS_MAX * HISTORY_SEASONS_MIN <= HISTORY_SLOTS_MAX);
const _: () = assert!(HORIZON_SLOTS_MAX < headroom_units::limits::SLOTS_MAX);
const _: () = assert!(COLD_FACTOR >= 1.0);

//! How much a forecaster keeps and accepts, and the constants of its model.
//!
//! None is fitted to one series. `docs/concepts/forecast.md` says what each is for, and what was
//! measured.

/// The fewest slots a season may have: fewer have no shape to learn.
pub const SEASON_SLOTS_MIN: u64 = 4;
/// The most slots a season may have: a day of five-second slots.
pub const SEASON_SLOTS_MAX: u64 = 17_280;
/// The fewest seasons of history: one to learn from and one to be tested on.
pub const HISTORY_SEASONS_MIN: u64 = 2;
/// The most slots of history, over all seasons. One takes about 24 bytes.
pub const HISTORY_SLOTS_MAX: u64 = 50_000;
/// The most slots one forecast may reach.
pub const HORIZON_SLOTS_MAX: u64 = 10_000;
/// The highest load that is believed: above what any region serves.
pub const REQUESTS_PER_SECOND_MAX: f64 = 1e12;
/// After so many seasons without it, what a sample did to a forecaster has faded: whoever keeps
/// the series need not replay more.
pub const REPLAY_SEASONS: u64 = 60;
/// The most slots one backtest may span, gaps included: 19 years of five minutes.
pub const BACKTEST_SLOTS_MAX: u64 = 2_000_000;

/// The hours of a season that is a day.
pub(crate) const HOURS: u64 = 24;
/// A backtest says that a risk was kept if shortages are no more than so many times as frequent.
pub(crate) const KEPT_WITHIN: f64 = 1.2;
/// The seasons of a week.
pub(crate) const WEEK_SEASONS: u64 = 7;
/// So many seasons are learnt from before shortages are counted: two weeks, so that each day of
/// the week has been seen twice.
pub const LEARNING_SEASONS: u64 = 14;

/// What a new season counts in the profile.
pub(crate) const PROFILE_RATE: f64 = 0.15;
/// Loads and profiles are smoothed over this part of a season to each side (ten minutes of a day).
pub(crate) const SMOOTHING: u64 = 144;
/// One sample moves a profile by no more than this factor away from it, either way.
pub(crate) const PROFILE_STEP: f64 = 3.0;

/// The fast level follows the load over this part of a season (a quarter of an hour of a day).
pub(crate) const LEVEL_FAST: f64 = 96.0;
/// The slow level follows the load over this part of a season (half a day).
pub(crate) const LEVEL_SLOW: f64 = 2.0;
/// Logarithms of ratios are believed up to here, either way: a factor of 7.4.
pub(crate) const LOG_RATIO_MAX: f64 = 2.0;
/// And those of the growth over a week: a factor of 4.5.
pub(crate) const LOG_GROWTH_MAX: f64 = 1.5;
/// And those that a prediction may add up to: a factor of 12.
pub(crate) const LOG_PREDICTED_MAX: f64 = 2.5;
/// The mean load is that of about so many seasons.
pub(crate) const MEAN_SEASONS: f64 = 7.0;
/// One sample counts in the mean for no more than so many times the mean.
pub(crate) const MEAN_STEP: f64 = 5.0;

/// Below this part of its profile a load has collapsed.
pub(crate) const OUTAGE_BELOW: f64 = 0.1;
/// From this part of its profile on a load has come back.
pub(crate) const OUTAGE_OVER: f64 = 0.25;
/// A profile below this part of the mean is too low for a collapse to be told.
pub(crate) const OUTAGE_PROFILE: f64 = 0.2;
/// Where more samples than this share look like a collapse, it is the series that is sparse.
pub(crate) const OUTAGE_SHARE_MAX: f64 = 0.02;
/// That share is the one of about so many seasons.
pub(crate) const OUTAGE_SHARE_SEASONS: f64 = 14.0;
/// A collapse is an outage from this part of a season on (half an hour of a day): until then one
/// sample that is less low does not end it.
pub(crate) const OUTAGE_AFTER: u64 = 48;
/// And for so many seasons; from then on it is what the load has become.
pub(crate) const OUTAGE_SEASONS: u64 = 7;
/// Before so many seasons are known no collapse is told.
pub(crate) const OUTAGE_LEARNT_SEASONS: f64 = 2.0;

/// How far ahead lanes predict, as parts of a season of [`LANE_PARTS`].
pub(crate) const LANE_LEADS: [u64; 9] = [1, 3, 12, 48, 144, 288, 432, 864, 2_016];
/// Lanes up to this one are kept if a forecast may reach half as far; later ones if it does.
pub(crate) const LANE_LEAD_USUAL: u64 = 432;
/// What a lane's lead is a part of. A season of more slots is predicted at so many of them.
pub(crate) const LANE_PARTS: u64 = 288;
/// From this lead on it is predicted less often: errors far ahead change slowly.
pub(crate) const LANE_LEAD_FAR: u64 = 48;
/// By this factor.
pub(crate) const FAR_EVERY: u64 = 3;
/// Up to this part of a season ahead (an hour of a day) a forecast is corrected by how its own
/// lane fared; further ahead, by how the forecasts issued for whole seasons did.
pub(crate) const NEAR: u64 = 24;
/// What was learnt goes into predictions so many times a season.
pub(crate) const REFRESHES: u64 = 8;
/// Corrections go into predictions at a shortage, and after so many samples without.
pub(crate) const CORRECTED_EVERY: u64 = 36;

/// What a prediction is made from.
pub(crate) const HINTS: usize = 5;
/// In how many ways errors are looked at.
pub(crate) const FAMILIES: usize = 4;
/// At how many risks shortages are counted.
pub(crate) const RISKS: usize = 4;
/// Ratios are taken of loads plus this part of the mean load, so that the quiet hours do not
/// decide about the busy ones.
pub(crate) const FLOOR_OF_MEAN: f64 = 0.25;
/// The least such floor in requests/s.
pub(crate) const FLOOR_MIN: f64 = 1e-6;
/// The regression forgets over so many seasons.
pub(crate) const REGRESSION_SEASONS: f64 = 14.0;
/// What the regression's first guess counts, in units of a season of unit hints.
pub(crate) const REGRESSION_RIDGE: f64 = 0.02;
/// An error of a logarithm beyond this counts as its sign does.
pub(crate) const REGRESSION_STEP: f64 = 0.5;
/// The first guess near: yesterday, a week ago, the same with its growth, slow and fast level.
pub(crate) const NEAR_GUESS: [f64; HINTS] = [0.1, 0.1, 0.1, 0.0, 0.7];
/// The first guess a day ahead.
pub(crate) const FAR_GUESS: [f64; HINTS] = [0.2, 0.0, 0.4, 0.3, 0.0];
/// The first turns into the second over this part of a season (three hours of a day).
pub(crate) const GUESS_NEAR: f64 = 8.0;

/// An error family takes errors relative to the load plus so many times the mean load: from
/// nearly multiplicative to nearly additive.
pub(crate) const FAMILY_FLOORS: [f64; FAMILIES] = [0.1, 0.5, 2.0, 8.0];
/// The spread by time of day is kept in so many parts of a season.
pub(crate) const SPREAD_BINS: u64 = 48;
/// What a season counts in the spread of its time of day.
pub(crate) const SPREAD_RATE: f64 = 0.1;
/// The recent spread is that of this part of a season.
pub(crate) const SPREAD_RECENT: f64 = 0.4;
/// One error counts in a spread for no more than so many times the spread.
pub(crate) const SPREAD_STEP: f64 = 4.0;
/// The least spread: errors are never thought to be nothing.
pub(crate) const SPREAD_MIN: f64 = 1e-4;
/// The spread that is assumed before any error is known.
pub(crate) const SPREAD_FIRST: f64 = 0.3;
/// Errors are forgotten over so many seasons.
pub(crate) const ERROR_SEASONS: f64 = 28.0;
/// New errors weigh more rather than that old ones weigh less; when a new one weighs so much, all
/// are divided by it.
pub(crate) const ERROR_UNIT_MAX: f64 = 1e6;
/// Beyond the rarest so many errors a tail is extrapolated.
pub(crate) const TAIL_ERRORS: f64 = 5.0;
/// The least growth of a tail per factor e of rarity, in spreads.
pub(crate) const TAIL_SLOPE_MIN: f64 = 0.15;
/// A family's losses are forgotten over so many seasons.
pub(crate) const LOSS_SEASONS: f64 = 14.0;
/// How steeply a family with more loss than the best loses its say.
pub(crate) const LOSS_STEEPNESS: f64 = 10.0;
/// The risk that families are compared at.
pub(crate) const LOSS_RISK: f64 = 0.01;

/// The risks at which shortages are counted; those between are interpolated.
pub(crate) const COUNTED_RISKS: [f64; RISKS] = [0.1, 0.03, 0.01, 0.003];
/// From this risk on nothing is corrected.
pub(crate) const EVEN_RISK: f64 = 0.5;
/// The part of a risk that is aimed at: what is owed is bounded, so that some is forgiven.
pub(crate) const AIM: f64 = 0.94;
/// Shortages beyond the stated risk are made good within so many seasons.
pub(crate) const REPAY_SEASONS: f64 = 7.0;
/// So much of a season that was short is owed at most: one bad day is not held against years.
pub(crate) const OWED_SEASONS_MAX: f64 = 0.3;
/// And so many seasons without a shortage are remembered at most.
pub(crate) const BANKED_SEASONS_MAX: f64 = 14.0;
/// The correction of a risk, as a factor, is no less than this.
pub(crate) const CORRECTION_MIN: f64 = 0.3;
/// And no more than this, for one lead.
pub(crate) const LANE_CORRECTION_MAX: f64 = 2.0;
/// And no more than this, for forecasts of whole seasons, whose shortages come and go together.
pub(crate) const SEASON_CORRECTION_MAX: f64 = 4.0;
/// Where more is owed than any lower risk makes good, the distance from the prediction to the
/// quantile grows by this part for each time that it could be repaid.
pub(crate) const WIDEN: f64 = 0.6;
/// How shortages hang together is remembered over so many of them.
pub(crate) const RUNS_MEMORY: f64 = 1_000.0;

/// While errors are not known well enough, the load may be this multiple of the highest seen.
pub(crate) const COLD_FACTOR: f64 = 2.0;
/// With fewer samples than this there is no forecast at all.
pub(crate) const COLD_SAMPLES_MIN: usize = 4;
/// So many samples in a row must agree before a leap over more than a season is believed.
pub(crate) const LEAP_SAMPLES: usize = 4;
/// What is known of a network counts for so many seasons of a region's own.
pub(crate) const POOLED_SEASONS: f64 = 2.0;
/// A region is told its share of the network from this part of a season on (an hour of a day).
pub(crate) const POOLED_AFTER: u64 = 24;

const _: () = assert!(SEASON_SLOTS_MIN * HISTORY_SEASONS_MIN <= HISTORY_SLOTS_MAX);
const _: () = assert!(SEASON_SLOTS_MAX * HISTORY_SEASONS_MIN <= HISTORY_SLOTS_MAX);
const _: () = assert!(HORIZON_SLOTS_MAX < headroom_units::limits::SLOTS_MAX);
const _: () = assert!(REPLAY_SEASONS > LEARNING_SEASONS);
const _: () = assert!(COLD_FACTOR >= 1.0);
const _: () = assert!(CORRECTION_MIN > 0.0 && CORRECTION_MIN < 1.0 && LANE_CORRECTION_MAX > 1.0);
const _: () = assert!(SEASON_CORRECTION_MAX * COUNTED_RISKS[0] <= EVEN_RISK);
const _: () = assert!(LANE_CORRECTION_MAX <= SEASON_CORRECTION_MAX);
const _: () = assert!(OUTAGE_BELOW < OUTAGE_OVER && OUTAGE_BELOW < OUTAGE_PROFILE);

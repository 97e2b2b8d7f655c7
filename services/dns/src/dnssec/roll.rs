//! Which of a zone's keys are in it at a moment, and how one is exchanged for another. Pure.
//!
//! ```text
//!  old  ── in the zone, signs ─────────────────────────────────────────────┐ out
//!  new        begin ── in the zone, signs ─────────────────────────────────┼──────────────►
//!  CDS   old ───────────────┐ new ─────────────────────────────────────────┼──────────────►
//!                           │        parent: DS of the new ── finish ──────┘
//!             └ all caches ─┘                                 └ DS record ─┘
//!               know both                                       out of caches
//! ```
//!
//! Both keys sign everything all the while (double signature, RFC 6781 §4.1.2): whichever of the two
//! DS records a validator holds, whichever key set and whichever records, it finds its way.

use std::{sync::Arc, time::Duration};

use headroom_units::Timestamp;

use super::{KeyTimes, ZoneKey};
use crate::limits;

/// Why keys are not changed as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RollError {
    /// The zone has none.
    #[error("{zone} has no key; make one with `headroom dnssec generate {zone}`")]
    NoKey {
        /// The zone.
        zone: String,
    },
    /// The zone has one already.
    #[error(
        "{zone} has the key {tag} already; exchange it with `headroom dnssec roll begin {zone}`"
    )]
    HasKey {
        /// The zone.
        zone: String,
        /// Its key.
        tag: u16,
    },
    /// A key is being exchanged already.
    #[error("{zone} exchanges a key already; accepted is `headroom dnssec roll finish {zone}`")]
    UnderWay {
        /// The zone.
        zone: String,
    },
    /// No key is being exchanged.
    #[error("{zone} exchanges no key; accepted is `headroom dnssec roll begin {zone}`")]
    NotUnderWay {
        /// The zone.
        zone: String,
    },
    /// Not all caches know the new key yet.
    #[error("not all caches know the key {tag} of {zone} yet; accepted in {seconds} s or later")]
    TooEarly {
        /// The zone.
        zone: String,
        /// The new key.
        tag: u16,
        /// How long to wait.
        seconds: u64,
    },
}

/// The keys that are in their zone and sign it at `now`, where nothing is cached for longer than
/// `ttl_max`. A key whose time is over stays until another one has been there for so long.
pub(crate) fn in_use(
    keys: &[Arc<ZoneKey>],
    now: Timestamp,
    ttl_max: Duration,
) -> Vec<Arc<ZoneKey>> {
    let can_stand =
        |key: &Arc<ZoneKey>| !key.times.is_over(now) && key.times.publish.after(ttl_max) <= now;
    let has_other = keys.iter().any(can_stand);
    let is_in =
        |key: &&Arc<ZoneKey>| key.times.publish <= now && (!key.times.is_over(now) || !has_other);
    keys.iter().filter(is_in).cloned().collect()
}

/// What a key is at a moment, in a word.
#[must_use]
pub fn state(key: &ZoneKey, now: Timestamp) -> &'static str {
    let times = &key.times;
    if times.is_over(now) {
        "over"
    } else if times.publish > now {
        "waiting"
    } else if times.delete.is_some() {
        "leaving"
    } else if times.is_withdrawn(now) {
        "withdrawn"
    } else if !times.is_synced(now) && times.sync_publish.is_some_and(|from| from > now) {
        "coming"
    } else {
        "active"
    }
}

/// Whether the zone asks its parent for a DS record of this key at a moment.
#[must_use]
pub fn is_synced(key: &ZoneKey, now: Timestamp) -> bool {
    key.times.is_synced(now) && !key.times.is_withdrawn(now)
}

/// The one key that is not on its way out, and the one that comes after it, if there is one.
fn current(
    zone: &str,
    keys: &[ZoneKey],
    now: Timestamp,
) -> Result<(usize, Option<usize>), RollError> {
    let mut standing: Vec<usize> = (0..keys.len())
        .filter(|at| keys[*at].times.delete.is_none() && !keys[*at].times.is_over(now))
        .collect();
    standing.sort_by_key(|at| keys[*at].times.order());
    match standing[..] {
        [] => Err(RollError::NoKey { zone: zone.to_owned() }),
        [only] => Ok((only, None)),
        [old, .., new] => Ok((old, Some(new))),
    }
}

/// The times of a first key.
pub(super) fn first(zone: &str, keys: &[ZoneKey], now: Timestamp) -> Result<KeyTimes, RollError> {
    match keys.iter().find(|key| !key.times.is_over(now)) {
        Some(key) => Err(RollError::HasKey { zone: zone.to_owned(), tag: key.tag() }),
        None => Ok(KeyTimes::first(now)),
    }
}

/// Begins to exchange the key: sets the times of the old one, and returns its place and the times of
/// the new one.
pub(super) fn begin(
    zone: &str,
    keys: &mut [ZoneKey],
    now: Timestamp,
) -> Result<(usize, KeyTimes), RollError> {
    let (old, new) = current(zone, keys, now)?;
    let is_leaving = |key: &ZoneKey| key.times.delete.is_some() && !key.times.is_over(now);
    if new.is_some() || keys.iter().any(is_leaving) {
        return Err(RollError::UnderWay { zone: zone.to_owned() });
    }
    let sync = now.after(limits::KEY_PUBLISHED_MIN);
    keys[old].times.sync_delete = Some(sync);
    Ok((old, KeyTimes { sync_publish: Some(sync), ..KeyTimes::first(now) }))
}

/// Ends the exchange, as the parent has the DS record of the new key: the old one leaves when the old
/// DS record, which is cached for `ds_ttl` at most, is in no cache any more. Returns its place.
pub(super) fn finish(
    zone: &str,
    keys: &mut [ZoneKey],
    ds_ttl: Duration,
    now: Timestamp,
) -> Result<usize, RollError> {
    let (old, new) = current(zone, keys, now)?;
    let Some(new) = new else {
        return Err(RollError::NotUnderWay { zone: zone.to_owned() });
    };
    let sync = keys[new].times.sync_publish.unwrap_or(keys[new].times.publish);
    if sync > now {
        let seconds = sync.since(now).as_secs() + 1;
        return Err(RollError::TooEarly { zone: zone.to_owned(), tag: keys[new].tag(), seconds });
    }
    keys[old].times.delete = Some(now.after(ds_ttl));
    Ok(old)
}

/// Asks the parent to be insecure, or not any more.
pub(super) fn withdraw(
    zone: &str,
    keys: &mut [ZoneKey],
    is_wanted: bool,
    now: Timestamp,
) -> Result<usize, RollError> {
    match current(zone, keys, now)? {
        (only, None) => {
            keys[only].times.withdraw = is_wanted.then_some(now);
            Ok(only)
        }
        (_, Some(_)) => Err(RollError::UnderWay { zone: zone.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Name;

    const ZONE: &str = "shop.example";

    fn key(times: KeyTimes) -> ZoneKey {
        ZoneKey::generate(ZONE.parse::<Name>().unwrap(), times).unwrap()
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn an_exchange_goes_step_by_step() {
        let mut keys = vec![key(KeyTimes::first(at(0)))];
        let day = Duration::from_secs(86_400);
        let refused = |result: Result<usize, RollError>| result.unwrap_err().to_string();
        assert!(refused(finish(ZONE, &mut keys, day, at(5))).contains("exchanges no key"));
        let (old, times) = begin(ZONE, &mut keys, at(10)).unwrap();
        assert_eq!(old, 0);
        keys.push(key(times));
        let again = begin(ZONE, &mut keys, at(11)).unwrap_err().to_string();
        assert!(again.contains("exchanges a key already"), "{again}");
        assert!(refused(finish(ZONE, &mut keys, day, at(20))).contains("in 7191 s"));
        let states = |keys: &[ZoneKey], now| {
            keys.iter().map(|key| (state(key, now), is_synced(key, now))).collect::<Vec<_>>()
        };
        assert_eq!(states(&keys, at(20)), [("active", true), ("coming", false)]);
        assert_eq!(states(&keys, at(7_210)), [("active", false), ("active", true)]);
        assert_eq!(finish(ZONE, &mut keys, day, at(8_000)).unwrap(), 0);
        assert_eq!(states(&keys, at(8_000))[0], ("leaving", false));
        assert_eq!(states(&keys, at(94_400))[0], ("over", false));
        let (next, _) = begin(ZONE, &mut keys, at(100_000)).unwrap();
        assert_eq!(next, 1);
    }

    #[test]
    fn of_two_keys_of_one_second_the_first_is_the_old_one() {
        let mut keys = vec![key(KeyTimes::first(at(0)))];
        let (_, times) = begin(ZONE, &mut keys, at(0)).unwrap();
        let new = key(times);
        let tag = new.tag();
        // As a folder may give them.
        keys.insert(0, new);
        let day = Duration::from_secs(86_400);
        let early = finish(ZONE, &mut keys, day, at(7_199)).unwrap_err();
        assert!(matches!(early, RollError::TooEarly { tag: told, .. } if told == tag), "{early}");
        assert_eq!(finish(ZONE, &mut keys, day, at(7_200)).unwrap(), 1);
    }

    #[test]
    fn a_key_is_made_where_there_is_none_and_withdrawn_where_there_is_one() {
        assert!(first(ZONE, &[], at(0)).is_ok());
        let mut keys = vec![key(KeyTimes::first(at(0)))];
        assert!(first(ZONE, &keys, at(1)).unwrap_err().to_string().contains("already"));
        assert_eq!(withdraw(ZONE, &mut keys, true, at(5)).unwrap(), 0);
        assert_eq!((state(&keys[0], at(5)), is_synced(&keys[0], at(5))), ("withdrawn", false));
        withdraw(ZONE, &mut keys, false, at(6)).unwrap();
        assert!(is_synced(&keys[0], at(6)));
        assert!(withdraw(ZONE, &mut [], true, at(5)).unwrap_err().to_string().contains("no key"));
    }

    #[test]
    fn the_last_key_never_leaves() {
        let mut times = KeyTimes::first(at(0));
        times.delete = Some(at(10));
        let keys = [Arc::new(key(times))];
        assert_eq!(in_use(&keys, at(1_000), Duration::from_secs(5)).len(), 1);
    }

    /// A name server's view of the zone: which keys are in it and sign everything.
    fn view(keys: &[Arc<ZoneKey>], now: u64, ttl: u64) -> Vec<u16> {
        let used = in_use(keys, at(now), Duration::from_secs(ttl));
        used.iter().map(|key| key.tag()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A validator may hold a DS record, a key set and records, each as old as its TTL allows.
        /// The parent changes the DS record at any time from when the CDS record asks for it until it
        /// is told to be done; then there is always a way from the DS record to the records.
        #[test]
        fn no_validator_loses_its_way(
            ttl in 1_u64..200_000,
            key_ttl in 1_u64..=3_600,
            ds_ttl in 1_u64..200_000,
            changed_after in 0_u64..100_000,
            finished_after in 0_u64..100_000,
            ages in proptest::collection::vec((0_u64..1_000_000, 0.0..1.0, 0.0..1.0, 0.0..1.0), 64),
        ) {
            let begun = 1_000_000;
            let mut keys = vec![key(KeyTimes::first(at(0)))];
            let (_, times) = begin(ZONE, &mut keys, at(begun)).unwrap();
            keys.push(key(times));
            let (old, new) = (keys[0].tag(), keys[1].tag());
            prop_assume!(old != new);
            let asked = begun + limits::KEY_PUBLISHED_MIN.as_secs();
            let changed = asked + changed_after;
            let finished = changed + finished_after;
            finish(ZONE, &mut keys, Duration::from_secs(ds_ttl), at(finished)).unwrap();
            let keys: Vec<_> = keys.into_iter().map(Arc::new).collect();
            let ttl_max = ttl.max(key_ttl);
            for (offset, ds_age, key_age, age) in ages {
                let now = begun + offset;
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss,
                    reason = "a part of a small whole number")]
                let back = |part: f64, ttl: u64| now - (part * ttl as f64) as u64;
                let ds = if back(ds_age, ds_ttl) < changed { old } else { new };
                let known = view(&keys, back(key_age, key_ttl), ttl_max);
                let signed = view(&keys, back(age, ttl), ttl_max);
                prop_assert!(known.contains(&ds), "at {now} the key set has the key of the DS record");
                prop_assert!(known.iter().any(|tag| signed.contains(tag)), "at {now}");
            }
            let end = finished + ds_ttl + ttl_max;
            prop_assert_eq!(view(&keys, end, ttl_max), [new]);
        }
    }
}

//! The forecaster through its own surface, on made series.

use headroom_units::{Fraction, SlotRange, Units};

use super::*;
use crate::Season;

const DAY: u64 = 48;

fn config() -> Config {
    Config::for_season(Season { slots: DAY })
}

/// A number from 0 to 1 that looks like chance and is the same in every run.
fn chance(slot: u64) -> f64 {
    let mixed = (slot + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    as_f64((mixed ^ (mixed >> 29)) % 1_000_000) / 1e6
}

/// About 100 requests/s with a wave over the day and some noise.
fn usual(slot: u64) -> f64 {
    let position = as_f64(slot % DAY) / as_f64(DAY);
    let wave = 1.0 - 0.5 * (std::f64::consts::TAU * position).cos();
    100.0 * wave * (0.9 + 0.2 * chance(slot))
}

fn after(days: u64, load: impl Fn(u64) -> f64) -> Forecaster {
    let mut forecaster = Forecaster::new(config()).unwrap();
    for slot in 0..days * DAY {
        forecaster.observe(Slot::new(slot), load(slot)).unwrap();
    }
    forecaster
}

/// How much of the next day lies under its quantile, as a factor over the usual load.
fn reach(forecaster: &Forecaster) -> Vec<f64> {
    let next = forecaster.newest().unwrap().next();
    let forecast = forecaster.forecast(next);
    let quantile = |slot| forecast.quantile(slot, 0.99).unwrap();
    let slots = forecast.slots();
    slots.iter().map(|slot| quantile(slot) / usual(slot.number())).collect()
}

/// The share of slots of days 20 to `days` that were more than was forecast of them at midnight.
fn short(days: u64, risk: f64, load: impl Fn(u64) -> f64) -> f64 {
    let mut forecaster = after(20, &load);
    let (mut short, mut slots) = (0.0, 0.0);
    for day in 20..days {
        let forecast = forecaster.forecast(Slot::new(day * DAY));
        for slot in day * DAY..(day + 1) * DAY {
            let over = load(slot) > forecast.quantile(Slot::new(slot), 1.0 - risk).unwrap();
            (short, slots) = (short + f64::from(u8::from(over)), slots + 1.0);
            forecaster.observe(Slot::new(slot), load(slot)).unwrap();
        }
    }
    short / slots
}

#[test]
fn leads_cover_the_horizon_and_come_once() {
    let leads = |season, horizon| leads(season, horizon).collect::<Vec<_>>();
    assert_eq!(leads(288, 432), [1, 3, 12, 48, 144, 288, 432]);
    assert_eq!(leads(288, 288), [1, 3, 12, 48, 144, 288, 432]);
    assert_eq!(leads(288, 60), [1, 3, 12, 48, 144]);
    assert_eq!(leads(288, 2_000), [1, 3, 12, 48, 144, 288, 432, 864, 2_016]);
    assert_eq!(leads(96, 144), [1, 4, 16, 48, 96, 144]);
    assert_eq!(leads(8, 8), [1, 4, 8, 12]);
    assert_eq!(leads(4, 1), [1, 2]);
}

#[test]
fn the_stated_risk_is_kept_whatever_the_load_does() {
    let weekly = |slot: u64| if slot / DAY % 7 >= 5 { 0.4 } else { 1.0 };
    let growing = |slot: u64| 1.0 + as_f64(slot) / as_f64(30 * DAY);
    let stepped = |slot: u64| if slot < 50 * DAY { 1.0 } else { 1.5 };
    let restless = |slot: u64| if chance(slot / 7) > 0.97 { 2.0 } else { 1.0 };
    let shapes: [(&str, &dyn Fn(u64) -> f64); 5] = [
        ("noise", &|_| 1.0),
        ("a weekly pattern", &weekly),
        ("growth", &growing),
        ("a step", &stepped),
        ("bursts", &restless),
    ];
    for (name, shape) in shapes {
        for (risk, within) in [(0.01, 0.006), (0.05, 0.013)] {
            let share = short(140, risk, |slot| usual(slot) * shape(slot));
            assert!((share - risk).abs() <= within, "{name}: {share} short at {risk}");
        }
    }
}

#[test]
fn gaps_and_late_samples_do_no_harm() {
    let whole = reach(&after(40, usual));
    let mut forecaster = Forecaster::new(config()).unwrap();
    let mut late = Vec::new();
    for slot in 0..40 * DAY {
        match slot % 37 {
            0..8 if slot % 3 == 0 => late.push(slot),
            0..8 => {}
            _ => forecaster.observe(Slot::new(slot), usual(slot)).unwrap(),
        }
    }
    let gappy = reach(&forecaster);
    for (slot, (whole, gappy)) in whole.iter().zip(&gappy).enumerate() {
        assert!((gappy / whole - 1.0).abs() < 0.15, "{slot}: {whole} {gappy}");
    }
    let known = forecaster.observed();
    let mut filled = 0;
    for slot in late {
        filled += u64::from(forecaster.observe(Slot::new(slot), usual(slot)).is_ok());
    }
    assert!(filled > 20 && forecaster.observed() == known + filled, "{filled} gaps are filled");
    for (before, after) in gappy.iter().zip(reach(&forecaster)) {
        assert!((after / before - 1.0).abs() < 0.1, "{before} {after}");
    }
}

#[test]
fn absurd_samples_do_not_poison() {
    let whole = reach(&after(40, usual));
    for absurd in [0.0, 1e4, 1e12] {
        let poisoned = after(40, |slot| if slot == 39 * DAY - 5 { absurd } else { usual(slot) });
        for (whole, poisoned) in whole.iter().zip(reach(&poisoned)) {
            assert!((0.8..1.75).contains(&(poisoned / whole)), "{absurd}: {whole} {poisoned}");
        }
    }
}

#[test]
fn an_outage_is_not_learnt() {
    let whole = reach(&after(40, usual));
    let down = 38 * DAY + 20..39 * DAY + 30;
    let outage = after(40, |slot| if down.contains(&slot) { 0.5 } else { usual(slot) });
    for (whole, outage) in whole.iter().zip(reach(&outage)) {
        assert!((0.9..1.3).contains(&(outage / whole)), "{whole} {outage}");
    }
}

#[test]
fn a_wrong_clock_is_not_believed_and_a_long_gap_is() {
    let mut forecaster = after(20, usual);
    let whole = reach(&forecaster);
    for far in [22 * DAY, 1_000 * DAY, u64::MAX] {
        let refused = forecaster.observe(Slot::new(far), 1.0).unwrap_err();
        assert_eq!(refused, Refused::TooFar(Slot::new(far)));
        assert!(refused.to_string().contains("4 such samples in a row"), "{refused}");
    }
    assert_eq!(reach(&forecaster), whole, "nothing has changed");
    let next = forecaster.newest().unwrap().next();
    forecaster.observe(next, usual(next.number())).unwrap();
    // Told again and again as a store does, one sample stays one.
    for _ in 0..5 {
        assert!(forecaster.observe(Slot::new(25 * DAY), 100.0).is_err());
    }
    for slot in 25 * DAY + 1..25 * DAY + 3 {
        assert!(forecaster.observe(Slot::new(slot), usual(slot)).is_err());
    }
    forecaster.observe(Slot::new(25 * DAY + 3), usual(25 * DAY + 3)).unwrap();
    assert_eq!(forecaster.load(Slot::new(25 * DAY)), Some(100.0), "all four are taken in");
    assert_eq!(forecaster.load(Slot::new(5)), None, "the memory has moved on");
    assert!(reach(&forecaster).iter().all(|factor| *factor < 2.0), "the past still counts");
    // After more than it remembers it begins anew.
    for slot in 90 * DAY..90 * DAY + 4 {
        let _ = forecaster.observe(Slot::new(slot), 7.0);
    }
    assert_eq!(forecaster.observed(), 4);
    let forecast = forecaster.forecast(Slot::new(90 * DAY + 4));
    assert_eq!(forecast.quantile(Slot::new(90 * DAY + 4), 0.5), Some(14.0));
}

#[test]
fn a_run_keeps_its_risk_as_a_whole() {
    // Bursts of six slots: shortages come together, and a run of slots is nearly as safe as one.
    let bursty = |slot: u64| usual(slot) * if chance(slot / 6) > 0.95 { 1.6 } else { 1.0 };
    let risk = Fraction::from_millionths(100_000).unwrap();
    let capacity = Units::saturating(1_000_000);
    let mut forecaster = after(30, bursty);
    let (mut runs, mut short, mut independent) = (0.0, 0.0, 0.0);
    for day in 30..150 {
        let forecast = forecaster.forecast(Slot::new(day * DAY));
        for first in [day * DAY + 12, day * DAY + 24, day * DAY + 36] {
            let slots = SlotRange::new(Slot::new(first), Slot::new(first + 11)).unwrap();
            let units = forecast.run_headroom(slots, capacity, risk).count();
            let alone = slots.iter().map(|slot| forecast.headroom(slot, capacity, risk).units);
            assert!(units <= alone.min().unwrap().count(), "no more than the worst slot alone");
            let load = slots.iter().map(|slot| bursty(slot.number())).fold(0.0, f64::max);
            runs += 1.0;
            short += f64::from(u8::from(load > as_f64(1_000_000 - units)));
            let bound = Fraction::from_millionths(100_000 / 12).unwrap();
            let least = slots.iter().map(|slot| forecast.headroom(slot, capacity, bound).units);
            independent += f64::from(u8::from(units > least.min().unwrap().count()));
        }
        for slot in day * DAY..(day + 1) * DAY {
            forecaster.observe(Slot::new(slot), bursty(slot)).unwrap();
        }
    }
    assert!(short / runs < 0.16, "{} of the runs were short", short / runs);
    assert!(independent / runs > 0.9, "more than slots that know nothing of each other");
}

#[test]
fn a_new_region_takes_the_networks_shape_at_its_own_scale() {
    let network = after(40, |slot| 50.0 * usual(slot));
    let mut region = Forecaster::pooled(config(), &network).unwrap();
    let mut alone = Forecaster::new(config()).unwrap();
    let small = |slot: u64| 0.1 * usual(slot + 7 * DAY);
    let first = 40 * DAY;
    for slot in first..first + 6 {
        region.observe(Slot::new(slot), small(slot)).unwrap();
        alone.observe(Slot::new(slot), small(slot)).unwrap();
    }
    let (next, noon) = (Slot::new(first + 6), Slot::new(first + 24));
    let quantile = |forecaster: &Forecaster| forecaster.forecast(next).quantile(noon, 0.99);
    // Alone it knows six quiet slots of the night, and says twice their highest.
    assert!(quantile(&alone).unwrap() < small(first + 24));
    let pooled = quantile(&region).unwrap();
    assert!((1.0..2.5).contains(&(pooled / small(first + 24))), "{pooled}");
    for slot in first + 6..first + 30 * DAY {
        region.observe(Slot::new(slot), small(slot)).unwrap();
    }
    let own = reach(&region);
    assert!(own.iter().all(|factor| (0.1..0.15).contains(factor)), "{own:?}");
    let other = Config { horizon_slots: 3, ..config() };
    assert_eq!(Forecaster::pooled(other, &network).unwrap_err(), ConfigError::UnlikeNetwork);
}

#[test]
fn seasons_of_any_length_are_forecast() {
    for slots in [4, 7, 24, 288, 1_440] {
        let config = Config { history_seasons: 14, ..Config::for_season(Season { slots }) };
        let mut forecaster = Forecaster::new(config).unwrap();
        for slot in 0..slots * 20 {
            forecaster.observe(Slot::new(slot), 100.0 + as_f64(slot % slots)).unwrap();
        }
        let forecast = forecaster.forecast(Slot::new(slots * 20));
        let most = 100.0 + as_f64(slots);
        for slot in forecast.slots().iter() {
            let quantile = forecast.quantile(slot, 0.9).unwrap();
            assert!(quantile > 80.0 && quantile < 2.0 * most, "{slots}, {slot}: {quantile}");
        }
    }
}

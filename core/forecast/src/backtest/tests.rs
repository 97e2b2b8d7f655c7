//! The backtest on small made series.

use super::*;

const DAY: u64 = 24;

fn replay(samples: &[(Slot, f64)], ahead: Ahead) -> Replay<'_> {
    Replay { samples, season: Season { slots: DAY }, ahead, risk: 0.05 }
}

/// Samples of so many days that begin at midnight.
fn samples(days: u64, load: impl Fn(u64) -> f64) -> Vec<(Slot, f64)> {
    (0..days * DAY).map(|slot| (Slot::new(slot), load(slot))).collect()
}

fn wave(slot: u64) -> f64 {
    100.0 + as_f64(slot % DAY) + as_f64(slot * slot % 17)
}

#[test]
fn what_was_said_is_from_before() {
    let series = samples(30, wave);
    let changed = samples(30, |slot| if slot >= 20 * DAY + 7 { 5_000.0 } else { wave(slot) });
    for (ahead, known) in [(Ahead::Season, 21 * DAY), (Ahead::Hour, 20 * DAY + 8)] {
        let said = |samples: &[(Slot, f64)]| {
            let slots = Backtest::run(&replay(samples, ahead)).unwrap().slots;
            slots.into_iter().map(|answered| answered.said).collect::<Vec<_>>()
        };
        let (said, of_changed) = (said(&series), said(&changed));
        let same = said.iter().zip(&of_changed).take_while(|(a, b)| a == b).count();
        assert_eq!(count(same), as_f64(known), "{ahead:?}");
    }
}

#[test]
fn simple_methods_say_what_they_promise() {
    // The load is 10 on even days and 20 on odd ones.
    let series = samples(30, |slot| if (slot / DAY).is_multiple_of(2) { 10.0 } else { 20.0 });
    let replay = replay(&series, Ahead::Season);
    let dense = replay.series().unwrap();
    let last = |baseline: Baseline| baseline.replay(&dense, &replay).last().copied().flatten();
    assert_eq!(last(Baseline::SlotMax7d), Some(20.0));
    assert_eq!(last(Baseline::Mean5Sd), Some(15.0 + 5.0 * 5.0));
    // Seven days ago it was the other load: wrong by 10 either way.
    assert_eq!(last(Baseline::WeekNaive), Some(20.0));
    // The last seven days have three odd ones; it is wrong by 30/7 or 40/7 either way.
    let said = last(Baseline::Mean7d).unwrap();
    assert!((said - (10.0 + 30.0 / 7.0 + 40.0 / 7.0)).abs() < 1e-9, "{said}");
}

#[test]
fn figures_are_those_of_the_definition() {
    let mut series = samples(16, |_| 100.0);
    series.retain(|(slot, _)| slot.number() % 6 != 5);
    let last = series.last_mut().unwrap();
    last.1 = 200.0;
    let backtest = Backtest::run(&replay(&series, Ahead::Season)).unwrap();
    assert!((backtest.capacity - 125.0).abs() < 1e-9, "one slot in 320 is beyond 99.9 %");
    let score = backtest.baselines[0].1;
    assert_eq!(score.slots, 40, "two days, less the gaps");
    assert!((score.short_share - 1.0 / 40.0).abs() < 1e-12);
    assert!((score.worst_day_short_share - 1.0 / 20.0).abs() < 1e-12);
    assert!((score.sold_of_spare - 40.0 / 39.0).abs() < 1e-12, "what was not spare was sold too");
    assert!((score.undelivered_of_sold - 1.0 / 40.0).abs() < 1e-12);
    assert!((score.pinball - 0.95 * 100.0 / 40.0).abs() < 1e-12);
    assert!(score.keeps_the_risk);
    let shorts = backtest.slots.iter().filter(|answered| answered.is_short()).count();
    assert_eq!(shorts, 1);
}

#[test]
fn what_cannot_be_replayed_is_refused() {
    let series = samples(14, wave);
    let error = |replay: Replay<'_>| Backtest::run(&replay).unwrap_err().to_string();
    assert_eq!(
        error(replay(&series, Ahead::Season)),
        "the series spans 14 days; at least 15 are needed: 14 to learn from, and one to count"
    );
    assert!(error(replay(&[], Ahead::Hour)).starts_with("the series spans 0 days"));
    let mut series = samples(16, wave);
    assert!(error(Replay { risk: 0.0, ..replay(&series, Ahead::Hour) }).contains("risk"));
    let season = Season { slots: 25 };
    let error_of = error(Replay { season, ..replay(&series, Ahead::Hour) });
    assert!(error_of.contains("multiple of 24"), "{error_of}");
    let far = [(Slot::new(0), 1.0), (Slot::new(3_000_000), 1.0)];
    assert!(error(replay(&far, Ahead::Season)).contains("accepted are 2000000"));
    series.swap(3, 4);
    assert_eq!(error(replay(&series, Ahead::Season)), "slot 3 is not after the one before it");
}

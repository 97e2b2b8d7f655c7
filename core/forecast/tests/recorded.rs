//! The forecast against a recorded load: how often it was short, and how much it let be sold.
//!
//! The series is 21 days of the 1998 World Cup web site (`headroom/data/README.md`), a hard one:
//! the load doubles within the cut and each match is a spike. The first 14 days are only learnt.

use std::{fs, path::Path};

use headroom_forecast::{
    Season,
    backtest::{Ahead, Backtest, Replay, Score},
};
use headroom_units::Slot;

/// The first slot: midnight of 20 May 1998, in slots of 5 minutes.
const FIRST: u64 = 895_622_400 / 300;
/// 8 June 1998, in days.
const DOUBLED: u64 = 897_264_000 / 86_400;

#[test]
fn an_hour_ahead_is_covered_and_mostly_sold() {
    for (risk, short_max, sold_min) in
        [(0.01, 0.025, 0.9), (0.02, 0.035, 0.92), (0.05, 0.085, 0.94)]
    {
        let backtest = replay(Ahead::Hour, risk);
        println!("an hour ahead, risk {risk}: {:?}", backtest.forecast);
        let Score { short_share, sold_of_spare, .. } = backtest.forecast;
        assert!(short_share <= short_max, "{:?}", backtest.forecast);
        assert!(sold_of_spare >= sold_min, "{:?}", backtest.forecast);
    }
}

#[test]
fn a_day_ahead_is_covered_but_for_the_day_on_which_the_load_doubles() {
    for (risk, short_max, sold_min) in [(0.01, 0.005, 0.8), (0.02, 0.01, 0.85), (0.05, 0.04, 0.88)]
    {
        let backtest = replay(Ahead::Season, risk);
        println!("a day ahead, risk {risk}: {:?}", backtest.forecast);
        let Score { sold_of_spare, worst_day_short_share, .. } = backtest.forecast;
        assert!(worst_day_short_share > 0.9, "8 June is 2.6 times the day before, out of the blue");
        let usual = backtest
            .slots
            .iter()
            .filter(|answered| answered.counts && answered.slot.number() / 288 != DOUBLED);
        let short = usual.clone().filter(|answered| answered.is_short()).count();
        let share = f64::from(u32::try_from(short).unwrap()) / (6.0 * 288.0);
        assert_eq!(usual.count(), 6 * 288);
        assert!(share <= short_max, "{share} of the other days");
        assert!(sold_of_spare >= sold_min, "{:?}", backtest.forecast);
        assert!(backtest.beats_baselines());
    }
}

fn replay(ahead: Ahead, risk: f64) -> Backtest {
    let samples = recorded();
    let replay = Replay { samples: &samples, season: Season { slots: 288 }, ahead, risk };
    Backtest::run(&replay).expect("it is long enough")
}

fn recorded() -> Vec<(Slot, f64)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../headroom/data/worldcup98-cut.csv");
    let text = fs::read_to_string(path).expect("the cut is in the repository");
    let load = |line: &str| line.split_once(',').and_then(|(_, load)| load.parse().ok());
    let loads = text.lines().skip(1).filter_map(load);
    let samples: Vec<(Slot, f64)> = (FIRST..).map(Slot::new).zip(loads).collect();
    assert_eq!(samples.len(), 6_048, "21 days of 5 minutes");
    samples
}

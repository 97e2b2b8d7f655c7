//! The forecast against a recorded load: how often it was short, and how much it let be sold.
//!
//! The series is 21 days of the 1998 World Cup web site (`headroom/data/README.md`), a hard one:
//! the load doubles within the cut and each match is a spike. The first 9 days are only learnt.

use std::{fmt, fs, path::Path};

use headroom_forecast::{Config, Forecast, Forecaster, Season};
use headroom_units::{Fraction, Slot, Units};

const DAY: u64 = 288;
const HOUR: u64 = 12;
const LEARNT_DAYS: u64 = 9;

#[test]
fn the_next_hour_is_covered_and_mostly_sold() {
    let series = recorded();
    for (risk, short_max, sold_min) in
        [("1 %", 0.02, 0.85), ("2 %", 0.032, 0.88), ("5 %", 0.065, 0.92)]
    {
        let tally = replay(&series, HOUR, 0, risk.parse().unwrap());
        println!("next hour, risk {risk}: {tally}");
        assert!(tally.short_share() <= short_max, "{tally}");
        assert!(tally.sold_share() >= sold_min, "{tally}");
    }
}

#[test]
fn one_hour_ahead_is_covered_and_mostly_sold() {
    let series = recorded();
    for (risk, short_max, sold_min) in
        [("1 %", 0.025, 0.7), ("2 %", 0.035, 0.75), ("5 %", 0.07, 0.85)]
    {
        let tally = replay(&series, HOUR, HOUR - 1, risk.parse().unwrap());
        println!("one hour ahead, risk {risk}: {tally}");
        assert!(tally.short_share() <= short_max, "{tally}");
        assert!(tally.sold_share() >= sold_min, "{tally}");
    }
}

#[test]
fn a_day_ahead_is_worth_less_and_known_to_be_short_more_often() {
    let series = recorded();
    // Not covered yet: the load doubles within the cut, and the errors of the first nine days do
    // not tell. The bounds only keep it from getting worse.
    for (risk, short_max, sold_min) in [("1 %", 0.1, 0.6), ("5 %", 0.15, 0.75)] {
        let tally = replay(&series, DAY, 0, risk.parse().unwrap());
        println!("day ahead, risk {risk}: {tally}");
        assert!(tally.short_share() <= short_max, "{tally}");
        assert!(tally.sold_share() >= sold_min, "{tally}");
    }
}

/// What became of the slots that were forecast.
#[derive(Default)]
struct Tally {
    slots: u32,
    short: u32,
    /// Unit-slots that were sold and were there.
    delivered: f64,
    /// Unit-slots that were sold and were not there.
    undelivered: f64,
    /// Unit-slots that were there.
    spare: f64,
}

impl Tally {
    fn add(&mut self, forecast: &Forecast, slot: u64, load: f64, capacity: u32, risk: Fraction) {
        let headroom = forecast.headroom(Slot::new(slot), Units::saturating(capacity.into()), risk);
        let sold = f64::from(u32::try_from(headroom.units.count()).expect("capacity is a u32"));
        let spare = (f64::from(capacity) - load).max(0.0);
        self.slots += 1;
        self.short += u32::from(sold > spare);
        self.delivered += sold.min(spare);
        self.undelivered += (sold - spare).max(0.0);
        self.spare += spare;
    }

    fn short_share(&self) -> f64 {
        f64::from(self.short) / f64::from(self.slots)
    }

    fn sold_share(&self) -> f64 {
        self.delivered / self.spare
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undelivered = self.undelivered / (self.delivered + self.undelivered);
        write!(
            f,
            "short in {:.2} % of {} slots, {:.1} % of the spare capacity sold, {:.2} % of the sold undelivered",
            self.short_share() * 100.0,
            self.slots,
            self.sold_share() * 100.0,
            undelivered * 100.0
        )
    }
}

/// Forecasts every `step` slots the `step` slots that begin `ahead` slots after the next one.
fn replay(series: &[f64], step: u64, ahead: u64, risk: Fraction) -> Tally {
    let season = Config::for_season(Season { slots: DAY });
    let mut forecaster =
        Forecaster::new(Config { horizon_slots: step, ..season }).expect("it is within limits");
    let capacity = capacity_of(series);
    let load_of = |slot: u64| series.get(usize::try_from(slot).expect("it is an index"));
    let mut tally = Tally::default();
    for (slot, load) in (0..).zip(series) {
        forecaster.observe(Slot::new(slot), *load).expect("a recorded load is a load");
        let from = slot + 1;
        if from < LEARNT_DAYS * DAY || !from.is_multiple_of(step) {
            continue;
        }
        let forecast = forecaster.forecast(Slot::new(from + ahead));
        for slot in from + ahead..from + ahead + step {
            if let Some(load) = load_of(slot) {
                tally.add(&forecast, slot, *load, capacity, risk);
            }
        }
    }
    tally
}

/// A region built for this load: a quarter more than it needs in all but 0.1 % of the slots.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a recorded load is positive and small"
)]
fn capacity_of(series: &[f64]) -> u32 {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    (1.25 * sorted[sorted.len() * 999 / 1_000]) as u32
}

fn recorded() -> Vec<f64> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../headroom/data/worldcup98-cut.csv");
    let text = fs::read_to_string(path).expect("the cut is in the repository");
    let load = |line: &str| line.split_once(',').and_then(|(_, load)| load.parse().ok());
    let loads: Vec<f64> = text.lines().skip(1).filter_map(load).collect();
    assert_eq!(loads.len(), 6_048, "21 days of 5 minutes");
    loads
}

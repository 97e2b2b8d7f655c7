//! Whatever is measured, a forecast is sane: nothing panics, quantiles rise, runs repeat.

use headroom_forecast::{Config, Forecast, Forecaster};
use headroom_units::{Fraction, Slot, Units};
use proptest::prelude::*;

/// One measurement as a fault-ridden world delivers it.
#[derive(Debug, Clone)]
enum Sample {
    /// The slot this many after the newest.
    Later(u64, f64),
    /// A slot this many before the newest.
    Earlier(u64, f64),
    /// Any slot at all, as after a restart with a wrong clock.
    Anywhere(u64, f64),
}

fn load() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..1_000.0,
        1 => Just(0.0),
        1 => any::<f64>(),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, 1e12, 1e300, 5e-324]),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    prop_oneof![
        20 => (1..3_u64, load()).prop_map(|(by, load)| Sample::Later(by, load)),
        2 => (1..200_u64, load()).prop_map(|(by, load)| Sample::Later(by, load)),
        2 => (0..100_u64, load()).prop_map(|(by, load)| Sample::Earlier(by, load)),
        1 => (any::<u64>(), load()).prop_map(|(slot, load)| Sample::Anywhere(slot, load)),
    ]
}

fn config() -> Config {
    Config { season_slots: 8, history_seasons: 5, horizon_slots: 12 }
}

fn observed(samples: &[Sample]) -> Forecaster {
    let mut forecaster = Forecaster::new(config()).expect("it is within limits");
    for sample in samples {
        let newest = forecaster.newest().unwrap_or(Slot::new(1_000));
        let (slot, load) = match *sample {
            Sample::Later(by, load) => (newest.plus(by), load),
            Sample::Earlier(by, load) => (newest.minus(by), load),
            Sample::Anywhere(slot, load) => (Slot::new(slot), load),
        };
        let known = forecaster.observed();
        match forecaster.observe(slot, load) {
            Ok(()) => assert_eq!(forecaster.load(slot), Some(load)),
            Err(_) => assert_eq!(forecaster.observed(), known),
        }
    }
    forecaster
}

fn check_sane(forecast: &Forecast) -> Result<(), TestCaseError> {
    let capacity = Units::saturating(2_000);
    let risks: Vec<_> = (0..=20)
        .map(|n| Fraction::from_millionths(n * 50_000).expect("it is at most one"))
        .collect();
    for slot in forecast.slots().iter() {
        let quantiles: Vec<_> = [-1.0, 0.0, 0.01, 0.3, 0.5, 0.9, 0.99, 0.9999, 1.0, 7.0]
            .map(|q| forecast.quantile(slot, q))
            .into();
        if quantiles.iter().any(Option::is_none) {
            prop_assert!(quantiles.iter().all(Option::is_none));
        }
        prop_assert!(quantiles.is_sorted(), "{quantiles:?}");
        prop_assert!(quantiles.iter().flatten().all(|load| *load >= 0.0));
        let curve = forecast.spare_curve(slot, capacity, &risks);
        prop_assert!(curve.is_sorted_by_key(|(_, units)| *units), "{curve:?}");
        prop_assert!(curve.iter().all(|(_, units)| *units <= capacity));
        prop_assert_eq!(curve[0].1, Units::ZERO, "no risk at all allows no sale");
    }
    let risk = Fraction::from_millionths(20_000).expect("it is at most one");
    let alone = forecast.slots().iter().map(|slot| forecast.headroom(slot, capacity, risk).units);
    let run = forecast.run_headroom(forecast.slots(), capacity, risk);
    prop_assert!(alone.min().is_none_or(|least| run <= least), "{run:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_gives_a_sane_forecast(
        samples in prop::collection::vec(sample(), 0..200),
        ahead in prop_oneof![0..40_u64, any::<u64>()],
    ) {
        let forecaster = observed(&samples);
        let from = forecaster.newest().unwrap_or(Slot::new(0)).minus(3).plus(ahead);
        let forecast = forecaster.forecast(from);
        check_sane(&forecast)?;
        prop_assert_eq!(forecast, observed(&samples).forecast(from), "the same again");
        let mut region = Forecaster::pooled(config(), &forecaster).expect("it is alike");
        for (slot, load) in
            [(from, 5.0), (from.next(), 1e12), (from.plus(2), 0.0), (from.plus(4), 1.0)]
        {
            let _ = region.observe(slot, load);
        }
        check_sane(&region.forecast(from.plus(5)))?;
    }
}

#[test]
fn what_is_not_a_load_is_refused() {
    let mut forecaster = observed(&[Sample::Later(1, 5.0)]);
    let next = forecaster.newest().unwrap().next();
    for load in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.001, 1.1e12] {
        assert!(forecaster.observe(next, load).is_err(), "{load}");
    }
    assert!(forecaster.observe(next, 7.0).is_ok());
    let again = forecaster.observe(next, 7.0).unwrap_err().to_string();
    assert_eq!(again, "slot 1002 has been observed already");
    let old = forecaster.observe(Slot::new(900), 7.0).unwrap_err().to_string();
    assert_eq!(old, "slot 900 is older than what is remembered");
}

#[test]
fn a_cold_start_is_wide_and_narrows() {
    let config = Config { season_slots: 24, history_seasons: 14, horizon_slots: 24 };
    let mut forecaster = Forecaster::new(config).unwrap();
    let capacity = Units::saturating(250);
    let risk = "1 %".parse().unwrap();
    let mut headroom = Vec::new();
    for slot in 0..24 * 10 {
        if slot % 24 == 0 {
            let next = Slot::new(slot);
            headroom.push(forecaster.forecast(next).headroom(next, capacity, risk).units.count());
        }
        forecaster.observe(Slot::new(slot), 100.0).unwrap();
    }
    assert_eq!(headroom, [0, 50, 145, 149, 149, 149, 149, 149, 149, 149]);
}

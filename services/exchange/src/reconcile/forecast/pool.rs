//! A region that is new learns from the network it joins.
//!
//! The network is the sum of the regions that know their own errors, in the slots in which all of
//! these were measured.

use std::collections::BTreeMap;

use headroom_forecast::{Config, ConfigError, Forecaster};
use headroom_units::{RegionId, Slot};

use super::take_in;

/// The stored load of each region, in order.
pub(super) type SeriesByRegion = BTreeMap<RegionId, Vec<(Slot, f64)>>;

/// A forecaster for each region, which has replayed its series.
pub(super) fn forecasters(
    config: Config,
    series: &SeriesByRegion,
) -> Result<BTreeMap<RegionId, Forecaster>, ConfigError> {
    let mut regions = BTreeMap::new();
    for (region, points) in series {
        regions.insert(region.clone(), replayed(Forecaster::new(config)?, region, points));
    }
    let known: Vec<_> = series
        .iter()
        .filter(|(region, _)| regions[*region].is_known())
        .map(|(_, points)| points)
        .collect();
    if known.is_empty() || known.len() == series.len() {
        return Ok(regions);
    }
    let mut network = Forecaster::new(config)?;
    for (slot, load) in sum(&known) {
        // What the sum cannot use says nothing about a region.
        let _ = network.observe(slot, load);
    }
    for (region, forecaster) in regions.iter_mut().filter(|(_, forecaster)| !forecaster.is_known())
    {
        let pooled = Forecaster::pooled(config, &network)?;
        *forecaster = replayed(pooled, region, &series[region]);
    }
    Ok(regions)
}

fn replayed(mut forecaster: Forecaster, region: &RegionId, points: &[(Slot, f64)]) -> Forecaster {
    for (slot, load) in points {
        take_in(&mut forecaster, region, *slot, *load);
    }
    forecaster
}

/// The slots that all `series` have, and the sum of their loads.
fn sum(series: &[&Vec<(Slot, f64)>]) -> Vec<(Slot, f64)> {
    let mut sums: BTreeMap<Slot, (usize, f64)> = BTreeMap::new();
    for (slot, load) in series.iter().copied().flatten() {
        let (count, sum) = sums.entry(*slot).or_default();
        (*count, *sum) = (*count + 1, *sum + load);
    }
    let all = sums.into_iter().filter(|(_, (count, _))| *count == series.len());
    all.map(|(slot, (_, sum))| (slot, sum)).collect()
}

#[cfg(test)]
mod tests {
    use headroom_forecast::Season;

    use super::*;

    const DAY: u64 = 24;

    fn config() -> Config {
        Config::for_season(Season { slots: DAY })
    }

    fn points(slots: std::ops::Range<u64>, scale: f64) -> Vec<(Slot, f64)> {
        let load = |slot: u64| if slot % DAY < 12 { scale } else { 3.0 * scale };
        slots.map(|slot| (Slot::new(slot), load(slot))).collect()
    }

    fn noon(regions: &BTreeMap<RegionId, Forecaster>, region: &str) -> Option<f64> {
        let forecast = regions[&region.parse::<RegionId>().unwrap()].forecast(Slot::new(30 * DAY));
        forecast.quantile(Slot::new(30 * DAY + 15), 0.99)
    }

    #[test]
    fn a_new_region_knows_the_day_from_the_others() {
        let (east, west): (RegionId, RegionId) = ("east".parse().unwrap(), "west".parse().unwrap());
        let new: RegionId = "new".parse().unwrap();
        let mut series = BTreeMap::from([
            (east, points(0..30 * DAY, 100.0)),
            (west, points(10..30 * DAY, 50.0)),
            (new.clone(), points(30 * DAY - 4..30 * DAY, 1.0)),
        ]);
        let regions = forecasters(config(), &series).unwrap();
        let said = noon(&regions, "new").unwrap();
        assert!((3.0..4.0).contains(&said), "it tells its scale from four slots: {said}");
        series.remove(&new);
        let alone = BTreeMap::from([(new, points(30 * DAY - 4..30 * DAY, 1.0))]);
        let regions = forecasters(config(), &alone).unwrap();
        assert_eq!(noon(&regions, "new"), Some(6.0), "twice the highest");
        let known = forecasters(config(), &series).unwrap();
        assert!(known.values().all(Forecaster::is_known));
    }

    #[test]
    fn slots_that_one_lacks_are_left_out_of_the_sum() {
        let (east, west) = (points(0..5, 1.0), points(2..9, 10.0));
        let sums: Vec<_> = sum(&[&east, &west]);
        assert_eq!(sums.first(), Some(&(Slot::new(2), 11.0)));
        assert_eq!(sums.len(), 3);
    }
}

//! A file of load as samples of slots: checked, averaged, in order.

use std::path::Path;

use headroom_forecast::backtest::BacktestError;
use headroom_units::{Slot, SlotLength};
use headroom_wire::SeriesPoint;

use crate::{
    cli::series::{self, WrongFile},
    config::write_duration,
};

/// The mean load of each slot that has one.
pub(super) fn read(path: &Path, length: SlotLength) -> anyhow::Result<Vec<(Slot, f64)>> {
    let points = series::read(path)?;
    in_order(&points).and_then(|()| close_enough(&points, length)).map_err(|wrong| {
        anyhow::Error::new(wrong).context(format!("cannot use {}", path.display()))
    })?;
    Ok(averaged(&points, length))
}

/// What the replay found wrong with the file.
pub(super) fn wrong(path: &Path, error: &BacktestError) -> anyhow::Error {
    let wrong = WrongFile::lines(vec![error.to_string()]);
    anyhow::Error::new(wrong).context(format!("cannot use {}", path.display()))
}

fn in_order(points: &[(usize, SeriesPoint)]) -> Result<(), WrongFile> {
    let mut wrong = Vec::new();
    for pair in points.windows(2) {
        let [(line_before, before), (line, point)] = pair else { continue };
        if point.slot <= before.slot {
            let against = if point.slot == before.slot {
                format!("was told in line {line_before}")
            } else {
                format!("is before {} in line {line_before}", before.slot)
            };
            let reason = format!(
                "line {line}: {} {against}; accepted are rising moments, each once",
                point.slot
            );
            wrong.push(reason);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(WrongFile::lines(wrong)) }
}

/// Slots that are shorter than the time between samples would mostly be gaps.
fn close_enough(points: &[(usize, SeriesPoint)], length: SlotLength) -> Result<(), WrongFile> {
    let mut apart: Vec<u64> = points
        .windows(2)
        .map(|pair| pair[1].1.slot.0.seconds().saturating_sub(pair[0].1.slot.0.seconds()))
        .collect();
    apart.sort_unstable();
    let usual = apart.get(apart.len() / 2).copied().unwrap_or(0);
    if usual <= length.seconds() {
        return Ok(());
    }
    let duration = |seconds| write_duration(std::time::Duration::from_secs(seconds));
    let apart = duration(usual);
    Err(WrongFile::lines(vec![format!(
        "the samples are {apart} apart, so that most slots of {} would be gaps; accepted is --slot \
         {apart} or more",
        duration(length.seconds())
    )]))
}

fn averaged(points: &[(usize, SeriesPoint)], length: SlotLength) -> Vec<(Slot, f64)> {
    let mut samples: Vec<(Slot, f64)> = Vec::new();
    let mut count = 0.0;
    for (_, point) in points {
        let (slot, load) = (length.slot_at(point.slot.0), point.requests_per_second);
        match samples.last_mut().filter(|(last, _)| *last == slot) {
            Some((_, mean)) => {
                count += 1.0;
                *mean += (load - *mean) / count;
            }
            None => {
                count = 1.0;
                samples.push((slot, load));
            }
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use headroom_units::Timestamp;
    use headroom_wire::Time;

    use super::*;

    #[test]
    fn what_lies_in_one_slot_is_averaged() {
        let point = |seconds, requests_per_second| {
            (0, SeriesPoint { slot: Time(Timestamp::from_seconds(seconds)), requests_per_second })
        };
        let points = [point(600, 1.0), point(700, 2.0), point(899, 6.0), point(1_500, 5.0)];
        let length = SlotLength::from_seconds(300).unwrap();
        assert_eq!(averaged(&points, length), [(Slot::new(2), 3.0), (Slot::new(5), 5.0)]);
    }
}

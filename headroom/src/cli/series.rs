//! `series import`: measured load from a file.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use headroom_forecast::limits::REQUESTS_PER_SECOND_MAX;
use headroom_units::RegionId;
use headroom_wire::{NewSeries, SeriesImported, SeriesPoint, Time};

use super::Context;
use crate::limits::SHOWN_MAX;

const HEADER: &str = "timestamp,requests_per_second";

const EXAMPLES: &str = "Examples:
  headroom series import load.csv --region east

The file begins with the line `timestamp,requests_per_second`; each further line is the start of a
slot (RFC 3339) and the mean load in it:
  2026-11-22T18:00:00Z,231.5";

/// What can be asked of measured load.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Import the operator's own load of a region, one point per slot
    #[command(after_help = EXAMPLES)]
    Import {
        /// The CSV file
        file: PathBuf,
        /// Whose load it is
        #[arg(long)]
        region: RegionId,
    },
}

pub(super) fn run(command: &Command, context: &mut Context<'_>) -> anyhow::Result<()> {
    let Command::Import { file, region } = command;
    let points = read(file)?.into_iter().map(|(_, point)| point).collect();
    let series = NewSeries { points };
    let answer = context.client.put(&format!("/v1/regions/{region}/series"), &series)?;
    context.show(&answer, |imported: &SeriesImported| {
        format!("{} points of {region} are imported.\n", imported.points)
    })
}

/// A file that is not as it should be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct WrongFile(String);

/// Reads a file of load, each point with its line.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<(usize, SeriesPoint)>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(BufReader::new(file)).with_context(|| format!("cannot use {}", path.display()))
}

/// Reads all lines; tells every wrong one.
fn parse(lines: impl BufRead) -> anyhow::Result<Vec<(usize, SeriesPoint)>> {
    let mut lines = lines.lines();
    let header = lines.next().transpose()?.unwrap_or_default();
    if header.trim() != HEADER {
        let reason = format!("the first line is {header:?}; accepted is {HEADER:?}");
        return Err(WrongFile(reason).into());
    }
    let (mut points, mut wrong) = (Vec::new(), Vec::new());
    for (number, line) in (2..).zip(lines) {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        match point(line.trim()) {
            Ok(point) => points.push((number, point)),
            Err(reason) => wrong.push(format!("line {number}: {reason}")),
        }
    }
    if wrong.is_empty() { Ok(points) } else { Err(WrongFile::lines(wrong).into()) }
}

impl WrongFile {
    /// Every wrong line, up to a limit.
    pub(super) fn lines(mut wrong: Vec<String>) -> Self {
        let more = wrong.len().saturating_sub(SHOWN_MAX);
        wrong.truncate(SHOWN_MAX);
        if more > 0 {
            wrong.push(format!("and {more} more"));
        }
        Self(wrong.join("\n"))
    }
}

fn point(line: &str) -> Result<SeriesPoint, String> {
    let (slot, rate) = line.split_once(',').ok_or_else(|| format!("{line:?} has no comma"))?;
    let slot: Time = slot.trim().parse()?;
    let rate = rate.trim();
    let requests_per_second =
        rate.parse().ok().filter(|rate: &f64| (0.0..=REQUESTS_PER_SECOND_MAX).contains(rate));
    let requests_per_second = requests_per_second.ok_or_else(|| {
        format!("{rate:?} is not a load; accepted is a number from 0 to {REQUESTS_PER_SECOND_MAX}")
    })?;
    Ok(SeriesPoint { slot, requests_per_second })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_recorded_series_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/worldcup98-cut.csv");
        let points = read(&path).unwrap();
        assert_eq!(points.len(), 6_048);
        let (line, point) = &points[0];
        assert_eq!((*line, point.slot.to_string()), (2, "1998-05-20T00:00:00Z".to_owned()));
        assert!((point.requests_per_second - 23.2167).abs() < 1e-9);
    }

    #[test]
    fn every_wrong_line_is_told() {
        let error = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
        expect![[r#"the first line is "time,load"; accepted is "timestamp,requests_per_second""#]]
            .assert_eq(&error("time,load\n"));
        expect![[r#"
            line 3: "2026-11-22T18:15:00Z" has no comma
            line 5: "yesterday" is not a moment: failed to parse four digit integer as year: invalid digit, expected 0-9 but got y; accepted is RFC 3339 from 1970 on, such as "2026-11-22T18:00:00Z"
            line 6: "-1" is not a load; accepted is a number from 0 to 1000000000000
            line 7: "NaN" is not a load; accepted is a number from 0 to 1000000000000"#]].assert_eq(&error(
            "timestamp,requests_per_second\n\
             2026-11-22T18:00:00Z,1\n\
             2026-11-22T18:15:00Z\n\
             \n\
             yesterday,1\n\
             2026-11-22T18:30:00Z,-1\n\
             2026-11-22T18:45:00Z,NaN\n",
        ));
    }
}

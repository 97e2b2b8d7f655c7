//! `forecast backtest`: the forecast against a recorded load, with what others would have said.

mod input;
mod plot;

use std::{
    fmt::Write as _,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use headroom_forecast::{
    Config, Forecaster, Season,
    backtest::{Ahead, Backtest, Baseline, Replay, Score},
    limits::LEARNING_SEASONS,
};
use headroom_units::{Fraction, Slot, SlotLength};
use headroom_wire::Time;
use serde_json::{Value, json};

use super::table::{Table, yes_no};
use crate::config::{read_duration, write_duration};

const BACKTEST_EXAMPLES: &str = "Examples:
  headroom forecast backtest load.csv
  headroom forecast backtest load.csv --ahead 1h --slot 15m --risk 0.05
  headroom forecast backtest load.csv --json --plot load.svg

The file begins with the line `timestamp,requests_per_second`; each further line is a moment (RFC
3339), later than the one before, and the load. What lies in one slot is averaged; a slot without a
line is a gap. The first 14 days are only learnt from. A slot is short if its load was above the
quantile at the stated risk; capacity is 1.25 times the 99.9th percentile of the load. What the
figures mean: docs/concepts/forecast.md. Exits with 2 if the file is wrong.";

/// What can be done with the forecast alone.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Replay a recorded load: how often short, how much sold, beside simpler methods
    #[command(after_help = BACKTEST_EXAMPLES)]
    Backtest(Args),
}

/// What `forecast backtest` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The CSV file
    file: PathBuf,
    /// Forecast at each midnight for the next day, or at each slot for the slot an hour ahead
    #[arg(long, value_enum, default_value = "24h")]
    ahead: HowFar,
    /// The length of a slot; it divides a day
    #[arg(long, default_value = "5m", value_parser = slot_length, value_name = "DURATION")]
    slot: SlotLength,
    /// The stated risk, such as 0.01 or "1 %"
    #[arg(long, default_value = "0.01", value_parser = risk)]
    risk: Fraction,
    /// Draw the load, its quantiles, the capacity and the shortages
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum HowFar {
    #[value(name = "24h")]
    Day,
    #[value(name = "1h")]
    Hour,
}

fn slot_length(text: &str) -> Result<SlotLength, String> {
    let range = Duration::from_secs(5)..=Duration::from_secs(3_600);
    let length = read_duration(text, &range)?;
    let whole = length.subsec_nanos() == 0;
    let slot = SlotLength::from_seconds(length.as_secs()).filter(|_| whole);
    slot.ok_or_else(|| {
        "it does not divide a day; accepted are whole parts of one, such as 5m, 15m or 1h"
            .to_owned()
    })
}

fn risk(text: &str) -> Result<Fraction, String> {
    let millionths = text.trim().parse().ok().map(|part: f64| (part * 1e6).round());
    let in_range = |risk: &Fraction| (1..=500_000).contains(&risk.millionths());
    let risk = match millionths {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float saturates when it becomes an integer, and the range is checked"
        )]
        Some(millionths) => Fraction::from_millionths(millionths as u32),
        None => text.parse().ok(),
    };
    risk.filter(in_range)
        .ok_or_else(|| "it is no risk; accepted is 0.000001 to 0.5, or \"1 %\"".to_owned())
}

pub(super) fn run(command: &Command, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let Command::Backtest(args) = command;
    let samples = input::read(&args.file, args.slot)?;
    let replay = Replay {
        samples: &samples,
        season: Season { slots: 86_400 / args.slot.seconds() },
        ahead: match args.ahead {
            HowFar::Day => Ahead::Season,
            HowFar::Hour => Ahead::Hour,
        },
        risk: args.risk.as_f64(),
    };
    let backtest = Backtest::run(&replay).map_err(|error| input::wrong(&args.file, &error))?;
    let cost = Cost::measure(&replay)?;
    if let Some(path) = &args.plot {
        let name = args.file.file_name().unwrap_or_default().to_string_lossy();
        let drawing = plot::svg(&plot::Drawn {
            backtest: &backtest,
            title: &title(&name, args, &backtest),
            length: args.slot,
        });
        fs::write(path, drawing).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let told = if json {
        format!("{:#}\n", told_json(args, &backtest, &cost))
    } else {
        told_text(args, &backtest, &cost)
    };
    write!(out, "{told}")?;
    Ok(())
}

/// What the forecaster takes on this machine.
struct Cost {
    sample: Duration,
    forecast: Duration,
    slots: u32,
}

impl Cost {
    /// Takes all samples in again, and forecasts a day a few times.
    fn measure(replay: &Replay<'_>) -> anyhow::Result<Self> {
        const FORECASTS: u32 = 20;
        let config = Config { horizon_slots: replay.season.slots, ..replay.config()? };
        let mut forecaster = Forecaster::new(config)?;
        let start = Instant::now();
        for (slot, load) in replay.samples {
            let _ = forecaster.observe(*slot, *load);
        }
        let samples = u32::try_from(replay.samples.len()).unwrap_or(u32::MAX).max(1);
        let sample = start.elapsed() / samples;
        let from = forecaster.newest().unwrap_or(Slot::new(0)).next();
        let start = Instant::now();
        for _ in 0..FORECASTS {
            let forecast = std::hint::black_box(&forecaster).forecast(from);
            for slot in forecast.slots().iter() {
                std::hint::black_box(forecast.quantile(slot, 1.0 - replay.risk));
            }
        }
        let slots = u32::try_from(config.horizon_slots).unwrap_or(u32::MAX);
        Ok(Self { sample, forecast: start.elapsed() / FORECASTS, slots })
    }
}

fn title(name: &str, args: &Args, backtest: &Backtest) -> String {
    format!(
        "{name}: load and its forecast {} ahead at a risk of {}; {} of the slots were short",
        how_far(args.ahead),
        args.risk,
        percent(backtest.forecast.short_share)
    )
}

const fn how_far(ahead: HowFar) -> &'static str {
    match ahead {
        HowFar::Day => "24h",
        HowFar::Hour => "1h",
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

const fn said_by(baseline: Baseline) -> &'static str {
    match baseline {
        Baseline::SlotMax7d => "slot maximum of 7 days",
        Baseline::Mean5Sd => "mean + 5 sd of 14 days",
        Baseline::WeekNaive => "week before + quantile",
        Baseline::Mean7d => "mean of 7 days + quantile",
    }
}

fn told_text(args: &Args, backtest: &Backtest, cost: &Cost) -> String {
    let slots = &backtest.slots;
    let missing = slots.iter().filter(|answered| answered.load.is_none()).count();
    let first = slots.first().map_or(Slot::new(0), |answered| answered.slot);
    let when = match args.ahead {
        HowFar::Day => "at each midnight for the next day",
        HowFar::Hour => "at each slot for the slot an hour ahead",
    };
    let mut text = format!(
        "{} slots of {} from {}, {missing} of them missing\n\
         forecast             {when}, at a risk of {}\n\
         counted              {} slots, after {LEARNING_SEASONS} days that are only learnt from\n\
         capacity             {:.2} requests/s\n\n",
        slots.len(),
        write_duration(args.slot.duration()),
        Time(args.slot.start(first)),
        args.risk,
        backtest.forecast.slots,
        backtest.capacity,
    );
    let mut table = Table::new(&[
        "method",
        ">short",
        ">worst day",
        ">sold of spare",
        ">undelivered of sold",
        ">pinball loss",
        "keeps the risk",
    ]);
    let mut row = |name: &str, score: &Score| {
        table.row([
            name.to_owned(),
            percent(score.short_share),
            percent(score.worst_day_short_share),
            percent(score.sold_of_spare),
            percent(score.undelivered_of_sold),
            format!("{:.4}", score.pinball),
            yes_no(score.keeps_the_risk),
        ]);
    };
    row("headroom", &backtest.forecast);
    for (baseline, score) in &backtest.baselines {
        row(said_by(*baseline), score);
    }
    let _ = write!(
        text,
        "{table}\n\
         {}\n\
         A sample takes {:.2} us, a forecast of {} slots {:.3} ms.\n",
        verdict(backtest),
        cost.sample.as_secs_f64() * 1e6,
        cost.slots,
        cost.forecast.as_secs_f64() * 1e3,
    );
    if let Some(path) = &args.plot {
        let _ = writeln!(text, "{} is drawn.", Path::new(path).display());
    }
    text
}

/// How the forecast stands to the simple methods that keep the risk.
fn verdict(backtest: &Backtest) -> String {
    let fair = backtest.baselines.iter().filter(|(_, score)| score.keeps_the_risk);
    let best = fair.max_by(|(_, a), (_, b)| a.sold_of_spare.total_cmp(&b.sold_of_spare));
    match best {
        None => "No simple method keeps the risk.".to_owned(),
        Some(_) if backtest.beats_baselines() => {
            "More is sold than by any simple method that keeps the risk.".to_owned()
        }
        Some((baseline, _)) => {
            format!("A simple method that keeps the risk sells more: {}.", said_by(*baseline))
        }
    }
}

fn told_json(args: &Args, backtest: &Backtest, cost: &Cost) -> Value {
    let missing = backtest.slots.iter().filter(|answered| answered.load.is_none()).count();
    let baselines: serde_json::Map<String, Value> = backtest
        .baselines
        .iter()
        .map(|(baseline, score)| (baseline.name().to_owned(), score_json(score)))
        .collect();
    let mut told = score_json(&backtest.forecast);
    let more = json!({
        "ahead": how_far(args.ahead),
        "slot_seconds": args.slot.seconds(),
        "risk": args.risk.as_f64(),
        "learning_days": LEARNING_SEASONS,
        "missing_slots": missing,
        "capacity_requests_per_second": rounded(backtest.capacity),
        "beats_baselines": backtest.beats_baselines(),
        "baselines": baselines,
        "cost": {
            "sample_seconds": cost.sample.as_secs_f64(),
            "forecast_seconds": cost.forecast.as_secs_f64(),
            "forecast_slots": cost.slots,
        },
    });
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

fn score_json(score: &Score) -> Value {
    json!({
        "slots": score.slots,
        "short_share": rounded(score.short_share),
        "worst_day_short_share": rounded(score.worst_day_short_share),
        "sold_of_spare": rounded(score.sold_of_spare),
        "undelivered_of_sold": rounded(score.undelivered_of_sold),
        "pinball_loss": rounded(score.pinball),
        "keeps_the_risk": score.keeps_the_risk,
    })
}

/// Millionths are enough, and the same on every machine.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests;

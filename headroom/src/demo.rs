//! The whole main job on one machine: a network, an operator's site, a purchaser's site that is hit
//! by a flash crowd, and real visitors.
//!
//! ```text
//!  world: exchange, name server, two regions of two edges        127.0.0.1, 127.0.1.x
//!  origins: the purchaser's two servers and name server, the     127.0.2.x
//!           operator's server
//!  crowd: resolvers that ask over UDP, users that fetch          127.20.x.x, 127.21.x.x, ...
//! ```
//!
//! Nothing is simulated but people: every DNS packet, every HTTP request and every bid goes over a
//! socket to the same code that runs in production. The numbers in the report are what the meters,
//! the ledger and the visitors counted. The end-to-end tests run this same harness.

mod api;
mod crowd;
mod dns_client;
mod origin;
mod purchaser;
mod report;
mod resolver;
mod scenario;
mod tally;
mod view;
mod world;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use headroom_units::Timestamp;

use crate::roles::signalled;

pub use report::{ContractReport, Report};
pub use scenario::{RemainderPolicy, Scenario};
pub use tally::Tally;

/// What the demo is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  headroom demo                                 watch it, then use the API until Ctrl-C
  headroom demo --exit --report report.json     run it once and keep the figures
  headroom demo --seconds 120 --remainder assign --seed 7")]
pub struct Args {
    /// How long it runs, in seconds.
    #[arg(long, default_value_t = 90, value_name = "N",
          value_parser = clap::value_parser!(u64).range(Scenario::SECONDS_MIN..=86_400))]
    seconds: u64,
    /// The first of the ports that are used, on loopback addresses.
    #[arg(long, default_value_t = 18_000, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1_024..=65_000))]
    port_base: u16,
    /// Where the database is kept [default: a temporary folder].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The seed of the visitors' behaviour.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// What becomes of the visitors that the purchase does not cover.
    #[arg(long, value_enum, default_value_t = RemainderPolicy::Return)]
    remainder: RemainderPolicy,
    /// Write the report to this file as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Leave when it is over, instead of staying up with the API.
    #[arg(long)]
    exit: bool,
}

/// Runs the demo as the command line says.
///
/// # Errors
/// If it cannot start, or a part of it fails.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let data_dir = args.data_dir.unwrap_or_else(|| temporary.path().to_owned());
    let scenario = Scenario {
        seconds: args.seconds,
        port_base: args.port_base,
        seed: args.seed,
        remainder: args.remainder,
        ..Scenario::demo(data_dir)
    };
    let shown = view::View::stdout();
    let (world, mut network) = world::World::start(&scenario).await?;
    let outcome = tokio::select! {
        outcome = play(&scenario, &world, Some(&shown)) => Some(outcome?),
        failed = network.failed() => return Err(failed),
        signal = signalled() => {
            signal?;
            None
        }
    };
    if let Some(report) = outcome {
        if let Some(path) = &args.report {
            let json = serde_json::to_string_pretty(&report)?;
            std::fs::write(path, json + "\n")
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        shown.table(&report);
        if !args.exit {
            shown.staying(&world);
            signalled().await?;
        }
    }
    world.stop();
    network.stop().await
}

/// Starts the world of a scenario, plays it and stops it. What the end-to-end tests call.
///
/// # Errors
/// If it cannot start, or a part of it fails.
pub async fn play_once(scenario: &Scenario) -> anyhow::Result<Report> {
    let (world, mut network) = world::World::start(scenario).await?;
    let report = tokio::select! {
        report = play(scenario, &world, None) => report?,
        failed = network.failed() => return Err(failed),
    };
    world.stop();
    network.stop().await?;
    Ok(report)
}

/// The flash crowd comes, the purchaser bids, is served, and the books are closed.
async fn play(
    scenario: &Scenario,
    world: &world::World,
    view: Option<&view::View>,
) -> anyhow::Result<Report> {
    let began = headroom_clock::now();
    let ends = began.after(Duration::from_secs(scenario.seconds));
    let (tally, own_tally) = (Tally::default(), Tally::default());
    let crowd = crowd::Crowd::gather(scenario, world, (&tally, &own_tally), began);
    let buyer = purchaser::buy(scenario, world, began);
    let watching = async {
        if let Some(view) = view {
            view.watch(scenario, world, &tally).await
        } else {
            std::future::pending().await
        }
    };
    let bought = async {
        buyer.await?;
        sleep_until(ends).await;
        anyhow::Ok(())
    };
    tokio::select! {
        done = bought => done?,
        () = watching => {}
    }
    crowd.disperse().await;
    world.settled().await?;
    report::collect(scenario, world, (&tally, &own_tally), began).await
}

async fn sleep_until(moment: Timestamp) {
    tokio::time::sleep(moment.since(headroom_clock::now())).await;
}

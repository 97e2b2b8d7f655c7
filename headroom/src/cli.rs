//! The command line: what can be asked, and who answers.
//!
//! ```text
//!  arguments ──clap──► Command ──► roles (all, exchange, edge, dns, demo): run until a signal
//!                              ├─► files (check-config, plan show --file, dnssec, auction, forecast)
//!                              ├─► a simulated world (sim)
//!                              └─► the API of a running exchange: everything else
//! ```
//!
//! Every answer is a table, or with `--json` the API's own JSON. Exit codes: 0 done, 1 failed,
//! 2 wrong arguments or a wrong configuration.

mod auction;
mod bid;
mod check_config;
mod contract;
mod dnssec;
mod forecast;
mod invoice;
mod ledger;
mod live;
mod log;
mod place;
mod plan;
mod purchaser;
mod purge;
mod region;
mod role;
mod series;
mod show;
mod sim;
mod site;
mod table;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;

use crate::client::{Answer, Client};
use crate::config::ConfigErrors;
use headroom_auctionfile::FileError;

const FAILED: u8 = 1;
const WRONG_INPUT: u8 = 2;

/// A content delivery network that sells the capacity it is not using.
#[derive(Debug, Parser)]
#[command(
    name = "headroom",
    version,
    max_term_width = 100,
    after_help = "Examples:
  headroom demo                                    the whole way of a slot, on this machine
  headroom check-config config/headroom.toml       tells every mistake at once
  headroom all --config config/headroom.toml       every role in one process
  headroom show --region east                      what is unused, offered and sold

Exit codes: 0 done, 1 failed, 2 wrong arguments or a wrong configuration."
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command understands.
#[derive(Debug, clap::Args)]
struct Global {
    /// Print JSON instead of tables: the API's own, as it came
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// The form of log lines; what is logged is set by HEADROOM_LOG, "info" if not given
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Global options"
    )]
    log_format: log::Format,
    /// The API of the exchange
    #[arg(
        long,
        global = true,
        env = "HEADROOM_API",
        default_value = "http://127.0.0.1:7080",
        value_name = "URL",
        help_heading = "Global options"
    )]
    api: String,
    /// The token to call the API with
    #[arg(
        long,
        global = true,
        env = "HEADROOM_TOKEN",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    token: Option<String>,
    /// A file that holds the token; goes before --token
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    token_file: Option<PathBuf>,
}

/// What can be asked.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the main job on this machine: measure, sell, steer, serve, settle
    #[command(after_help = "Examples:\n  headroom demo\n  headroom demo --help")]
    Demo(crate::demo::Args),
    /// Run every role of a configuration in one process
    #[command(after_help = role::ALL_EXAMPLES)]
    All(role::AllArgs),
    /// Run the exchange alone: the API and the reconcilers
    #[command(after_help = role::EXCHANGE_EXAMPLES)]
    Exchange(role::ServeArgs),
    /// Run one edge alone, from its plan file
    #[command(after_help = role::EDGE_EXAMPLES)]
    Edge(role::EdgeArgs),
    /// Run one name server alone, from its plan file
    #[command(after_help = role::DNS_EXAMPLES)]
    Dns(role::DnsArgs),
    /// Read a configuration and tell every mistake at once
    #[command(after_help = check_config::EXAMPLES)]
    CheckConfig(check_config::Args),
    /// Keys of signed zones: make, list, exchange, withdraw
    #[command(subcommand)]
    Dnssec(dnssec::Command),
    /// A call auction on plain files: make a market, clear it, check the result
    #[command(subcommand)]
    Auction(auction::Command),
    /// The forecast against a recorded load
    #[command(subcommand)]
    Forecast(forecast::Command),
    /// A simulated world, in which the product's own control runs
    #[command(subcommand)]
    Sim(sim::Command),
    /// What a running exchange answers.
    #[command(flatten)]
    Ask(Ask),
}

/// What a running exchange answers.
#[derive(Debug, clap::Subcommand)]
pub enum Ask {
    /// The plan in force: what name servers and edges know
    #[command(subcommand)]
    Plan(plan::Command),
    /// Purchasers and their accounts
    #[command(subcommand)]
    Purchaser(purchaser::Command),
    /// Sites: host names, origin servers, policies
    #[command(subcommand)]
    Site(site::Command),
    /// Stop serving stored responses of a site
    #[command(after_help = purge::EXAMPLES)]
    Purge(purge::Args),
    /// Bids: orders for capacity
    #[command(subcommand)]
    Bid(bid::Command),
    /// Contracts: what was bought and what was delivered
    #[command(subcommand)]
    Contract(contract::Command),
    /// Regions of the network
    #[command(subcommand)]
    Region(region::Command),
    /// Capacity, headroom, offers and prices of the coming slots
    #[command(after_help = show::HEADROOM_EXAMPLES)]
    Show(show::HeadroomArgs),
    /// The same as `headroom show`
    #[command(subcommand, hide = true)]
    Headroom(show::HeadroomCommand),
    /// The books
    #[command(subcommand)]
    Ledger(ledger::Command),
    /// Invoices of purchasers
    #[command(subcommand)]
    Invoice(invoice::Command),
    /// Measured load
    #[command(subcommand)]
    Series(series::Command),
    /// What is measured now, a line per second
    #[command(after_help = live::EXAMPLES)]
    Live,
}

/// Where a command asks and answers.
struct Context<'o> {
    client: Client,
    json: bool,
    out: &'o mut dyn Write,
}

impl Context<'_> {
    /// Prints `answer`: as it came, or as the text that `describe` makes of it.
    fn show<T: serde::de::DeserializeOwned>(
        &mut self,
        answer: &Answer,
        describe: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        if self.json {
            writeln!(self.out, "{}", answer.text().trim_end())?;
        } else {
            write!(self.out, "{}", describe(&answer.decode()?))?;
        }
        Ok(())
    }
}

/// The whole program: reads the arguments, does what they say, tells what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli, &mut io::stdout().lock()) {
        Ok(code) => code,
        Err(error) => report(&error, &mut io::stderr().lock()),
    }
}

/// Does what `cli` says and prints the answer to `out`.
fn run(cli: Cli, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let Cli { global, command } = cli;
    match command {
        Command::Demo(args) => {
            log::init(global.log_format, "warn")?;
            role::block_on(crate::demo::run(args))?;
        }
        Command::All(args) => role::all(&args, global.log_format)?,
        Command::Exchange(args) => role::exchange(&args, global.log_format)?,
        Command::Edge(args) => role::edge(args, global.log_format)?,
        Command::Dns(args) => role::dns(args, global.log_format)?,
        Command::CheckConfig(args) => return check_config::run(&args, global.json, out),
        Command::Auction(command) => return auction::run(&command, global.json, out),
        Command::Forecast(command) => forecast::run(&command, global.json, out)?,
        Command::Sim(command) => return sim::run(&command, global.json, out),
        Command::Dnssec(command) => dnssec::run(&command, global.json, out)?,
        Command::Ask(question) => {
            let client = Client::new(&global.api, token(&global)?)?;
            return ask(question, &mut Context { client, json: global.json, out });
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(question: Ask, context: &mut Context<'_>) -> anyhow::Result<ExitCode> {
    match question {
        Ask::Plan(plan::Command::Show(args)) => return plan::run(&args, context),
        Ask::Plan(plan::Command::Where(args)) => place::run(&args, context)?,
        Ask::Purchaser(command) => purchaser::run(&command, context)?,
        Ask::Site(command) => site::run(command, context)?,
        Ask::Purge(args) => purge::run(args, context)?,
        Ask::Bid(command) => bid::run(command, context)?,
        Ask::Contract(command) => contract::run(&command, context)?,
        Ask::Region(command) => region::run(&command, context)?,
        Ask::Show(args) | Ask::Headroom(show::HeadroomCommand::Show(args)) => {
            show::headroom(&args, context)?;
        }
        Ask::Ledger(command) => ledger::run(&command, context)?,
        Ask::Invoice(command) => invoice::run(&command, context)?,
        Ask::Series(command) => series::run(&command, context)?,
        Ask::Live => live::run(context)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn token(global: &Global) -> anyhow::Result<Option<String>> {
    let Some(file) = &global.token_file else { return Ok(global.token.clone()) };
    match std::fs::read_to_string(file) {
        Ok(token) => Ok(Some(token.trim().to_owned())),
        Err(error) => anyhow::bail!("cannot read the token file {}: {error}", file.display()),
    }
}

/// Tells an error; a reader that went away is none.
fn report(error: &anyhow::Error, err: &mut dyn Write) -> ExitCode {
    let pipe = error.downcast_ref::<io::Error>();
    if pipe.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // With stderr gone nobody can be told.
    let _ = writeln!(err, "error: {}", causes(error));
    let wrong_file = error.downcast_ref::<FileError>();
    let wrong_input = error.downcast_ref::<ConfigErrors>().is_some()
        || error.downcast_ref::<series::WrongFile>().is_some()
        || matches!(wrong_file, Some(FileError::Malformed(_)));
    ExitCode::from(if wrong_input { WRONG_INPUT } else { FAILED })
}

/// The error and its causes, without those that were told already.
fn causes(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match (told.as_str(), cause.to_string()) {
        ("", cause) => cause,
        (told, cause) if told.contains(&cause) => told.to_owned(),
        (told, cause) => format!("{told}: {cause}"),
    })
}

#[cfg(test)]
mod tests;

//! `plan show`: a plan as tables, with the notes of its check.

use std::{
    fmt::Write as _,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use headroom_steer::{AssignAlgorithm, Plan, Server, Severity, check};
use headroom_wire::{
    OverShareDocument, PlanDocument, QueryRuleDocument, RemainderDocument, SiteRulesDocument,
};

use super::{
    Context, FAILED,
    table::{Table, joined, yes_no},
};

/// What can be asked of the plan.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the plan in force, or one in a file, and what its check finds
    #[command(after_help = "Examples:
  headroom plan show
  headroom plan show --file headroom-data/edges/east-1/plan.json
  headroom plan show --json > plan.json

Exits with 1 if the plan fails its check.")]
    Show(ShowArgs),
    /// Show which region a client belongs to, and what says so
    #[command(after_help = super::place::EXAMPLES)]
    Where(super::place::Args),
}

/// What `plan show` is told.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// A plan file instead of the exchange's plan
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &ShowArgs, context: &mut Context<'_>) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.file {
        return show_file(path, context.json, context.out);
    }
    let answer = context.client.get("/v1/plan")?;
    print(answer.decode()?, answer.text(), context.json, context.out)
}

fn show_file(path: &Path, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (document, text) = read_file(path)?;
    print(document, &text, json, out)
}

/// The plan in a file, and its text.
pub(super) fn read_file(path: &Path) -> anyhow::Result<(PlanDocument, String)> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the plan file {}", path.display()))?;
    let document =
        serde_json::from_str(&text).with_context(|| format!("{} is not a plan", path.display()))?;
    Ok((document, text))
}

fn print(
    document: PlanDocument,
    text: &str,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let tables = if json { None } else { Some(describe(&document)) };
    let notes = check(&Plan::from(document));
    match tables {
        None => writeln!(out, "{}", text.trim_end())?,
        Some(tables) => {
            writeln!(out, "{tables}")?;
            for note in &notes {
                writeln!(out, "{note}")?;
            }
            if notes.is_empty() {
                writeln!(out, "The check finds nothing.")?;
            }
        }
    }
    let unsound = notes.iter().any(|note| note.severity == Severity::Error);
    Ok(if unsound { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn describe(plan: &PlanDocument) -> String {
    let mut text = format!(
        "plan {} of {}: zone {}, TTL {} s, default region {}\n\n",
        plan.generation, plan.made_at, plan.zone.0, plan.ttl_seconds, plan.default_region.0
    );
    let mut servers = Table::new(&["name server", "host", "addresses"]);
    for server in &plan.name_servers {
        servers.row([
            server.id.0.to_string(),
            server.host.0.to_string(),
            joined(&server.addresses),
        ]);
    }
    let mut edges = Table::new(&["region", "edge", "addresses", "healthy", "client prefixes"]);
    for region in &plan.regions {
        let prefixes = joined(region.client_prefixes.iter().map(|prefix| prefix.0));
        for edge in &region.edges {
            edges.row([
                region.id.0.to_string(),
                edge.id.0.to_string(),
                joined(&edge.addresses),
                yes_no(edge.healthy),
                prefixes.clone(),
            ]);
        }
    }
    let _ = write!(text, "{servers}\n{edges}\n{}\n{}", sites(plan), entitlements(plan));
    text
}

fn sites(plan: &PlanDocument) -> Table {
    let headers = ["site", "owner", "hosts", "origins", "remainder", "over share", "fallback"];
    let mut table = Table::new(&headers);
    for site in &plan.sites {
        let own = site.purchaser.is_none();
        let bought = |text: String| if own { "-".to_owned() } else { text };
        table.row([
            site.id.0.to_string(),
            site.purchaser.as_ref().map_or_else(|| "operator".to_owned(), |p| p.0.to_string()),
            joined(site.hosts.iter().map(|host| &host.0)),
            joined(site.origins.iter().map(|origin| &origin.0)),
            bought(remainder(&site.remainder)),
            bought(over_share(site.over_share).to_owned()),
            bought(site.fallback.0.to_string()),
        ]);
    }
    table
}

fn entitlements(plan: &PlanDocument) -> Table {
    let headers = ["contract", "site", "region", "from", "until", ">requests", ">egress", "class"];
    let mut table = Table::new(&headers);
    for site in &plan.sites {
        for entitlement in &site.entitlements {
            table.row([
                entitlement.contract.0.to_string(),
                site.id.0.to_string(),
                entitlement.region.0.to_string(),
                entitlement.from.to_string(),
                entitlement.until.to_string(),
                entitlement.requests.0.to_string(),
                entitlement.egress.0.to_string(),
                entitlement.class.0.to_string(),
            ]);
        }
    }
    table
}

/// A remainder policy in one cell.
pub(super) fn remainder(policy: &RemainderDocument) -> String {
    match policy {
        RemainderDocument::Return { name } => format!("return to {}", name.0),
        RemainderDocument::ReturnAddresses { addresses } => {
            format!("return to {}", joined(addresses))
        }
        RemainderDocument::ReturnRecords => "return to the zone's records".to_owned(),
        RemainderDocument::Assign { algorithm, servers, check } => {
            let mut text = format!("assign {}", AssignAlgorithm::from(*algorithm));
            for server in servers {
                let _ = write!(text, " {}", Server::from(server.clone()));
            }
            if let Some(check) = check {
                let _ = write!(text, " checked by {}", check.0);
            }
            text
        }
        RemainderDocument::AssignByDns { host } => {
            format!("assign as _headroom-assign.{} says", host.0)
        }
    }
}

/// What happens over the share, in one word.
pub(super) const fn over_share(policy: OverShareDocument) -> &'static str {
    match policy {
        OverShareDocument::Redirect => "redirect",
        OverShareDocument::PassThrough => "pass-through",
        OverShareDocument::Refuse => "refuse",
    }
}

/// How requests are handled, in one line.
pub(super) fn rules(rules: &SiteRulesDocument) -> String {
    let query = match &rules.query {
        QueryRuleDocument::Keep => "keep".to_owned(),
        QueryRuleDocument::Ignore => "ignore".to_owned(),
        QueryRuleDocument::Sort => "sort".to_owned(),
        QueryRuleDocument::Only(names) => format!("only {}", joined(names)),
        QueryRuleDocument::Except(names) => format!("except {}", joined(names)),
    };
    let upgrades = if rules.upgrades { "tunnelled" } else { "not tunnelled" };
    let seconds = rules.negative_seconds;
    format!("query {query}, upgrades {upgrades}, errors remembered for {seconds} s")
}

#[cfg(test)]
mod tests;

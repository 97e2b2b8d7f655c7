//! `site`: host names, origin servers, policies.

use std::{fmt::Write as _, net::IpAddr, str::FromStr};

use headroom_steer::{self as steer, Server, ServerCheck, SiteRules, limits::NEGATIVE_SECONDS_MAX};
use headroom_units::{Authority, HostName, Origin, ParseError, QueryRule, SiteId};
use headroom_wire::{
    AlgorithmDocument, CheckedView, NewServerReport, NewServerReports, NewSite, OverShareDocument,
    RemainderDocument, ReportView, ServerDocument, ServersView, SiteRulesDocument, SiteView, Text,
};

use super::{
    Context, plan,
    table::{Table, joined, yes_no},
};

const CREATE_EXAMPLES: &str = "Examples:
  headroom site create shop --host www.shop.example --origin 192.0.2.10:80 \\
      --fallback origin.shop.example
  headroom site create shop --host www.shop.example --origin 192.0.2.10:80 \\
      --fallback origin.shop.example --assign weighted --server 192.0.2.10,weight=3 \\
      --server 192.0.2.11
  headroom site create shop --host www.shop.example --origin 192.0.2.10:80 \\
      --fallback origin.shop.example --assign ordered --check http:80/up \\
      --server 192.0.2.10,2001:db8::10 --server 192.0.2.11,2001:db8::11
  headroom site create shop --host www.shop.example --origin 192.0.2.10:80 \\
      --fallback origin.shop.example --assign-by-dns www.shop.example
  headroom site create shop --host www.shop.example --origin 192.0.2.10:80 \\
      --fallback origin.shop.example:8080 --return-address 192.0.2.10 --over-share pass-through
  headroom site create shop --host www.shop.example --origin https://origin.shop.example \\
      --fallback origin.shop.example --query except=utm_source,utm_medium --negative 10

Where mapping requests go that the edges do not take (the remainder policy) is the fallback's host
unless said otherwise. Then prove control of the host names: headroom site show shop.";

const REPORT_EXAMPLES: &str = "Examples:
  headroom site report shop --server 192.0.2.10=up,40% --server 192.0.2.11=down
  headroom site report shop --server 192.0.2.10=up,75% --expires 60

A report counts until it expires or the server is reported of again; servers that are not named keep
what was reported of them.";

/// What can be asked of sites.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Register a site
    #[command(after_help = CREATE_EXAMPLES)]
    Create(Box<CreateArgs>),
    /// List sites
    #[command(after_help = "Examples:\n  headroom site list")]
    List,
    /// Show a site: its CNAME, and how to prove control of its host names
    #[command(after_help = "Examples:\n  headroom site show shop")]
    Show {
        /// Which site
        id: SiteId,
    },
    /// Show the servers that the remainder is assigned to, and how they are
    #[command(after_help = "Examples:\n  headroom site servers shop")]
    Servers {
        /// Which site
        id: SiteId,
    },
    /// Report health and load of servers that the remainder is assigned to
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// Look for the proofs of control again
    #[command(after_help = "Examples:\n  headroom site verify shop")]
    Verify {
        /// Which site
        id: SiteId,
    },
}

/// What a new site is like.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The id it will have; also its label in the network's DNS zone
    id: SiteId,
    /// A host name of it (repeat for more)
    #[arg(long = "host", required = true, value_name = "NAME")]
    hosts: Vec<HostName>,
    /// An origin server: an address and a port, or http://HOST[:PORT] or https://HOST[:PORT]
    /// (repeat for more)
    #[arg(long = "origin", required = true, value_name = "ORIGIN")]
    origins: Vec<Origin>,
    /// Your own name for the site, reached without us
    #[arg(long, value_name = "NAME[:PORT]")]
    fallback: Authority,
    /// What an edge does with a request over the share
    #[arg(long, value_enum, default_value = "redirect")]
    over_share: OverShare,
    /// Return the remainder to this name instead of the fallback's host
    #[arg(long, value_name = "NAME", conflicts_with_all = ["return_addresses", "assign"])]
    return_name: Option<HostName>,
    /// Return the remainder to this address (repeat for more)
    #[arg(long = "return-address", value_name = "ADDRESS", conflicts_with = "assign")]
    return_addresses: Vec<IpAddr>,
    /// Return the remainder to the addresses that your zone gives the host; for zones that the
    /// network's name servers hold or ask for
    #[arg(long, conflicts_with_all = ["return_name", "return_addresses", "assign"])]
    return_records: bool,
    /// Assign the remainder to your servers
    #[arg(long, value_enum, value_name = "ALGORITHM", requires = "servers")]
    assign: Option<Algorithm>,
    /// A server to assign to (repeat for more)
    #[arg(
        long = "server",
        value_name = "ADDRESS[,ADDRESS][,weight=NUMBER][,region=ID]",
        requires = "assign"
    )]
    servers: Vec<Server>,
    /// Have the network check the servers: tcp:PORT, http:PORT/PATH or http:PORT:STATUS/PATH
    #[arg(long, value_name = "CHECK", requires = "assign")]
    check: Option<ServerCheck>,
    /// Assign the remainder as your own DNS says, in the TXT record _headroom-assign.HOST
    #[arg(long, value_name = "HOST",
        conflicts_with_all = ["return_name", "return_addresses", "return_records", "assign"])]
    assign_by_dns: Option<HostName>,
    /// What of the query tells responses apart: keep, ignore, sort, only=NAME,... or
    /// except=NAME,...
    #[arg(long, default_value = "keep", value_name = "RULE")]
    query: QueryRule,
    /// Tunnel WebSocket and other upgrades to the origin
    #[arg(long)]
    allow_upgrades: bool,
    /// How long an error is remembered that does not say how long it is fresh
    #[arg(long, default_value_t = 0, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(..=NEGATIVE_SECONDS_MAX))]
    negative: u64,
}

/// What an edge does with a request over the share.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OverShare {
    /// 307 to the fallback.
    Redirect,
    /// Forward to the origin, uncached.
    PassThrough,
    /// 503 with Retry-After.
    Refuse,
}

/// How a server is chosen.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Algorithm {
    /// Each gets the same part.
    RoundRobin,
    /// In proportion to the weights.
    Weighted,
    /// In proportion to the weights; when these change, few clients move.
    ClientHash,
    /// Those of the client's region, else all.
    Region,
    /// In proportion to what is free, by weight and load.
    LeastLoad,
    /// The first that is well.
    Ordered,
}

impl From<Algorithm> for AlgorithmDocument {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::RoundRobin => Self::RoundRobin,
            Algorithm::Weighted => Self::Weighted,
            Algorithm::ClientHash => Self::ClientHash,
            Algorithm::Region => Self::Region,
            Algorithm::LeastLoad => Self::LeastLoad,
            Algorithm::Ordered => Self::Ordered,
        }
    }
}

/// What `site report` is told.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Which site
    id: SiteId,
    /// A server by one of its addresses, whether it is up, and the part of it that is in use
    /// (repeat for more)
    #[arg(long = "server", required = true, value_name = "ADDRESS=up|down[,LOAD%]")]
    servers: Vec<Reported>,
    /// For how many seconds it counts
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    expires: u64,
}

/// What is reported of one server.
#[derive(Debug, Clone)]
struct Reported(NewServerReport);

impl FromStr for Reported {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, state) = text.split_once('=').ok_or("it does not say up or down")?;
        let (state, load) = match state.split_once(',') {
            Some((state, load)) => (state, Some(load)),
            None => (state, None),
        };
        let healthy = match state {
            "up" => true,
            "down" => false,
            _ => return Err(format!("{state:?} is neither up nor down")),
        };
        let address = address.parse().map_err(|_| format!("{address:?} is not an IP address"))?;
        let load = load.map(str::parse).transpose();
        let load = load.map_err(|error: ParseError| error.to_string())?;
        Ok(Self(NewServerReport { address, healthy, load: load.map(Text) }))
    }
}

pub(super) fn run(command: Command, context: &mut Context<'_>) -> anyhow::Result<()> {
    let answer = match command {
        Command::Create(args) => context.client.post("/v1/sites", &new_site(*args))?,
        Command::List => {
            let answer = context.client.get("/v1/sites")?;
            return context.show(&answer, |sites: &Vec<SiteView>| table(sites));
        }
        Command::Show { id } => context.client.get(&format!("/v1/sites/{id}"))?,
        Command::Servers { id } => {
            let answer = context.client.get(&format!("/v1/sites/{id}/servers"))?;
            return context.show(&answer, servers);
        }
        Command::Report(ReportArgs { id, servers: reported, expires }) => {
            let servers_of = reported.into_iter().map(|Reported(report)| report).collect();
            let reports = NewServerReports { expires_seconds: expires, servers: servers_of };
            let answer = context.client.put(&format!("/v1/sites/{id}/servers"), &reports)?;
            return context.show(&answer, servers);
        }
        Command::Verify { id } => {
            context.client.post(&format!("/v1/sites/{id}/verify"), &serde_json::json!({}))?
        }
    };
    context.show(&answer, description)
}

fn new_site(args: CreateArgs) -> NewSite {
    let remainder = match args.assign {
        Some(algorithm) => RemainderDocument::Assign {
            algorithm: algorithm.into(),
            servers: args.servers.iter().map(ServerDocument::from).collect(),
            check: args.check.map(Text),
        },
        None if !args.return_addresses.is_empty() => {
            RemainderDocument::ReturnAddresses { addresses: args.return_addresses }
        }
        None if args.return_records => RemainderDocument::ReturnRecords,
        None => match args.assign_by_dns {
            Some(host) => RemainderDocument::AssignByDns { host: Text(host) },
            None => {
                let name = args.return_name.unwrap_or_else(|| args.fallback.host.clone());
                RemainderDocument::Return { name: Text(name) }
            }
        },
    };
    NewSite {
        id: Text(args.id),
        hosts: args.hosts.into_iter().map(Text).collect(),
        origins: args.origins.into_iter().map(Text).collect(),
        remainder,
        over_share: match args.over_share {
            OverShare::Redirect => OverShareDocument::Redirect,
            OverShare::PassThrough => OverShareDocument::PassThrough,
            OverShare::Refuse => OverShareDocument::Refuse,
        },
        fallback: Text(args.fallback),
        rules: SiteRulesDocument::from(&SiteRules {
            query: args.query,
            upgrades: args.allow_upgrades,
            negative_seconds: args.negative,
        }),
    }
}

fn table(sites: &[SiteView]) -> String {
    let mut table = Table::new(&["site", "purchaser", "hosts", "proved", "remainder", "fallback"]);
    for site in sites {
        let proved = site.hosts.iter().filter(|host| host.proved).count();
        table.row([
            site.id.0.to_string(),
            site.purchaser.0.to_string(),
            joined(site.hosts.iter().map(|host| &host.host.0)),
            format!("{proved} of {}", site.hosts.len()),
            plan::remainder(&site.remainder),
            site.fallback.0.to_string(),
        ]);
    }
    table.to_string()
}

fn description(site: &SiteView) -> String {
    let mut hosts = Table::new(&["host", "proved", "TXT record", "its text"]);
    for host in &site.hosts {
        hosts.row([
            host.host.0.to_string(),
            yes_no(host.proved),
            host.challenge_name.clone(),
            host.challenge_value.clone(),
        ]);
    }
    let mut text = String::new();
    let _ = write!(
        text,
        "site {} of {}\n\
         make its host names a CNAME to {}\n\
         origins {}, remainder {}, over the share {}, fallback {}\n\
         {}\n\n{hosts}",
        site.id.0,
        site.purchaser.0,
        site.cname.0,
        joined(site.origins.iter().map(|origin| &origin.0)),
        plan::remainder(&site.remainder),
        plan::over_share(site.over_share),
        site.fallback.0,
        plan::rules(&site.rules),
    );
    if site.hosts.iter().any(|host| !host.proved) {
        let _ = write!(
            text,
            "\nSet the TXT records of what is not proved, then: headroom site verify {}\n",
            site.id.0
        );
    }
    text
}

/// The servers of a site and what is known of them, in text.
fn servers(view: &ServersView) -> String {
    let headers = ["server", ">weight", "region", "reported", ">load", "until", "checks"];
    let mut table = Table::new(&headers);
    for server in &view.servers {
        let [health, load, until] = reported(&server.reports);
        let check = |of: &CheckedView| format!("{} {}", of.name_server.0, up_down(of.up));
        table.row([
            joined(&server.addresses),
            server.weight.to_string(),
            server.region.as_ref().map_or_else(dash, |region| region.0.to_string()),
            health,
            load,
            until,
            joined(server.checked.iter().map(check)),
        ]);
    }
    let algorithm = view.algorithm.map(steer::AssignAlgorithm::from);
    let algorithm = algorithm.map_or_else(|| "nothing is provided".to_owned(), |a| a.to_string());
    let check = view.check.as_ref().map_or_else(|| "no check".to_owned(), |c| c.0.to_string());
    let mut text = format!("site {}: {algorithm}, {check}\n\n{table}", view.site.0);
    for provided in &view.provided {
        let said = provided.text.as_deref().unwrap_or("nothing is in force");
        let _ = write!(text, "\n{}: {said}", provided.name_server.0);
        if let Some(error) = &provided.error {
            let _ = write!(text, "\n{}: the newest text: {error}", provided.name_server.0);
        }
    }
    if !view.provided.is_empty() {
        text.push('\n');
    }
    text
}

/// Health, load and expiry of what is reported: of several reports of one server the worst.
fn reported(reports: &[ReportView]) -> [String; 3] {
    let Some(first) = reports.first() else { return [dash(), dash(), dash()] };
    let load = reports.iter().filter_map(|report| report.load.map(|load| load.0)).max();
    let until = reports.iter().map(|report| report.expires_at).max().unwrap_or(first.expires_at);
    [
        up_down(reports.iter().all(|report| report.healthy)).to_owned(),
        load.map_or_else(dash, |load| load.to_string()),
        until.to_string(),
    ]
}

const fn up_down(up: bool) -> &'static str {
    if up { "up" } else { "down" }
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests;

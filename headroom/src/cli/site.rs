//! `site`: host names, origin servers, policies.

use std::{fmt::Write as _, net::IpAddr, str::FromStr};

use headroom_steer::{SiteRules, limits::NEGATIVE_SECONDS_MAX};
use headroom_units::{Authority, HostName, Origin, QueryRule, SiteId};
use headroom_wire::{
    AlgorithmDocument, NewSite, OverShareDocument, RemainderDocument, ServerDocument,
    SiteRulesDocument, SiteView, Text,
};

use super::{
    Context, plan,
    table::{Table, joined, yes_no},
};

const CREATE_EXAMPLES: &str = "Examples:
  headroom site create shop --host www.shop.example --origin 192.0.2.10:80 \\
      --fallback origin.shop.example
  headroom site create shop --host www.shop.example --origin 192.0.2.10:80 \\
      --fallback origin.shop.example --assign weighted --server 192.0.2.10=3 --server 192.0.2.11
  headroom site create shop --host www.shop.example --origin 192.0.2.10:80 \\
      --fallback origin.shop.example:8080 --return-address 192.0.2.10 --over-share pass-through
  headroom site create shop --host www.shop.example --origin https://origin.shop.example \\
      --fallback origin.shop.example --query except=utm_source,utm_medium --negative 10

Where mapping requests go that the edges do not take (the remainder policy) is the fallback's host
unless said otherwise. Then prove control of the host names: headroom site show shop.";

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
    /// Assign the remainder to your servers
    #[arg(long, value_enum, value_name = "ALGORITHM", requires = "servers")]
    assign: Option<Algorithm>,
    /// A server to assign to (repeat for more)
    #[arg(long = "server", value_name = "ADDRESS[,ADDRESS][=WEIGHT]", requires = "assign")]
    servers: Vec<Server>,
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
    /// Each in turn.
    RoundRobin,
    /// In proportion to the weights.
    Weighted,
}

/// One of the purchaser's servers.
#[derive(Debug, Clone)]
struct Server(ServerDocument);

impl FromStr for Server {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (addresses, weight) = text.split_once('=').unwrap_or((text, "1"));
        let weight = weight.parse().map_err(|_| format!("{weight:?} is not a weight"))?;
        let addresses = addresses.split(',').map(|address| {
            address.parse().map_err(|_| format!("{address:?} is not an IP address"))
        });
        Ok(Self(ServerDocument { addresses: addresses.collect::<Result<_, _>>()?, weight }))
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
        Command::Verify { id } => {
            context.client.post(&format!("/v1/sites/{id}/verify"), &serde_json::json!({}))?
        }
    };
    context.show(&answer, description)
}

fn new_site(args: CreateArgs) -> NewSite {
    let remainder = match args.assign {
        Some(algorithm) => RemainderDocument::Assign {
            algorithm: match algorithm {
                Algorithm::RoundRobin => AlgorithmDocument::RoundRobin,
                Algorithm::Weighted => AlgorithmDocument::Weighted,
            },
            servers: args.servers.into_iter().map(|Server(server)| server).collect(),
        },
        None if !args.return_addresses.is_empty() => {
            RemainderDocument::ReturnAddresses { addresses: args.return_addresses }
        }
        None => {
            let name = args.return_name.unwrap_or_else(|| args.fallback.host.clone());
            RemainderDocument::Return { name: Text(name) }
        }
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

#[cfg(test)]
mod tests;

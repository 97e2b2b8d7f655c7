//! `plan where`: which region a client belongs to, and what says so.

use std::{io::Write, net::IpAddr, path::PathBuf};

use headroom_prefixmap::{Entry, PrefixFile};
use headroom_steer::{ClientRegions, Plan, client_prefix};
use headroom_units::RegionId;
use headroom_wire::PlanDocument;
use ipnet::IpNet;
use serde_json::json;

use super::{Context, plan, table::Table};
use crate::config::Config;

pub(super) const EXAMPLES: &str = "Examples:
  headroom plan where 192.0.2.7 --config config/headroom.toml
  headroom plan where 192.0.2.7 2001:db8::7 --config headroom.toml --json
  headroom plan where 192.0.2.7 --file headroom-data/dns/ns1/plan.json

With --config, the client prefixes of the configuration and its prefix map decide, as in a name
server that starts now. Without, only the client prefixes of the plan are known.";

/// What `plan where` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The addresses of clients, or of their resolvers
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<IpAddr>,
    /// A configuration instead of the exchange's plan
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    config: Option<PathBuf>,
    /// A plan file instead of the exchange's plan
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Where a client is, and why.
struct Place {
    address: IpAddr,
    client: IpNet,
    region: RegionId,
    /// How many bits of the address say so.
    scope: u8,
    source: Source,
}

/// What says where a client is.
enum Source {
    /// A client prefix of the region.
    Planned(IpNet),
    /// The prefix map.
    Supplied(Entry),
    /// The prefix map, by most of the client's addresses.
    Parts,
    /// Nothing.
    Default,
}

pub(super) fn run(args: &Args, context: &mut Context<'_>) -> anyhow::Result<()> {
    let (plan, file) = match (&args.config, &args.file) {
        (Some(path), _) => {
            let config = Config::load(path)?;
            let file = config.dns.first().and_then(|server| server.prefix_map.clone());
            (config.first_plan(), file)
        }
        (None, Some(path)) => (Plan::from(plan::read_file(path)?.0), None),
        (None, None) => {
            let document: PlanDocument = context.client.get("/v1/plan")?.decode()?;
            (Plan::from(document), None)
        }
    };
    let places = places(&plan, file.as_ref(), &args.addresses)?;
    print(&places, file.as_ref(), context.json, context.out)
}

fn places(
    plan: &Plan,
    file: Option<&PrefixFile>,
    addresses: &[IpAddr],
) -> anyhow::Result<Vec<Place>> {
    let mut regions = ClientRegions::of(plan);
    let mut entries = vec![None; addresses.len()];
    if let Some(file) = file {
        let loaded = file.load()?;
        entries = file.entries(addresses)?;
        regions.supply(loaded.map.into());
    }
    let places = addresses.iter().zip(entries).map(|(address, entry)| {
        let client = client_prefix(*address, u8::MAX);
        let found = regions.find(plan, client);
        let (region, scope) = (found.region.clone(), found.length);
        let source = match (planned(plan, client), entry) {
            (Some(prefix), _) => Source::Planned(prefix),
            (None, _) if regions.supplied(plan, client).is_none() => Source::Default,
            (None, Some(entry)) if entry.prefix.contains(&client) => Source::Supplied(entry),
            (None, _) => Source::Parts,
        };
        Place { address: *address, client, region, scope, source }
    });
    Ok(places.collect())
}

/// The client prefix of a region that decides about a client.
fn planned(plan: &Plan, client: IpNet) -> Option<IpNet> {
    let prefixes = plan.regions.values().flat_map(|region| &region.client_prefixes).copied();
    prefixes.filter(|prefix| prefix.contains(&client)).max_by_key(IpNet::prefix_len)
}

fn print(
    places: &[Place],
    file: Option<&PrefixFile>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if json {
        let places: Vec<_> = places.iter().map(document).collect();
        writeln!(out, "{:#}", json!(places))?;
        return Ok(());
    }
    let name = file.and_then(|file| file.path.file_name()).unwrap_or_default().to_string_lossy();
    let mut table = Table::new(&["address", "client", "scope", "region", "by"]);
    for place in places {
        let by = match &place.source {
            Source::Planned(prefix) => format!("{prefix} of the region's client_prefixes"),
            Source::Supplied(entry) => format!("{} in {name}, {}", entry.prefix, entry.at),
            Source::Parts => format!("most of its addresses in {name}"),
            Source::Default => "no prefix: the default region".to_owned(),
        };
        table.row([
            place.address.to_string(),
            place.client.to_string(),
            format!("/{}", place.scope),
            place.region.to_string(),
            by,
        ]);
    }
    write!(out, "{table}")?;
    Ok(())
}

fn document(place: &Place) -> serde_json::Value {
    let (source, prefix, at) = match &place.source {
        Source::Planned(prefix) => ("client_prefixes", Some(*prefix), None),
        Source::Supplied(entry) => ("prefix_map", Some(entry.prefix), Some(entry.at.as_str())),
        Source::Parts => ("prefix_map", None, None),
        Source::Default => ("default", None, None),
    };
    json!({
        "address": place.address.to_string(),
        "client": place.client.to_string(),
        "scope": place.scope,
        "region": place.region.as_str(),
        "source": source,
        "prefix": prefix.map(|prefix| prefix.to_string()),
        "at": at,
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use expect_test::expect;

    use super::*;

    const CONFIGURATION: &str = r#"
        [network]
        zone = "cdn.example"
        [[name_servers]]
        id = "ns1"
        host = "ns1.cdn.example"
        addresses = ["192.0.2.53"]
        [[regions]]
        id = "east"
        client_prefixes = ["10.0.0.0/9"]
        edges = [{ id = "east-1", addresses = ["192.0.2.1"], capacity = "1 units" }]
        [[regions]]
        id = "west"
        edges = [{ id = "west-1", addresses = ["192.0.2.2"], capacity = "1 units" }]
        [dns]
        prefix_map = "clients.csv"
    "#;

    fn shown(folder: &Path, lines: &str, json: bool) -> anyhow::Result<String> {
        fs::write(folder.join("clients.csv"), lines)?;
        let config = Config::parse(CONFIGURATION, folder)?;
        let addresses = ["10.1.2.3", "203.0.113.9", "198.51.100.1", "2001:db8::1"];
        let addresses = addresses.map(|address| address.parse().unwrap());
        let file = config.dns[0].prefix_map.as_ref();
        let places = places(&config.first_plan(), file, &addresses)?;
        let mut out = Vec::new();
        print(&places, file, json, &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    const LINES: &str = "10.0.0.0/8,west\n203.0.0.0/16,west\n2001:db8::/32,west\n";

    #[test]
    fn a_client_is_told_where_it_belongs_and_why() {
        let folder = tempfile::tempdir().unwrap();
        let text = shown(folder.path(), LINES, false).unwrap();
        expect![[r#"
            address       client           scope  region  by
            10.1.2.3      10.1.2.0/24      /9     east    10.0.0.0/9 of the region's client_prefixes
            203.0.113.9   203.0.113.0/24   /16    west    203.0.0.0/16 in clients.csv, line 2
            198.51.100.1  198.51.100.0/24  /5     east    no prefix: the default region
            2001:db8::1   2001:db8::/56    /32    west    2001:db8::/32 in clients.csv, line 3
        "#]]
        .assert_eq(&text);
        let text = shown(folder.path(), LINES, true).unwrap();
        expect![[r#"
            [
              {
                "address": "10.1.2.3",
                "at": null,
                "client": "10.1.2.0/24",
                "prefix": "10.0.0.0/9",
                "region": "east",
                "scope": 9,
                "source": "client_prefixes"
              },"#]]
        .assert_eq(text.split_inclusive("},").next().unwrap());
    }

    #[test]
    fn a_map_that_cannot_be_used_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = shown(folder.path(), "10.0.0.0/8,north\n", false).unwrap_err().to_string();
        assert!(error.contains("line 1: there is no region \"north\"; accepted are east, west"));
    }
}

//! `dnssec`: the keys of signed zones, in the folder that the name servers read.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use headroom_dns::{
    dnssec::{KeyFolder, ZoneKey, is_synced, state},
    limits,
};
use headroom_units::{HostName, Timestamp};
use serde_json::{Value, json};

use super::table::{Table, yes_no};
use crate::config::{Config, read_duration, write_duration};

const GENERATE_EXAMPLES: &str = "Examples:
  headroom dnssec generate cdn.example --config headroom.toml
  headroom dnssec generate www.shop.example www.store.example --folder /etc/headroom/dnssec

The DS record that is printed goes to the parent of the zone, once all name servers have the folder
and answer with signatures.";

const LIST_EXAMPLES: &str = "Examples:
  headroom dnssec list --config headroom.toml
  headroom dnssec list --folder dnssec --json

States: active; coming (signs, the parent is not asked for it yet), leaving (signs until its DS record
is in no cache), withdrawn (the parent is asked to have no DS record), waiting, over. With CDS, the
zone asks its parent to have the DS record (RFC 7344).";

const BEGIN_EXAMPLES: &str = "Examples:
  headroom dnssec roll begin cdn.example --config headroom.toml

A new key signs beside the old one at once. Bring the folder to all name servers within the hour. Two
hours later the zone asks its parent for the new DS record (CDS); bring it there by hand if the parent
does not look. Then: headroom dnssec roll finish";

const FINISH_EXAMPLES: &str = "Examples:
  headroom dnssec roll finish cdn.example --config headroom.toml
  headroom dnssec roll finish cdn.example --config headroom.toml --ds-ttl 2d

Only when the parent answers with the new DS record, and no longer with the old one. The old key signs
on until the old DS record is in no cache.";

const WITHDRAW_EXAMPLES: &str = "Examples:
  headroom dnssec withdraw cdn.example --config headroom.toml
  headroom dnssec withdraw cdn.example --config headroom.toml --undo

The zone stays signed. Remove its key files when the parent has no DS record any more, and its TTL is
over.";

/// What can be done with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the first key of a zone
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(ZonesArgs),
    /// List keys with their states and DS records
    #[command(after_help = LIST_EXAMPLES)]
    List(Place),
    /// Exchange the key of a zone
    #[command(subcommand)]
    Roll(Roll),
    /// Ask the parent of a zone to have no DS record of it
    #[command(after_help = WITHDRAW_EXAMPLES)]
    Withdraw(WithdrawArgs),
}

/// The two steps of an exchange.
#[derive(Debug, clap::Subcommand)]
pub enum Roll {
    /// Let a new key sign beside the old one
    #[command(after_help = BEGIN_EXAMPLES)]
    Begin(ZoneArgs),
    /// Let the old key leave, as the parent has the new DS record
    #[command(after_help = FINISH_EXAMPLES)]
    Finish(FinishArgs),
}

/// Where the keys are.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Place {
    /// The folder with the keys
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The configuration that names the folder, as dns.dnssec.folder
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What `generate` is told.
#[derive(Debug, clap::Args)]
pub struct ZonesArgs {
    /// Which zones
    #[arg(required = true)]
    zones: Vec<HostName>,
    #[command(flatten)]
    place: Place,
}

/// What `roll begin` is told.
#[derive(Debug, clap::Args)]
pub struct ZoneArgs {
    /// Which zone
    zone: HostName,
    #[command(flatten)]
    place: Place,
}

/// What `roll finish` is told.
#[derive(Debug, clap::Args)]
pub struct FinishArgs {
    #[command(flatten)]
    zone: ZoneArgs,
    /// The TTL of the parent's DS record
    #[arg(long, default_value = "1d", value_parser = ds_ttl, value_name = "DURATION")]
    ds_ttl: Duration,
}

/// What `withdraw` is told.
#[derive(Debug, clap::Args)]
pub struct WithdrawArgs {
    #[command(flatten)]
    zone: ZoneArgs,
    /// Ask for the DS record again
    #[arg(long)]
    undo: bool,
}

pub(super) fn run(command: &Command, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = headroom_clock::now();
    let keys = match command {
        Command::Generate(args) => {
            let folder = args.place.folder()?;
            let made = args.zones.iter().map(|zone| {
                folder.generate(zone, now).with_context(|| cannot("make a key of", zone, &folder))
            });
            made.collect::<anyhow::Result<Vec<_>>>()?
        }
        Command::List(place) => list(&place.folder()?)?,
        Command::Roll(Roll::Begin(args)) => {
            let (folder, zone) = (args.place.folder()?, &args.zone);
            let cannot = || cannot("exchange the key of", zone, &folder);
            vec![folder.begin(zone, now).with_context(cannot)?]
        }
        Command::Roll(Roll::Finish(args)) => {
            let (folder, zone) = (args.zone.place.folder()?, &args.zone.zone);
            let cannot = || cannot("end the exchange of the key of", zone, &folder);
            vec![folder.finish(zone, args.ds_ttl, now).with_context(cannot)?]
        }
        Command::Withdraw(args) => {
            let (folder, zone) = (args.zone.place.folder()?, &args.zone.zone);
            let cannot = || cannot("withdraw", zone, &folder);
            vec![folder.withdraw(zone, !args.undo, now).with_context(cannot)?]
        }
    };
    let keys = keys.iter();
    if json {
        let keys: Vec<Value> = keys.map(|key| document(key, now)).collect();
        writeln!(out, "{:#}", json!({ "keys": keys }))?;
    } else {
        write!(out, "{}", table(keys, now))?;
    }
    Ok(())
}

impl Place {
    fn folder(&self) -> anyhow::Result<KeyFolder> {
        let from_config = |file: &PathBuf| -> anyhow::Result<PathBuf> {
            let config = Config::load(file)?;
            let dnssec = config.dns.into_iter().find_map(|server| server.dnssec);
            let dnssec = dnssec.with_context(|| {
                format!("{} has no dns.dnssec.folder; accepted is a folder", file.display())
            })?;
            Ok(dnssec.folder)
        };
        let named = self.folder.clone().map(Ok);
        let path = named.or_else(|| self.config.as_ref().map(from_config)).transpose()?;
        Ok(KeyFolder::new(path.context("neither --folder nor --config is there")?))
    }
}

/// All keys; those that cannot be read are told as one error.
fn list(folder: &KeyFolder) -> anyhow::Result<Vec<ZoneKey>> {
    let held = folder.load();
    let held = held.with_context(|| format!("cannot list {}", folder.path().display()))?;
    if let Some((path, error)) = held.faults.into_iter().next() {
        return Err(anyhow::Error::new(error).context(format!("cannot use {}", path.display())));
    }
    Ok(held.keys.into_values().flatten().collect())
}

/// What may keep zones of a configuration from being signed.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let Some(dnssec) = config.dns.iter().find_map(|server| server.dnssec.as_ref()) else {
        return Vec::new();
    };
    let told = |text: String| format!("dns.dnssec: {}: {text}", dnssec.folder.display());
    let held = match KeyFolder::new(dnssec.folder.clone()).load() {
        Ok(held) => held,
        Err(error) => return vec![told(error.to_string())],
    };
    let faults = held.faults.iter().map(|(path, error)| {
        let name = path.file_name().unwrap_or_default();
        format!("{}: {error}", Path::new(name).display())
    });
    let zones: BTreeSet<&HostName> = dnssec.zones.iter().flatten().collect();
    let missing = zones.into_iter().filter(|zone| !held.keys.contains_key(zone.as_str()));
    let missing = missing.map(|zone| format!("there is no key of {zone}"));
    faults.chain(missing).map(told).collect()
}

fn cannot(what: &str, zone: &HostName, folder: &KeyFolder) -> String {
    format!("cannot {what} {zone} in {}", folder.path().display())
}

fn ds_ttl(text: &str) -> Result<Duration, String> {
    read_duration(text, &(Duration::ZERO..=limits::DS_TTL_MAX))
}

fn table<'k>(keys: impl Iterator<Item = &'k ZoneKey>, now: Timestamp) -> Table {
    let mut table = Table::new(&["zone", ">key", "state", "CDS", ">leaves in", "DS"]);
    for key in keys {
        let left = key.times.delete.map(|end| end.since(now));
        let left = left.map(|left| write_duration(Duration::from_secs(left.as_secs())));
        table.row([
            key.zone_name(),
            key.tag().to_string(),
            state(key, now).to_owned(),
            yes_no(is_synced(key, now)),
            left.unwrap_or_else(|| "-".to_owned()),
            key.ds_record(),
        ]);
    }
    table
}

fn document(key: &ZoneKey, now: Timestamp) -> Value {
    let seconds = |moment: Option<Timestamp>| moment.map(Timestamp::seconds);
    json!({
        "zone": key.zone_name(),
        "tag": key.tag(),
        "state": state(key, now),
        "cds": is_synced(key, now),
        "ds": key.ds_record(),
        "dnskey": key.dnskey_record(),
        "created": key.times.created.seconds(),
        "publish": key.times.publish.seconds(),
        "sync_publish": seconds(key.times.sync_publish),
        "sync_delete": seconds(key.times.sync_delete),
        "withdraw": seconds(key.times.withdraw),
        "delete": seconds(key.times.delete),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    fn said(line: &str, json: bool) -> Result<String, String> {
        let words = std::iter::once("dnssec").chain(line.split(' '));
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run(&line.command, json, &mut out).map_err(|error| format!("{error:#}"))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_key_is_made_listed_and_exchanged() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        let say = |line: &str| said(&format!("{line} --folder {}", folder.display()), false);
        let made = say("generate shop.example").unwrap();
        assert!(made.contains("shop.example. 3600 IN DS "), "{made}");
        assert_eq!(say("list").unwrap(), made);
        assert!(say("generate shop.example").unwrap_err().contains("has the key"));
        assert!(say("roll finish shop.example").unwrap_err().contains("exchanges no key"));
        assert!(say("roll begin shop.example").unwrap().contains("  coming  no "));
        assert!(say("roll begin shop.example").unwrap_err().contains("exchanges a key already"));
        assert!(say("roll finish shop.example").unwrap_err().contains("not all caches know"));
        assert!(say("roll finish shop.example --ds-ttl 1").unwrap_err().contains("has no unit"));
        assert!(say("withdraw other.example").unwrap_err().contains("has no key"));
        assert!(said("list", false).unwrap_err().contains("--folder"));
        let listed = said(&format!("list --folder {}", folder.display()), true).unwrap();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed["keys"].as_array().unwrap().len(), 2);
        assert_eq!(listed["keys"][0]["zone"], "shop.example");
    }

    #[test]
    fn zones_without_keys_are_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let text = "[network]\nzone = \"cdn.example\"\n[[name_servers]]\nid = \"ns1\"\n\
            host = \"ns1.cdn.example\"\naddresses = [\"192.0.2.53\"]\n[[regions]]\nid = \"east\"\n\
            [[regions.edges]]\nid = \"east-1\"\naddresses = [\"192.0.2.1\"]\n\
            capacity = \"500 units\"\n[dns.dnssec]\nfolder = \"keys\"\nzones = [\"cdn.example\"]\n";
        let config = Config::parse(text, dir.path()).unwrap();
        assert!(warnings(&config)[0].contains("cannot be read"));
        let now = headroom_clock::now();
        let folder = KeyFolder::new(dir.path().join("keys"));
        folder.generate(&"other.example".parse().unwrap(), now).unwrap();
        assert!(warnings(&config)[0].ends_with("there is no key of cdn.example"));
        folder.generate(&"cdn.example".parse().unwrap(), now).unwrap();
        assert!(warnings(&config).is_empty());
    }
}

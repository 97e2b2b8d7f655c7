//! `check-config`: every mistake of a file, or what it describes.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use headroom_prefixmap::PrefixFile;
use headroom_units::Units;
use serde_json::json;

use super::{WRONG_INPUT, table::Table};
use crate::config::{Config, ConfigErrors, Mistake, write_duration};

pub(super) const EXAMPLES: &str = "Examples:
  headroom check-config config/headroom.toml
  headroom check-config headroom.toml --json

Exits with 2 if there is a mistake, in the prefix map too. Certificates that are not there, expired,
not valid yet or held twice are warnings, and so are zones that are to be signed and have no key.";

/// What `check-config` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration
    file: PathBuf,
}

pub(super) fn run(args: &Args, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match Config::load(&args.file).and_then(|config| check_prefix_map(config, &args.file)) {
        Ok(config) => {
            let warnings = warnings(&config);
            let text =
                if json { summary_json(&config, &warnings) } else { summary(&config, &warnings) };
            write!(out, "{text}")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(errors) if json => {
            write!(out, "{}", mistakes_json(&errors))?;
            Ok(ExitCode::from(WRONG_INPUT))
        }
        Err(errors) => Err(errors.into()),
    }
}

/// All name servers read the same file.
fn check_prefix_map(config: Config, file: &Path) -> Result<Config, ConfigErrors> {
    let map = config.dns.first().and_then(|server| server.prefix_map.as_ref());
    match map.map(PrefixFile::load).transpose() {
        Ok(_) => Ok(config),
        Err(error) => {
            let key = "dns.prefix_map".to_owned();
            let reason = error.to_string();
            let mistake = Mistake { line: None, key, value: None, reason, accepted: None };
            Err(ConfigErrors { file: Some(file.to_owned()), mistakes: vec![mistake] })
        }
    }
}

fn mistakes_json(errors: &ConfigErrors) -> String {
    let mistakes: Vec<_> = errors
        .mistakes
        .iter()
        .map(|mistake| {
            json!({
                "line": mistake.line,
                "key": mistake.key,
                "value": mistake.value,
                "reason": mistake.reason,
                "accepted": mistake.accepted,
            })
        })
        .collect();
    format!("{:#}\n", json!({ "valid": false, "mistakes": mistakes }))
}

/// What is right as a configuration and may still not work: of certificates and keys.
fn warnings(config: &Config) -> Vec<String> {
    let edges = config.edges.iter();
    let folders: BTreeSet<&Path> =
        edges.filter_map(|edge| edge.visitors.certificates.as_deref()).collect();
    let of = |folder: &Path| {
        let found = headroom_edge::check_certificates(folder);
        let found = found.unwrap_or_else(|error| vec![format!("it cannot be read: {error}")]);
        let told = |text: String| format!("edge.certificates: {}: {text}", folder.display());
        found.into_iter().map(told).collect::<Vec<_>>()
    };
    folders.into_iter().flat_map(of).chain(super::dnssec::warnings(config)).collect()
}

fn summary_json(config: &Config, warnings: &[String]) -> String {
    let exchange = &config.exchange;
    let regions: Vec<_> = exchange
        .fleet
        .regions
        .iter()
        .map(|(id, region)| {
            json!({
                "id": id.as_str(),
                "edges": region.edges.len(),
                "capacity_units": exchange.capacity(id).count(),
            })
        })
        .collect();
    let summary = json!({
        "valid": true,
        "mistakes": [],
        "zone": exchange.fleet.zone.as_str(),
        "slot_seconds": exchange.slot_length.seconds(),
        "api": exchange.listen.to_string(),
        "data_dir": exchange.data_dir.display().to_string(),
        "name_servers": exchange.fleet.name_servers.len(),
        "own_sites": exchange.own_sites.len(),
        "regions": regions,
        "warnings": warnings,
    });
    format!("{summary:#}\n")
}

fn summary(config: &Config, warnings: &[String]) -> String {
    let exchange = &config.exchange;
    let mut regions = Table::new(&["region", ">edges", ">capacity"]);
    for (id, region) in &exchange.fleet.regions {
        let capacity: Units = exchange.capacity(id);
        regions.row([id.to_string(), region.edges.len().to_string(), capacity.to_string()]);
    }
    let mut text = "The configuration is right.\n".to_owned();
    let _ = write!(
        text,
        "zone {}, slots of {}, TTL {}, name servers: {}, own sites: {}\n\
         API at http://{}, data in {}\n\n{regions}",
        exchange.fleet.zone,
        write_duration(exchange.slot_length.duration()),
        write_duration(exchange.fleet.ttl),
        config.dns.len(),
        exchange.own_sites.len(),
        exchange.listen,
        exchange.data_dir.display(),
    );
    for warning in warnings {
        let _ = write!(text, "\nwarning: {warning}");
    }
    if !warnings.is_empty() {
        text.push('\n');
    }
    text
}

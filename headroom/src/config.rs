//! The configuration: one TOML file for all roles, read whole, every mistake told at once.
//!
//! ```text
//!  text ──document──► tree with lines ──reader──► values, mistakes, known keys
//!                                          │
//!            network, exchange, serve: which keys there are, and what they mean together
//!                                          │
//!                                 Config, or every mistake
//! ```
//!
//! Quantities are texts with a unit; a number alone is a count. Paths are relative to the file's
//! folder. What a service does with its part is the service's matter.

mod dnssec;
mod document;
mod duration;
mod exchange;
mod limits;
mod mistake;
mod network;
mod prefix_map;
mod protocol;
mod reader;
mod secondaries;
mod serve;
mod values;

use std::{
    fs,
    io::Read,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use headroom_dns::DnsConfig;
use headroom_edge::EdgeConfig;
use headroom_exchange::ExchangeConfig;
use headroom_steer::{Plan, PlanInput, Severity};
use headroom_units::{EdgeId, Generation, NameServerId, Timestamp};

pub use mistake::{ConfigErrors, Mistake};

pub(crate) use duration::write as write_duration;

use reader::Reader;

/// What every role of a network is told at its start.
#[derive(Debug)]
pub struct Config {
    /// The control plane.
    pub exchange: ExchangeConfig,
    /// Each edge, in the order of the file.
    pub edges: Vec<EdgeConfig>,
    /// Each name server, in the order of the file.
    pub dns: Vec<DnsConfig>,
}

impl Config {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Every mistake in it, or why it cannot be read.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        let in_file = |mistakes| ConfigErrors { file: Some(path.to_owned()), mistakes };
        let text = read_file(path).map_err(|reason| in_file(vec![whole_file(reason)]))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, folder).map_err(|errors| in_file(errors.mistakes))
    }

    /// Reads `text`; relative paths in it start from `base_dir`.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn parse(text: &str, base_dir: &Path) -> Result<Self, ConfigErrors> {
        let reader = Reader::default();
        let failed = |mistakes| Err(ConfigErrors { file: None, mistakes });
        let config = match read(&reader, text, base_dir) {
            Ok(config) => config,
            Err(syntax) => return failed(syntax),
        };
        let mistakes = reader.into_mistakes();
        match config {
            Some(config) if mistakes.is_empty() => {
                let mistakes = config.unsound();
                if mistakes.is_empty() { Ok(config) } else { failed(mistakes) }
            }
            _ => failed(mistakes),
        }
    }

    /// The edge with this id.
    #[must_use]
    pub fn edge(&self, id: &EdgeId) -> Option<&EdgeConfig> {
        self.edges.iter().find(|edge| edge.id == *id)
    }

    /// The name server with this id.
    #[must_use]
    pub fn name_server(&self, id: &NameServerId) -> Option<&DnsConfig> {
        self.dns.iter().find(|server| server.id.as_ref() == Some(id))
    }

    /// What the first plan of this network would be refused for. The sections should have said
    /// all of it, with better words.
    fn unsound(&self) -> Vec<Mistake> {
        let notes = headroom_steer::check(&self.first_plan()).into_iter();
        let errors = notes.filter(|note| note.severity == Severity::Error);
        errors.map(|note| Mistake { key: note.about, ..whole_file(note.finding) }).collect()
    }

    /// The plan of this network before anything is sold.
    pub(crate) fn first_plan(&self) -> Plan {
        headroom_steer::plan(&PlanInput {
            now: Timestamp::EPOCH,
            generation: Generation::ZERO,
            fleet: self.exchange.fleet.clone(),
            down: Default::default(),
            sites: self.exchange.own_sites.clone(),
            entitlements: Vec::new(),
        })
    }
}

/// Reads all sections; the mistakes of values stay in `reader`, those of syntax are returned.
fn read(reader: &Reader, text: &str, base_dir: &Path) -> Result<Option<Config>, Vec<Mistake>> {
    let table = document::parse(text).map_err(|errors| {
        let mistakes = errors.into_iter().map(|error| Mistake {
            line: Some(error.line),
            key: error.written,
            accepted: Some("TOML, where a text stands in quotes and a key once".to_owned()),
            ..whole_file(format!("it is not TOML: {}", error.reason))
        });
        mistakes.collect::<Vec<_>>()
    })?;
    let root = reader.root(&table);
    let basics = network::basics(&root);
    let fleet = network::fleet(&root, &basics);
    let exchange = exchange::read(&root, &basics, base_dir);
    let serving = serve::read(&root, &basics, base_dir);
    if let (Some(fleet), Some(serving)) = (&fleet, &serving) {
        serving.prefix_map.check(&root, fleet);
    }
    root.finish();
    Ok(fleet.zip(exchange).zip(serving).map(|((fleet, (exchange, control)), serving)| {
        let edges = serving.edges(&fleet, &control, &exchange.data_dir);
        let dns = serving.dns(&fleet, &exchange.data_dir);
        Config { exchange: exchange.with(fleet), edges, dns }
    }))
}

fn read_file(path: &Path) -> Result<String, String> {
    let cannot = |error| format!("the file cannot be read: {error}");
    let file = fs::File::open(path).map_err(cannot)?;
    let mut text = String::new();
    let read = file.take(limits::FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
    if u64::try_from(read).is_ok_and(|read| read <= limits::FILE_BYTES_MAX) {
        Ok(text)
    } else {
        Err("the file is longer than any configuration".to_owned())
    }
}

/// Reads a duration within `range`; what is refused is told with what is accepted.
pub(crate) fn read_duration(
    text: &str,
    range: &RangeInclusive<Duration>,
) -> Result<Duration, String> {
    duration::parse(text, range).map_err(|refusal| match refusal.accepted {
        Some(accepted) => format!("{}; accepted is {accepted}", refusal.reason),
        None => refusal.reason,
    })
}

fn whole_file(reason: String) -> Mistake {
    Mistake { line: None, key: "file".to_owned(), value: None, reason, accepted: None }
}

/// `path` as seen from `base_dir`.
fn resolve(base_dir: &Path, path: &str) -> PathBuf {
    base_dir.join(path.strip_prefix("./").unwrap_or(path))
}

#[cfg(test)]
mod tests;

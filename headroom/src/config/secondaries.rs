//! `[[dns.secondaries]]`, `[[dns.keys]]` and `[[dns.forwards]]`: what is taken from other name
//! servers.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, sync::Arc};

use headroom_dns::{
    ForwardConfig, Primary, SecondaryConfig, TsigKey,
    limits::{FORWARD_SERVERS_MAX, PRIMARIES_MAX},
};
use headroom_units::HostName;

use super::{
    mistake::Refusal,
    network::{Basics, Claims},
    reader::{Placed, Section, parsed},
    resolve, values,
};

/// The keys by their names.
type Keys = BTreeMap<String, Arc<TsigKey>>;

pub(super) fn read(
    dns: &Section<'_>,
    basics: &Basics,
    base_dir: &Path,
    zones: &mut Claims<HostName>,
) -> Option<Vec<SecondaryConfig>> {
    let keys = keys(dns, base_dir);
    let mut secondaries = Vec::new();
    for section in dns.sections("secondaries") {
        let zone = section.required("zone", parsed::<HostName>);
        let primaries = section.list::<SocketAddr>("primaries", None, values::resolver);
        let key = section.maybe("key", named);
        let is_broken = key.is_none() && section.has("key");
        zones.claim(&section, &zone);
        if let (Some(zone), Some(own)) = (&zone, &basics.zone)
            && zone.value == own.value
        {
            let reason = "the network's own zone is made from the plan, not transferred";
            section.refuse(&zone.place, Refusal::new(reason, "another zone"));
        }
        let key = key_of(&section, keys.as_ref(), key);
        let primaries = short(&section, "primaries", primaries, PRIMARIES_MAX);
        section.finish();
        let (Some(zone), Some(primaries), Some(key)) = (zone, primaries, key) else {
            secondaries.push(None);
            continue;
        };
        let primary = |address| Primary { address, key: key.clone() };
        let primaries = primaries.into_iter().map(primary).collect();
        let secondary = SecondaryConfig { zone: zone.value, primaries };
        secondaries.push((!is_broken).then_some(secondary));
    }
    keys?;
    secondaries.into_iter().collect()
}

/// Whom to ask for the addresses of which names.
pub(super) fn forwards(dns: &Section<'_>) -> Option<Vec<ForwardConfig>> {
    let mut zones = Claims::new();
    let mut forwards = Vec::new();
    for section in dns.sections("forwards") {
        let zone = section.required("zone", parsed::<HostName>);
        let servers = section.list::<SocketAddr>("name_servers", None, values::resolver);
        let servers = short(&section, "name_servers", servers, FORWARD_SERVERS_MAX);
        zones.claim(&section, &zone);
        section.finish();
        forwards.push(
            zone.zip(servers)
                .map(|(zone, name_servers)| ForwardConfig { zone: zone.value, name_servers }),
        );
    }
    forwards.into_iter().collect()
}

/// A list that is not too long.
fn short(
    section: &Section<'_>,
    key: &str,
    list: Option<Vec<Placed<SocketAddr>>>,
    max: usize,
) -> Option<Vec<SocketAddr>> {
    let list = list?;
    if list.len() > max {
        let refusal = Refusal::new("these are too many", format!("at most {max}"));
        section.refuse(&section.place(key), refusal);
        return None;
    }
    Some(list.into_iter().map(|address| address.value).collect())
}

/// The key that is named, if one is; `None` if there is none of that name.
fn key_of(
    section: &Section<'_>,
    keys: Option<&Keys>,
    name: Option<Placed<String>>,
) -> Option<Option<Arc<TsigKey>>> {
    let Some(name) = name else { return Some(None) };
    let found = keys?.get(&name.value);
    if found.is_none() {
        let refusal = Refusal::new("there is no such key", "the name of one of dns.keys");
        section.refuse(&name.place, refusal);
    }
    found.map(|key| Some(Arc::clone(key)))
}

fn keys(dns: &Section<'_>, base_dir: &Path) -> Option<Keys> {
    let mut names = Claims::new();
    let mut keys = Vec::new();
    for section in dns.sections("keys") {
        let name = section.required("name", named);
        let algorithm = section.optional("algorithm", "hmac-sha256", |text| Ok(text.to_owned()));
        let file = section.required("secret_file", values::path);
        names.claim(&section, &name);
        let key = match (name, algorithm, file) {
            (Some(name), Some(algorithm), Some(file)) => {
                key(&section, &name.value, &algorithm, &file, base_dir)
                    .map(|key| (name.value, Arc::new(key)))
            }
            _ => None,
        };
        section.finish();
        keys.push(key);
    }
    keys.into_iter().collect()
}

/// The key with the secret of the file, which is never told.
fn key(
    section: &Section<'_>,
    name: &str,
    algorithm: &Placed<String>,
    file: &Placed<String>,
    base_dir: &Path,
) -> Option<TsigKey> {
    let path = resolve(base_dir, &file.value);
    let refuse = |place, reason: String| {
        section.refuse(place, Refusal { reason, accepted: None });
        None
    };
    let secret = match fs::read_to_string(&path) {
        Ok(secret) => secret,
        Err(error) => {
            return refuse(&file.place, format!("{} cannot be read: {error}", path.display()));
        }
    };
    match TsigKey::new(name, &algorithm.value, &secret) {
        Ok(key) => Some(key),
        Err(error) => {
            let at = if error.is_about_secret() { &file.place } else { &algorithm.place };
            refuse(at, format!("it makes no key: {error}"))
        }
    }
}

/// The name of a key, in lower case without a dot at its end, as both sides know it.
fn named(text: &str) -> Result<String, Refusal> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(Refusal::new("it is not a name", "a domain name such as \"shop-transfer\""));
    }
    Ok(name)
}

//! Rules of what comes from others: how many packages, from where, under which licence. They are
//! those of `deny.toml`, held here as well because cargo-deny is not everywhere. The RustSec
//! database is not asked: `make audit` does.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use toml::{Table, Value};

use crate::{
    Finding, hold,
    manifests::{parse, strings},
    tree,
};

/// What the whole workspace may lock, ours included.
const LOCKED_PACKAGES_MAX: usize = 450;

/// Banned crates that the lock file names for a feature that is off, so that none is built.
const LOCKED_BUT_OFF: [(&str, &str); 1] = [("time", "ureq's cookies")];

/// A package of the lock file.
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

fn locked() -> Vec<Locked> {
    let path = tree::root().join("Cargo.lock");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("Cargo.lock: {error}"));
    let lock: Table = text.parse().unwrap_or_else(|error| panic!("Cargo.lock: {error}"));
    let packages = lock["package"].as_array().into_iter().flatten();
    let field = |package: &Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    packages
        .filter_map(|package| {
            Some(Locked {
                name: field(package, "name")?,
                version: field(package, "version")?,
                source: field(package, "source"),
            })
        })
        .collect()
}

#[test]
fn the_lock_file_stays_within_its_budget() {
    let count = locked().len();
    let over = (count > LOCKED_PACKAGES_MAX).then(|| {
        Finding::new("Cargo.lock", format!("{count} packages, {LOCKED_PACKAGES_MAX} at most"))
    });
    hold(
        "a build is small enough to be understood and to be quick",
        "do without the newest dependency, or turn its default features off (`cargo tree -e features`)",
        over,
    );
}

#[test]
fn only_one_registry_is_used_and_nothing_banned_is_locked() {
    let rules = parse("deny.toml");
    let off = |name: &str| LOCKED_BUT_OFF.iter().any(|(locked, _)| *locked == name);
    let banned: BTreeSet<&str> = rules["bans"]["deny"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|ban| ban.get("crate")?.as_str())
        .filter(|name| !off(name))
        .collect();
    let registries: BTreeSet<String> = strings(rules["sources"].get("allow-registry"))
        .map(|url| format!("registry+{url}"))
        .collect();
    let findings = locked().into_iter().filter_map(|Locked { name, version, source }| {
        let found = match source {
            Some(source) if !registries.contains(&source) => {
                format!("{name} {version} is from {source}")
            }
            _ if banned.contains(name.as_str()) => format!("{name} {version} is banned"),
            _ => return None,
        };
        Some(Finding::new("Cargo.lock", found))
    });
    hold(
        "what deny.toml bans is not locked, and all is from the registries it allows",
        "choose another crate or turn off the feature that brings it in (`cargo tree -i NAME`)",
        findings,
    );
}

/// Licences of the packages that were unpacked to be built; those of other platforms are not here.
#[test]
fn the_licences_of_what_is_built_are_allowed() {
    let rules = parse("deny.toml");
    let allowed: BTreeSet<&str> = strings(rules["licenses"].get("allow")).collect();
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let registries = home.map(|home| home.join("registry/src"));
    let registries: Vec<_> = registries
        .and_then(|path| fs::read_dir(path).ok())
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let findings = locked().into_iter().filter_map(|Locked { name, version, .. }| {
        let package = format!("{name}-{version}/Cargo.toml");
        let mut manifests = registries.iter().map(|registry| registry.path().join(&package));
        let manifest: Table =
            manifests.find_map(|path| fs::read_to_string(path).ok())?.parse().ok()?;
        let licence = manifest.get("package")?.get("license");
        let licence = licence.and_then(Value::as_str).unwrap_or("no licence");
        let found = format!("{name} {version} is under {licence}");
        (!permits(&allowed, licence)).then(|| Finding::new("Cargo.lock", found))
    });
    hold(
        "every dependency is under a licence that deny.toml allows",
        "choose another crate, or allow the licence in deny.toml after reading it",
        findings,
    );
}

/// Whether the allowed licences fulfil an SPDX expression. `/` is how it was once written.
fn permits(allowed: &BTreeSet<&str>, expression: &str) -> bool {
    let expression = expression.trim().replace('/', " OR ");
    let parts = |word: &str| -> Vec<String> {
        let mut parts = vec![String::new()];
        let mut depth = 0_u32;
        for token in expression.replace('(', " ( ").replace(')', " ) ").split_whitespace() {
            depth += u32::from(token == "(");
            depth -= u32::from(token == ")" && depth > 0);
            if token == word && depth == 0 {
                parts.push(String::new());
            } else if let Some(part) = parts.last_mut() {
                part.push(' ');
                part.push_str(token);
            }
        }
        parts
    };
    let (any, all) = (parts("OR"), parts("AND"));
    if any.len() > 1 {
        return any.iter().any(|part| permits(allowed, part));
    }
    if all.len() > 1 {
        return all.iter().all(|part| permits(allowed, part));
    }
    match expression.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) => permits(allowed, inner),
        None => allowed.contains(expression.as_str()),
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT", "Unicode-3.0"]);
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("Apache-2.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(GPL-3.0 OR Apache-2.0) AND Unicode-3.0", false),
        ("Apache-2.0 WITH LLVM-exception OR (MIT AND Unicode-3.0)", true),
        ("no licence", false),
    ] {
        assert_eq!(permits(&allowed, expression), expected, "{expression}");
    }
}

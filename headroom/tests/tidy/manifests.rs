//! Rules of manifests: one place for versions and lints, and nothing idle.

use std::collections::BTreeSet;

use toml::{Table, Value};

use crate::{
    Finding, hold,
    tree::{self, has_word},
};

/// Lints that `STYLE.md` promises.
const RUST_LINTS: [&str; 4] =
    ["missing_docs", "unreachable_pub", "unsafe_code", "unused_qualifications"];
const CLIPPY_LINTS: [&str; 17] = [
    "all",
    "allow_attributes_without_reason",
    "await_holding_lock",
    "cast_possible_truncation",
    "cast_possible_wrap",
    "cast_sign_loss",
    "dbg_macro",
    "large_futures",
    "manual_let_else",
    "print_stderr",
    "print_stdout",
    "todo",
    "too_many_lines",
    "uninlined_format_args",
    "unwrap_used",
    "use_self",
    "wildcard_imports",
];

/// A crate of the workspace.
pub(crate) struct Manifest {
    /// Its folder from the root: its layer.
    pub(crate) folder: String,
    /// The path of the manifest from the root.
    pub(crate) path: String,
    pub(crate) table: Table,
}

impl Manifest {
    pub(crate) fn name(&self) -> &str {
        self.table["package"]["name"].as_str().unwrap_or_default()
    }

    /// Every dependency with its table: normal, of tests, of build scripts, of platforms.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = (&str, &Value, Kind)> {
        let platforms = self.table.get("target").and_then(Value::as_table).into_iter().flatten();
        let tables = platforms.filter_map(|(_, platform)| platform.as_table());
        tables.chain([&self.table]).flat_map(|table| {
            let kinds = [
                ("dependencies", Kind::Shipped),
                ("build-dependencies", Kind::Shipped),
                ("dev-dependencies", Kind::Test),
            ];
            kinds.into_iter().flat_map(move |(key, kind)| {
                let list = table.get(key).and_then(Value::as_table).into_iter().flatten();
                list.map(move |(name, value)| (name.as_str(), value, kind))
            })
        })
    }
}

/// What a dependency is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Shipped,
    Test,
}

/// A file of TOML.
#[track_caller]
pub(crate) fn parse(path: &str) -> Table {
    let text = tree::read(path).text.parse();
    text.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every crate that has a folder in the repository, but for the fuzz targets: those are a workspace
/// of their own, and never shipped.
pub(crate) fn all() -> Vec<Manifest> {
    let paths = tree::texts().map(|text| text.path.as_str());
    paths
        .filter_map(|path| Some((path, path.strip_suffix("/Cargo.toml")?)))
        .filter(|(_, folder)| *folder != "fuzz")
        .map(|(path, folder)| Manifest {
            folder: folder.to_owned(),
            path: path.to_owned(),
            table: parse(path),
        })
        .collect()
}

fn workspace() -> Table {
    let Some(Value::Table(workspace)) = parse("Cargo.toml").remove("workspace") else {
        panic!("Cargo.toml has no [workspace]");
    };
    workspace
}

/// The strings of a list, if there is one.
pub(crate) fn strings<'v>(list: Option<&'v Value>) -> impl Iterator<Item = &'v str> + use<'v> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The line of `path` that begins with `key`, for a message.
fn at(path: &str, key: &str, found: impl Into<String>) -> Finding {
    let mut lines = tree::read(path).lines();
    let line = lines.find(|(_, line)| line.starts_with(key) && has_word(line, key));
    match line {
        Some((line, _)) => Finding::at(path, line, found),
        None => Finding::new(path, found),
    }
}

#[test]
fn every_crate_is_a_member() {
    let workspace = workspace();
    let members: BTreeSet<&str> = strings(workspace.get("members")).collect();
    let crates = all();
    let folders: BTreeSet<&str> = crates.iter().map(|member| member.folder.as_str()).collect();
    hold(
        "the members of the workspace are the folders that have a Cargo.toml",
        "add the folder to `members` in Cargo.toml, or remove it",
        members.symmetric_difference(&folders).map(|folder| Finding::new("Cargo.toml", *folder)),
    );
}

#[test]
fn every_crate_is_named_after_its_folder() {
    let wrong = all().into_iter().filter_map(|member| {
        let folder = member.folder.rsplit('/').next().unwrap_or_default();
        let name =
            if member.folder == "headroom" { folder.into() } else { format!("headroom-{folder}") };
        (member.name() != name).then(|| at(&member.path, "name", format!("should be {name}")))
    });
    hold("a crate is called headroom-<folder>", "rename the crate or move the folder", wrong);
}

#[test]
fn every_crate_takes_lints_and_package_keys_from_the_workspace() {
    let inherits = |value: Option<&Value>| {
        value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
    };
    let keys = ["version", "edition", "rust-version", "license", "publish"];
    let findings = all().into_iter().flat_map(|member| {
        let package = &member.table["package"];
        let mut missing: Vec<_> = keys
            .iter()
            .filter(|key| !inherits(package.get(key)))
            .map(|key| format!("[package] {key}"))
            .collect();
        if !inherits(member.table.get("lints")) {
            missing.push("[lints]".to_owned());
        }
        if package.get("description").is_none() {
            missing.push("[package] description".to_owned());
        }
        let path = member.path;
        missing.into_iter().map(move |key| Finding::new(path.clone(), format!("{key} is missing")))
    });
    hold(
        "every crate takes its lints and package keys from the workspace, and says what it is",
        "write `KEY.workspace = true`, and a `description` of one sentence",
        findings,
    );
}

#[test]
fn the_lints_that_style_promises_are_on() {
    let workspace = workspace();
    let lints = |tool: &str, names: &[&'static str]| -> Vec<Finding> {
        let set = workspace["lints"].get(tool);
        let on = |name: &str| {
            let level = set.and_then(|set| set.get(name));
            let level = level.map(|level| level.get("level").unwrap_or(level));
            level.and_then(Value::as_str).is_some_and(|level| level != "allow")
        };
        let off = names.iter().filter(|name| !on(name));
        off.map(|name| Finding::new("Cargo.toml", format!("{tool}::{name} is off"))).collect()
    };
    let mut off = lints("rust", &RUST_LINTS);
    off.extend(lints("clippy", &CLIPPY_LINTS));
    if workspace["lints"]["rust"]["unsafe_code"].as_str() != Some("forbid") {
        off.push(at("Cargo.toml", "unsafe_code", "is not `forbid`"));
    }
    hold("the workspace sets the lints of STYLE.md", "set it in [workspace.lints]", off);
}

#[test]
fn versions_stand_in_the_root() {
    let findings = all().into_iter().flat_map(|member| {
        let own = |value: &Value| {
            value.get("workspace").and_then(Value::as_bool) != Some(true)
                || ["version", "path", "git"].iter().any(|key| value.get(key).is_some())
        };
        let wrong: Vec<_> = member
            .dependencies()
            .filter(|(_, value, _)| own(value))
            .map(|(name, ..)| at(&member.path, name, format!("{name} is set here")))
            .collect();
        wrong
    });
    hold(
        "versions of dependencies stand in the root manifest alone",
        "name it in [workspace.dependencies] and write `NAME.workspace = true` here",
        findings,
    );
}

#[test]
fn no_dependency_is_idle() {
    let crates = all();
    let mut idle = Vec::new();
    for member in &crates {
        let prefix = format!("{}/", member.folder);
        let sources: Vec<_> = tree::rust().filter(|text| text.path.starts_with(&prefix)).collect();
        for (name, ..) in member.dependencies() {
            let word = name.replace('-', "_");
            if !sources.iter().any(|source| has_word(&source.text, &word)) {
                idle.push(at(&member.path, name, format!("{word} is in no file of {prefix}")));
            }
        }
    }
    let used: BTreeSet<&str> =
        crates.iter().flat_map(Manifest::dependencies).map(|(name, ..)| name).collect();
    let workspace = workspace();
    let offered = workspace["dependencies"].as_table().into_iter().flatten();
    idle.extend(
        offered
            .filter(|(name, _)| !used.contains(name.as_str()))
            .map(|(name, _)| at("Cargo.toml", name, "no crate uses it")),
    );
    hold("no manifest names a crate that is not used", "remove the line", idle);
}

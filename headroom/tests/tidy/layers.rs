//! Which crate may know which: folders are layers, and knowledge goes down only.

use crate::{
    Finding, hold,
    manifests::{self, Kind, Manifest},
};

/// Outside crates that core may use: words and arithmetic, nothing that runs or serialises.
const CORE_MAY_USE: [(&str, &str); 5] = [
    ("http", "the words of HTTP, in core/cache"),
    ("httpdate", "the dates of HTTP, in core/cache"),
    ("ipnet", "client prefixes, in core/steer"),
    ("sfv", "structured fields of HTTP, in core/cache"),
    ("thiserror", "error enums"),
];

/// And in its tests.
const CORE_TESTS_MAY_USE: [(&str, &str); 3] = [
    ("expect-test", "expected output beside the input"),
    ("fastrand", "a seeded source of random cases"),
    ("proptest", "cases that shrink"),
];

/// Adapters that know another one. There is one answer to "what is serialised", and it is wire's.
const ADAPTERS_KNOW: [(&str, &str); 3] = [
    ("adapters/bus", "adapters/wire"),
    ("adapters/planfile", "adapters/wire"),
    ("adapters/store", "adapters/wire"),
];

/// Whether the crate in folder `from` may know the one in folder `to`.
fn may_know(from: &str, to: &str) -> bool {
    let layer = |folder: &str| folder.split('/').next().unwrap_or_default().to_owned();
    match (layer(from).as_str(), layer(to).as_str()) {
        ("core", _) => to == "core/units" && from != to,
        ("adapters", "core") | ("services", "core" | "adapters") => true,
        ("adapters", "adapters") => ADAPTERS_KNOW.contains(&(from, to)),
        // Composition knows all that it composes, and nobody knows composition.
        ("headroom" | "sim" | "bench", "core" | "adapters" | "services") => true,
        // The program shows simulated worlds; a world does not need the program.
        ("headroom" | "bench", "sim") | ("bench", "headroom") => true,
        _ => false,
    }
}

#[test]
fn crates_know_only_what_is_below_them() {
    let crates = manifests::all();
    let folder_of = |name: &str| {
        let found = crates.iter().find(|member| member.name() == name);
        found.map(|member| member.folder.as_str())
    };
    let upwards = crates.iter().flat_map(|member| {
        let known = member.dependencies().filter_map(|(name, ..)| folder_of(name));
        let known = known.filter(|to| !may_know(&member.folder, to));
        known.map(|to| Finding::new(member.path.clone(), format!("{} knows {to}", member.folder)))
    });
    hold(
        "core knows units alone; adapters know core, and wire; services know core and adapters; \
         headroom knows all; nothing looks up or sideways (ARCHITECTURE.md)",
        "move what both need down, or let the layer above bring the two together",
        upwards,
    );
}

#[test]
fn core_uses_only_words_and_arithmetic() {
    let listed = |list: &[(&str, &str)], name: &str| list.iter().any(|(known, _)| *known == name);
    let allowed = |name: &str, kind| {
        name.starts_with("headroom-")
            || listed(&CORE_MAY_USE, name)
            || (kind == Kind::Test && listed(&CORE_TESTS_MAY_USE, name))
    };
    let core = manifests::all().into_iter().filter(|member| member.folder.starts_with("core/"));
    let findings = core.flat_map(|Manifest { folder, path, table }| {
        let member = Manifest { folder, path, table };
        let wrong: Vec<_> = member
            .dependencies()
            .filter(|(name, _, kind)| !allowed(name, *kind))
            .map(|(name, ..)| Finding::new(member.path.clone(), format!("uses {name}")))
            .collect();
        wrong
    });
    hold(
        "core has no I/O, no async, no randomness of its own and no serialised shapes: no serde, \
         tokio or rand, nor anything that is not listed in headroom/tests/tidy/layers.rs",
        "take the value as an argument; shapes stand in adapters/wire. A crate that only brings \
         words or arithmetic may be added to the list",
        findings,
    );
}

#[test]
fn libraries_name_their_errors() {
    let wrong = manifests::all().into_iter().filter(|member| {
        member.folder != "headroom" && member.dependencies().any(|(name, ..)| name == "anyhow")
    });
    hold(
        "anyhow is for the binary alone",
        "write one `thiserror` enum for the crate, which says what was done to what",
        wrong.map(|member| Finding::new(member.path, "uses anyhow")),
    );
}

#[test]
fn the_layers_are_as_designed() {
    for (from, to, expected) in [
        ("core/market", "core/units", true),
        ("core/market", "core/steer", false),
        ("core/units", "adapters/wire", false),
        ("adapters/wire", "core/market", true),
        ("adapters/bus", "adapters/wire", true),
        ("adapters/wire", "adapters/bus", false),
        ("services/dns", "adapters/bus", true),
        ("services/dns", "services/edge", false),
        ("services/edge", "headroom", false),
        ("headroom", "services/edge", true),
        ("headroom", "sim", true),
        ("sim", "core/steer", true),
        ("sim", "headroom", false),
    ] {
        assert_eq!(may_know(from, to), expected, "{from} knows {to}");
    }
}

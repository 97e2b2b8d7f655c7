//! Rules of source files: how they open, how long they are, and what stands where.

use std::collections::BTreeSet;

use crate::{
    Exception, Finding, hold, hold_except, manifests,
    tree::{self, Text, code, has_word},
};

/// The longest source file; the median should be far below. Tests within it count.
const LINES_MAX: usize = 600;

/// Outside wire and store, shapes that are serialised where they belong to nobody else.
const SERIALISED_ELSEWHERE: [Exception; 1] =
    [("headroom/src/demo/report.rs", "the file that `headroom demo --report` writes")];

/// Files whose tests do not run with the others.
const MEASUREMENTS: [Exception; 4] = [
    ("adapters/auctionfile/tests/scale.rs", "clears and checks markets of a million bids"),
    ("core/market/tests/scale.rs", "clears markets that take minutes in a debug build"),
    ("services/dns/src/dnssec/tests/scale.rs", "measures how long large tables take to make"),
    ("services/dns/tests/scale.rs", "measures how long a new plan takes, on a quiet machine"),
];

/// Files that have `*_MAX` constants and are not called `limits.rs`.
const LIMITS_ELSEWHERE: [Exception; 1] =
    [("headroom/src/demo/", "habits of the visitors it plays, no limits of the product")];

/// Where the wall clock is read.
const CLOCKS: [Exception; 1] = [("adapters/clock/src/lib.rs", "it is the clock")];

/// What every service has, so that one who knows one finds the way in all.
const SERVICE_FILES: [&str; 4] = ["lib.rs", "config.rs", "limits.rs", "metrics.rs"];

/// The findings of a rule about lines, in `texts`.
fn lines<'t>(
    texts: impl Iterator<Item = &'t Text>,
    found: impl Fn(&str) -> Option<String>,
) -> Vec<Finding> {
    texts
        .flat_map(|text| text.lines().map(move |(number, line)| (text, number, line)))
        .filter_map(|(text, number, line)| Some(Finding::at(&text.path, number, found(line)?)))
        .collect()
}

#[test]
fn every_file_opens_with_its_purpose() {
    let silent = tree::rust().filter(|text| !text.text.starts_with("//! "));
    hold(
        "a source file opens with what it is for and what it leaves to others",
        "write a `//!` comment of one to ten lines as its first",
        silent.map(|text| Finding::at(&text.path, 0, "no module documentation")),
    );
}

#[test]
fn files_are_short() {
    let long = tree::rust().filter_map(|text| {
        let count = text.text.lines().count();
        (count > LINES_MAX).then(|| Finding::at(&text.path, LINES_MAX, format!("{count} lines")))
    });
    hold(
        &format!("a source file has at most {LINES_MAX} lines"),
        "divide it by subject; tests may move to a `tests.rs` beside it",
        long,
    );
}

#[test]
fn nothing_is_left_over() {
    // In pieces, so that this file does not break its own rule.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let macros = [concat!("dbg", "!("), concat!("to", "do!("), concat!("unimple", "mented!(")];
    let left = lines(tree::texts().filter(|text| !text.is_prose()), |line| {
        let word = words.iter().find(|word| has_word(line, word));
        let left = word.or_else(|| macros.iter().find(|call| line.contains(*call)))?;
        Some(format!("`{left}`"))
    });
    hold("no leftover markers", "do it, or open an issue and say here what is absent", left);
}

#[test]
fn ignored_tests_are_measurements() {
    let bare = lines(tree::rust(), |line| {
        (line.trim() == "#[ignore]").then(|| "ignored without a reason".to_owned())
    });
    hold("an ignored test says why", "write #[ignore = \"...\"]", bare);
    let ignored = lines(tree::rust(), |line| {
        line.trim_start().starts_with("#[ignore").then(|| "ignored".to_owned())
    });
    hold_except(
        "every test runs, but for measurements that are run by hand",
        "make the test quick and steady, or remove it",
        &MEASUREMENTS,
        ignored,
    );
}

#[test]
fn limits_stand_together() {
    let shipped = tree::rust().filter(|text| text.is_shipped() && text.name() != "limits.rs");
    let scattered = lines(shipped, |line| {
        let (_, constant) = code(line).split_once("const ")?;
        let name = constant.split(':').next()?.trim();
        name.ends_with("_MAX").then(|| format!("{name} stands outside limits.rs"))
    });
    hold_except(
        "the limits of a crate stand together, where their relations are asserted",
        "move it to the crate's limits.rs, with what the limit is for",
        &LIMITS_ELSEWHERE,
        scattered,
    );
}

#[test]
fn only_wire_and_store_have_serialised_shapes() {
    let homes = ["adapters/wire/", "adapters/store/"];
    let others = tree::rust()
        .filter(|text| text.is_shipped() && !homes.iter().any(|home| text.path.starts_with(home)));
    let found = others.flat_map(|text| {
        let derives = text.text.match_indices("derive(").filter_map(|(start, _)| {
            let list = text.text.get(start..)?.split(')').next()?;
            (has_word(list, "Serialize") || has_word(list, "Deserialize")).then_some(start)
        });
        let implemented = ["Serialize for ", "Deserialize<'de> for "];
        let implemented = implemented.into_iter().flat_map(|part| text.text.match_indices(part));
        derives.chain(implemented.map(|(start, _)| start)).map(|start| {
            let line = text.text.get(..start).map_or(0, |before| before.matches('\n').count());
            Finding::at(&text.path, line, "a serialised shape")
        })
    });
    hold_except(
        "what is serialised is a promise, and adapters/wire and adapters/store keep all of them",
        "move the shape there and convert",
        &SERIALISED_ELSEWHERE,
        found.collect(),
    );
}

#[test]
fn the_wall_clock_is_read_in_one_place() {
    let shipped = tree::rust().filter(|text| text.is_shipped());
    hold_except(
        "one place reads the wall clock, so that time never goes back",
        "call `headroom_clock::now()`, or in core take `now` as an argument",
        &CLOCKS,
        lines(shipped, |line| {
            let clocks = ["SystemTime::now", "Timestamp::now"];
            let read = clocks.iter().find(|clock| code(line).contains(*clock))?;
            Some(format!("`{read}`"))
        }),
    );
}

#[test]
fn there_is_no_unsafe_code() {
    let kinds = ["{", "fn", "impl", "trait", "extern"].map(|kind| format!("unsafe {kind}"));
    let unsafe_code = lines(tree::rust(), |line| {
        let line = code(line);
        let found = kinds.iter().any(|kind| has_word(line, kind)) || line.contains("#[unsafe(");
        // The list above is a line of strings.
        (found && !line.contains('"')).then(|| "unsafe code".to_owned())
    });
    hold("there is no unsafe code", "find a crate that has done it, well tested", unsafe_code);
}

#[test]
fn no_file_silences_a_lint_as_a_whole() {
    let silenced = lines(tree::rust().filter(|text| text.is_shipped()), |line| {
        let attributes = ["#![allow(", "#![expect("];
        attributes.iter().any(|part| line.starts_with(part)).then(|| line.to_owned())
    });
    hold(
        "a lint is silenced where it is wrong, and nowhere else",
        "put `#[expect(..., reason = \"...\")]` on the item",
        silenced,
    );
}

#[test]
fn services_are_furnished_alike() {
    let missing = manifests::all().into_iter().flat_map(|member| {
        let service = member.folder.starts_with("services/");
        let files = SERVICE_FILES.iter().map(move |file| format!("{}/src/{file}", member.folder));
        files.filter(move |path| service && tree::find(path).is_none())
    });
    hold(
        "a service has lib.rs, config.rs, limits.rs and metrics.rs",
        "give the file the part of the service that belongs there",
        missing.map(|path| Finding::new(path, "missing")),
    );
}

#[test]
fn metrics_follow_one_grammar() {
    let mut findings = Vec::new();
    for text in tree::rust().filter(|text| text.path.starts_with("services/") && text.is_shipped())
    {
        let service = text.path.split('/').nth(1).unwrap_or_default();
        let home = text.name() == "metrics.rs";
        for (number, line) in text.lines() {
            if !home && (line.contains(".register(") || line.contains(".register_with_unit(")) {
                findings.push(Finding::at(&text.path, number, "a metric outside metrics.rs"));
            }
        }
        if !home {
            continue;
        }
        let prefix = format!("\"headroom_{service}");
        if !text.text.contains(&prefix) {
            findings.push(Finding::new(text.path.clone(), format!("no {prefix}\"")));
        }
        let names = names(&text.text);
        if names.is_empty() {
            findings.push(Finding::new(text.path.clone(), "no metric is seen here"));
        }
        findings.extend(names.into_iter().filter_map(|(line, name)| {
            let wrong = wrong_name(service, name)?;
            Some(Finding::at(&text.path, line, format!("`{name}` {wrong}")))
        }));
    }
    hold(
        "a metric is headroom_<crate>_<thing>, in base units, registered in metrics.rs; the \
         library adds unit and _total",
        "rename or move it",
        findings,
    );
}

/// The names given to a registry: the first string of a `register`, or of a row `("name", "Help"`.
fn names(text: &str) -> Vec<(usize, &str)> {
    let calls = ["register(", "register_with_unit("].map(|call| text.match_indices(call));
    let calls = calls.into_iter().flatten().map(|(start, call)| start + call.len());
    let rows = text.match_indices("(\"").map(|(start, _)| start + 1);
    let starts: BTreeSet<usize> = calls.chain(rows).collect();
    let named = starts.into_iter().filter_map(|start| {
        let (before, after) = text.split_at(start);
        let (name, rest) = after.trim_start().strip_prefix('"')?.split_once('"')?;
        let help = rest.strip_prefix(',')?.trim_start();
        help.starts_with('"').then(|| (before.matches('\n').count(), name))
    });
    let named: BTreeSet<_> = named.collect();
    named.into_iter().collect()
}

/// What is wrong with the name of a metric of `service`.
fn wrong_name(service: &str, name: &str) -> Option<&'static str> {
    let words: Vec<&str> = name.split('_').collect();
    let word = |word: &&str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let last = words.last().copied().unwrap_or_default();
    if !words.iter().all(word) {
        return Some("is not lower case with single underscores");
    }
    if words.first() == Some(&"headroom") || words.first() == Some(&service) {
        return Some("repeats its prefix");
    }
    if ["total", "count", "bytes", "seconds", "ratio"].contains(&last) {
        return Some("says what the library adds");
    }
    ["ms", "millis", "micros", "us", "kb", "kib", "mb", "mib", "minutes", "hours"]
        .contains(&last)
        .then_some("is not in a base unit (seconds, bytes)")
}

#[test]
fn wrong_metric_names_are_seen() {
    assert_eq!(wrong_name("dns", "tcp_connections"), None);
    assert!(wrong_name("dns", "tcp__Connections").is_some());
    assert!(wrong_name("dns", "dns_queries").is_some());
    assert!(wrong_name("dns", "queries_total").is_some());
    assert!(wrong_name("dns", "answer_ms").is_some());
    let text = "x.register(\n \"a\", \"An a\");\n  (\"b\", \"A b\", &b),\n f((\"label\", value));";
    assert_eq!(names(text), [(0, "a"), (2, "b")]);
}

//! The rules of the project that a machine can hold, each a test that says file, line and what to
//! do. `STYLE.md` tells why; clippy holds the rest (`Cargo.toml`, `clippy.toml`).
//!
//! A rule that something must break has a list of exceptions here, each with its reason. An
//! exception that nothing needs any more breaks the rule too.

#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/manifests.rs"]
mod manifests;
#[path = "tidy/sources.rs"]
mod sources;
#[path = "tidy/supply.rs"]
mod supply;
#[path = "tidy/tree.rs"]
mod tree;

use std::collections::BTreeSet;

/// What breaks a rule: where, and what was found there.
struct Finding {
    place: String,
    found: String,
}

impl Finding {
    fn new(place: impl Into<String>, found: impl Into<String>) -> Self {
        Self { place: place.into(), found: found.into() }
    }

    /// In a line, counted from 0 as iterators do.
    fn at(path: &str, line: usize, found: impl Into<String>) -> Self {
        Self::new(format!("{path}:{}", line + 1), found)
    }
}

/// A file that may break a rule, and why.
type Exception = (&'static str, &'static str);

/// Stops the test if the rule was broken, with everything that broke it.
#[track_caller]
fn hold(rule: &str, instead: &str, findings: impl IntoIterator<Item = Finding>) {
    let told: String = findings
        .into_iter()
        .map(|Finding { place, found }| format!("  {place}: {found}\n"))
        .collect();
    assert!(told.is_empty(), "\n{told}\nThe rule: {rule}\nInstead:  {instead}\n");
}

/// As [`hold`]; findings in the excepted files are let pass, and every exception must be needed.
/// A path that ends in `/` excepts a folder.
#[track_caller]
fn hold_except(rule: &str, instead: &str, exceptions: &[Exception], findings: Vec<Finding>) {
    let covers = |path: &str, finding: &Finding| {
        let file = finding.place.split(':').next().unwrap_or_default();
        file == path || (path.ends_with('/') && file.starts_with(path))
    };
    let mut needed = BTreeSet::new();
    let (_, mut broken): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| {
        let exception = exceptions.iter().find(|(path, _)| covers(path, finding));
        exception.is_some_and(|(path, _)| {
            needed.insert(*path);
            true
        })
    });
    let idle = exceptions.iter().filter(|(path, _)| !needed.contains(path));
    broken.extend(idle.map(|(path, reason)| {
        Finding::new(*path, format!("this exception is no longer needed, remove it ({reason})"))
    }));
    hold(rule, instead, broken);
}

#[test]
#[should_panic(expected = "src/lib.rs:3: two clocks")]
fn a_finding_tells_file_and_line() {
    hold("one clock", "take `now`", [Finding::at("src/lib.rs", 2, "two clocks")]);
}

#[test]
#[should_panic(
    expected = "src/old.rs: this exception is no longer needed, remove it (it was slow)"
)]
fn an_exception_that_nothing_needs_is_told() {
    let exceptions = [("src/a/", "a harness"), ("src/old.rs", "it was slow")];
    let findings = vec![Finding::at("src/a/b.rs", 7, "slow")];
    hold_except("nothing is slow", "be fast", &exceptions, findings);
}

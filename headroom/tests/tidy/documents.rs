//! Rules of documents, commands and numbered files: what they name must be there.

use std::{collections::BTreeSet, path::Path};

use headroom::config::Config;

use crate::{
    Finding, hold,
    tree::{self, Text, has_word},
};

const ROOT_DOCUMENTS: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "STYLE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];

/// The commands that the Makefile lists: `name: needs ## what it does`.
fn commands() -> BTreeSet<&'static str> {
    let lines = tree::read("Makefile").text.lines().filter(|line| line.contains("## "));
    let names = lines.filter_map(|line| Some(line.split_once(':')?.0));
    let name = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    names.filter(name).collect()
}

/// Code in prose, with its line: what stands between back quotes, and lines that are indented or
/// fenced.
fn quoted(text: &Text) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().flat_map(move |(number, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        let code: Vec<&str> = if fenced && !fence {
            vec![line]
        } else {
            line.split('`').skip(1).step_by(2).collect()
        };
        code.into_iter().map(move |code| (number, code))
    })
}

#[test]
fn the_root_explains_itself() {
    let missing = ROOT_DOCUMENTS.iter().filter(|path| tree::find(path).is_none());
    hold(
        "the root has the documents that one looks for in a repository",
        "write it",
        missing.map(|path| Finding::new(*path, "missing")),
    );
}

#[test]
fn documents_and_makefile_name_the_same_commands() {
    let commands = commands();
    let mut findings = Vec::new();
    for text in tree::prose() {
        for (line, code) in quoted(text) {
            let words: Vec<&str> = code.split_whitespace().collect();
            let named =
                words.iter().position(|word| *word == "make").and_then(|at| words.get(at + 1));
            let target = |word: &&&str| word.starts_with(|c: char| c.is_ascii_lowercase());
            if let Some(name) = named.filter(target).filter(|name| !commands.contains(**name)) {
                findings.push(Finding::at(
                    &text.path,
                    line,
                    format!("`make {name}` is no command"),
                ));
            }
        }
    }
    let told: String = ["README.md", "CONTRIBUTING.md"]
        .iter()
        .map(|path| tree::read(path).text.as_str())
        .collect();
    // `help` is what `make` does alone.
    let untold = commands.iter().filter(|name| **name != "help");
    let untold = untold.filter(|name| !has_word(&told, &format!("make {name}")));
    findings.extend(untold.map(|name| {
        Finding::new(
            "Makefile",
            format!("neither README.md nor CONTRIBUTING.md names `make {name}`"),
        )
    }));
    let readme = &tree::read("README.md").text;
    let first = ["make demo", "make test"].into_iter().filter(|command| !has_word(readme, command));
    findings.extend(first.map(|command| Finding::new("README.md", format!("no `{command}`"))));
    hold(
        "README.md names `make demo` and `make test`; what documents name is there, and what is \
         there is named",
        "mend the document or the Makefile",
        findings,
    );
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for text in tree::prose() {
        let folder = tree::root().join(&text.path);
        let folder = folder.parent().unwrap_or(Path::new(""));
        for (line, said) in text.lines() {
            let targets = said.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            for target in targets.filter(|target| !target.contains(':') && !target.contains('`')) {
                let path = target.split('#').next().unwrap_or_default();
                if !folder.join(path).exists() {
                    broken.push(Finding::at(&text.path, line, format!("{target} is not there")));
                }
            }
        }
    }
    hold("a link leads to a file of the repository", "mend the link", broken);
}

#[test]
fn documents_name_files_that_exist() {
    let layers = ["core/", "adapters/", "services/", "headroom/", "config/", ".ci/"];
    let endings = [".rs", ".toml", ".sql", ".csv", ".md"];
    let mut missing = Vec::new();
    for text in tree::prose() {
        for (line, code) in quoted(text) {
            for word in code.split_whitespace() {
                let path = word.trim_matches(|c: char| ",;:()\"'".contains(c));
                let path = path.split(':').next().unwrap_or_default();
                let ours = layers.iter().any(|layer| path.starts_with(layer))
                    && endings.iter().any(|ending| path.ends_with(ending))
                    && !path.contains(['*', '<', '{', '$']);
                if ours && !tree::root().join(path).exists() {
                    missing.push(Finding::at(&text.path, line, format!("{path} is not there")));
                }
            }
        }
    }
    hold("what a document names is there", "mend the path", missing);
}

/// In the table of standards the last column names tests.
#[test]
fn standards_are_shown_by_tests_that_exist() {
    let path = "docs/reference/dns.md";
    let rows = tree::read(path).lines().filter(|(_, line)| line.starts_with('|'));
    let shown = rows.flat_map(|(number, line)| {
        let last = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
        last.split('`').skip(1).step_by(2).map(move |test| (number, test))
    });
    let shown: Vec<_> = shown.collect();
    assert!(shown.len() > 50, "the tables of {path} name their tests");
    let is_there = |test: &str| {
        let head = format!("fn {test}(");
        tree::rust().any(|text| text.text.contains(&head))
    };
    let missing = shown.into_iter().filter(|(_, test)| !is_there(test));
    hold(
        "a standard is shown by a test that exists",
        "name the test that shows it now",
        missing.map(|(line, test)| Finding::at(path, line, format!("there is no test {test}"))),
    );
}

#[test]
fn no_machine_is_named() {
    // In pieces, so that this file does not break its own rule.
    let places =
        ["/wo|rk/", "/ro|ot/", "/ho|me/", "../sha|red/"].map(|place| place.replace('|', ""));
    let mut findings = Vec::new();
    for text in tree::texts() {
        for (line, said) in text.lines() {
            let named = places.iter().filter(|place| {
                let starts = said.match_indices(place.as_str()).map(|(start, _)| start);
                let before = |start: usize| said.get(..start).and_then(|head| head.chars().last());
                starts.into_iter().any(|start| !before(start).is_some_and(char::is_alphanumeric))
            });
            findings.extend(named.map(|place| Finding::at(&text.path, line, place.clone())));
        }
    }
    hold(
        "nothing in the repository names the machine or the folder it was written in",
        "use a path from the root, a temporary folder, or a path that readers have",
        findings,
    );
}

#[test]
fn numbered_files_have_no_gaps() {
    let mut findings = Vec::new();
    for (folder, ending) in [("docs/decisions", ".md"), ("adapters/store/migrations", ".sql")] {
        let files = tree::numbered(folder, ending);
        if files.is_empty() {
            findings.push(Finding::new(folder, "no numbered files"));
        }
        for (expected, (number, path)) in (1..).zip(files) {
            if number != expected {
                findings.push(Finding::new(path, format!("{expected:04} is expected here")));
            }
        }
    }
    let listed = &tree::read("adapters/store/src/migrations.rs").text;
    for (_, path) in tree::numbered("adapters/store/migrations", ".sql") {
        let file = path.rsplit('/').next().unwrap_or_default();
        if !listed.contains(&format!("/{file}\"")) {
            findings.push(Finding::new(path, "is not in adapters/store/src/migrations.rs"));
        }
    }
    hold("decisions and migrations are numbered 0001, 0002, ...", "renumber it", findings);
}

#[test]
fn configurations_are_right() {
    let configurations = tree::texts()
        .filter(|text| text.path.starts_with("config/") && text.path.ends_with(".toml"));
    let wrong = configurations.filter_map(|text| {
        let errors = Config::load(&tree::root().join(&text.path)).err()?;
        Some(Finding::new(text.path.clone(), errors.to_string()))
    });
    hold("every configuration in config/ can be run", "mend it", wrong);
}

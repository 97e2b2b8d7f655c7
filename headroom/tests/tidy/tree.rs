//! The files of the repository, as the rules read them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// A file of text: its path from the root with `/`, and what it says.
pub(crate) struct Text {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Text {
    /// The lines, counted from 0.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate()
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_prose(&self) -> bool {
        self.path.ends_with(".md")
    }

    /// Code of a crate that is not a test of it.
    pub(crate) fn is_shipped(&self) -> bool {
        let test = ["/tests/", "/tests.rs", "/testing.rs", "/conversations"];
        self.is_rust()
            && self.path.contains("/src/")
            && !test.iter().any(|part| self.path.contains(part))
    }

    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

static TEXTS: LazyLock<Vec<Text>> = LazyLock::new(|| {
    let mut texts = Vec::new();
    collect(&root(), "", &mut texts);
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    texts
});

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the package lies in a folder of the workspace").to_owned()
}

/// Every file of text that the repository has: code, manifests, documents, scripts.
pub(crate) fn texts() -> impl Iterator<Item = &'static Text> {
    TEXTS.iter()
}

pub(crate) fn rust() -> impl Iterator<Item = &'static Text> {
    texts().filter(|text| text.is_rust())
}

pub(crate) fn prose() -> impl Iterator<Item = &'static Text> {
    texts().filter(|text| text.is_prose())
}

/// One file of text, if the repository has it.
pub(crate) fn find(path: &str) -> Option<&'static Text> {
    texts().find(|text| text.path == path)
}

/// One file of text that the rules cannot do without.
#[track_caller]
pub(crate) fn read(path: &str) -> &'static Text {
    find(path).unwrap_or_else(|| panic!("{path} is missing: write it"))
}

fn collect(folder: &Path, prefix: &str, texts: &mut Vec<Text>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{prefix}: {error}"));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{prefix}: {error}"));
        let name = entry.file_name().to_string_lossy().into_owned();
        let (path, inner) = (format!("{prefix}{name}"), entry.path());
        if inner.is_dir() {
            // A cache says so itself (cargo's target folders do); `.git` and editors' are hidden.
            let skipped = name.starts_with('.') && name != ".ci" && name != ".github";
            if !skipped && !inner.join("CACHEDIR.TAG").exists() && name != "target" {
                collect(&inner, &format!("{path}/"), texts);
            }
        } else if is_text(&path) {
            // A file that went away since belongs to something that runs.
            if let Ok(text) = fs::read_to_string(&inner) {
                texts.push(Text { path, text });
            }
        }
    }
}

fn is_text(path: &str) -> bool {
    const ENDINGS: [&str; 9] =
        [".rs", ".toml", ".md", ".sql", ".sh", ".yml", ".yaml", ".zone", "Makefile"];
    path.starts_with(".ci/") || ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// Whether `text` has `word` with nothing of a word on either side.
pub(crate) fn has_word(text: &str, word: &str) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.match_indices(word).any(|(start, _)| {
        let (before, after) = text.as_bytes().split_at(start);
        !part(before.last()) && !part(after.get(word.len()))
    })
}

/// The part of a line of code before its comment. A `//` within a string ends it too: the rules
/// here can live with that.
pub(crate) fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Files whose names begin with a number, by number.
pub(crate) fn numbered(folder: &str, ending: &str) -> Vec<(u32, &'static str)> {
    let prefix = format!("{folder}/");
    let mut files: Vec<_> = texts()
        .filter(|text| text.path.starts_with(&prefix) && text.path.ends_with(ending))
        .filter_map(|text| {
            let digits = text.name().split(|c: char| !c.is_ascii_digit()).next()?;
            Some((digits.parse().ok()?, text.path.as_str()))
        })
        .collect();
    files.sort_unstable();
    files
}

#[test]
fn words_have_edges() {
    assert!(has_word("a mod.", "mod"));
    assert!(!has_word("a module", "mod"));
    assert!(!has_word("a_mod", "mod"));
}

#[test]
fn the_tree_is_read() {
    let here = read("headroom/tests/tidy/tree.rs");
    assert!(here.is_rust() && !here.is_shipped());
    assert!(texts().all(|text| !text.path.starts_with("target/")));
    assert!(texts().count() > 100);
}

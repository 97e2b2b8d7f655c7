//! Reads keys out of a TOML tree, and remembers every mistake and every key it was asked for.
//!
//! A value that is wrong is `None` and a mistake; reading goes on. So a section is read whole, and
//! built only if all its values are there. It knows no key by name.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    ops::RangeInclusive,
    str::FromStr,
};

use headroom_units::ParseError;

use super::{
    document::{Node, Table, Value},
    limits::VALUE_LEN_MAX,
    mistake::{Mistake, Refusal},
};

/// An unknown key is taken for a known one if no more than this part of its letters differ.
const TYPO_PART: f64 = 0.34;

/// Collects what is found out while sections are read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    mistakes: RefCell<Vec<Mistake>>,
    known: RefCell<BTreeMap<String, Option<String>>>,
    unknown: RefCell<Vec<UnknownKey>>,
}

#[derive(Debug)]
struct UnknownKey {
    line: usize,
    path: String,
    key: String,
    /// The keys of its section.
    asked: BTreeSet<String>,
}

impl Reader {
    /// The whole document as a section.
    pub(super) fn root<'r>(&'r self, table: &'r Table) -> Section<'r> {
        let (path, pattern) = (String::new(), String::new());
        let (line, table, asked) = (None, Some(table), RefCell::default());
        Section { reader: self, path, pattern, line, table, broken: false, asked }
    }

    /// Every mistake, in the order of their lines.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let known = self.known.into_inner();
        let mut mistakes = self.mistakes.into_inner();
        mistakes.extend(self.unknown.into_inner().into_iter().map(|key| key.mistake(&known)));
        mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
        mistakes
    }

    /// Every key that was asked for, as "regions\[\].id", with its default as TOML if it has one.
    #[cfg(test)]
    pub(super) fn known(&self) -> BTreeMap<String, Option<String>> {
        self.known.borrow().clone()
    }
}

impl UnknownKey {
    fn mistake(self, known: &BTreeMap<String, Option<String>>) -> Mistake {
        let alike = |name: &str| strsim::normalized_damerau_levenshtein(&self.key, name);
        let nearest = self.asked.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
        let nearest = nearest.filter(|name| alike(name) >= 1.0 - TYPO_PART);
        let elsewhere =
            || known.keys().find(|path| path.rsplit('.').next() == Some(self.key.as_str()));
        let reason = match nearest {
            Some(name) => format!("the key is unknown; did you mean \"{name}\"?"),
            None => match elsewhere() {
                Some(path) => format!("the key is unknown here; did you mean \"{path}\"?"),
                None => "the key is unknown".to_owned(),
            },
        };
        let accepted = nearest
            .is_none()
            .then(|| self.asked.iter().map(String::as_str).collect::<Vec<_>>().join(", "));
        Mistake { line: Some(self.line), key: self.path, value: None, reason, accepted }
    }
}

/// One table of the document; empty if it is not there.
#[derive(Debug)]
pub(super) struct Section<'r> {
    reader: &'r Reader,
    path: String,
    pattern: String,
    line: Option<usize>,
    table: Option<&'r Table>,
    /// Something else than a table stands there, which is a mistake already.
    broken: bool,
    asked: RefCell<BTreeSet<String>>,
}

/// A value with the place it came from, for checks that need more than the value.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// Where a value stands.
#[derive(Debug, Clone)]
pub(super) struct Place {
    line: Option<usize>,
    pub(super) key: String,
    raw: Option<String>,
}

impl<'r> Section<'r> {
    /// The table under `key`; an empty one if it is missing or no table.
    pub(super) fn section(&self, key: &str) -> Self {
        let node = self.ask(key, None);
        let (path, pattern) = (self.path_of(key), self.pattern_of(key));
        let table = node.and_then(|node| self.table_of(node, &path, format!("[{path}]")));
        let (reader, line) = (self.reader, node.map(|node| node.line));
        let broken = node.is_some() && table.is_none();
        Self { reader, path, pattern, line, table, broken, asked: RefCell::default() }
    }

    /// The tables of the list under `key`; none if it is missing.
    pub(super) fn sections(&self, key: &str) -> Vec<Self> {
        let path = self.path_of(key);
        let form = || format!("[[{}]]", path.replace("[0]", ""));
        let items = match self.ask(key, None) {
            None => return Vec::new(),
            Some(Node { value: Value::List(items), .. }) => items,
            Some(node) => {
                self.mistake_at(node, path.clone(), format!("it is {}", node.kind()), Some(form()));
                return Vec::new();
            }
        };
        let sections = items.iter().enumerate().map(|(index, node)| {
            let path = format!("{path}[{index}]");
            let table = self.table_of(node, &path, form());
            let pattern = format!("{}[]", self.pattern_of(key));
            let (reader, line, broken) = (self.reader, Some(node.line), table.is_none());
            Self { reader, path, pattern, line, table, broken, asked: RefCell::default() }
        });
        sections.collect()
    }

    /// The text under `key`, which must be there.
    pub(super) fn required<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<Placed<T>> {
        let Some(node) = self.ask(key, None) else {
            let accepted = parse("").err().and_then(|refusal| refusal.accepted);
            self.missing(key, accepted);
            return None;
        };
        let value = self.text(node, self.path_of(key), &parse)?;
        Some(Placed { value, place: self.place(key) })
    }

    /// The text under `key`, or the one it stands for if it is missing.
    pub(super) fn optional<T>(
        &self,
        key: &str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<Placed<T>> {
        let written = format!("\"{default}\"");
        let mut place = self.place(key);
        let value = match self.ask(key, Some(written.clone())) {
            Some(node) => self.text(node, self.path_of(key), &parse)?,
            None => {
                place.raw = Some(format!("{written} (the default)"));
                // A default can depend on another key, such as the currency.
                parse(default).map_err(|refusal| self.refuse(&place, refusal)).ok()?
            }
        };
        Some(Placed { value, place })
    }

    /// The text under `key`, if it is there.
    pub(super) fn maybe<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<Placed<T>> {
        let value = self.text(self.ask(key, None)?, self.path_of(key), &parse)?;
        Some(Placed { value, place: self.place(key) })
    }

    /// The texts in the list under `key`. With no default there must be at least one.
    pub(super) fn list<T>(
        &self,
        key: &str,
        default: Option<&[T]>,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<Vec<Placed<T>>>
    where
        T: Display + Clone,
    {
        let path = self.path_of(key);
        let written = default.map(|items| {
            let items: Vec<_> = items.iter().map(|item| format!("\"{item}\"")).collect();
            format!("[{}]", items.join(", "))
        });
        let accepted = || {
            let item = parse("").err().and_then(|refusal| refusal.accepted);
            item.map(|item| format!("a list, each item {item}"))
        };
        let items = match (self.ask(key, written), default) {
            (Some(Node { value: Value::List(items), .. }), _) => items,
            (Some(node), _) => {
                self.mistake_at(
                    node,
                    path,
                    format!("it is {}, not a list", node.kind()),
                    accepted(),
                );
                return None;
            }
            (None, Some(default)) => {
                let place = self.place(key);
                let placed = |value: &T| Placed { value: value.clone(), place: place.clone() };
                return Some(default.iter().map(placed).collect());
            }
            (None, None) => {
                self.missing(key, accepted());
                return None;
            }
        };
        if items.is_empty() && default.is_none() {
            self.refuse(
                &self.place(key),
                Refusal { reason: "it is empty".to_owned(), accepted: accepted() },
            );
            return None;
        }
        let values = items.iter().enumerate().map(|(index, node)| {
            let key = format!("{path}[{index}]");
            let value = self.text(node, key.clone(), &parse)?;
            let place = Place { line: Some(node.line), key, raw: Some(node.raw.clone()) };
            Some(Placed { value, place })
        });
        // All items are read before the first wrong one ends it.
        values.collect::<Vec<_>>().into_iter().collect()
    }

    /// The whole number under `key`: a count, which needs no unit.
    pub(super) fn count(&self, key: &str, default: i64, range: RangeInclusive<i64>) -> Option<i64> {
        let Some(node) = self.ask(key, Some(default.to_string())) else { return Some(default) };
        match node.value {
            Value::Integer(number) if range.contains(&number) => Some(number),
            _ => {
                let reason = match node.value {
                    Value::Integer(_) => "it is out of range".to_owned(),
                    _ => "it is not a whole number".to_owned(),
                };
                let accepted = format!("a whole number from {} to {}", range.start(), range.end());
                self.mistake_at(node, self.path_of(key), reason, Some(accepted));
                None
            }
        }
    }

    /// The whole number under `key`; `None` within if it is missing or the `word` that leaves the
    /// number to the machine.
    pub(super) fn count_or(
        &self,
        key: &str,
        word: &str,
        range: RangeInclusive<i64>,
    ) -> Option<Option<i64>> {
        let Some(node) = self.ask(key, Some(format!("\"{word}\""))) else { return Some(None) };
        match &node.value {
            Value::Text(text) if text == word => Some(None),
            Value::Integer(number) if range.contains(number) => Some(Some(*number)),
            _ => {
                let reason = format!("it is neither \"{word}\" nor a whole number in range");
                let (from, to) = (range.start(), range.end());
                let accepted = format!("\"{word}\" or a whole number from {from} to {to}");
                self.mistake_at(node, self.path_of(key), reason, Some(accepted));
                None
            }
        }
    }

    /// Whether `key` is true.
    pub(super) fn flag(&self, key: &str, default: bool) -> Option<bool> {
        let Some(node) = self.ask(key, Some(default.to_string())) else { return Some(default) };
        if let Value::Truth(truth) = node.value {
            return Some(truth);
        }
        let reason = format!("it is {}", node.kind());
        self.mistake_at(node, self.path_of(key), reason, Some("true or false".to_owned()));
        None
    }

    /// True if something stands under `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Says that something under `place` is wrong.
    pub(super) fn refuse(&self, place: &Place, refusal: Refusal) {
        let Refusal { reason, accepted } = refusal;
        let value = place.raw.as_deref().map(shown);
        let (line, key) = (place.line, place.key.clone());
        self.reader.mistakes.borrow_mut().push(Mistake { line, key, value, reason, accepted });
    }

    /// Says that `key`, which must be there, is not.
    pub(super) fn missing(&self, key: &str, accepted: Option<String>) {
        if self.broken {
            return;
        }
        let (line, key) = (self.line, self.path_of(key));
        let reason = "it is missing".to_owned();
        let mistake = Mistake { line, key, value: None, reason, accepted };
        self.reader.mistakes.borrow_mut().push(mistake);
    }

    /// Where `key` stands, or would stand.
    pub(super) fn place(&self, key: &str) -> Place {
        let node = self.table.and_then(|table| table.get(key));
        Place {
            line: node.map(|node| node.line).or(self.line),
            key: self.path_of(key),
            raw: node.map(|node| node.raw.clone()),
        }
    }

    /// Ends the section: keys that were never asked for are unknown.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (key, node) in self.table.into_iter().flatten() {
            if !asked.contains(key) {
                let (line, path) = (node.line, self.path_of(key));
                let unknown = UnknownKey { line, path, key: key.clone(), asked: asked.clone() };
                self.reader.unknown.borrow_mut().push(unknown);
            }
        }
    }

    fn ask(&self, key: &str, default: Option<String>) -> Option<&'r Node> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.reader.known.borrow_mut().entry(self.pattern_of(key)).or_insert(default);
        self.table.and_then(|table| table.get(key))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn pattern_of(&self, key: &str) -> String {
        if self.pattern.is_empty() { key.to_owned() } else { format!("{}.{key}", self.pattern) }
    }

    fn table_of(&self, node: &'r Node, path: &str, form: String) -> Option<&'r Table> {
        if let Value::Table(table) = &node.value {
            return Some(table);
        }
        let reason = format!("it is {}, not a table", node.kind());
        self.mistake_at(node, path.to_owned(), reason, Some(form));
        None
    }

    fn text<T>(
        &self,
        node: &Node,
        key: String,
        parse: &impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        let refusal = match &node.value {
            Value::Text(text) => match parse(text) {
                Ok(value) => return Some(value),
                Err(refusal) => refusal,
            },
            // As text it may be fine, or its unit is missing: the refusal of the text says that.
            Value::Integer(_) | Value::Truth(_) | Value::Other => {
                parse(&node.raw).err().unwrap_or_else(|| {
                    Refusal::new("it is not in quotes", format!("\"{}\"", node.raw))
                })
            }
            Value::List(_) | Value::Table(_) => Refusal {
                reason: format!("it is {}, not a text", node.kind()),
                accepted: parse("").err().and_then(|refusal| refusal.accepted),
            },
        };
        self.mistake_at(node, key, refusal.reason, refusal.accepted);
        None
    }

    fn mistake_at(&self, node: &Node, key: String, reason: String, accepted: Option<String>) {
        let (line, value) = (Some(node.line), Some(shown(&node.raw)));
        self.reader.mistakes.borrow_mut().push(Mistake { line, key, value, reason, accepted });
    }
}

/// Reads a quantity, a name or an id by its own grammar.
pub(super) fn parsed<T: FromStr<Err = ParseError>>(text: &str) -> Result<T, Refusal> {
    Ok(text.parse()?)
}

fn shown(raw: &str) -> String {
    let first_line = raw.lines().next().unwrap_or_default();
    if first_line.len() == raw.len() && raw.chars().count() <= VALUE_LEN_MAX {
        return raw.to_owned();
    }
    let cut: String = first_line.chars().take(VALUE_LEN_MAX).collect();
    format!("{cut}...")
}

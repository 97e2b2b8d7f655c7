//! A TOML text as a tree that knows the line of each value. It knows no keys.

use std::{collections::BTreeMap, ops::Range};

use toml::de::{DeTable, DeValue};

/// The entries of one table.
pub(super) type Table = BTreeMap<String, Node>;

/// One value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    /// Its line, counted from one.
    pub(super) line: usize,
    /// As it was written.
    pub(super) raw: String,
    /// What it is.
    pub(super) value: Value,
}

/// What a value can be, as far as a configuration needs it.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Truth(bool),
    List(Vec<Node>),
    Table(Table),
    /// A number with decimals, a moment, an integer out of range.
    Other,
}

impl Node {
    /// The kind of value, with its article.
    pub(super) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::Truth(_) => "a truth value",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other => "a value of another kind",
        }
    }
}

/// A place where the text is no TOML.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    /// The whole line.
    pub(super) written: String,
    pub(super) reason: String,
}

/// Reads `text`, or tells every place where it is no TOML.
pub(super) fn parse(text: &str) -> Result<Table, Vec<SyntaxError>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    let source = Source(text);
    if errors.is_empty() {
        return Ok(source.table(root.get_ref()));
    }
    let errors = errors.iter().map(|error| {
        let line = source.line(error.span().map_or(0, |span| span.start));
        let written = text.lines().nth(line - 1).unwrap_or_default().trim().to_owned();
        SyntaxError { line, written, reason: error.message().replace('\n', ", ") }
    });
    Err(errors.collect())
}

struct Source<'t>(&'t str);

impl Source<'_> {
    fn table(&self, table: &DeTable<'_>) -> Table {
        let entries = table.iter().map(|(key, value)| {
            let node = self.node(value.get_ref(), key.span().start, value.span());
            (key.get_ref().to_string(), node)
        });
        entries.collect()
    }

    fn node(&self, value: &DeValue<'_>, starts_at: usize, span: Range<usize>) -> Node {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other, Value::Integer),
            DeValue::Array(items) => {
                let items = items
                    .iter()
                    .map(|item| self.node(item.get_ref(), item.span().start, item.span()));
                Value::List(items.collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Boolean(truth) => Value::Truth(*truth),
            DeValue::Float(_) | DeValue::Datetime(_) => Value::Other,
        };
        let raw = self.0.get(span).unwrap_or_default().to_owned();
        Node { line: self.line(starts_at), raw, value }
    }

    fn line(&self, at: usize) -> usize {
        let before = &self.0.as_bytes()[..at.min(self.0.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_line() {
        let table = parse("a = 1\n\n[[b]]\nc = [\n  \"x\",\n  \"y\",\n]\n").unwrap();
        assert_eq!(table["a"].line, 1);
        let Value::List(tables) = &table["b"].value else { panic!("{table:?}") };
        assert_eq!(tables[0].line, 3);
        let Value::Table(b) = &tables[0].value else { panic!("{table:?}") };
        let Value::List(items) = &b["c"].value else { panic!("{table:?}") };
        assert_eq!((items[1].line, items[1].raw.as_str()), (6, "\"y\""));
    }

    #[test]
    fn all_places_that_are_no_toml_are_told() {
        let errors = parse("a = \nb = 1\nc = 'x\n").unwrap_err();
        let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [1, 3], "{errors:?}");
    }
}

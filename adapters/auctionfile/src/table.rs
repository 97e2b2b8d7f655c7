//! Tables as comma-separated text: a header, then rows. Every mistake is told with its line.
//!
//! Lines end with LF or CRLF; empty lines are passed over. Quotes are not known: no value that is
//! accepted needs them. Large files are read on every core.

use std::{fmt, thread};

use crate::limits::{TEXT_BYTES_MAX, TOLD_MAX};

/// What is wrong with the files, in the order of their lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mistakes {
    told: Vec<String>,
    more: usize,
}

impl Mistakes {
    pub(crate) fn add(&mut self, file: &str, line: usize, reason: impl fmt::Display) {
        self.tell(format!("{file} line {line}: {reason}"));
    }

    pub(crate) fn tell(&mut self, told: String) {
        if self.told.len() < TOLD_MAX {
            self.told.push(told);
        } else {
            self.more += 1;
        }
    }

    /// True if nothing is wrong.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Each, up to [`TOLD_MAX`].
    #[must_use]
    pub fn told(&self) -> &[String] {
        &self.told
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.told.len() + self.more
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.told.join("\n"))?;
        match self.more {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// The columns of a table: those that must be there, and those that may.
pub(crate) struct Columns {
    pub(crate) file: &'static str,
    pub(crate) needed: &'static [&'static str],
    pub(crate) optional: &'static [&'static str],
}

/// The most columns that any table has.
const COLUMNS: usize = 12;

/// One row. Columns are numbered as in [`Columns`], whatever their order in the file.
pub(crate) struct Row<'t> {
    values: [&'t str; COLUMNS],
    columns: &'static Columns,
    wrong: Vec<String>,
}

impl<'t> Row<'t> {
    /// The text of a column; nothing if the table does not have it.
    pub(crate) const fn text(&self, column: usize) -> &'t str {
        self.values[column]
    }

    /// A name or a list of names that may not be empty.
    pub(crate) fn name(&mut self, column: usize) -> Option<&'t str> {
        let text = self.text(column);
        if text.is_empty() {
            self.refuse(column, "is empty");
        } else if text.len() > TEXT_BYTES_MAX {
            self.refuse(column, format_args!("is longer than {TEXT_BYTES_MAX} bytes"));
        } else if text.bytes().any(|byte| byte == b'"' || byte.is_ascii_control()) {
            self.refuse(column, "has a quote or a control character");
        } else {
            return Some(text);
        }
        None
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, column: usize, least: u64, most: u64) -> Option<u64> {
        let text = self.text(column);
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && (least..=most).contains(&number) => return Some(number),
            _ => {}
        }
        let shown: String = text.chars().take(40).collect();
        let problem = if text.is_empty() {
            "is empty".to_owned()
        } else if digits {
            format!("{shown} is out of range")
        } else {
            format!("{shown:?} is no whole number")
        };
        self.refuse(column, format_args!("{problem}; accepted are {least} to {most}"));
        None
    }

    /// Notes what is wrong with a column.
    pub(crate) fn refuse(&mut self, column: usize, reason: impl fmt::Display) {
        let columns = self.columns.needed.iter().chain(self.columns.optional);
        let name = columns.copied().nth(column).unwrap_or_default();
        self.wrong.push(format!("{name} {reason}"));
    }
}

/// Reads all rows of a table, with their line numbers. Rows that `read` has refused something of
/// are left out and told.
pub(crate) fn rows<'t, R: Send>(
    columns: &'static Columns,
    text: &'t str,
    mistakes: &mut Mistakes,
    read: impl Fn(&mut Row<'t>) -> Option<R> + Sync,
) -> Vec<(u32, R)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (header, body) = text.split_once('\n').unwrap_or((text, ""));
    let places = match places(columns, header.trim_end_matches('\r')) {
        Ok(places) => places,
        Err(reason) => {
            mistakes.add(columns.file, 1, reason);
            return Vec::new();
        }
    };
    let width = header.split(',').count();
    let read = &read;
    let chunks = chunks(body);
    let parts: Vec<Part<R>> = thread::scope(|scope| {
        let workers: Vec<_> = (chunks.iter())
            .map(|chunk| scope.spawn(move || part(columns, places, width, chunk, read)))
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("reading does not panic")).collect()
    });
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.rows.len()).sum());
    let mut before = 2;
    for part in parts {
        for (line, reason) in part.wrong {
            mistakes.add(columns.file, before + line, reason);
        }
        let shift = u32::try_from(before).unwrap_or(u32::MAX);
        all.extend(part.rows.into_iter().map(|(line, row)| (line.saturating_add(shift), row)));
        before += part.lines;
    }
    all
}

/// Where in a line each column stands, if anywhere.
fn places(columns: &Columns, header: &str) -> Result<[Option<usize>; COLUMNS], String> {
    let expected = columns.needed.join(",");
    if header.is_empty() {
        return Err(format!("there is no header; expected is {expected}"));
    }
    let mut places = [None; COLUMNS];
    let known = || columns.needed.iter().chain(columns.optional);
    for (place, name) in header.split(',').enumerate() {
        let Some(column) = known().position(|known| *known == name.trim()) else {
            let optional = match columns.optional {
                [] => String::new(),
                names => format!(", then any of {}", names.join(",")),
            };
            let shown: String = name.chars().take(40).collect();
            return Err(format!(
                "the header has a column {shown:?}; expected is {expected}{optional}"
            ));
        };
        if places[column].replace(place).is_some() {
            return Err(format!("the header has {} twice", name.trim()));
        }
    }
    let missing: Vec<&str> = (columns.needed.iter().zip(&places))
        .filter(|(_, place)| place.is_none())
        .map(|(name, _)| *name)
        .collect();
    match missing.as_slice() {
        [] => Ok(places),
        missing => Err(format!("the header lacks {}; expected is {expected}", missing.join(","))),
    }
}

/// Parts of the text that end with a line, one for each core.
fn chunks(text: &str) -> Vec<&str> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let aim = (text.len() / cores).max(1 << 16);
    let (mut chunks, mut rest) = (Vec::new(), text);
    while rest.len() > aim {
        let tail = rest.as_bytes().get(aim..).unwrap_or_default();
        let Some(end) = tail.iter().position(|byte| *byte == b'\n') else { break };
        let (chunk, left) = rest.split_at(aim + end + 1);
        chunks.push(chunk);
        rest = left;
    }
    chunks.push(rest);
    chunks
}

/// What was read of a part, with lines counted from its start.
struct Part<R> {
    rows: Vec<(u32, R)>,
    wrong: Vec<(usize, String)>,
    lines: usize,
}

fn part<'t, R>(
    columns: &'static Columns,
    places: [Option<usize>; COLUMNS],
    width: usize,
    text: &'t str,
    read: impl Fn(&mut Row<'t>) -> Option<R>,
) -> Part<R> {
    let mut part = Part { rows: Vec::with_capacity(text.len() / 48), wrong: Vec::new(), lines: 0 };
    let mut row = Row { values: [""; COLUMNS], columns, wrong: Vec::new() };
    for line in text.lines() {
        let number = part.lines;
        part.lines += 1;
        if line.is_empty() {
            continue;
        }
        let mut values = [""; COLUMNS];
        let found = split(line, &mut values);
        if found != width {
            part.wrong.push((number, format!("{found} values; the header has {width} columns")));
            continue;
        }
        for (value, place) in row.values.iter_mut().zip(places) {
            *value = place.map_or("", |place| trimmed(values[place]));
        }
        match read(&mut row) {
            Some(read) if row.wrong.is_empty() => {
                part.rows.push((u32::try_from(number).unwrap_or(u32::MAX), read));
            }
            _ => part.wrong.push((number, std::mem::take(&mut row.wrong).join("; "))),
        }
    }
    part
}

/// Without white space around, which few values have.
fn trimmed(value: &str) -> &str {
    let ends = [value.as_bytes().first(), value.as_bytes().last()];
    if ends.into_iter().flatten().all(u8::is_ascii_graphic) { value } else { value.trim() }
}

/// Splits at commas and says how many values there are; more than fit are counted.
fn split<'t>(line: &'t str, values: &mut [&'t str; COLUMNS]) -> usize {
    let (mut count, mut start) = (0, 0);
    for (at, byte) in line.bytes().enumerate() {
        if byte == b',' {
            if let Some(value) = values.get_mut(count) {
                *value = line.get(start..at).unwrap_or_default();
            }
            (count, start) = (count + 1, at + 1);
        }
    }
    if let Some(value) = values.get_mut(count) {
        *value = line.get(start..).unwrap_or_default();
    }
    count + 1
}

//! Aligned tables for people.

use std::fmt;

/// Rows under a header. Columns whose header begins with `>` are aligned to the right.
#[derive(Debug)]
pub(super) struct Table {
    headers: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headers: &[&str]) -> Self {
        Self {
            headers: headers.iter().map(|header| header.trim_start_matches('>').into()).collect(),
            right: headers.iter().map(|header| header.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has a cell for each header.
    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.headers.len(), "a cell for each header");
        // What others wrote must not move the cursor or break the table.
        let clean = |cell: String| cell.replace(char::is_control, "?");
        self.rows.push(cells.map(clean).into());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return writeln!(f, "(no {})", self.headers[0]);
        }
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.headers[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.headers.len()).map(width).collect();
        for row in std::iter::once(&self.headers).chain(&self.rows) {
            let cells = row.iter().zip(&widths).zip(&self.right).map(|((cell, width), right)| {
                if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// An amount in millionths as a decimal number.
pub(super) fn money(micro: i64) -> String {
    headroom_units::Money::from_micro(micro).to_string()
}

/// A sum of many amounts in millionths as a decimal number.
pub(super) fn wide_money(micro: i128) -> String {
    let (sign, micro) = (if micro < 0 { "-" } else { "" }, micro.unsigned_abs());
    let (whole, part) = (micro / 1_000_000, micro % 1_000_000);
    let text = format!("{sign}{whole}.{part:06}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Several values in one cell.
pub(super) fn joined<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<_> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { "-".to_owned() } else { values.join(", ") }
}

/// "yes" or "no".
pub(super) fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["id", ">units", "note"]);
        table.row(["bid-1".into(), "5".into(), "ü".into()]);
        table.row(["bid-12".into(), "1000".into(), "a\u{1b}[2Jb\n".into()]);
        expect![[r#"
            id      units  note
            bid-1       5  ü
            bid-12   1000  a?[2Jb?
        "#]]
        .assert_eq(&table.to_string());
        assert_eq!(Table::new(&["id"]).to_string(), "(no id)\n");
        assert_eq!(wide_money(-20_050_000), "-20.05");
        assert_eq!((wide_money(0), wide_money(10_000_000)), ("0".into(), "10".into()));
        assert_eq!((money(-1_500_000), joined(Vec::<u8>::new())), ("-1.5".into(), "-".into()));
    }
}

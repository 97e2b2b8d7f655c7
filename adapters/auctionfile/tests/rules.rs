//! The check against results that are right and results that somebody has changed.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]

use std::{fs, path::Path};

use headroom_auctionfile::{Book, Plan, Texts, clear, generate, verify};

/// A market, its files and its results.
struct Market {
    folder: tempfile::TempDir,
    texts: Texts,
}

const RESULTS: [&str; 3] = ["fills.csv", "prices.csv", "sales.csv"];

impl Market {
    fn cleared(plan: &Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        generate(plan, folder.path()).unwrap();
        let texts = Texts::read(folder.path()).unwrap();
        clear(&Book::parse(&texts).unwrap()).save(folder.path()).unwrap();
        Self { folder, texts }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn violations(&self) -> Vec<String> {
        let book = Book::parse(&self.texts).unwrap();
        verify(&book, self.path()).unwrap().violations.told().to_vec()
    }

    /// What the check finds if one file is another.
    fn violations_with(&self, name: &str, text: &str) -> Vec<String> {
        let right = self.read(name);
        fs::write(self.path().join(name), text).unwrap();
        let found = self.violations();
        fs::write(self.path().join(name), right).unwrap();
        found
    }
}

fn plan(seed: u64) -> Plan {
    // Every other market has flagged bids, every third one several sellers.
    Plan {
        regions: 2,
        slots: 8,
        bids: 60,
        sellers: if seed.is_multiple_of(3) { 3 } else { 1 },
        flagged_percent: if seed.is_multiple_of(2) { 30 } else { 0 },
        seed,
    }
}

#[test]
fn right_results_are_found_right() {
    for seed in 0..24 {
        assert_eq!(Market::cleared(&plan(seed)).violations(), [""; 0], "seed {seed}");
    }
}

/// The text with the number in one column of a row changed.
fn changed(text: &str, row: usize, column: usize, by: i128) -> String {
    let change = |(number, line): (usize, &str)| {
        if number != row {
            return line.to_owned();
        }
        let mut values: Vec<String> = line.split(',').map(str::to_owned).collect();
        values[column] = (values[column].parse::<i128>().unwrap() + by).to_string();
        values.join(",")
    };
    let lines: Vec<String> = text.lines().enumerate().map(change).collect();
    lines.join("\n") + "\n"
}

fn without(text: &str, row: usize) -> String {
    let kept = text.lines().enumerate().filter(|(number, _)| *number != row);
    kept.fold(String::new(), |text, (_, line)| text + line + "\n")
}

/// One change is never right: a fill decides what is paid, and of the prices only the lowest are.
#[test]
fn any_one_change_is_found() {
    for seed in 0..4 {
        let market = Market::cleared(&plan(seed));
        for (name, column) in RESULTS.into_iter().zip([1, 2, 4]) {
            let text = market.read(name);
            for row in 1..text.lines().count() {
                let gone = market.violations_with(name, &without(&text, row));
                assert!(!gone.is_empty(), "seed {seed}: {name} without row {row}");
                for by in [-1, 1, 1_000_000_007] {
                    let other = changed(&text, row, column, by);
                    let found = market.violations_with(name, &other);
                    assert!(!found.is_empty(), "seed {seed}: {name} row {row} changed by {by}");
                }
            }
        }
    }
}

#[test]
fn a_fill_that_is_made_up_is_found() {
    let market = Market::cleared(&plan(1));
    let fills = market.read("fills.csv");
    let filled: Vec<&str> =
        fills.lines().skip(1).map(|line| line.split_once(',').unwrap().0).collect();
    for id in (1..=60).map(|id| id.to_string()).filter(|id| !filled.contains(&id.as_str())) {
        let found = market.violations_with("fills.csv", &format!("{fills}{id},1\n"));
        assert!(!found.is_empty(), "bid {id}");
    }
    let sales = market.read("sales.csv") + "r0,0,nobody,1,";
    for receipts in ["-1", "170141183460469231731687303715884105727", "1000000000000000000000"] {
        let found = market.violations_with("sales.csv", &format!("{sales}{receipts}\n"));
        assert!(!found.is_empty(), "{receipts}");
    }
    for row in ["61,1", "1,-3", "1,x", "nobody,", ",,"] {
        assert!(
            !market.violations_with("fills.csv", &format!("{fills}{row}\n")).is_empty(),
            "{row}"
        );
    }
}

#[test]
fn the_order_of_the_rows_does_not_matter() {
    let mut random = fastrand::Rng::with_seed(5);
    for seed in 0..10 {
        let market = Market::cleared(&plan(seed));
        let before = RESULTS.map(|name| market.read(name));
        for name in ["bids.csv", "offers.csv"] {
            let text = market.read(name);
            let (header, rows) = text.split_once('\n').unwrap();
            let mut rows: Vec<&str> = rows.lines().collect();
            random.shuffle(&mut rows);
            fs::write(market.path().join(name), format!("{header}\r\n{}\r\n", rows.join("\r\n")))
                .unwrap();
        }
        let texts = Texts::read(market.path()).unwrap();
        clear(&Book::parse(&texts).unwrap()).save(market.path()).unwrap();
        assert_eq!(RESULTS.map(|name| market.read(name)), before, "seed {seed}");
    }
}

#[test]
fn nothing_is_written_if_a_file_cannot_be() {
    let market = Market::cleared(&plan(1));
    let before = RESULTS.map(|name| market.read(name));
    // A folder stands where the last file is first written.
    fs::create_dir(market.path().join(".sales.csv.new")).unwrap();
    let book = Book::parse(&market.texts).unwrap();
    assert!(clear(&book).save(market.path()).is_err());
    assert_eq!(RESULTS.map(|name| market.read(name)), before);
    assert!(!market.path().join(".fills.csv.new").exists());
}

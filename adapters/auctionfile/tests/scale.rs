//! Large markets on files: generated, cleared and verified, with the time that each step takes.
//! `cargo test --release -p headroom-auctionfile --test scale -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test may stop at what it did not expect")]
#![expect(clippy::print_stderr, reason = "a measurement tells what it measured")]

use std::{fs, path::Path, time::Instant};

use headroom_auctionfile::{Book, Plan, Texts, clear, generate, verify};

const MILLION: Plan =
    Plan { regions: 100, slots: 288, bids: 1_000_000, sellers: 1, flagged_percent: 0, seed: 1 };

/// What a step takes, told.
fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    eprintln!("{what}: {:.3} s", start.elapsed().as_secs_f64());
    done
}

fn measure(folder: &Path) {
    let texts = timed("read", || Texts::read(folder).unwrap());
    let book = timed("parse", || Book::parse(&texts).unwrap());
    let cleared = timed("clear", || clear(&book));
    timed("write", || cleared.save(folder).unwrap());
    let verdict = timed("verify", || verify(&book, folder).unwrap());
    eprintln!(
        "{} bids, {} filled, {} passed over; welfare {} bound {} relaxed {}",
        book.bids(),
        cleared.filled(),
        cleared.passed_over.len(),
        cleared.welfare,
        cleared.bound,
        cleared.relaxed
    );
    assert!(verdict.violations.is_empty(), "{}", verdict.violations);
    assert_eq!((verdict.welfare, verdict.payments), (cleared.welfare, cleared.payments));
}

fn generated(plan: Plan) {
    let folder = tempfile::tempdir().unwrap();
    timed("generate", || generate(&plan, folder.path()).unwrap());
    measure(folder.path());
}

#[test]
#[ignore = "slow in a debug build"]
fn a_million_bids() {
    generated(MILLION);
}

#[test]
#[ignore = "slow in a debug build"]
fn a_million_bids_of_which_five_of_a_hundred_are_flagged() {
    generated(Plan { flagged_percent: 5, sellers: 3, ..MILLION });
}

#[test]
#[ignore = "slow in a debug build"]
fn a_million_bids_at_one_price() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan { regions: 1, ..MILLION };
    timed("generate", || generate(&plan, folder.path()).unwrap());
    let bids = fs::read_to_string(folder.path().join("bids.csv")).unwrap();
    let mut one_price = String::with_capacity(bids.len());
    for (number, line) in bids.lines().enumerate() {
        let (start, limit) = line.rsplit_once(',').unwrap();
        one_price.extend([start, ",", if number == 0 { limit } else { "1000" }, "\n"]);
    }
    fs::write(folder.path().join("bids.csv"), one_price).unwrap();
    measure(folder.path());
}

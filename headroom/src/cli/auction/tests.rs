//! The commands on small files.

use std::fs;

use clap::Parser as _;
use expect_test::{Expect, expect};

use super::super::{Cli, report, run as run_cli};

/// Runs `auction ARGUMENTS FOLDER`; gives the exit code and what was printed.
fn auction(folder: &std::path::Path, arguments: &[&str]) -> String {
    let path = folder.display().to_string();
    let line = ["headroom", "auction"].into_iter().chain(arguments.iter().copied()).chain([&*path]);
    let mut out = Vec::new();
    let code = match run_cli(Cli::try_parse_from(line).unwrap(), &mut out) {
        Ok(code) => code,
        Err(error) => report(&error, &mut out),
    };
    let printed = String::from_utf8(out).unwrap().replace(&path, "DIR");
    format!("{code:?}\n{printed}").replace("ExitCode(unix_exit_status(", "exit ").replace("))", "")
}

fn check(files: &[(&str, &str)], arguments: &[&str], expected: Expect) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    expected.assert_eq(&auction(folder.path(), arguments));
    folder
}

const BIDS: &str = "id,region,first_slot,last_slot,units,min_units,limit_price_micro,any_of_regions
1,east,0,1,8,0,5000,
2,east,1,1,4,4,4000,
3,east,0,0,3,0,2000,east|west
";
const OFFERS: &str = "region,slot,units,price_micro,seller
east,0,10,1000,
east,1,6,1000,operator
east,1,4,1000,shop
west,0,2,500,operator
";

#[test]
fn a_small_market_is_cleared_and_verified() {
    let folder = check(&[("bids.csv", BIDS), ("offers.csv", OFFERS)], &["clear"], expect![[""]]);
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    expect![[""]].assert_eq(&format!(
        "{}\n{}\n{}",
        read("fills.csv"),
        read("prices.csv"),
        read("sales.csv")
    ));
    expect![[""]].assert_eq(&auction(folder.path(), &["verify"]));
    expect![[""]].assert_eq(&auction(folder.path(), &["--json", "clear"]));
    let tampered = read("fills.csv").replace("1,8,", "1,7,");
    fs::write(folder.path().join("fills.csv"), tampered).unwrap();
    expect![[""]].assert_eq(&auction(folder.path(), &["--json", "verify"]));
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let bids = "id,region,first_slot,last_slot,units,min_units,limit_price_micro\r\n\
         1,east,0,1,0,0,1\r\n\
         2,north,3,2,-5,0,x\r\n\
         \r\n\
         1,east,0,0,99999999999,7,1\r\n\
         3,east,0,0,5,7,1\r\n\
         3,east,0,1,5,0,900000000000\r\n\
         4,east,0\r\n\
         5,east,0,0,5,0,1\r\n\
         5,east,0,0,5,0,1\r\n";
    let offers = "region,slot,units,price_micro\neast,0,1000000000,1\neast,0,1,1\nEast,0,1,1\n";
    check(&[("bids.csv", bids), ("offers.csv", offers)], &["clear"], expect![[""]]);
    let header = "id,region,first_slot,units,limit\n";
    check(&[("bids.csv", header), ("offers.csv", "region,slot\n")], &["clear"], expect![[""]]);
    check(&[("bids.csv", ""), ("offers.csv", "")], &["verify"], expect![[""]]);
    check(&[("bids.csv", BIDS)], &["clear"], expect![[""]]);
}

#[test]
fn an_empty_market_is_cleared() {
    let bids = BIDS.lines().next().unwrap();
    let offers = OFFERS.lines().next().unwrap();
    let folder = check(&[("bids.csv", bids), ("offers.csv", offers)], &["clear"], expect![[""]]);
    expect![[""]].assert_eq(&auction(folder.path(), &["verify"]));
    // Buyers without a seller, and sellers without a buyer.
    let folder = check(&[("bids.csv", BIDS), ("offers.csv", offers)], &["clear"], expect![[""]]);
    expect![[""]].assert_eq(&auction(folder.path(), &["verify"]));
    let folder = check(&[("bids.csv", bids), ("offers.csv", OFFERS)], &["clear"], expect![[""]]);
    expect![[""]].assert_eq(&auction(folder.path(), &["verify"]));
}

#[test]
fn a_market_is_generated() {
    let folder = tempfile::tempdir().unwrap();
    let plan = [
        "generate",
        "--regions",
        "2",
        "--slots",
        "4",
        "--bids",
        "5",
        "--flagged",
        "90",
        "--sellers",
        "2",
    ];
    expect![[""]].assert_eq(&auction(folder.path(), &plan));
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    let offers: String = read("offers.csv").lines().take(6).collect::<Vec<_>>().join("\n");
    expect![[""]].assert_eq(&format!("{}{offers}", read("bids.csv")));
}

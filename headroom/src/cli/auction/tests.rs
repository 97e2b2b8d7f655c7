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
    let folder = check(
        &[("bids.csv", BIDS), ("offers.csv", OFFERS)],
        &["clear"],
        expect![[r#"
        exit 0
        3 bids, 4 offers, 2 regions
        filled               2 bids, 1 of them in part
        sold                 18 of 22 unit-slots
        welfare              0.067
        upper bound          0.075, certified by the prices
        gap                  10.6667 %
        relaxed welfare      0.075
        payments             0.02
        receipts             0.02
        passed over          1 for their minimum, 0 for another of their group

        passed over  worth more by  because
        2                    0.003  minimum

        DIR/fills.csv, prices.csv and sales.csv are written.
    "#]],
    );
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    expect![[r#"
        id,units,region
        1,8,east
        3,2,west

        region,slot,price_micro
        east,0,1000
        east,1,1000
        west,0,2000

        region,slot,seller,units,receipts_micro
        east,0,operator,8,8000
        east,1,operator,5,5000
        east,1,shop,3,3000
        west,0,operator,2,4000
    "#]]
    .assert_eq(&format!("{}\n{}\n{}", read("fills.csv"), read("prices.csv"), read("sales.csv")));
    expect![[r#"
        exit 0
        result               nothing is wrong
        filled               2 bids
        welfare              0.067
        upper bound          0.082, by the prices
        gap                  18.2927 %
        payments             0.02
        receipts             0.02
        passed over          1 bids that ask for more than any part
    "#]]
    .assert_eq(&auction(folder.path(), &["verify"]));
}

#[test]
fn both_answers_come_as_json() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("bids.csv", BIDS), ("offers.csv", OFFERS)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    expect![[r#"
        exit 0
        {
          "bids": 3,
          "bound_micro": 75000,
          "filled": 2,
          "gap_millionths": 106667,
          "offers": 4,
          "partly_filled": 1,
          "passed_over": [
            {
              "because": "minimum",
              "id": "2",
              "surplus_micro": 3000
            }
          ],
          "payments_micro": 20000,
          "receipts_micro": 20000,
          "regions": 2,
          "relaxed_welfare_micro": 75000,
          "unit_slots_offered": 22,
          "unit_slots_sold": 18,
          "welfare_micro": 67000
        }
    "#]]
    .assert_eq(&auction(folder.path(), &["--json", "clear"]));
    let fills = fs::read_to_string(folder.path().join("fills.csv")).unwrap();
    let tampered = fills.replace("1,8,", "1,7,");
    fs::write(folder.path().join("fills.csv"), tampered).unwrap();
    expect![[r#"
        exit 1
        {
          "bound_micro": 82000,
          "filled": 2,
          "gap_millionths": 280488,
          "passed_over": 1,
          "payments_micro": 18000,
          "receipts_micro": 20000,
          "told": [
            "bid 1 is worth 10000 micro-units per unit and would pay 2000, but got 7 of 8 units",
            "east slot 0: operator sells 8 units, not 7 as its share is",
            "east slot 1: operator sells 5 units, not 4 as its share is",
            "buyers pay 18000 micro-units and sellers receive 20000"
          ],
          "valid": false,
          "violations": 4,
          "welfare_micro": 59000
        }
    "#]]
    .assert_eq(&auction(folder.path(), &["--json", "verify"]));
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
    check(
        &[("bids.csv", bids), ("offers.csv", offers)],
        &["clear"],
        expect![[r#"
        exit 2
        error: offers.csv line 4: region is not right: "East" is not a region id: it has a character that is not allowed; accepted is 1 to 40 of a-z, 0-9 and inner hyphens, such as "shop-1"
        offers.csv line 3: east slot 0 has more than 1000000000 units in all
        bids.csv line 2: units 0 is out of range; accepted are 1 to 1000000000
        bids.csv line 3: region "north" has no offers; the regions are east; units "-5" is no whole number; accepted are 1 to 1000000000; limit_price_micro "x" is no whole number; accepted are 0 to 1000000000000; last_slot 2 is before first_slot 3
        bids.csv line 5: units 99999999999 is out of range; accepted are 1 to 1000000000
        bids.csv line 6: min_units 7 is more than the 5 units
        bids.csv line 7: limit_price_micro 900000000000 for 2 slots is more than 1000000000000 in all
        bids.csv line 8: 3 values; the header has 7 columns
        bids.csv line 10: id 5 was used in line 9
    "#]],
    );
    let header = "id,region,first_slot,units,limit\n";
    check(
        &[("bids.csv", header), ("offers.csv", "region,slot\n")],
        &["clear"],
        expect![[r#"
        exit 2
        error: offers.csv line 1: the header lacks units,price_micro; expected is region,slot,units,price_micro
        bids.csv line 1: the header has a column "limit"; expected is id,region,first_slot,last_slot,units,min_units,limit_price_micro, then any of exclusive_group,any_of_regions
    "#]],
    );
    check(
        &[("bids.csv", ""), ("offers.csv", "")],
        &["verify"],
        expect![[r#"
            exit 2
            error: offers.csv line 1: there is no header; expected is region,slot,units,price_micro
            bids.csv line 1: there is no header; expected is id,region,first_slot,last_slot,units,min_units,limit_price_micro
        "#]],
    );
    check(
        &[("bids.csv", BIDS)],
        &["clear"],
        expect![[r#"
        exit 1
        error: cannot read DIR/offers.csv: No such file or directory (os error 2)
    "#]],
    );
}

#[test]
fn a_market_without_buyers_or_without_sellers_is_cleared() {
    let header = |text: &'static str| text.lines().next().unwrap();
    for (bids, offers, size, for_sale) in [
        (header(BIDS), header(OFFERS), "0 bids, 0 offers, 0 regions", 0),
        (BIDS, header(OFFERS), "3 bids, 0 offers, 2 regions", 0),
        (header(BIDS), OFFERS, "0 bids, 4 offers, 2 regions", 22),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("bids.csv", bids), ("offers.csv", offers)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let cleared = auction(folder.path(), &["clear"]);
        let sold = format!("sold                 0 of {for_sale} unit-slots");
        let expected = ["exit 0", size, &sold, "welfare              0", "payments             0"];
        for line in expected {
            assert!(cleared.lines().any(|printed| printed == line), "{line}: {cleared}");
        }
        expect![[r#"
            exit 0
            result               nothing is wrong
            filled               0 bids
            welfare              0
            upper bound          0, by the prices
            gap                  0.0000 %
            payments             0
            receipts             0
            passed over          0 bids that ask for more than any part
        "#]]
        .assert_eq(&auction(folder.path(), &["verify"]));
    }
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
    expect![[r#"
        exit 0
        5 bids in DIR/bids.csv, offers in DIR/offers.csv
    "#]]
    .assert_eq(&auction(folder.path(), &plan));
    let read = |name| fs::read_to_string(folder.path().join(name)).unwrap();
    let offers: String = read("offers.csv").lines().take(6).collect::<Vec<_>>().join("\n");
    expect![[r#"
        id,region,first_slot,last_slot,units,min_units,limit_price_micro,exclusive_group,any_of_regions
        1,r1,2,3,41,41,926,,
        2,r0,2,3,5,5,561,,
        3,r0,1,3,54,54,1238,,
        4,r1,0,1,2,2,675,,
        5,r0,3,3,8,0,1774,g0,
        region,slot,units,price_micro,seller
        r0,0,0,100,operator
        r0,0,0,100,seller-1
        r0,0,0,200,operator
        r0,0,0,200,seller-1
        r0,0,0,350,operator"#]].assert_eq(&format!("{}{offers}", read("bids.csv")));
}

//! The command on made and on wrong files.

use std::{fmt::Write as _, fs};

use clap::Parser as _;
use expect_test::{Expect, expect};
use headroom_units::Timestamp;
use headroom_wire::Time;

use crate::cli::{Cli, report, run as run_cli};

/// Runs `forecast backtest FILE ARGUMENTS` on `text`; gives the exit code and what was printed.
fn backtest(text: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("load.csv");
    fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    let line = ["headroom", "forecast", "backtest", &*path].into_iter();
    let mut out = Vec::new();
    let code = match Cli::try_parse_from(line.chain(arguments.iter().copied())) {
        Err(error) => {
            let told = error.to_string();
            return told.lines().next().unwrap_or_default().to_owned();
        }
        Ok(cli) => match run_cli(cli, &mut out) {
            Ok(code) => code,
            Err(error) => report(&error, &mut out),
        },
    };
    let printed = String::from_utf8(out).unwrap().replace(&path, "load.csv");
    format!("{code:?}\n{printed}").replace("ExitCode(unix_exit_status(", "exit ").replace("))", "")
}

/// Three weeks of hours from 1 November 2026: a wave over the day, with an odd slot now and then.
fn made(days: u64) -> String {
    let mut text = "timestamp,requests_per_second\n".to_owned();
    for hour in (0..days * 24).filter(|hour| hour % 100 != 99) {
        let moment = Time(Timestamp::from_seconds(1_793_491_200 + hour * 3_600));
        let load = 100 + (hour % 24) * 10 + hour * hour % 37 + if hour % 59 == 0 { 60 } else { 0 };
        writeln!(text, "{moment},{load}").unwrap();
    }
    text
}

fn check(text: &str, arguments: &[&str], expected: Expect) {
    let printed = backtest(text, arguments);
    // What it cost is another every time.
    let steady = |line: &&str| !line.contains(" takes ") && !line.contains("_seconds\": ");
    let kept: Vec<_> = printed.lines().filter(steady).collect();
    expected.assert_eq(&(kept.join("\n") + "\n"));
}

#[test]
fn a_made_series_is_told_as_a_table() {
    check(
        &made(30),
        &["--slot", "1h"],
        expect![[r#"
            exit 0
            720 slots of 1h from 2026-11-01T00:00:00Z, 7 of them missing
            forecast             at each midnight for the next day, at a risk of 1 %
            counted              380 slots, after 14 days that are only learnt from
            capacity             467.50 requests/s

            method                       short  worst day  sold of spare  undelivered of sold  pinball loss  keeps the risk
            headroom                    1.84 %     4.35 %        82.29 %               0.28 %        0.9611  no
            slot maximum of 7 days     10.79 %    17.39 %        92.21 %               0.63 %        1.5451  no
            mean + 5 sd of 14 days      1.32 %     4.35 %        72.78 %               0.15 %        0.8869  no
            week before + quantile      1.58 %     4.35 %        77.16 %               0.31 %        1.0944  no
            mean of 7 days + quantile   1.58 %     4.35 %        78.41 %               0.20 %        0.8732  no

            No simple method keeps the risk.
        "#]],
    );
}

#[test]
fn an_hour_ahead_is_told_as_json() {
    check(
        &made(30),
        &["--slot", "1h", "--ahead", "1h", "--risk", "5 %", "--json"],
        expect![[r#"
        exit 0
        {
          "ahead": "1h",
          "baselines": {
            "mean_5_sd": {
              "keeps_the_risk": true,
              "pinball_loss": 3.4315,
              "short_share": 0.013158,
              "slots": 380,
              "sold_of_spare": 0.727844,
              "undelivered_of_sold": 0.001474,
              "worst_day_short_share": 0.043478
            },
            "mean_7d_quantile": {
              "keeps_the_risk": true,
              "pinball_loss": 1.963399,
              "short_share": 0.042105,
              "slots": 380,
              "sold_of_spare": 0.90899,
              "undelivered_of_sold": 0.004235,
              "worst_day_short_share": 0.086957
            },
            "slot_max_7d": {
              "keeps_the_risk": false,
              "pinball_loss": 2.273026,
              "short_share": 0.107895,
              "slots": 380,
              "sold_of_spare": 0.922149,
              "undelivered_of_sold": 0.006324,
              "worst_day_short_share": 0.173913
            },
            "week_naive_quantile": {
              "keeps_the_risk": true,
              "pinball_loss": 2.385921,
              "short_share": 0.042105,
              "slots": 380,
              "sold_of_spare": 0.871734,
              "undelivered_of_sold": 0.004352,
              "worst_day_short_share": 0.086957
            }
          },
          "beats_baselines": true,
          "capacity_requests_per_second": 467.5,
          "cost": {
            "forecast_slots": 24,
          },
          "keeps_the_risk": true,
          "learning_days": 14,
          "missing_slots": 7,
          "pinball_loss": 2.017862,
          "risk": 0.05,
          "short_share": 0.055263,
          "slots": 380,
          "sold_of_spare": 0.91211,
          "undelivered_of_sold": 0.004647,
          "worst_day_short_share": 0.130435
        }
    "#]],
    );
}

#[test]
fn the_drawing_has_both_panels_and_marks_shortages() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("fan.svg");
    let path = plot.display().to_string();
    let printed = backtest(&made(30), &["--slot", "1h", "--plot", &path]);
    assert!(printed.contains("fan.svg is drawn"), "{printed}");
    let drawing = fs::read_to_string(&plot).unwrap();
    for part in ["the busiest week of them", "2026-11-15", "requests/s", "<circle", "</svg>"] {
        assert!(drawing.contains(part), "{part}");
    }
    assert!(!drawing.contains("NaN"));
}

#[test]
fn every_mistake_of_a_file_is_told() {
    let head = "timestamp,requests_per_second\n";
    check(
        "time,load\n",
        &[],
        expect![[r#"
        exit 2
        error: cannot use load.csv: the first line is "time,load"; accepted is "timestamp,requests_per_second"
    "#]],
    );
    check(
        &format!(
            "{head}2026-11-01T00:00:00Z,1\nnoon,1\n2026-11-01T00:10:00Z,NaN\n\
             2026-11-01T00:15:00Z,-1\n2026-11-01T00:20:00Z\n2026-11-01T00:25:00Z,2e12\n"
        ),
        &[],
        expect![[r#"
            exit 2
            error: cannot use load.csv: line 3: "noon" is not a moment: failed to parse four digit integer as year: invalid digit, expected 0-9 but got n; accepted is RFC 3339 from 1970 on, such as "2026-11-22T18:00:00Z"
            line 4: "NaN" is not a load; accepted is a number from 0 to 1000000000000
            line 5: "-1" is not a load; accepted is a number from 0 to 1000000000000
            line 6: "2026-11-01T00:20:00Z" has no comma
            line 7: "2e12" is not a load; accepted is a number from 0 to 1000000000000
        "#]],
    );
    check(
        &format!(
            "{head}2026-11-01T00:05:00Z,1\n2026-11-01T00:05:00Z,1\n\n2026-11-01T00:00:00Z,1\n"
        ),
        &[],
        expect![[r#"
            exit 2
            error: cannot use load.csv: line 3: 2026-11-01T00:05:00Z was told in line 2; accepted are rising moments, each once
            line 5: 2026-11-01T00:00:00Z is before 2026-11-01T00:05:00Z in line 3; accepted are rising moments, each once
        "#]],
    );
    check(
        &made(12),
        &["--slot", "1h"],
        expect![[r#"
        exit 2
        error: cannot use load.csv: the series spans 12 days; at least 15 are needed: 14 to learn from, and one to count
    "#]],
    );
    check(
        head,
        &[],
        expect![[r#"
        exit 2
        error: cannot use load.csv: the series spans 0 days; at least 15 are needed: 14 to learn from, and one to count
    "#]],
    );
    check(
        &made(20),
        &[],
        expect![[r#"
        exit 2
        error: cannot use load.csv: the samples are 1h apart, so that most slots of 5m would be gaps; accepted is --slot 1h or more
    "#]],
    );
}

#[test]
fn wrong_arguments_are_told() {
    for (arguments, expected) in [
        (
            ["--slot", "7m"],
            expect![
                "error: invalid value '7m' for '--slot <DURATION>': it does not divide a day; accepted are whole parts of one, such as 5m, 15m or 1h"
            ],
        ),
        (
            ["--slot", "5"],
            expect![[
                r#"error: invalid value '5' for '--slot <DURATION>': the number has no unit; accepted is a duration from 5s to 1h in ms, s, m, h or d, such as "20s" or "1h30m""#
            ]],
        ),
        (
            ["--risk", "2"],
            expect![[
                r#"error: invalid value '2' for '--risk <RISK>': it is no risk; accepted is 0.000001 to 0.5, or "1 %""#
            ]],
        ),
        (
            ["--risk", "no"],
            expect![[
                r#"error: invalid value 'no' for '--risk <RISK>': it is no risk; accepted is 0.000001 to 0.5, or "1 %""#
            ]],
        ),
        (["--ahead", "2h"], expect!["error: invalid value '2h' for '--ahead <AHEAD>'"]),
    ] {
        expected.assert_eq(&backtest(&made(1), &arguments));
    }
}

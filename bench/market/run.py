#!/usr/bin/env python3
"""Measures the auction of a million bids on files; `make bench-market` runs it."""

import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "edge"))

import system

RESULTS = HERE.parent / "results"
MILLION = ["--regions", "100", "--slots", "288", "--bids", "1000000", "--seed", "1"]
ONE_REGION = ["--regions", "1", "--slots", "288", "--bids", "1000000", "--seed", "1"]
# What is measured: a title, the options it is generated with, and whether all limits are made one.
MARKETS = [
    ("divisible bids", MILLION, False),
    ("5 % flagged, three sellers", [*MILLION, "--flagged", "5", "--sellers", "3"], False),
    ("one region, every limit the same", ONE_REGION, True),
]


def run(command):
    """Wall and CPU seconds of a command, its peak of memory in MiB, and what it printed."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - start
    if process.returncode != 0:
        raise SystemExit(f"error: {' '.join(map(str, command))} exited with {process.returncode}\n{printed}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall": wall, "cpu": cpu, "mebibytes": usage.ru_maxrss / 1024, "printed": printed}


def one_price(folder):
    """Gives every bid the same limit."""
    path = folder / "bids.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row.rpartition(",")[0] + ",1000" for row in rows)]) + "\n")


def measure(headroom, rounds, folder):
    figures = []
    for title, options, level in MARKETS:
        market = folder / "market"
        run([headroom, "auction", "generate", *options, market])
        if level:
            one_price(market)
        rows = {"title": title, "options": " ".join(options), "clear": [], "verify": []}
        for _ in range(rounds):
            for command in ["clear", "verify"]:
                figure = run([headroom, "--json", "auction", command, market])
                told = json.loads(figure.pop("printed"))
                told["passed_over"] = count(told["passed_over"])
                rows[command].append(figure | {"told": told})
        if len({json.dumps(one["told"]) for one in rows["clear"]}) != 1:
            raise SystemExit(f"error: {title}: two clearings of the same files differ")
        figures.append(rows)
        print(f"{title}: {row(rows)}", file=sys.stderr)
    return figures


def count(passed_over):
    return len(passed_over) if isinstance(passed_over, list) else passed_over


def reclear(cargo):
    """What the measurement of one more bid says."""
    command = [cargo, "test", "--release", "--locked", "--package", "headroom-market", "--test", "scale",
               "one_more", "--", "--ignored", "--nocapture"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"one more order: (.*)", done.stderr)
    if done.returncode != 0 or not found:
        raise SystemExit(f"error: {' '.join(command)} failed\n{done.stderr}")
    return found[1]


def middle(figures, key):
    return median(figure[key] for figure in figures)


def row(rows):
    clear, verify = rows["clear"], rows["verify"]
    told = clear[0]["told"]
    return (f"| {rows['title']} | {middle(clear, 'wall'):.2f} | {middle(clear, 'cpu'):.2f} "
            f"| {middle(clear, 'mebibytes'):.0f} | {told['filled']:,} | {told['gap_millionths'] / 1e4:.4f} % "
            f"| {told['passed_over']:,} | {middle(verify, 'wall'):.2f} | {verify[0]['told']['violations']} |")


def report(figures, more, rounds, version):
    machine = system.describe()
    now = datetime.datetime.now(datetime.timezone.utc)
    virtual = ", a virtual machine" if machine["virtual"] else ""
    lines = [
        "# The auction of a million bids",
        "",
        "<!-- written by `make bench-market`; do not edit -->",
        "",
        f"{now:%Y-%m-%d %H:%M} UTC, {version}, {machine['processor']}, {machine['cores']} cores{virtual}, "
        f"Linux {machine['kernel']}. {rounds} rounds, medians. Times are those of the whole process: "
        "`headroom auction clear` starts, reads both files, clears, and writes the results.",
        "",
        "| market | clear, s | CPU, s | MiB | filled | gap | passed over | verify, s | violations |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row(rows) for rows in figures),
        "",
        f"One more order in a region of 10,000 orders and 288 slots, cleared again: {more}.",
        "",
        "## Commands",
        "",
        "```",
        *(f"headroom auction generate {rows['options']} market    # {rows['title']}" for rows in figures),
        "headroom auction clear market --json",
        "headroom auction verify market --json",
        "cargo test --release -p headroom-market --test scale one_more -- --ignored --nocapture",
        "```",
        "",
    ]
    RESULTS.joinpath("market.md").write_text("\n".join(lines))
    written = {"machine": machine, "at": f"{now:%Y-%m-%dT%H:%M:%SZ}", "markets": figures, "one_more": more}
    RESULTS.joinpath("market.json").write_text(json.dumps(written, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--headroom", type=Path, required=True, help="the program, built for release")
    parser.add_argument("--cargo", default="cargo", help="runs the measurement of one more bid")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    version = run([arguments.headroom, "--version"])["printed"].strip()
    with tempfile.TemporaryDirectory(prefix="headroom-bench-") as folder:
        figures = measure(arguments.headroom, arguments.rounds, Path(folder))
    report(figures, reclear(arguments.cargo), arguments.rounds, version)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures the name server beside NSD, Knot DNS, gdnsd and PowerDNS; `make bench-dns` runs it."""

import argparse
import datetime
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "edge"))

import name_servers
import system
from name_servers import (
    EDGES, FLOOR, GDNSD, HEADROOM, HEADROOM_SIGNED, KNOT, KNOT_SIGNED, KNOT_STEERED, NAMES, NSD,
    NSD_SIGNED, PDNS, SERVERS, Failed,
)

FIRST_PORT = 21_300
# Questions on their way at a time: enough that the server always has work.
OUTSTANDING = 200
CLIENTS = 16
# Family 1, 24 bits, scope 0, 10.0.1.0 (RFC 7871 §6).
SUBNET = "000118000a0001"
# The same in an OPT record (RFC 6891 §6.1.2), for our own client.
SUBNET_RECORD = "00002904d000000000000b00080007" + SUBNET
# Questions on their way at a time when more are asked than can be answered.
OUTSTANDING_SATURATED = 512
# Of how many steered names it is measured what a look-up takes, and how many of them are asked for.
SCALES = [1_000, 1_000_000]


class Work:
    """Questions of one kind, and who is asked."""

    def __init__(self, key, title, name, client_options, asked, names=NAMES, saturates=False):
        self.key, self.title, self.name = key, title, name
        self.client_options, self.asked, self.names = client_options, asked, names
        self.saturates = saturates

    def write(self, path):
        """A few names of many are asked for, from all over, so that only the look-up differs."""
        asked = min(self.names, NAMES, SCALES[0] if self.names in SCALES else NAMES)
        names = (f"{self.name(number * 7919 % asked * (self.names // asked))} A\n"
                 for number in range(asked))
        path.write_text("".join(names))

    def is_answered(self, server):
        """Whether the last name leads where it should."""
        if server is FLOOR:
            return True
        is_steered, is_signed = "-E" in self.client_options, "-D" in self.client_options
        option = bytes.fromhex("00080007" + SUBNET) if is_steered else b""
        expected = set(EDGES) if is_steered else {name_servers.address(NAMES - 1)}
        found = server.asked(self.name(self.names - 1), option, is_signed)
        return len(found) == 1 and found[0] in expected


STATIC = Work("static", f"Static A answers, {NAMES:,} names", name_servers.static_name, [],
              [HEADROOM, NSD, KNOT, GDNSD, FLOOR])
STEERED = Work("steered", f"Steered A answers with a client subnet, {NAMES:,} names",
               name_servers.steered_name, ["-E", f"8:{SUBNET}"], [HEADROOM, GDNSD, KNOT_STEERED, PDNS])
# With DO, as resolvers ask.
SIGNED = Work("signed", f"Static A answers with signatures, {NAMES:,} names",
              name_servers.static_name, ["-D"], [HEADROOM_SIGNED, NSD_SIGNED, KNOT_SIGNED])
SIGNED_STEERED = Work("signed-steered",
                      f"Steered A answers with a client subnet and signatures, {NAMES:,} names",
                      name_servers.steered_name, ["-D", *STEERED.client_options],
                      [HEADROOM_SIGNED])
# By our own client, as dnsperf is slower than the servers.
STATIC_SATURATED = Work("static-saturated", "At saturation: static A answers", STATIC.name, [],
                        list(STATIC.asked), saturates=True)
STEERED_SATURATED = Work("steered-saturated",
                         "At saturation: steered A answers with a client subnet", STEERED.name,
                         STEERED.client_options, [HEADROOM, GDNSD, KNOT_STEERED], saturates=True)
WORKS = [STATIC, STEERED, SIGNED, SIGNED_STEERED, STATIC_SATURATED, STEERED_SATURATED]
MANY = [Work(f"names-{names}", f"{names:,} steered names", name_servers.delegated_name,
             STEERED.client_options, [name_servers.steered_only(names)], names)
        for names in SCALES]


def saturate(server, work, questions, seconds):
    """Asks for more than can be answered, from core 1."""
    record = [SUBNET_RECORD] if work.client_options else []
    command = ["taskset", "-c", "1", str(questions.with_name("saturate")), str(server.port),
               str(questions), str(seconds), str(OUTSTANDING_SATURATED), *record]
    before = sum(system.cpu_seconds(server.process.pid))
    done = subprocess.run(command, capture_output=True, text=True)
    cpu = sum(system.cpu_seconds(server.process.pid)) - before
    said = dict(line.split() for line in done.stdout.splitlines())
    if done.returncode or not int(said["answered"]) or int(said["refused"]):
        raise Failed(f"{server.title}, {' '.join(command)}:\n{done.stdout}{done.stderr}")
    answered, took = int(said["answered"]), float(said["seconds"])
    return {
        "answered": answered,
        "lost": int(said["lost"]),
        "rate": answered / took,
        "cpu_us": cpu / answered * 1e6,
        "core": cpu / took,
    }


def load(server, work, questions, seconds):
    """Asks as fast as answers come, from core 1."""
    if work.saturates:
        return saturate(server, work, questions, seconds)
    command = ["taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(server.port),
               "-d", str(questions), "-l", str(seconds), "-c", str(CLIENTS), "-T", "1",
               "-q", str(OUTSTANDING), *work.client_options]
    before = sum(system.cpu_seconds(server.process.pid))
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    took = time.monotonic() - start
    cpu = sum(system.cpu_seconds(server.process.pid)) - before
    read = lambda pattern: re.search(pattern, done.stdout)
    answered = read(r"Queries completed:\s+(\d+)")
    if done.returncode or not answered or not int(answered[1]):
        raise Failed(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    codes = read(r"Response codes:\s+(.*)")[1]
    if not codes.startswith("NOERROR") or "," in codes:
        raise Failed(f"{server.title} answered {codes}")
    answered = int(answered[1])
    return {
        "answered": answered,
        "lost": int(read(r"Queries lost:\s+(\d+)")[1]),
        "rate": float(read(r"Queries per second:\s+([\d.]+)")[1]),
        "cpu_us": cpu / answered * 1e6,
        "core": cpu / took,
    }


def rounds(options, works, files, ports, folder):
    """Starts who is asked, and asks all in turn; the figures of each round, by work and server."""
    servers = list(dict.fromkeys(server for work in works for server in work.asked))
    runs = {work.key: {server.name: [] for server in work.asked} for work in works}
    started = {}
    try:
        for server in servers:
            asked = [work for work in works if server in work.asked]
            begin = time.monotonic()
            server.start(folder, next(ports), options.headroom,
                         lambda server: all(work.is_answered(server) for work in asked))
            started[server.name] = {
                "seconds": time.monotonic() - begin,
                "bytes": system.memory_bytes(server.process.pid),
            }
        for work in works:
            for server in work.asked:
                load(server, work, files[work.key], 1)
        for number in range(options.rounds):
            for work in works:
                turn = number % len(work.asked)
                for server in work.asked[turn:] + work.asked[:turn]:
                    figures = load(server, work, files[work.key], options.seconds)
                    runs[work.key][server.name].append(figures)
                    print(f"round {number + 1}  {work.key:17} {server.name:16} "
                          f"{figures['cpu_us']:6.2f} us/answer {figures['rate']:9.0f}/s  "
                          f"core {figures['core']:.0%}  lost {figures['lost']}", flush=True)
        saturated = system_calls(HEADROOM, files[STATIC.key]) if HEADROOM in servers else None
    finally:
        for server in servers:
            server.stop()
    return runs, started, saturated


def system_calls(server, questions):
    """System calls per answer when there is always more to answer: tracing makes the server the
    slower part."""
    command = ["strace", "-f", "-c", "-qq", "-p", str(server.process.pid)]
    with tempfile.TemporaryFile("w+") as said:
        tracer = subprocess.Popen(command, stderr=said, stdin=subprocess.DEVNULL)
        time.sleep(0.5)
        figures = load(server, STATIC, questions, 2)
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
        said.seek(0)
        table = said.read()
    total = re.search(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)(?:\s+\d+)?\s+total", table, re.M)
    if not total:
        raise Failed(f"strace said:\n{table}")
    return int(total[1]) / figures["answered"]


def measure(options, folder):
    """The figures of each round, by work and server, and what else was measured."""
    files = {work.key: folder / f"{work.key}.questions" for work in WORKS + MANY}
    for work in WORKS + MANY:
        work.write(files[work.key])
    subprocess.run(["gcc", "-O2", "-o", folder / "saturate", HERE / "saturate.c"], check=True)
    ports = itertools.count(FIRST_PORT)
    runs, _, saturated = rounds(options, WORKS, files, ports, folder)
    many, started, _ = rounds(options, MANY, files, ports, folder)
    return {**runs, **many}, {"system_calls": saturated, "started": started}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--headroom", type=Path, required=True, help="the release build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load")
    parser.add_argument("--output", type=Path, help="instead of bench/results/dns.md")
    parser.add_argument("--nsd", type=Path, help="another build of NSD, to be compared as well")
    options = parser.parse_args()
    options.headroom = options.headroom.resolve()
    if options.nsd:
        other = name_servers.nsd_at(options.nsd.resolve())
        SERVERS.append(other)
        for work in [STATIC, STATIC_SATURATED]:
            work.asked.insert(2, other)
    if not options.headroom.is_file():
        parser.error(f"{options.headroom} is not there: cargo build --release -p headroom")
    return options


class Figures:
    """Medians over the rounds."""

    def __init__(self, runs, beside):
        self.runs, self.beside = runs, beside

    def of(self, work, server, key):
        return median(one[key] for one in self.runs[work.key][server.name])

    def of_names(self):
        """Of the steered names alone: a look-up among many against one among few, octets each, and
        the time until the first answer."""
        few, many = MANY
        ratio = self.of(many, many.asked[0], "cpu_us") / self.of(few, few.asked[0], "cpu_us")
        started = [self.beside["started"][work.asked[0].name] for work in MANY]
        each = (started[1]["bytes"] - started[0]["bytes"]) / (SCALES[1] - SCALES[0])
        return ratio, each, started[1]["seconds"]

    def table(self, work):
        rows = ["| server | CPU µs/answer | answers/s | core in use | lost |", "|---|---|---|---|---|"]
        for server in work.asked:
            lost = sum(one["lost"] for one in self.runs[work.key][server.name])
            rows.append(f"| {server.title} | {self.of(work, server, 'cpu_us'):.2f} | "
                        f"{self.of(work, server, 'rate'):,.0f} | "
                        f"{self.of(work, server, 'core'):.0%} | {lost} |")
        return rows

    def targets(self):
        """What is compared, the ratio, its target, and whether less is better."""
        cpu = lambda work, server: self.of(work, server, "cpu_us")
        rate = lambda server: self.of(STATIC_SATURATED, server, "rate")
        peers = [server for server in STATIC.asked if server not in (HEADROOM, FLOOR)]
        best = min(peers, key=lambda server: cpu(STATIC, server))
        fastest = max(peers, key=rate)
        ours = cpu(STEERED, HEADROOM)
        ratio, each, seconds = self.of_names()
        return [
            (f"static, CPU against {best.title}", cpu(STATIC, HEADROOM) / cpu(STATIC, best), 0.9, True),
            (f"static, answers/s at saturation against {fastest.title}", rate(HEADROOM) / rate(fastest), 1.1, False),
            ("steered, CPU against our static answers", ours / cpu(STATIC, HEADROOM), 1.1, True),
            ("steered, CPU against gdnsd", ours / cpu(STEERED, GDNSD), 0.8, True),
            ("steered, CPU against Knot DNS", ours / cpu(STEERED, KNOT_STEERED), 0.8, True),
            ("steered, CPU against PowerDNS", ours / cpu(STEERED, PDNS), 0.1, True),
            ("signed static, CPU against unsigned",
             cpu(SIGNED, HEADROOM_SIGNED) / cpu(STATIC, HEADROOM), 1.15, True),
            ("signed steered, CPU against unsigned", cpu(SIGNED_STEERED, HEADROOM_SIGNED) / ours,
             1.15, True),
            ("system calls per answer at saturation", self.beside["system_calls"], 0.15, True),
            (f"CPU with {SCALES[1]:,} steered names against {SCALES[0]:,}", ratio, 1.3, True),
            (f"octets of memory for each of {SCALES[1]:,} steered names", each, 400, True),
            (f"seconds from the start to an answer with {SCALES[1]:,} steered names", seconds, 10,
             True),
        ]


def report(options, runs, beside):
    machine = system.describe()
    figures = Figures(runs, beside)
    sections = []
    for work in WORKS + MANY:
        sections += [f"## {work.title}", "", *figures.table(work), ""]
    rows = ["| ratio | measured | target | |", "|---|---|---|---|"]
    for title, ratio, target, less in figures.targets():
        met = ratio <= target if less else ratio >= target
        rows.append(f"| {title} | {ratio:.2f} | {'≤' if less else '≥'} {target} | "
                    f"{'met' if met else '**missed**'} |")
    versions = [f"- {server.title}: `{version(server, options.headroom)}`" for server in SERVERS]
    return "\n".join([
        "# The name server beside NSD, Knot DNS, gdnsd and PowerDNS", "",
        "<!-- written by `make bench-dns`; do not edit -->", "",
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, "
        f"{machine['processor']}, {machine['cores']} cores"
        f"{', a virtual machine' if machine['virtual'] else ''}, Linux {machine['kernel']}. "
        f"{options.rounds} rounds of {options.seconds} s, in turn, medians; server on core 0 with "
        f"one thread for datagrams, dnsperf on core 1 ({CLIENTS} clients, {OUTSTANDING} questions "
        "at a time).", "",
        *sections, "## Against the targets", "", *rows, "",
        "Not measured yet: several client subnets in one run.", "",
        "## Versions", "", *versions, "",
    ])


def version(server, headroom):
    command = [part.format(headroom=headroom, dir="") for part in server.version]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().split("\n")
    return next((line for line in lines if re.search(r"\d\.\d", line)), lines[0]).strip()


def main():
    options = parse()
    with tempfile.TemporaryDirectory(prefix="bench-dns-", dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        runs, beside = measure(options, Path(folder))
    text = report(options, runs, beside)
    target = options.output or HERE.parent / "results" / "dns.md"
    target.write_text(text)
    figures = json.dumps({"runs": runs, **beside}, indent=1)
    target.with_suffix(".json").write_text(figures + "\n")
    print(f"\n{text}\nwritten to {os.path.relpath(target)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(str(failed))

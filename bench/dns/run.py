#!/usr/bin/env python3
"""Measures the name server beside NSD and Knot DNS; `make bench-dns` runs it."""

import argparse
import datetime
import json
import os
import re
import signal
import socket
import struct
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

NAMES = 10_000
FIRST_PORT = 21_300
START_SECONDS = 20
# Questions on their way at a time: enough that the server always has work.
OUTSTANDING = 200
CLIENTS = 16
TARGET_CPU, TARGET_RATE = 0.9, 1.1


class Failed(Exception):
    """A server or a client did not do what it should; the text says what."""


class Server:
    """A name server in a folder of its own, on core 0."""

    def __init__(self, name, title, config, command, version):
        self.name, self.title, self.config = name, title, config
        self.command, self.version = command, version
        self.process = None

    def start(self, folder, port, headroom):
        self.folder, self.port = folder / self.name, port
        self.folder.mkdir()
        write_zone(self.folder / "bench.zone")
        text = (HERE / "peers" / self.config).read_text()
        for key, value in {"DIR": self.folder, "PORT": port}.items():
            text = text.replace(f"@{key}@", str(value))
        (self.folder / self.config).write_text(text)
        command = [part.format(dir=self.folder, headroom=headroom) for part in self.command]
        with open(self.folder / "output.log", "w") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", "0", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            if self.answers():
                return
            time.sleep(0.1)
        self.stop()
        raise Failed(f"{self.title} does not start:\n{(self.folder / 'output.log').read_text()}")

    def answers(self):
        """True if the address of the last name comes back."""
        question = b"".join(bytes([len(part)]) + part for part in last_name().encode().split(b"."))
        query = struct.pack(">6H", 1, 0, 1, 0, 0, 0) + question + b"\0\0\1\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.2)
            try:
                client.sendto(query, ("127.0.0.1", self.port))
                answer = client.recv(4096)
            except OSError:
                return False
        return answer[3] & 15 == 0 and socket.inet_aton(address(NAMES - 1)) in answer

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                # Its own process group: nobody else is in it.
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


SERVERS = [
    Server("headroom", "Headroom", "headroom.toml",
           ["{headroom}", "dns", "--config", "{dir}/headroom.toml", "--id", "ns1"],
           ["{headroom}", "--version"]),
    Server("nsd", "NSD", "nsd.conf", ["nsd", "-d", "-c", "{dir}/nsd.conf"], ["nsd", "-v"]),
    Server("knot", "Knot DNS", "knot.conf", ["knotd", "-c", "{dir}/knot.conf"], ["knotd", "-V"]),
]


def address(number):
    return f"192.0.{number // 250 % 250}.{number % 250 + 1}"


def last_name():
    return f"host{NAMES - 1}.bench.example"


def write_zone(path):
    lines = ["$ORIGIN bench.example.", "@ 3600 SOA ns1 admin 1 3600 600 604800 60",
             "@ 3600 NS ns1", "ns1 3600 A 127.0.0.1"]
    lines += [f"host{number} 300 A {address(number)}" for number in range(NAMES)]
    path.write_text("\n".join(lines) + "\n")


def load(server, questions, seconds):
    """Asks as fast as answers come, from core 1."""
    command = ["taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(server.port),
               "-d", str(questions), "-l", str(seconds), "-c", str(CLIENTS), "-T", "1",
               "-q", str(OUTSTANDING)]
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


def main():
    options = parse()
    with tempfile.TemporaryDirectory(prefix="bench-dns-", dir="/dev/shm") as folder:
        folder = Path(folder)
        folder.chmod(0o755)
        questions = folder / "questions"
        names = [f"host{number * 7919 % NAMES}.bench.example A" for number in range(NAMES)]
        questions.write_text("\n".join(names) + "\n")
        runs = {server.name: [] for server in SERVERS}
        try:
            for number, server in enumerate(SERVERS):
                server.start(folder, FIRST_PORT + number, options.headroom)
            for server in SERVERS:
                load(server, questions, 1)
            for number in range(options.rounds):
                for server in SERVERS[number % 3:] + SERVERS[:number % 3]:
                    figures = load(server, questions, options.seconds)
                    runs[server.name].append(figures)
                    print(f"round {number + 1}  {server.name:9} {figures['cpu_us']:5.2f} us/answer "
                          f"{figures['rate']:9.0f}/s  core {figures['core']:.0%}  "
                          f"lost {figures['lost']}", flush=True)
        finally:
            for server in SERVERS:
                server.stop()
    text = report(options, runs)
    target = options.output or HERE.parent / "results" / "dns.md"
    target.write_text(text)
    target.with_suffix(".json").write_text(json.dumps(runs, indent=1) + "\n")
    print(f"\n{text}\nwritten to {os.path.relpath(target)}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--headroom", type=Path, required=True, help="the release build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument("--output", type=Path, help="instead of bench/results/dns.md")
    options = parser.parse_args()
    options.headroom = options.headroom.resolve()
    if not options.headroom.is_file():
        parser.error(f"{options.headroom} is not there: cargo build --release -p headroom")
    return options


def report(options, runs):
    machine = system.describe()
    middle = {name: {key: median(one[key] for one in held) for key in ["cpu_us", "rate", "core"]}
              for name, held in runs.items()}
    ours = middle["headroom"]
    best = min((server for server in SERVERS[1:]), key=lambda one: middle[one.name]["cpu_us"])
    fastest = max(middle[server.name]["rate"] for server in SERVERS[1:])
    cpu, rate = ours["cpu_us"] / middle[best.name]["cpu_us"], ours["rate"] / fastest
    verdict = lambda met: "met" if met else "**missed**"
    rows = ["| server | CPU µs/answer | answers/s | core in use | lost |", "|---|---|---|---|---|"]
    for server in SERVERS:
        one = middle[server.name]
        lost = sum(run["lost"] for run in runs[server.name])
        rows.append(f"| {server.title} | {one['cpu_us']:.2f} | {one['rate']:,.0f} | "
                    f"{one['core']:.0%} | {lost} |")
    versions = [f"- {server.title}: `{version(server, options.headroom)}`" for server in SERVERS]
    return "\n".join([
        "# The name server beside NSD and Knot DNS", "",
        "<!-- written by `make bench-dns`; do not edit -->", "",
        f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, "
        f"{machine['processor']}, {machine['cores']} cores"
        f"{', a virtual machine' if machine['virtual'] else ''}, Linux {machine['kernel']}. "
        f"{options.rounds} rounds of {options.seconds} s, in turn, medians; server on core 0 with "
        f"one thread for datagrams, dnsperf on core 1 ({CLIENTS} clients, {OUTSTANDING} questions "
        "at a time).", "",
        f"## Static A answers, {NAMES:,} names", "", *rows, "",
        f"CPU per answer against the best peer ({best.title}): {cpu:.2f} (≤ {TARGET_CPU}): "
        f"{verdict(cpu <= TARGET_CPU)}. Answers/s against the fastest: {rate:.2f} "
        f"(≥ {TARGET_RATE}): {verdict(rate >= TARGET_RATE)}.", "",
        "Not measured yet: gdnsd, PowerDNS, steered and signed answers, a bare echo as the floor.",
        "", "## Versions", "", *versions, "",
    ])


def version(server, headroom):
    command = [part.format(headroom=headroom, dir="") for part in server.version]
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().split("\n")[0]


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(str(failed))

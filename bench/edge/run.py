#!/usr/bin/env python3
"""Compares the edge with nginx, HAProxy and Varnish on this machine: see README.md beside this.

    run.py --headroom target/release/headroom [--rounds 5] [--seconds 2] [--only hit-1k,h2-1]
"""

import argparse
import datetime
import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True

import memory
import report
import servers
import system
import works
from servers import HERE, HOST, Failed

# nginx, HAProxy and Varnish stand there.
os.environ["PATH"] += ":/usr/sbin:/sbin"

DESCRIPTORS = 60_000
# The edge keeps a descriptor for the origin beside each visitor's, and some for itself.
DESCRIPTORS_PER_CONNECTION = 2
DESCRIPTORS_FOR_ITSELF = 1_000
CONNECTIONS = 10_000
OBJECTS = 1_000_000
PARTS = ["cores", "objects", "tls"]


class Bench:
    """What all parts of a run share: a folder in memory, tools, certificates, the origin."""

    def __init__(self, headroom):
        self.headroom = headroom
        in_memory = Path("/dev/shm")
        parent = in_memory if in_memory.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="bench-edge-", dir=parent))
        # nginx's workers are nobody.
        self.folder.chmod(0o755)
        self.certificates = self.folder / "certificates"
        self.running = []
        self.origin = None

    def __enter__(self):
        try:
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _prepare(self):
        for name in ["floor", "fill"]:
            source, target = HERE / f"{name}.c", self.tool(name)
            subprocess.run(["gcc", "-O2", "-o", str(target), str(source)], check=True)
        self._certify()
        self.origin = Origin(self, "1")
        self.origin_port = self.origin.port
        self.start(self.origin)

    def __exit__(self, *_):
        for server in reversed(self.running):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def tool(self, name):
        return self.folder / name

    def start(self, server):
        self.running.append(server)
        return server.start()

    def _certify(self):
        """A certificate for the host and its key, in a folder of its name, and in one file."""
        folder = self.certificates / HOST
        folder.mkdir(parents=True)
        self.certificate = folder / "fullchain.pem"
        self.key = folder / "privkey.pem"
        self.certificate_and_key = self.folder / "both.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
                *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={HOST}"),
                *("-addext", f"subjectAltName=DNS:{HOST}"),
                *("-keyout", str(self.key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        both = self.certificate.read_text() + self.key.read_text()
        self.certificate_and_key.write_text(both)


class Origin(servers.Floor):
    name, title = "origin", "origin"


def main():
    options = parse()
    allow_descriptors()
    results = {
        "machine": system.describe(),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "load_before": system.load_average(),
        "works": {},
    }
    # So that the servers are stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: told to end"))
    try:
        with Bench(options.headroom) as bench:
            measure(bench, options, results)
    except Failed as error:
        sys.exit(f"error: {error}")
    results["load_after"] = system.load_average()
    folder = HERE.parent / "results"
    folder.mkdir(exist_ok=True)
    target = options.output or folder / "edge.md"
    target.write_text(report.write(results))
    target.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    print(report.summary(results))
    print(f"\nwritten to {os.path.relpath(target)}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--headroom", type=Path, required=True, help="the release build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load")
    parser.add_argument("--objects", type=int, default=OBJECTS)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--output", type=Path, help="instead of bench/results/edge.md")
    keys = [work.key for work in works.WORKS] + PARTS
    parser.add_argument("--only", default=",".join(keys), help=f"of {', '.join(keys)}")
    options = parser.parse_args()
    options.only = options.only.split(",")
    options.headroom = options.headroom.resolve()
    if unknown := set(options.only) - set(keys):
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(keys)}")
    if not options.headroom.is_file():
        parser.error(f"{options.headroom} is not there: cargo build --release -p headroom")
    if os.cpu_count() < 2:
        parser.error("two cores are needed: one for the server, one for the client")
    return options


def allow_descriptors():
    """As many files as are wanted, or as the system gives."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else max(most, DESCRIPTORS)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def connections_allowed():
    """How many connections the limit of descriptors has room for, in hundreds."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = (descriptors - DESCRIPTORS_FOR_ITSELF) // DESCRIPTORS_PER_CONNECTION
    return max(100, room // 100 * 100)


def core_pairs(bench):
    """Servers with one thread and with two."""
    pairs = []
    for kind in [servers.Headroom, servers.Nginx]:
        pair = [bench.start(kind(bench, cores, threads=threads))
                for cores, threads in [("0", 1), ("0,1", 2)]]
        for server in pair:
            server.get("/1k")
        pairs.append(pair)
    return pairs


def stop_all(groups):
    """Stops all servers of all `groups`. Nothing is left."""
    for server in [server for group in groups for server in group]:
        server.stop()
    return []


def measure(bench, options, results):
    running = {kind.name: bench.start(kind(bench, "0")) for kind in servers.ALL}
    results["versions"] = {name: server.version() for name, server in running.items()}
    places = {str(bench.folder): "DIR", str(bench.headroom): "headroom"}
    results["commands"] = {name: command(server, places) for name, server in running.items()}
    results["titles"] = {name: server.title for name, server in running.items()}
    headroom_tls = speaks_http2(running["headroom"])
    chosen = [work for work in works.WORKS if work.key in options.only]
    for work in chosen:
        names = [name for name in work.servers
                 if name != "headroom" or headroom_tls or not work.key.startswith("h2")]
        heads = {name: works.verify(bench, running[name], work) for name in names}
        results["works"][work.key] = {"heads": heads, "runs": {name: [] for name in names}}
    full = {}
    for name in {name for work in chosen if work.full for name in work.servers}:
        full[name] = type(running[name])(bench, "0", cache_mib=works.FULL_CACHE_MIB)
        print(f"filling the cache of {name}", flush=True)
        works.fill_cache(bench.start(full[name]))
    pairs = core_pairs(bench) if "cores" in options.only else []
    groups = [] if works.has_spare_cores() else [works.limit_cores(pair) for pair in pairs]
    groups = [group for pair in groups for group in pair]
    if None in groups:
        print("cores     left out: the client has no cores of its own here, and servers can be "
              "limited by a control group only as root")
        pairs = stop_all(pairs)
    results["cores"] = {one.name: [] for one, _ in pairs}
    for number in range(options.rounds):
        for work in chosen:
            runs = results["works"][work.key]["runs"]
            for name in turn(list(runs), number):
                unique = f"{os.getpid()}-{number}-{name}"
                server = full[name] if work.full else running[name]
                figures = work.run(server, options.seconds, unique)
                runs[name].append(figures)
                say(number, work.key, name, figures)
        for one, two in turn(pairs, number):
            figures = works.cores((one, two), options.seconds)
            results["cores"][one.name].append(figures)
            say(number, "cores", one.name, figures[1])
    stop_all([running.values(), full.values(), *pairs])
    for group in filter(None, groups):
        group.rmdir()
    if "objects" in options.only:
        results["object_count"] = options.objects
        results["objects"] = {}
        for kind in memory.OBJECT_KINDS:
            held = memory.objects(bench, kind, options.objects)
            results["objects"][kind.name] = held
            print(f"objects  {kind.name:9} {held['each']:7.0f} bytes each, "
                  f"{held['kept']:.1%} kept, {held['seconds']:.0f} s", flush=True)
    if "tls" in options.only:
        count = min(options.connections, connections_allowed())
        results["connection_count"] = count
        results["tls"] = {"http/1.1": {}, "h2": {}}
        for protocol, by_server in results["tls"].items():
            for kind in memory.TLS_KINDS:
                if kind is servers.Headroom and not headroom_tls:
                    continue
                held = memory.idle_tls(bench, kind, count, protocol)
                by_server[kind.name] = held
                print(f"tls      {kind.name:9} {protocol}: {held}", flush=True)


def command(server, places):
    """How a server was started, without the names of this machine's folders."""
    line = " ".join(["taskset -c 0", *server.command()])
    for place, name in places.items():
        line = line.replace(place, name)
    return line


def speaks_http2(server):
    """Whether this version of a server speaks HTTP/2 over TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        plain = socket.create_connection(("127.0.0.1", server.tls_port), 5)
        with context.wrap_socket(plain, server_hostname=HOST) as connection:
            return connection.selected_alpn_protocol() == "h2"
    except OSError:
        return False


def turn(some, number):
    """`some`, begun with another in each round."""
    if not some:
        return some
    at = number % len(some)
    return some[at:] + some[:at]


def say(number, key, name, figures):
    print(
        f"round {number + 1}  {key:13} {name:9} {figures['cpu_us']:8.2f} us/request "
        f"{figures['rate']:9.0f} req/s  p99 {figures['p99_ms']:7.2f} ms  "
        f"core {figures['core']:4.0%}  strangers {figures['strangers']:4.0%}",
        flush=True,
    )


if __name__ == "__main__":
    main()

"""The name servers that are measured, each with its configuration and its zone."""

import datetime
import json
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAMES = 10_000
HOSTS_PER_SITE = 100
START_SECONDS = 60
SOA = ["$ORIGIN bench.example.", "@ 3600 SOA ns1 admin 1 3600 600 604800 60",
       "@ 3600 NS ns1", "ns1 3600 A 127.0.0.1"]
# The edges of the clients in 10.0.0.0/8, with their weights.
EDGES = {"192.0.2.1": 2, "192.0.2.2": 1, "192.0.2.3": 1, "192.0.2.4": 1}


class Failed(Exception):
    """A server or a client did not do what it should; the text says what."""


def address(number):
    return f"192.0.{number // 250 % 250}.{number % 250 + 1}"


def static_name(number):
    return f"host{number}.bench.example"


def steered_name(number):
    return f"steered{number}.bench.example"


class Server:
    """A name server in a folder of its own, on core 0, with one thread for datagrams."""

    def __init__(self, name, title, config, command, version, prepare, sign=None):
        self.name, self.title, self.config = name, title, config
        self.command, self.version, self.prepare = command, version, prepare
        # What makes its keys or signs its zone, if it needs that.
        self.sign = sign
        self.process = None

    def start(self, folder, port, headroom, is_up):
        """Starts it; it has when `is_up` says so of it."""
        self.folder, self.port = folder / self.name, port
        self.folder.mkdir()
        if self.config:
            text = (HERE / "peers" / self.config).read_text()
            for key, value in {"DIR": self.folder, "PORT": port}.items():
                text = text.replace(f"@{key}@", str(value))
            (self.folder / self.config).write_text(text)
        self.prepare(self.folder)
        filled = lambda command: [part.format(dir=self.folder, headroom=headroom, port=port)
                                  for part in command]
        if self.sign:
            subprocess.run(filled(self.sign), check=True, stdout=subprocess.DEVNULL)
        command = filled(self.command)
        with open(self.folder / "output.log", "w") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", "0", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            if is_up(self):
                return
            time.sleep(0.02)
        self.stop()
        raise Failed(f"{self.title} does not start:\n{(self.folder / 'output.log').read_text()}")

    def asked(self, name, options=b"", signed=False):
        """The addresses it has for `name`; none if it does not answer, or not with signatures if
        these are asked for."""
        question = b"".join(bytes([len(part)]) + part for part in name.encode().split(b"."))
        query = struct.pack(">6H", 1, 0, 1, 0, 0, 1) + question + b"\0\0\1\0\1"
        query += struct.pack(">BHHIH", 0, 41, 1232, 0x8000 if signed else 0, len(options)) + options
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.1)
            try:
                client.sendto(query, ("127.0.0.1", self.port))
                answer = client.recv(4096)
            except OSError:
                return []
        # RRSIG, of class IN.
        if signed and bytes([0, 46, 0, 1]) not in answer:
            return []
        known = {address(NAMES - 1), *EDGES}
        return [one for one in known if socket.inet_aton(one) in answer[12 + len(question) + 5:]]

    def stop(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                # Its own process group: nobody else is in it.
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def write_zone(path, steered=None):
    """The zone with the static names, and the steered ones as `steered` writes their data."""
    lines = SOA + [f"host{number} 300 A {address(number)}" for number in range(NAMES)]
    if steered:
        lines += [f"steered{number} 20 {steered}" for number in range(NAMES)]
    path.write_text("\n".join(lines) + "\n")


def zone_file(folder):
    write_zone(folder / "bench.zone")


def headroom_files(folder):
    """A hundred sites of a hundred names each, laid over the zone; all have bought enough."""
    write_zone(folder / "bench.zone", steered="A 198.51.100.1")
    write_plan(folder, [[steered_name(number) for number in range(site, NAMES, HOSTS_PER_SITE)]
                        for site in range(NAMES // HOSTS_PER_SITE)])


def headroom_signed_files(folder):
    headroom_files(folder)
    with open(folder / "headroom.toml", "a") as config:
        config.write('\n[dns.dnssec]\nfolder = "keys"\n')


def knot_signed_files(folder):
    zone_file(folder)
    with open(folder / "knot.conf", "a") as config:
        config.write("    dnssec-signing: on\n")


def write_plan(folder, hosts_by_site):
    """A plan in which every site has bought enough of one region with four edges."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    written = lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    contract = {
        "region": "east",
        "from": written(now - datetime.timedelta(minutes=1)),
        "until": written(now + datetime.timedelta(days=30)),
        "requests": "1000 req/s",
        "egress": "1 Gbit/s",
        "class": "firm",
    }
    sites = [{
        "id": f"site-{site}",
        "purchaser": "bench",
        "hosts": hosts,
        "origins": ["127.0.0.1:8080"],
        "remainder": {"policy": "return-addresses", "addresses": ["198.51.100.1"]},
        "over_share": "redirect",
        "fallback": "origin.bench.example",
        "entitlements": [{"contract": f"contract-{site}", **contract}],
    } for site, hosts in enumerate(hosts_by_site)]
    edges = [{"id": f"east-{at}", "addresses": [edge], "healthy": True}
             for at, edge in enumerate(EDGES, 1)]
    (folder / "plan.json").write_text(json.dumps({
        "generation": 1,
        "made_at": written(now),
        "zone": "cdn.example",
        "name_servers": [{"id": "ns1", "host": "ns1.cdn.example", "addresses": ["127.0.0.1"]}],
        "ttl_seconds": 20,
        "default_region": "west",
        "regions": [
            {"id": "east", "client_prefixes": ["10.0.0.0/8"], "edges": edges},
            {"id": "west", "client_prefixes": ["172.16.0.0/12"], "edges": [
                {"id": "west-1", "addresses": ["192.0.2.9"], "healthy": True}]},
        ],
        "sites": sites,
    }))


def gdnsd_files(folder):
    (folder / "config").write_text((folder / "gdnsd.conf").read_text())
    for name in ["zones", "run", "state"]:
        (folder / name).mkdir()
    write_zone(folder / "zones" / "bench.example", steered="DYNA geoip!steered")


def knot_steered_files(folder):
    zone_file(folder)
    first = next(iter(EDGES))
    names = (f"{steered_name(number)}:\n  - net: 10.0.0.0/8\n    A: {first}\n"
             f"  - net: 172.16.0.0/12\n    A: 192.0.2.9\n" for number in range(NAMES))
    (folder / "geo.conf").write_text("".join(names))


def pdns_files(folder):
    chosen = ", ".join(f"{{{weight}, '{edge}'}}" for edge, weight in EDGES.items())
    script = (f"; if netmask({{'10.0.0.0/8'}}) then return pickwhashed({{ {chosen} }}) "
              "else return '192.0.2.9' end")
    write_zone(folder / "bench.zone", steered=f'LUA A "{script}"')
    (folder / "named.conf").write_text(
        f'zone "bench.example" {{ type master; file "{folder}/bench.zone"; }};\n')


def floor_files(folder):
    subprocess.run(["gcc", "-O2", "-o", folder / "floor", HERE / "floor.c"], check=True)


def steered_only(names):
    """Ours with so many steered names, each delegated to it, and no zone."""
    def files(folder):
        write_zone(folder / "bench.zone")
        write_plan(folder, [[delegated_name(number) for number in range(first, first + HOSTS_PER_SITE)]
                            for first in range(0, names, HOSTS_PER_SITE)])
    return Server(f"headroom-{names}", f"{names:,} steered names", HEADROOM.config,
                  HEADROOM.command, HEADROOM.version, files)


def delegated_name(number):
    return f"www.shop-{number}.example"


FLOOR = Server("floor", "a bare echo", None, ["{dir}/floor", "{port}"], ["gcc", "--version"],
               floor_files)
HEADROOM = Server(
    "headroom", "Headroom", "headroom.toml",
    ["{headroom}", "dns", "--config", "{dir}/headroom.toml", "--id", "ns1",
     "--plan", "{dir}/plan.json"],
    ["{headroom}", "--version"], headroom_files)
NSD = Server("nsd", "NSD", "nsd.conf", ["nsd", "-d", "-c", "{dir}/nsd.conf"], ["nsd", "-v"], zone_file)


def nsd_at(path):
    """Another build of NSD."""
    return Server("nsd-other", "NSD, another build", NSD.config, [str(path), *NSD.command[1:]],
                  [str(path), "-v"], zone_file)


KNOT = Server("knot", "Knot DNS", "knot.conf", ["knotd", "-c", "{dir}/knot.conf"], ["knotd", "-V"],
              zone_file)
GDNSD = Server("gdnsd", "gdnsd", "gdnsd.conf", ["gdnsd", "-c", "{dir}", "start"], ["gdnsd", "-h"],
               gdnsd_files)
KNOT_STEERED = Server("knot-steered", "Knot DNS, geoip", "knot-steered.conf",
                      ["knotd", "-c", "{dir}/knot-steered.conf"], ["knotd", "-V"],
                      knot_steered_files)
PDNS = Server("pdns", "PowerDNS, LUA", "pdns.conf",
              ["pdns_server", "--config-dir={dir}"], ["pdns_server", "--version"], pdns_files)
SIGN = ("cd {dir} && key=$(ldns-keygen -k -a ECDSAP256SHA256 bench.example) && "
        "ldns-signzone -f bench.zone bench.zone $key")
HEADROOM_SIGNED = Server(
    "headroom-signed", "Headroom, signed", HEADROOM.config, HEADROOM.command, HEADROOM.version,
    headroom_signed_files,
    ["{headroom}", "dnssec", "generate", "bench.example", "--folder", "{dir}/keys"])
NSD_SIGNED = Server("nsd-signed", "NSD, signed", NSD.config, NSD.command, NSD.version, zone_file,
                    ["sh", "-c", SIGN])
KNOT_SIGNED = Server("knot-signed", "Knot DNS, signed", KNOT.config, KNOT.command, KNOT.version,
                     knot_signed_files)
SERVERS = [FLOOR, HEADROOM, NSD, KNOT, GDNSD, KNOT_STEERED, PDNS]

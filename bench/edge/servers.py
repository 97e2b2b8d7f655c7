"""The servers that are compared: how each is configured, started, asked and stopped."""

import datetime
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

import system

HERE = Path(__file__).parent
HOST = "www.bench.example"
FIRST_PORT = 21_100
START_SECONDS = 60
# Keys that a version of the edge may not have yet.
NEWER_KEYS = ["allow_private_origins", "connections_per_client", "certificates", "tls_port"]


class Failed(Exception):
    """A server or a client did not do what it should; the text says what."""


class Server:
    """A program that runs in a folder of its own, pinned to some cores."""

    name = title = ""
    takes_memory_at_start = False
    ports_used = 0

    def __init__(self, bench, cores, threads=1, cache_mib=1024):
        self.bench, self.cores, self.threads, self.cache_mib = bench, cores, threads, cache_mib
        number = Server.ports_used
        Server.ports_used += 2
        self.port, self.tls_port = FIRST_PORT + number, FIRST_PORT + number + 1
        self.folder = bench.folder / f"{self.name}-{number}"
        self.process = None

    def start(self):
        if self.listens():
            raise Failed(f"something else listens on port {self.port}")
        self.folder.mkdir(mode=0o755)
        self.prepare()
        log = open(self.folder / "output.log", "w")
        self.process = subprocess.Popen(
            ["taskset", "-c", self.cores, *self.command()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **self.environment()},
        )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            if not self.listens():
                time.sleep(0.05)
                continue
            # Some bind first and give up then.
            time.sleep(0.5)
            if self.process.poll() is None:
                return self
        self.stop()
        raise Failed(f"{self.title} does not start:\n{(self.folder / 'output.log').read_text()}")

    def listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                # Its own process group: nobody else is in it.
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def prepare(self):
        """Writes what the program reads."""

    def command(self):
        raise NotImplementedError

    def environment(self):
        return {}

    def version(self):
        raise NotImplementedError

    def memory(self):
        return system.memory_bytes(self.process.pid)

    def template(self, name, target=None, **more):
        """Copies a configuration of `peers/`, with the values of this server in it."""
        values = {
            "DIR": self.folder,
            "PORT": self.port,
            "TLS_PORT": self.tls_port,
            "ORIGIN": self.bench.origin_port,
            "THREADS": self.threads,
            "CACHE_MIB": self.cache_mib,
            "HOST": HOST,
            "DESCRIPTORS": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            **more,
        }
        text = (HERE / "peers" / name).read_text()
        text = re.sub(r"@([A-Z_]+)@", lambda match: str(values[match[1]]), text)
        path = self.folder / (target or name)
        path.write_text(text)
        return path

    def get(self, path):
        """Head and body of a response, on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(
                f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
            )
            head, body, length = b"", b"", None
            while length is None or len(body) < length:
                piece = connection.recv(1 << 20)
                if not piece:
                    break
                body += piece
                if not head and b"\r\n\r\n" in body:
                    head, _, body = body.partition(b"\r\n\r\n")
                    told = re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)
                    length = int(told[1]) if told else None
        return head.decode("latin-1"), body


class Floor(Server):
    name, title = "floor", "floor"

    def command(self):
        return [str(self.bench.tool("floor")), str(self.port)]

    def version(self):
        compiler = _output(["gcc", "--version"]).split("\n")[0]
        return f"`bench/edge/floor.c`, gcc -O2 ({compiler})"


class Headroom(Server):
    name, title = "headroom", "Headroom"

    def prepare(self):
        path = self.template("headroom.toml", CERTIFICATES=self.bench.certificates)
        for _ in NEWER_KEYS:
            refused = subprocess.run(
                [self.bench.headroom, "check-config", path], capture_output=True, text=True
            )
            if refused.returncode == 0:
                break
            told = refused.stdout + refused.stderr
            lines = path.read_text().splitlines(keepends=True)
            unknown = [key for key in NEWER_KEYS if f"edge.{key}: the key is unknown" in told]
            kept = [line for line in lines if line.split(" =")[0] not in unknown]
            if kept == lines:
                raise Failed(f"the edge refuses its configuration:\n{told}")
            path.write_text("".join(kept))
        (self.folder / "plan.json").write_text(json.dumps(self.plan(), indent=1))

    def plan(self):
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        written = lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        contract = {
            "contract": "contract-1",
            "region": "east",
            "from": written(now - datetime.timedelta(minutes=1)),
            "until": written(now + datetime.timedelta(days=30)),
            "requests": "10000 kreq/s",
            "egress": "1 Tbit/s",
            "class": "firm",
        }
        site = {
            "id": "bench",
            "purchaser": "bench",
            "hosts": [HOST],
            "origins": [f"127.0.0.1:{self.bench.origin_port}"],
            "remainder": {"policy": "return-addresses", "addresses": ["127.0.0.1"]},
            "over_share": "redirect",
            "fallback": "origin.bench.example",
            "entitlements": [contract],
        }
        edge = {"id": "east-1", "addresses": ["127.0.0.1"], "healthy": True}
        server = {"id": "ns1", "host": "ns1.cdn.example", "addresses": ["127.0.0.1"]}
        return {
            "generation": 1,
            "made_at": written(now),
            "zone": "cdn.example",
            "name_servers": [server],
            "ttl_seconds": 20,
            "default_region": "east",
            "regions": [{"id": "east", "client_prefixes": [], "edges": [edge]}],
            "sites": [site],
        }

    def command(self):
        return [
            *(str(self.bench.headroom), "edge", "--config", str(self.folder / "headroom.toml")),
            *("--id", "east-1", "--plan", str(self.folder / "plan.json")),
        ]

    def version(self):
        revision = _output(["git", "-C", str(HERE), "describe", "--always", "--dirty"]).strip()
        return f"{_output([str(self.bench.headroom), '--version']).strip()}, commit {revision}"


class Nginx(Server):
    name, title = "nginx", "nginx"
    settings = {"SENDFILE": "on", "OPEN_FILES": "off"}

    def prepare(self):
        pair = {"CERTIFICATE": self.bench.certificate, "KEY": self.bench.key}
        self.template("nginx.conf", **pair, **self.settings)

    def command(self):
        return ["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf")]

    def version(self):
        return _output(["nginx", "-v"]).strip().removeprefix("nginx version: ")

    def memory(self):
        """With the cached files, which lie in memory too."""
        return super().memory() + system.disk_bytes(self.folder / "cache")


class TunedNginx(Nginx):
    name, title = "nginx-tuned", "nginx, tuned"
    settings = {"SENDFILE": "off", "OPEN_FILES": "max=10000 inactive=1h"}


class HAProxy(Server):
    name, title = "haproxy", "HAProxy"
    takes_memory_at_start = True

    def prepare(self):
        self.template(
            "haproxy.cfg", CERTIFICATE_AND_KEY=self.bench.certificate_and_key, BUFFER=16_384
        )

    def command(self):
        return ["haproxy", "-db", "-f", str(self.folder / "haproxy.cfg")]

    def version(self):
        return _output(["haproxy", "-v"]).split("\n")[0].removesuffix(" - https://haproxy.org/")


class Varnish(Server):
    name, title = "varnish", "Varnish"

    def prepare(self):
        self.template("varnish.vcl")

    def command(self):
        return [
            *("varnishd", "-F", "-j", "none", "-n", str(self.folder / "work"), "-T", "none"),
            *("-a", f"127.0.0.1:{self.port}", "-f", str(self.folder / "varnish.vcl")),
            *("-s", f"malloc,{self.cache_mib}M", "-p", "timeout_idle=3600"),
        ]

    def version(self):
        return _output(["varnishd", "-V"]).split("\n")[0]


ALL = [Floor, Headroom, HAProxy, Nginx, TunedNginx, Varnish]


def _output(command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr

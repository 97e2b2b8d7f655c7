"""What is measured: each work with its servers, its load and the targets."""

import dataclasses
import time

import load
import system
from servers import Failed


@dataclasses.dataclass(frozen=True)
class Work:
    """`run(server, seconds, unique)` loads a server once; `targets` are factors by server."""

    key: str
    title: str
    servers: tuple
    targets: dict
    run: object
    path: str
    hit: bool = True
    # Whether the servers' caches are full.
    full: bool = False


ALL = ("floor", "headroom", "haproxy", "nginx", "nginx-tuned", "varnish")
PROXIES = ("headroom", "haproxy", "nginx", "varnish")
TLS = ("headroom", "haproxy", "nginx", "nginx-tuned")


def _hit(path):
    return lambda server, seconds, unique: load.wrk(server, path, seconds)


def _miss(path):
    return lambda server, seconds, unique: load.wrk(server, path, seconds, unique=unique)


def _http2(streams):
    return lambda server, seconds, unique: load.h2load(server, "/1k", seconds, streams)


WORKS = [
    Work(
        "hit-1k",
        "1 KiB hit, HTTP/1.1 keep-alive, 64 connections",
        ALL,
        {"floor": 1.5, "haproxy": 0.85, "nginx": 0.70, "varnish": 0.35},
        _hit("/1k"),
        "/1k",
    ),
    Work(
        "hit-64k",
        "64 KiB hit, HTTP/1.1",
        ALL,
        {"haproxy": 1.0, "nginx": 1.0},
        _hit("/64k"),
        "/64k",
    ),
    Work(
        "hit-1m",
        "1 MiB hit, HTTP/1.1",
        ALL,
        {"haproxy": 1.0, "nginx": 1.0},
        _hit("/1m"),
        "/1m",
    ),
    Work(
        "h2-1",
        "1 KiB hit, HTTP/2 over TLS, 64 connections, one request at a time on each",
        TLS,
        {"nginx": 0.8},
        _http2(1),
        "/1k",
    ),
    Work(
        "h2-10",
        "1 KiB hit, HTTP/2 over TLS, 64 connections, 10 requests at a time on each",
        TLS,
        {"nginx": 0.8},
        _http2(10),
        "/1k",
    ),
    Work(
        "miss-stored",
        "1 KiB miss through a keep-alive origin, the response is stored in a full cache",
        PROXIES,
        {"haproxy": 1.1, "nginx": 1.0},
        _miss("/store"),
        "/store",
        hit=False,
        full=True,
    ),
    Work(
        "miss-unstored",
        "1 KiB miss through a keep-alive origin, `no-store`",
        PROXIES,
        {"haproxy": 1.1, "nginx": 1.0},
        _miss("/nostore"),
        "/nostore",
        hit=False,
    ),
]

# The size of a cache that is soon full, and so many misses that it is.
FULL_CACHE_MIB = 64
FILLING_MISSES = 150_000
# What a server may have of each core where the client has to share it: the client needs less than
# what is left.
CORE_SHARE = 0.3

LENGTHS = {"/1k": 1024, "/64k": 65_536, "/1m": 1_048_576, "/store": 1024, "/nostore": 1024}


def origin_count(bench):
    """How many requests the origin answered so far."""
    return int(bench.origin.get("/count")[1])


def verify(bench, server, work):
    """The head of the response to this work, after a look that it is right, and from the cache or
    from the origin as the work says."""
    path = work.path if work.hit else f"{work.path}/verify-{server.name}"
    asked = [path] * 3 if work.hit else [f"{path}/{number}" for number in range(3)]
    head, body = server.get(asked[0])
    if server.name != "floor" and not work.hit:
        asked = asked[1:]
    # Some store after they have answered.
    time.sleep(0.1)
    before = origin_count(bench)
    for one in asked:
        head, body = server.get(one)
        if " 200" not in head.split("\r\n")[0] or len(body) != LENGTHS[work.path]:
            raise Failed(f"{server.title}, {one}: {len(body)} bytes\n{head}")
    fetched = origin_count(bench) - before
    if server.name != "floor" and fetched != (0 if work.hit else len(asked)):
        raise Failed(f"{server.title}, {path}: {fetched} of {len(asked)} came from the origin")
    return head


def fill_cache(server):
    """Makes the cache of a server full, so that who stores a response has to drop another."""
    stored = number = 0
    while stored < FILLING_MISSES:
        stored += load.wrk(server, "/store", 2, unique=f"fill-{number}")["requests"]
        number += 1


def has_spare_cores():
    """Whether the client can have cores that no server is on."""
    return system.describe()["cores"] >= 4


def limit_cores(pair):
    """Leaves the client its part of the cores: a server with one thread gets a share of one core,
    one with two the same share of two. The control groups to be removed, or none if this system
    does not let servers be limited."""
    return [system.limit_cpu(server.process.pid, CORE_SHARE * server.threads) for server in pair]


def cores(pair, seconds):
    """One core against two: (figures on one, figures on two) of a server with one thread and one
    with two."""
    client = "2,3" if has_spare_cores() else "0,1"
    return tuple(load.wrk(server, "/1k", seconds, cores=client, threads=2) for server in pair)

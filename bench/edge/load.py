"""Clients that load a server, and what the load cost it."""

import os
import re
import resource
import subprocess
import time

import system
from servers import HOST, HERE, Failed

CONNECTIONS = 64


def wrk(server, path, seconds, cores="1", threads=1, unique=None):
    """Loads `server` over HTTP/1.1; with `unique`, each request has a path of its own."""
    command = [
        *("taskset", "-c", cores, "wrk", f"-t{threads}", f"-c{CONNECTIONS}", f"-d{seconds}s"),
        *("--latency", "-H", f"Host: {HOST}"),
    ]
    script = ["-s", str(HERE / "unique.lua")] if unique else []
    arguments = ["--", unique] if unique else []
    url = f"http://127.0.0.1:{server.port}{path}"
    told, cost = _run(server, [*command, *script, url, *arguments])
    requests = int(re.search(r"(\d+) requests in", told)[1])
    errors = re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", told)
    if errors or not requests:
        raise Failed(f"{server.title}, {path}: {errors[0] if errors else 'no answers'}")
    return _figures(
        cost,
        requests,
        float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1]),
        _milliseconds(re.search(r"99%\s+([\d.]+)(us|ms|s)", told)),
    )


def h2load(server, path, seconds, streams):
    """Loads `server` over HTTP/2 and TLS with so many requests at a time on each connection."""
    log = server.bench.folder / "h2load.log"
    command = [
        *("taskset", "-c", "1", "h2load", "-t1", f"-c{CONNECTIONS}", f"-m{streams}"),
        *(f"-D{seconds}", f"--log-file={log}", f"--connect-to=127.0.0.1:{server.tls_port}"),
        f"https://{HOST}:{server.tls_port}{path}",
    ]
    told, cost = _run(server, command)
    counts = re.search(
        r"(\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored", told
    )
    total, succeeded, failed, errored = map(int, counts.groups())
    if failed or errored or not succeeded:
        raise Failed(f"{server.title}, {path}: {counts[0]}")
    times = sorted(int(line.split("\t")[2]) for line in log.open())
    log.unlink()
    rate = float(re.search(r"finished in [\d.]+s, ([\d.]+) req/s", told)[1])
    figures = _figures(cost, succeeded, rate, times[len(times) * 99 // 100] / 1000)
    protocol = re.search(r"TLS Protocol: (\S+)", told)
    cipher = re.search(r"Cipher: (\S+)", told)
    return {**figures, "tls": f"{protocol[1]} {cipher[1]}" if protocol and cipher else "?"}


def _run(server, command):
    """What the client said; the time, the server's CPU seconds, and those of strangers."""
    origin = server.bench.origin.process.pid
    busy, steal = system.machine_busy()
    origin_before = sum(system.cpu_seconds(origin))
    client_before = _children_seconds()
    before, start = system.cpu_seconds(server.process.pid), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    took, after = time.monotonic() - start, system.cpu_seconds(server.process.pid)
    if done.returncode:
        raise Failed(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    user, kernel = after[0] - before[0], after[1] - before[1]
    ours = user + kernel + _children_seconds() - client_before
    ours += sum(system.cpu_seconds(origin)) - origin_before
    busy_after, steal_after = system.machine_busy()
    cores = os.cpu_count()
    cost = {
        "seconds": took,
        "user": user,
        "cpu": user + kernel,
        "strangers": max(0.0, busy_after - busy - ours) / took / cores,
        "stolen": (steal_after - steal) / took / cores,
    }
    return done.stdout, cost


def _figures(cost, requests, rate, p99):
    return {
        "requests": requests,
        "rate": rate,
        "p99_ms": p99,
        "cpu_us": cost["cpu"] / requests * 1e6,
        "user_us": cost["user"] / requests * 1e6,
        "core": cost["cpu"] / cost["seconds"],
        "strangers": cost["strangers"],
        "stolen": cost["stolen"],
    }


def _milliseconds(match):
    return float(match[1]) * {"us": 0.001, "ms": 1, "s": 1000}[match[2]]


def _children_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

"""What servers hold in memory: a million small objects, ten thousand idle TLS connections."""

import random
import subprocess
import sys
import time

import servers
from servers import HOST, HERE, Failed
from works import origin_count

SAMPLE = 2_000
CACHE_MIB = 4_000
# HAProxy takes all memory of its cache when it starts. So it gets less than the objects need, and
# what they take is the whole divided by those that are still there.
BYTES_EACH_TAKEN_AT_START = 1_536


def objects(bench, kind, count):
    """Memory before and after a fresh server was asked for `count` different 1 KiB objects, and
    how many of them it still has, by a sample."""
    room = CACHE_MIB
    if kind.takes_memory_at_start:
        room = max(1, count * BYTES_EACH_TAKEN_AT_START // 2**20)
    server = kind(bench, "0", cache_mib=room).start()
    try:
        server.get("/1k")
        before = 0 if kind.takes_memory_at_start else server.memory()
        start = time.monotonic()
        _fill(bench, server, "object", 1, count)
        took = time.monotonic() - start
        # What is written a little later belongs to it.
        time.sleep(2)
        after = server.memory()
        fetched = origin_count(bench)
        chosen = random.Random(1).sample(range(1, count + 1), min(SAMPLE, count))
        for number in chosen:
            server.get(f"/object/{number}")
        kept = 1 - (origin_count(bench) - fetched) / len(chosen)
        return {
            "before": before,
            "after": after,
            "kept": kept,
            "each": (after - before) / max(1, count * kept),
            "seconds": took,
        }
    finally:
        server.stop()


def _fill(bench, server, prefix, first, last):
    command = ["taskset", "-c", "1", str(bench.tool("fill")), str(server.port), HOST, prefix]
    done = subprocess.run(
        [*command, str(first), str(last), "1024"], capture_output=True, text=True
    )
    if done.returncode or done.stdout.split() != [str(last - first + 1)] * 2:
        raise Failed(f"{server.title}: {done.stdout}{done.stderr}")


def idle_tls(bench, kind, count, protocol):
    """Memory of a fresh server before and with `count` TLS connections that asked once and are
    idle; None if it does not speak it."""
    server = kind(bench, "0", cache_mib=64).start()
    holder = None
    try:
        server.get("/1k")
        before = server.memory()
        holder = subprocess.Popen(
            [
                *("taskset", "-c", "1", sys.executable, str(HERE / "hold.py")),
                *(str(server.tls_port), HOST, str(count), protocol),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        told = holder.stdout.readline().split()
        if told[:2] != ["ready", str(count)]:
            return {"failed": " ".join(told) or "no connection"}
        with_all = server.memory()
        holder.stdin.write("\n")
        holder.stdin.flush()
        still_open = int(holder.stdout.readline())
        return {
            "before": before,
            "after": with_all,
            "each": (with_all - before) / count,
            "open": still_open,
            "tls": " ".join(told[2:]),
        }
    finally:
        if holder:
            holder.kill()
            holder.wait()
        server.stop()


OBJECT_KINDS = [servers.Headroom, servers.HAProxy, servers.Nginx, servers.Varnish]
TLS_KINDS = [servers.Headroom, servers.HAProxy, servers.Nginx]


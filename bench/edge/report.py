"""Writes the results down: the targets first, then every figure, then how it was measured."""

from statistics import median

from works import CORE_SHARE, WORKS, has_spare_cores

MARK = "<!-- written by `make bench-edge`; do not edit -->"
# What strangers may take of all cores before the figures of a work are in doubt.
STRANGERS = 0.05
PEERS = ["floor", "haproxy", "nginx", "nginx-tuned", "varnish"]
KIB = 1024
MIB = 1024 * 1024


def write(results):
    machine = results["machine"]
    virtual = ", a virtual machine" if machine["virtual"] else ""
    parts = [
        "# The edge beside nginx, HAProxy and Varnish",
        MARK,
        f"{results['date']}, {machine['processor']}, {machine['cores']} cores{virtual}, "
        f"{machine['memory']}, Linux {machine['kernel']}. "
        f"{results['rounds']} rounds of {results['seconds']} s, medians.",
        *warnings(results),
        "## Targets",
        "CPU time per request, ours divided by theirs; smaller is better. A ratio that has a "
        "target is followed by it.",
        table(targets(results)),
        "## Figures",
        *[part for work in WORKS if work.key in results["works"] for part in detail(results, work)],
        *cores(results),
        *objects(results),
        *connections(results),
        *method(results),
    ]
    return "\n\n".join(parts) + "\n"


def summary(results):
    """The targets, for the terminal."""
    return "\n".join([*warnings(results), table(targets(results))])


def table(rows):
    """A Markdown table; the first row is its head, numbers stand right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
             for row in rows]
    rule = "|".join("-" * (width + 2) for width in widths)
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def warnings(results):
    notes = []
    runs = [run for work in results["works"].values() for some in work["runs"].values()
            for run in some]
    strangers = median([run["strangers"] for run in runs]) if runs else 0
    stolen = median([run["stolen"] for run in runs]) if runs else 0
    if strangers > STRANGERS or stolen > STRANGERS:
        notes.append(
            f"**The machine was busy**: other processes took {strangers:.0%} of its cores at the "
            f"median, {stolen:.0%} was taken away by its host; load average "
            f"{results['load_before']:.1f} before, {results['load_after']:.1f} after. Requests/s "
            "and p99 say little then; CPU per request suffers less."
        )
    return notes


def middle(runs, figure):
    return median([run[figure] for run in runs])


def targets(results):
    rows = [["work", "ours", *[f"× {results['titles'][peer]}" for peer in PEERS], "verdict"]]
    for work in WORKS:
        if work.key in results["works"]:
            rows.append(target(results["works"][work.key]["runs"], work))
    rows.extend(core_target(results))
    rows.extend(object_target(results))
    rows.extend(connection_targets(results))
    return rows


def target(runs, work):
    if not runs.get("headroom"):
        return [work.title, *["-"] * (1 + len(PEERS)), "not yet: no TLS"]
    ours = middle(runs["headroom"], "cpu_us")
    ratios, missed = [], []
    for peer in PEERS:
        if peer not in runs:
            ratios.append("-")
            continue
        ratio, wanted = ours / middle(runs[peer], "cpu_us"), work.targets.get(peer)
        ratios.append(f"{ratio:.2f}" + (f" (≤ {wanted:.2f})" if wanted else ""))
        if wanted and ratio > wanted:
            missed.append(peer)
    return [work.title, f"{ours:.1f} µs", *ratios, verdict(not missed)]


def verdict(met):
    return "met" if met else "**missed**"


def detail(results, work):
    held = results["works"][work.key]
    rows = [["server", "CPU µs/request", "lowest to highest", "in user mode", "requests/s",
             "p99 ms", "core in use", "response head"]]
    for name, runs in held["runs"].items():
        costs = [run["cpu_us"] for run in runs]
        lines = held["heads"][name].split("\r\n")
        rows.append([
            results["titles"][name],
            f"{median(costs):.1f}",
            f"{min(costs):.1f} to {max(costs):.1f}",
            f"{middle(runs, 'user_us'):.1f}",
            f"{middle(runs, 'rate'):,.0f}",
            f"{middle(runs, 'p99_ms'):.2f}",
            f"{middle(runs, 'core'):.0%}",
            f"{len(lines) - 1} fields, {sum(len(line) + 2 for line in lines) + 2} bytes",
        ])
    parts = [f"### {work.title}", table(rows)]
    ciphers = {results["titles"][name]: runs[0]["tls"]
               for name, runs in held["runs"].items() if "tls" in runs[0]}
    if ciphers:
        told = ", ".join(f"{title} {cipher}" for title, cipher in ciphers.items())
        parts.append(f"Cipher suites: {told}.")
    if len(rows) - 1 < len(work.servers):
        parts.append("Headroom: not yet, this version does not speak HTTP/2 over TLS.")
    return parts


def core_target(results):
    runs = results["cores"].get("headroom")
    if not runs:
        return []
    gain = median([two["rate"] / one["rate"] for one, two in runs])
    return [["two cores against one, requests/s", f"{gain:.2f} × (≥ 1.80)",
             *["-"] * len(PEERS), verdict(gain >= 1.8)]]


def cores(results):
    if not results["cores"]:
        return []
    rows = [["server", "requests/s on one", "on two", "gain", "CPU µs/request on one", "on two"]]
    for name, runs in results["cores"].items():
        rows.append([
            results["titles"][name],
            f"{median([one['rate'] for one, _ in runs]):,.0f}",
            f"{median([two['rate'] for _, two in runs]):,.0f}",
            f"{median([two['rate'] / one['rate'] for one, two in runs]):.2f} ×",
            f"{median([one['cpu_us'] for one, _ in runs]):.1f}",
            f"{median([two['cpu_us'] for _, two in runs]):.1f}",
        ])
    how = (
        "The client has cores of its own." if has_spare_cores() else
        "This machine has no cores to spare for the client, so it shares them in time: a control "
        f"group lets the server with one thread have {CORE_SHARE:.0%} of one core, the one "
        f"with two threads {CORE_SHARE:.0%} of two, and the client, on both, is faster than "
        "either with what is left."
    )
    return ["### Two cores against one, 1 KiB hit", how, table(rows)]


def object_target(results):
    held = results.get("objects", {}).get("headroom")
    if not held:
        return []
    peers = [results["objects"].get(peer) for peer in PEERS]
    ratios = [f"{held['each'] / peer['each']:.2f}" if peer else "-" for peer in peers]
    whole = held["kept"] > 0.99
    told = verdict(held["each"] <= 2 * KIB and whole)
    return [[f"{results['object_count']:,} cached 1 KiB objects, memory each",
             f"{held['each'] / KIB:.2f} KiB (≤ 2.00)", *ratios,
             told if whole else f"{told}: {held['kept']:.0%} kept"]]


def objects(results):
    if "objects" not in results:
        return []
    rows = [["server", "before", "after", "kept", "each"]]
    for name, held in results["objects"].items():
        rows.append([
            results["titles"][name],
            f"{held['before'] / MIB:.0f} MiB",
            f"{held['after'] / MIB:.0f} MiB",
            f"{held['kept']:.1%}",
            f"{held['each'] / KIB:.2f} KiB",
        ])
    return [
        f"### Memory of {results['object_count']:,} cached 1 KiB objects",
        "A fresh server is asked for each once; memory is the proportional set size of all its "
        "processes, for nginx with the files of its cache, which lie in memory (a file takes at "
        "least 4 KiB; what the kernel takes for its name and inode is left out). How many it "
        "still holds is told by a sample, and memory is divided by those. HAProxy takes the memory "
        "of its cache when it starts; it gets less than all objects need, and the whole is divided "
        "by those it holds.",
        table(rows),
    ]


def connection_targets(results):
    rows = []
    for protocol, by_server in results.get("tls", {}).items():
        title = f"{results['connection_count']:,} idle TLS connections, {protocol}, memory"
        ours, theirs = by_server.get("headroom"), by_server.get("nginx", {})
        if not ours:
            rows.append([title, *["-"] * (1 + len(PEERS)), "not yet: no TLS"])
        elif "failed" in ours or "failed" in theirs:
            rows.append([title, *["-"] * (1 + len(PEERS)), "**failed**"])
        else:
            peers = [by_server.get(peer) for peer in PEERS]
            ratios = [f"{ours['after'] / peer['after']:.2f}" if peer and "after" in peer else "-"
                      for peer in peers]
            ratios[PEERS.index("nginx")] += " (≤ 1.00)"
            rows.append([title, f"{ours['after'] / MIB:.0f} MiB", *ratios,
                         verdict(ours["after"] <= theirs["after"])])
    return rows


def connections(results):
    if "tls" not in results:
        return []
    rows = [["server", "protocol", "before", "with all", "each", "still open", "cipher suite"]]
    for protocol, by_server in results["tls"].items():
        for name, held in by_server.items():
            title = results["titles"][name]
            if "failed" in held:
                rows.append([title, protocol, "-", "-", "-", held["failed"], "-"])
                continue
            rows.append([
                title,
                protocol,
                f"{held['before'] / MIB:.1f} MiB",
                f"{held['after'] / MIB:.1f} MiB",
                f"{held['each'] / KIB:.1f} KiB",
                f"{held['open']:,}",
                held["tls"],
            ])
    return [
        f"### Memory of {results['connection_count']:,} idle TLS connections",
        "Each has asked for 1 KiB once. Memory is the proportional set size of all processes of "
        "the server; what the kernel takes for sockets is left out, it is the same for all. If "
        "there are fewer than 10,000, this machine allows too few descriptors for more.",
        table(rows),
    ]


def method(results):
    versions = [["server", "version"]] + [
        [results["titles"][name], version] for name, version in results["versions"].items()
    ]
    commands = "\n".join(results["commands"].values())
    return [
        "## How it was measured",
        "`make bench-edge`; `bench/edge/README.md` explains the method and its limits.",
        table(versions),
        "```\n" + commands + "\n"
        "taskset -c 1 wrk -t1 -c64 -dSECONDSs --latency -H 'Host: www.bench.example' URL\n"
        "taskset -c 1 h2load -t1 -c64 -mSTREAMS -DSECONDS --connect-to=127.0.0.1:PORT URL\n```",
    ]

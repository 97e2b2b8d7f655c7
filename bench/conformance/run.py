#!/usr/bin/env python3
"""Runs the public HTTP caching suite against the edge, nginx and Varnish, and writes what came out.

The suite (http-cache-tests, https://cache-tests.fyi) has a client and an origin of its own; the
server under test stands between them. Each server is started on loopback with an empty cache and
the configuration that the suite's authors publish for it, is run through, and is stopped.

The result goes into docs/reference/cache-conformance.md. It is a gate: the edge must pass as many
tests as GATES says, and each required or optimal test that it does not pass must be explained in
explained.toml.

It does not judge the suite's informational tests, and it measures no speed (see bench/edge).
"""

import argparse
import base64
import contextlib
import datetime
import hashlib
import json
import os
import platform
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORK = ROOT / "target" / "conformance"
DOCUMENT = ROOT / "docs" / "reference" / "cache-conformance.md"

PACKAGE = "http-cache-tests"
VERSION = "0.4.5"
INTEGRITY = (
    "sha512-DjuwN9nUZXLTW+wav1LRESCZNVxl8SshwOy4z1pxuWbWt5/ay6sM9QQ1lebBaDO6P1IMBoK6mdf+PuVP/QNL8A=="
)

# How many required and optimal tests the edge must pass, by how many of them an edition has.
GATES = {(160, 105): (150, 80), (165, 95): (140, 74)}

HOST = "www.conformance.example"
# What later editions run on: they import undici.
NODE_LATER = (20, 18, 1)
START_SECONDS = 20
RUN_SECONDS = 600
KINDS = ("required", "optimal", "check")

# The Debian package of each program that is needed.
PACKAGES = {"nginx": "nginx", "varnishd": "varnish", "node": "nodejs", "npm": "npm"}


class Wrong(Exception):
    """What went wrong, for the user."""


# --- The suite ---------------------------------------------------------------------------------


@dataclass
class Edition:
    """One version of the suite, ready to run."""

    name: str
    label: str
    folder: Path

    def engine(self) -> Path:
        """Where its programs are: later editions have them in a folder."""
        inner = self.folder / "test-engine"
        return inner if inner.is_dir() else self.folder

    def tests(self) -> dict:
        """Each test that is meant for proxies, with its kind and name."""
        script = """
            import fs from 'fs'
            const folder = process.argv[1]
            const suites = (await import(folder + '/tests/index.mjs')).default
            const extra = folder + '/tests/surrogate-control.mjs'
            if (fs.existsSync(extra)) suites.push((await import(extra)).default)
            const tests = suites.flatMap(suite => suite.tests).filter(test => !test.browser_only)
            console.log(JSON.stringify(Object.fromEntries(tests.map(
              test => [test.id, { kind: test.kind ?? 'required', name: test.name }]))))
        """
        command = ["node", "--input-type=module", "-e", script, str(self.folder)]
        return json.loads(subprocess.check_output(command, text=True))


def npm_edition() -> Edition:
    """The edition of the registry, as pinned above."""
    folder = WORK / f"npm-{VERSION}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=WORK) as scratch:
            run("npm", "pack", "--loglevel=error", f"{PACKAGE}@{VERSION}", cwd=scratch)
            tarball = Path(scratch) / f"{PACKAGE}-{VERSION}.tgz"
            digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
            if f"sha512-{digest}" != INTEGRITY:
                raise Wrong(f"{PACKAGE} {VERSION} is not what is pinned: sha512-{digest}")
            with tarfile.open(tarball) as archive:
                archive.extractall(scratch, filter="data")
            (Path(scratch) / "package").rename(folder)
    return Edition("npm", f"`{PACKAGE}` {VERSION} from npm", folder)


def folder_edition(source: Path, label: str) -> Edition:
    """An edition that the user has; copied, so that its imports are found beside it."""
    if not (source / "tests" / "index.mjs").is_file():
        raise Wrong(f"{source} has no tests/index.mjs: it is not a copy of the suite")
    if tuple(int(part) for part in node_version().split(".")) < NODE_LATER:
        wanted = ".".join(str(part) for part in NODE_LATER)
        raise Wrong(f"later editions of the suite need Node {wanted}, and this is {node_version()}")
    folder = WORK / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("node_modules", ".git", "results", "spec")
    shutil.copytree(source, folder, ignore=ignored)
    return Edition("newest", label, folder)


def install_modules() -> None:
    """What the suite's programs import, exactly as locked."""
    lock = (HERE / "package-lock.json").read_bytes()
    installed = WORK / "package-lock.json"
    if installed.exists() and installed.read_bytes() == lock and (WORK / "node_modules").is_dir():
        return
    installed.unlink(missing_ok=True)
    shutil.copy(HERE / "package.json", WORK)
    installed.write_bytes(lock)
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=WORK)


# --- The servers -------------------------------------------------------------------------------


@dataclass
class Server:
    """A server under test: how to start it in `folder`, on `port`, in front of `origin`."""

    name: str
    version: str
    command: list


def edge(folder: Path, port: int, origin: int, binary: Path) -> Server:
    """Ours: one operator's own site, so that nothing is limited."""
    put(folder, "headroom.toml", HERE / "headroom.toml", PORT=port)
    put(folder, "plan.json", HERE / "plan.json", ORIGIN=origin)
    version = first_line([binary, "--version"]).rpartition(" ")[2]
    command = [binary, "edge", "--config", folder / "headroom.toml", "--id", "east-1"]
    return Server("Headroom", version, [*command, "--plan", folder / "plan.json"])


def nginx(folder: Path, port: int, origin: int, _binary: Path) -> Server:
    """As the suite's authors run it."""
    user = pwd.getpwuid(os.getuid()).pw_name
    put(folder, "nginx.conf", HERE / "nginx.conf", PORT=port, ORIGIN=origin, USER=user)
    version = first_line(["nginx", "-v"]).rpartition("/")[2]
    return Server("nginx", version, ["nginx", "-p", folder, "-c", folder / "nginx.conf"])


def varnish(folder: Path, port: int, origin: int, _binary: Path) -> Server:
    """As the suite's authors run it: the built-in VCL, and no freshness of its own making."""
    settings = ["-p", "default_ttl=0", "-p", "default_grace=0", "-p", "default_keep=3600"]
    listen = ["-a", f"127.0.0.1:{port}", "-b", f"127.0.0.1:{origin}", "-n", folder / "varnish"]
    version = re.search(r"varnish-([0-9.]+)", first_line(["varnishd", "-V"])).group(1)
    command = ["varnishd", "-F", "-j", "none", *listen, *settings, "-s", "malloc,64M"]
    return Server("Varnish", version, command)


SERVERS = {"headroom": edge, "nginx": nginx, "varnish": varnish}


@contextlib.contextmanager
def running(name: str, command: list, folder: Path, port: int, **environment):
    """The program while the block runs; what it says goes into a file of the folder."""
    log = folder / f"{name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=os.environ | environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
    try:
        wait_for(port, process, name, log)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int, process: subprocess.Popen, name: str, log: Path) -> None:
    """Until something listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise Wrong(f"{name} does not listen on {port}; it says:\n{log.read_text()}")


def free_port() -> int:
    """A port that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def conformance(edition: Edition, name: str, binary: Path, test: str) -> tuple:
    """Runs the edition against one server: the server, and the suite's own results."""
    folder = WORK / "run" / f"{edition.name}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, origin = free_port(), free_port()
    server = SERVERS[name](folder, port, origin, binary)
    node = ["node", "--no-warnings", "--require", HERE / "loopback.cjs"]
    engine = edition.engine()
    origin_settings = {
        "npm_config_protocol": "http",
        "npm_config_port": str(origin),
        "npm_config_pidfile": str(folder / "origin.pid"),
    }
    client_settings = {
        "npm_config_base": f"http://{HOST}:{port}",
        "npm_package_config_id": test,
    }
    with (
        running("origin", [*node, engine / "server/server.mjs"], folder, origin, **origin_settings),
        running(name, server.command, folder, port),
    ):
        try:
            found = subprocess.run(
                [str(part) for part in [*node, engine / "cli.mjs"]],
                cwd=folder,
                env=os.environ | client_settings,
                capture_output=True,
                text=True,
                timeout=RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Wrong(f"the suite did not end against {name}: {error}") from error
    if test:
        print(found.stdout, found.stderr, sep="")
        return server, {}
    (folder / "results.json").write_text(found.stdout)
    try:
        return server, json.loads(found.stdout[found.stdout.index("{\n") :])
    except ValueError as error:
        raise Wrong(f"the suite gave no results: {found.stderr or found.stdout}") from error


# --- What came out -----------------------------------------------------------------------------


def outcome(result) -> str:
    """`pass`, `fail`, or `setup`: the suite could not bring the case about."""
    if result is True:
        return "pass"
    return "setup" if isinstance(result, list) and result[0] == "Setup" else "fail"


def message(result) -> str:
    """What the suite says about a test that did not pass."""
    return result[1] if isinstance(result, list) and len(result) > 1 else str(result)


def counts(tests: dict, results: dict) -> dict:
    """How many tests of each kind had each outcome."""
    found = {(kind, out): 0 for kind in KINDS for out in ("pass", "fail", "setup")}
    for test, about in tests.items():
        found[about["kind"], outcome(results.get(test))] += 1
    return found


def table(tests: dict, runs: list) -> str:
    """The servers beside each other."""
    of = {kind: sum(about["kind"] == kind for about in tests.values()) for kind in KINDS}
    lines = [
        f"| server | version | required: pass / fail / setup, of {of['required']} "
        f"| optimal: pass / fail / setup, of {of['optimal']} | informational: yes, of {of['check']} |",
        "|---|---|---|---|---|",
    ]
    for server, results in runs:
        found = counts(tests, results)
        three = [
            " / ".join(str(found[kind, out]) for out in ("pass", "fail", "setup"))
            for kind in ("required", "optimal")
        ]
        lines.append(
            f"| {server.name} | {server.version} | {three[0]} | {three[1]} "
            f"| {found['check', 'pass']} |"
        )
    return "\n".join(lines)


def not_passed(tests: dict, results: dict) -> list:
    """The required and optimal tests that do not pass, required ones first."""
    missed = [
        (KINDS.index(about["kind"]), test)
        for test, about in tests.items()
        if about["kind"] != "check" and results.get(test) is not True
    ]
    return [test for _, test in sorted(missed)]


def explanations() -> dict:
    """Why a test does not pass, by test."""
    document = tomllib.loads((HERE / "explained.toml").read_text())
    found = {}
    for case in document.get("case", []):
        for test in case["tests"]:
            if test in found:
                raise Wrong(f"explained.toml explains {test} twice")
            found[test] = " ".join(case["why"].split())
    return found


def cases(tests: dict, results: dict, explained: dict) -> str:
    """Each test that the edge does not pass, and why."""
    missed = not_passed(tests, results)
    if not missed:
        return "Every required and optimal test passes."
    lines = ["| test | kind | outcome | why |", "|---|---|---|---|"]
    for test in missed:
        why = explained.get(test, "**not explained**")
        kind, out = tests[test]["kind"], outcome(results.get(test))
        lines.append(f"| `{test}` | {kind} | {out} | {why} |")
    return "\n".join(lines)


def complaints(edition: Edition, tests: dict, results: dict, explained: dict) -> list:
    """Why the gate is closed, if it is."""
    found = counts(tests, results)
    of = tuple(sum(about["kind"] == kind for about in tests.values()) for kind in KINDS[:2])
    said = []
    if of not in GATES:
        said.append(f"{edition.label} has {of[0]} required and {of[1]} optimal tests: no gate is set")
    for kind, least in zip(KINDS, GATES.get(of, (0, 0))):
        passed = found[kind, "pass"]
        if passed < least:
            said.append(f"{edition.label}: {passed} {kind} tests pass, and {least} must")
    for test in not_passed(tests, results):
        if test not in explained:
            said.append(f"{test} ({tests[test]['kind']}) is not explained: {message(results.get(test))}")
    return said


def write(edition: Edition, text: str) -> None:
    """Replaces the edition's part of the document."""
    begin, end = f"<!-- {edition.name}: written by run.py -->", f"<!-- {edition.name}: end -->"
    document = DOCUMENT.read_text()
    if begin not in document or end not in document:
        raise Wrong(f"{DOCUMENT} has no place for the edition {edition.name}: {begin} … {end}")
    head, rest = document.split(begin, 1)
    tail = rest.split(end, 1)[1]
    DOCUMENT.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")


# --- The run -----------------------------------------------------------------------------------


def run(*command, cwd=None) -> None:
    """Runs a command that must succeed."""
    try:
        subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Wrong(str(error)) from error


def first_line(command: list) -> str:
    """The first line a program says; `-v` often goes to standard error."""
    command = [str(part) for part in command]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return (said.stdout or said.stderr).strip().splitlines()[0]


def node_version() -> str:
    """Such as 20.18.1."""
    return first_line(["node", "--version"]).removeprefix("v")


def put(folder: Path, name: str, template: Path, **values) -> None:
    """Writes a configuration with its ports."""
    text = template.read_text()
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    (folder / name).write_text(text)


def install_programs(servers: list) -> None:
    """Debian's packages of what is missing."""
    os.environ["PATH"] += os.pathsep + "/usr/sbin"
    wanted = {"node", "npm"} | {program for program in ("nginx",) if program in servers}
    wanted |= {"varnishd"} if "varnish" in servers else set()
    missing = sorted(PACKAGES[program] for program in wanted if not shutil.which(program))
    if not missing:
        return
    print(f"installing {', '.join(missing)}", file=sys.stderr)
    if not shutil.which("apt-get"):
        raise Wrong(f"missing: {', '.join(missing)} (names of the Debian packages)")
    as_root = [] if os.getuid() == 0 else ["sudo"]
    run(*as_root, "apt-get", "install", "--yes", "--no-install-recommends", *missing)


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(
        description="Runs the public HTTP caching suite against the edge, nginx and Varnish."
    )
    parser.add_argument(
        "--suite",
        type=Path,
        metavar="DIR",
        help="a copy of a later edition of the suite, to be run as well",
    )
    parser.add_argument("--label", default="a later edition", help="what that edition is called")
    parser.add_argument(
        "--servers",
        default=",".join(SERVERS),
        help="which servers; with fewer than all the document stays as it is",
    )
    parser.add_argument("--test", default="", metavar="ID", help="one test alone, with its messages")
    parser.add_argument("--only-suite", action="store_true", help="only the edition of --suite")
    parser.add_argument(
        "--binary",
        type=Path,
        default=Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug" / "headroom",
        help="the program of the edge",
    )
    chosen = parser.parse_args()
    chosen.servers = chosen.servers.split(",")
    unknown = set(chosen.servers) - set(SERVERS)
    if unknown:
        parser.error(f"unknown servers {', '.join(sorted(unknown))}: choose from {', '.join(SERVERS)}")
    return chosen


def judge(edition: Edition, chosen: argparse.Namespace, explained: dict) -> tuple:
    """Runs one edition; complaints, and the tests of it that pass."""
    tests = edition.tests()
    runs = []
    for name in chosen.servers:
        began = time.monotonic()
        runs.append(conformance(edition, name, chosen.binary.resolve(), chosen.test))
        print(f"{edition.name}: {name} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    if chosen.test:
        return [], set()
    print(f"\n{edition.label}\n\n{table(tests, runs)}\n")
    if "headroom" not in chosen.servers:
        return [], set()
    results = runs[chosen.servers.index("headroom")][1]
    for test in not_passed(tests, results):
        mark = "" if test in explained else "  NOT EXPLAINED"
        kind, out = tests[test]["kind"], outcome(results.get(test))
        print(f"  {kind:8} {out:5} {test}: {message(results.get(test))}{mark}")
    if len(chosen.servers) == len(SERVERS):
        today = datetime.date.today()
        system = f"{platform.system()} {platform.machine()}"
        write(
            edition,
            f"{edition.label}, run on {today} ({system}, Node {node_version()}).\n\n"
            f"{table(tests, runs)}\n\n{cases(tests, results, explained)}",
        )
    passed = {test for test in tests if results.get(test) is True}
    return complaints(edition, tests, results, explained), passed


def main() -> int:
    """The whole run; the exit code."""
    chosen = arguments()
    WORK.mkdir(parents=True, exist_ok=True)
    install_programs(chosen.servers)
    install_modules()
    explained = explanations()
    editions = [] if chosen.only_suite else [npm_edition()]
    if chosen.suite:
        editions.append(folder_edition(chosen.suite, chosen.label))
    said, failed_nowhere = [], set(explained)
    for edition in editions:
        complained, passed = judge(edition, chosen, explained)
        said += complained
        failed_nowhere &= passed
    # A case may be about the one edition only, so all must have been run.
    if failed_nowhere and not chosen.test and not chosen.only_suite:
        names = ", ".join(sorted(failed_nowhere))
        print(f"warning: explained.toml explains tests that pass: {names}", file=sys.stderr)
    for line in said:
        print(f"error: {line}", file=sys.stderr)
    return 1 if said else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Wrong as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        sys.exit(1)

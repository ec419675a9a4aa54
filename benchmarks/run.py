"""``make bench``: direct, HAProxy and sqlproxy (compiled, two workers, pure) side by side in one run.

python -m benchmarks.run [--quick] [--only NAME…] [--output DIRECTORY]

Writes docs/benchmarks.md, docs/benchmarks.json and docs/images/benchmark.svg; a part of it (``--only``) goes to build/.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import bars, extras, loads, plot, report, targets
from benchmarks.loads import SOURCES, Load, Sample, Sysbench
from benchmarks.micro import timing
from benchmarks.micro.cases import STATEMENT
from benchmarks.targets import Target
from sqlproxy.lab.install import remove_directory
from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import response

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 8, 64, 256)
IDLE = (100, 500, 1000)
CROWD = 10_000
SYSBENCH = (("oltp_point_select", 64), ("oltp_read_only", 16), ("oltp_read_write", 16))
_FILES = 300  # that a proxy has open besides its sessions


@dataclass(frozen=True)
class Plan:
    """How much of it: ``seconds`` for each run of our own load, ``bench_seconds`` of sysbench.

    Many short rounds rather than few long ones: a shared machine is slower or faster for seconds at a time.
    """

    rounds: int
    seconds: float
    bench_rounds: int
    bench_seconds: float


FULL = Plan(21, 0.35, 4, 3)
QUICK = Plan(5, 0.25, 2, 2)


def main() -> None:
    """Parse, measure, write."""
    arguments = parse(sys.argv[1:])
    check_machine()
    about = describe(arguments)
    plan = QUICK if arguments.quick else FULL
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-bench-"))
    directory.chmod(0o755)
    try:
        loads.build(directory)
        tables, extra = measure(plan, directory, arguments.only)
    finally:
        remove_directory(directory)
    output = arguments.output or (ROOT / "build" / "bench" if arguments.only else ROOT / "docs")
    write(output, {**about, "rounds": plan.rounds, "sysbench_rounds": plan.bench_rounds}, tables, extra)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: below twelve minutes")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only loads whose names begin so")
    parser.add_argument("--output", type=Path, default=None, metavar="DIRECTORY")
    return parser.parse_args(arguments)


def check_machine() -> None:
    """Raises SystemExit when the comparison would be unfair or impossible."""
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("two cores are needed: one for the proxies, one for load and servers")
    if not response.__file__.endswith(".so"):
        raise SystemExit("the compiled core is missing: make ext")
    os.sched_setaffinity(0, set(range(1, os.cpu_count() or 1)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def describe(arguments: argparse.Namespace) -> dict[str, Any]:
    """When, where and with what; the load average ought to be near 0."""
    return {
        "command": f"make bench{' BENCH=--quick' if arguments.quick else ''}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores ({processor()}), Linux {platform.release()}",
        "load_before": os.getloadavg()[0],
        "versions": versions(),
    }


def processor() -> str:
    """The name in /proc/cpuinfo."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def versions() -> dict[str, str]:
    """Of everything that matters to a figure."""
    commands = {
        "HAProxy": [targets.program("haproxy", "haproxy"), "-v"],
        "MariaDB": [targets.program("mariadbd", "mariadb-server"), "--version"],
        "sysbench": [targets.program("sysbench", "sysbench"), "--version"],
    }
    found = {name: version_in(subprocess.check_output(command, text=True)) for name, command in commands.items()}
    python = {"Python": platform.python_version(), "uvloop": version("uvloop"), "Cython": version("cython")}
    return {"sqlproxy": version("sqlproxy"), **found, **python}


def version_in(text: str) -> str:
    """The first version number in what a program says of itself."""
    found = re.search(r"\d+\.\d+\.[0-9.]*\d", text)
    return found[0] if found else "?"


Tables = list[tuple[Load, list[report.Row]]]


def measure(plan: Plan, directory: Path, only: Sequence[str]) -> tuple[Tables, dict[str, Any]]:
    """Every table of the report, and what is measured once."""

    def wanted(found: Sequence[Load]) -> list[Load]:
        return [load for load in found if not only or load.name.startswith(tuple(only))]

    tables: Tables = []
    with stub_servers(directory) as ports:
        with running(directory, ports) as found:
            tables += compare(wanted(loads.point_selects(directory, CONNECTIONS)), found, plan.rounds, plan.seconds)
            tables += compare(wanted(loads.other_loads(directory)), found, plan.rounds, plan.seconds)
            extra = {"system_calls": {} if only else count_calls(directory, found)}
        extra["memory"] = {} if only else idle_memory(directory, ports)
        extra["crowd"] = {} if only else crowd(directory, ports)
        extra["statements"] = {} if only else timing.measure(STATEMENT)
    if benches := wanted(sysbench_loads(directory)):
        with real_server(directory) as (ports, tls), running(directory, ports, tls) as found:
            tables += compare(benches, found, plan.bench_rounds, plan.bench_seconds)
    if not tables:
        raise SystemExit(f"no load's name begins with {' or '.join(only)}")
    return tables, extra


def sysbench_loads(directory: Path) -> list[Load]:
    """On a real server: with and without TLS, and connections that ask one thing."""
    tls = directory / "mariadb" / "tls"
    connect = str(SOURCES / "connect.lua")
    return [
        *(Sysbench(test, threads) for test, threads in SYSBENCH),
        Sysbench("oltp_point_select", 16, tls=tls),
        Sysbench(connect, 8, title="connect, query, quit"),
        Sysbench(connect, 8, title="connect, query, quit", tls=tls),
    ]


def compare(chosen: Sequence[Load], found: Sequence[Target], rounds: int, seconds: float) -> Tables:
    """Round by round, so that every target meets the same weather."""
    tables: Tables = []
    for load in chosen:
        samples: dict[str, list[Sample]] = {target.name: [] for target in found}
        for _ in range(rounds):
            for target in random.sample(found, len(found)):
                samples[target.name].append(load.run(target, seconds))
        tables.append((load, report.rows(load, samples)))
        print(f"{load.title}: {summary(tables[-1][1])}", flush=True)
    return tables


def summary(table: Sequence[report.Row]) -> str:
    """The medians in a line."""
    return ", ".join(
        f"{row.target} {row.rate.median:.0f}/s"
        + (f" cost {row.cost.median:.2f} ratio {row.ratio.median:.2f}" if row.cost and row.ratio else "")
        for row in table
    )


def count_calls(directory: Path, found: Sequence[Target]) -> dict[str, Any]:
    return {
        target.name: extras.system_calls(directory / "client", target, 8, 3) for target in found if target.processes
    }


def idle_memory(directory: Path, ports: Sequence[int]) -> dict[str, dict[str, float]]:
    """Of one process of each kind."""
    starts: dict[str, Callable[[], Target]] = {
        "haproxy": partial(targets.haproxy, directory, ports),
        "sqlproxy": partial(targets.sqlproxy, "sqlproxy", directory, ports),
        "sqlproxy-pure": partial(targets.sqlproxy, "sqlproxy-pure", directory, ports, pure=True),
    }
    return {name: extras.memory_per_session(directory / "client", start, IDLE) for name, start in starts.items()}


def crowd(directory: Path, ports: Sequence[int]) -> dict[str, Any]:
    """What very many idle sessions, or as many as may be open, take in one process."""
    count = min(CROWD, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _FILES) // 2)
    starts = {
        "haproxy": partial(targets.haproxy, directory, ports),
        "sqlproxy": partial(targets.sqlproxy, "sqlproxy", directory, ports),
    }
    client = directory / "client"
    return {
        "sessions": count,
        "bytes": {name: extras.memory_with(client, start, count) for name, start in starts.items()},
    }


@contextmanager
def running(directory: Path, ports: Sequence[int], tls: Path | None = None) -> Iterator[list[Target]]:
    """Every target, in front of these servers."""
    with ExitStack() as stack:
        found = []
        for start in targets.starts(directory, ports, tls):
            target = start()
            stack.callback(target.stop)
            found.append(target)
        yield found


@contextmanager
def stub_servers(directory: Path) -> Iterator[list[int]]:
    """Three servers that cost next to nothing, in one process."""
    ports = [targets.free_port() for _ in range(3)]
    process = loads.start_stub(directory, ports)
    try:
        yield ports
    finally:
        process.kill()
        process.wait()


@contextmanager
def real_server(directory: Path) -> Iterator[tuple[list[int], Path]]:
    """One MariaDB with sysbench's table; its port and the directory of its certificate."""
    server = SingleServer(directory / "mariadb", targets.free_port())
    try:
        server.up()
        prepare = loads.sysbench_command("oltp_read_write", server.port, ["prepare"])
        subprocess.run(prepare, check=True, stdout=subprocess.DEVNULL)
        yield [server.port], server.ca_file.parent
    finally:
        server.down(purge=True)


def write(directory: Path, about: dict[str, Any], tables: Tables, extra: dict[str, Any]) -> None:
    """benchmarks.md, benchmarks.json and images/benchmark.svg."""
    (directory / "images").mkdir(parents=True, exist_ok=True)
    found = bars.bars(tables, extra)
    (directory / "benchmarks.json").write_text(
        json.dumps(report.as_json(about, found, tables, extra), indent=1, ensure_ascii=False) + "\n"
    )
    (directory / "benchmarks.md").write_text(report.as_markdown(about, found, tables, extra))
    (directory / "images" / "benchmark.svg").write_text(plot.draw(tables))
    for bar in found:
        print(f"{'met    ' if bar.met else 'NOT MET'} {bar.what}: {bar.value:.2f} {bar.unit}", flush=True)
    print(f"written: {directory / 'benchmarks.md'}")


if __name__ == "__main__":
    main()

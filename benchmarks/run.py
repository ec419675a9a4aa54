"""``make bench``: direct, HAProxy and sqlproxy (compiled and pure) side by side in one run; see report/report.md.

python -m benchmarks.run [--quick] [--only NAME…] [--output DIRECTORY]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import extras, loads, plot, report, targets
from benchmarks.loads import Load, Sample, Sysbench
from benchmarks.targets import Target
from sqlproxy.lab.install import remove_directory
from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import response


@dataclass(frozen=True)
class Plan:
    """How much of it: ``seconds`` for each run of our own load, ``bench_seconds`` of sysbench."""

    rounds: int
    seconds: float
    connections: tuple[int, ...]
    bench_rounds: int
    bench_seconds: float
    sysbench: tuple[tuple[str, int], ...]
    idle: tuple[int, ...]


FULL = Plan(
    rounds=5,
    seconds=0.8,
    connections=(1, 8, 64, 256),
    bench_rounds=3,
    bench_seconds=2,
    sysbench=(("oltp_point_select", 64), ("oltp_read_only", 16), ("oltp_read_write", 16)),
    idle=(100, 500, 1000),
)
QUICK = Plan(3, 0.4, (8, 64), 1, 2, (("oltp_read_write", 16),), (100, 500))


def main() -> None:
    """Parse, measure, write."""
    arguments = parse(sys.argv[1:])
    check_machine()
    busy = os.getloadavg()[0]
    plan = QUICK if arguments.quick else FULL
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-bench-"))
    directory.chmod(0o755)
    try:
        loads.build(directory)
        tables, extra = measure(plan, directory, arguments.only)
    finally:
        remove_directory(directory)
    write(arguments.output, plan, busy, tables, extra)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer loads and rounds: about a minute and a half")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only loads whose names begin so")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "report", metavar="DIRECTORY")
    return parser.parse_args(arguments)


def check_machine() -> None:
    """Raises SystemExit when the comparison would be unfair or impossible."""
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("two cores are needed: one for the proxies, one for load and servers")
    if not response.__file__.endswith(".so"):
        raise SystemExit("the compiled core is missing: make ext")
    os.sched_setaffinity(0, set(range(1, os.cpu_count() or 1)))
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


Tables = list[tuple[Load, list[report.Row]]]


def measure(plan: Plan, directory: Path, only: Sequence[str]) -> tuple[Tables, dict[str, Any]]:
    """Every table of the report, and what is measured once."""

    def wanted(found: Sequence[Load]) -> list[Load]:
        return [load for load in found if not only or load.name.startswith(tuple(only))]

    tables: Tables = []
    with stub_servers(directory) as ports:
        with running(directory, ports) as found:
            tables += compare(
                wanted(loads.point_selects(directory, plan.connections)), found, plan.rounds, plan.seconds
            )
            tables += compare(wanted(loads.other_loads(directory)), found, plan.rounds, plan.seconds)
            extra = {"system_calls": {} if only else count_calls(directory, found)}
        extra["memory"] = {} if only else idle_memory(plan, directory, ports)
    if benches := wanted(sysbench_loads(plan, directory)):
        with real_server(directory) as (ports, tls), running(directory, ports, tls) as found:
            tables += compare(benches, found, plan.bench_rounds, plan.bench_seconds)
    return tables, extra


def sysbench_loads(plan: Plan, directory: Path) -> list[Load]:
    plain: list[Load] = [Sysbench(test, threads) for test, threads in plan.sysbench]
    return [*plain, Sysbench("oltp_point_select", 16, tls=directory / "mariadb" / "tls")]


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


def idle_memory(plan: Plan, directory: Path, ports: Sequence[int]) -> dict[str, dict[str, float]]:
    starts: dict[str, Callable[[], Target]] = {
        "haproxy": partial(targets.haproxy, directory, ports),
        "sqlproxy": partial(targets.sqlproxy, "sqlproxy", directory, ports),
        "sqlproxy-pure": partial(targets.sqlproxy, "sqlproxy-pure", directory, ports, pure=True),
    }
    return {name: extras.memory_per_session(directory / "client", start, plan.idle) for name, start in starts.items()}


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


def write(directory: Path, plan: Plan, busy: float, tables: Tables, extra: dict[str, Any]) -> None:
    """report.json, report.md and cost.svg; ``busy``: the load average before, which ought to be near 0."""
    about = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}",
        "load_before": busy,
        "rounds": plan.rounds,
        "sysbench_rounds": plan.bench_rounds,
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_text(json.dumps(report.as_json(about, tables, extra), indent=1) + "\n")
    (directory / "report.md").write_text(report.as_markdown(about, tables, extra))
    (directory / "cost.svg").write_text(plot.draw(tables))
    print(f"written: {directory / 'report.md'}")


if __name__ == "__main__":
    main()

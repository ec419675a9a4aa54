"""Run test suites that others wrote against a server and through the proxy, and report every difference.

    python tests/conformance/run.py [--suite NAME]… [--topology single|galera] [--quick]

Exits 1 when there is a difference that known.toml does not explain.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.conformance.endpoint import Endpoint, endpoints
from tests.conformance.outcome import Difference, Known, Results, compare, load_known, passed
from tests.conformance.packages import Unavailable
from tests.conformance.suites import drivers, frameworks, mysqltest
from tests.conformance.suites.sysbench import sysbench

SUITES: dict[str, Callable[[Endpoint, Path, bool], Results]] = {
    "pymysql": drivers.pymysql,
    "mysqlclient": drivers.mysqlclient,
    "sysbench": sysbench,
    "aiomysql": drivers.aiomysql,
    "sqlalchemy-pymysql": frameworks.sqlalchemy_pymysql,
    "sqlalchemy-mysqldb": frameworks.sqlalchemy_mysqldb,
    "django": frameworks.django,
    "mysqltest-text": mysqltest.as_text,
    "mysqltest-prepared": mysqltest.as_prepared,
    "mysqltest-cursors": mysqltest.with_cursors,
}
_SHOWN = 40  # differences of one suite


@dataclass
class Report:
    """One suite's runs; ``problem`` says why it could not run."""

    suite: str
    direct: Results = field(default_factory=dict)
    proxied: Results = field(default_factory=dict)
    differences: Sequence[Difference] = ()
    problem: str = ""
    seconds: float = 0.0

    @property
    def fine(self) -> bool:
        """It ran, and every difference is explained."""
        return not self.problem and all(difference.reason for difference in self.differences)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 no unexplained difference, 1 there is one or a suite could not run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", action="append", choices=sorted(SUITES), help="only this one; may be repeated")
    parser.add_argument("--topology", choices=("single", "galera"), default="single")
    parser.add_argument("--quick", action="store_true", help="a representative part")
    parser.add_argument("--keep", type=Path, help="keep what the suites wrote in this directory")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sqlproxy-suites-") as temporary:
        reports = run(options.suite or list(SUITES), options.topology, options.quick, options.keep or Path(temporary))
    show(reports, options.topology)
    return 0 if all(report.fine for report in reports) else 1


def run(suites: Sequence[str], topology: str, quick: bool, directory: Path) -> list[Report]:
    """Run the suites one after the other, each directly and then through the proxy."""
    known = load_known()
    with endpoints(topology) as places:
        return [_suite(name, topology, places, quick, directory, known) for name in suites]


def _suite(
    name: str,
    topology: str,
    places: Sequence[Endpoint],
    quick: bool,
    directory: Path,
    known: list[Known],
) -> Report:
    began = time.monotonic()
    report = Report(name)
    try:
        report.direct, report.proxied = (_once(name, place, quick, directory) for place in places)
    except (Unavailable, RuntimeError) as error:
        report.problem = str(error)
    report.differences = compare(name, topology, report.direct, report.proxied, known)
    report.seconds = time.monotonic() - began
    print(f"{name}: {passed(report.direct)} direct, {passed(report.proxied)} proxied", file=sys.stderr)
    return report


def _once(name: str, place: Endpoint, quick: bool, directory: Path) -> Results:
    work = directory / name / place.name
    work.mkdir(parents=True)
    return SUITES[name](place, work, quick)


def show(reports: Sequence[Report], topology: str) -> None:
    """One table, then every difference."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("suite", "passed direct", "passed proxied", "differences", "unexplained", "seconds")
    for report in reports:
        open_ones = sum(not difference.reason for difference in report.differences)
        counts = (passed(report.direct), passed(report.proxied), len(report.differences), open_ones)
        table.add_row(report.suite, *map(str, counts), f"{report.seconds:.0f}")
    table.title = f"conformance, topology {topology}"
    console.print(table)
    for report in reports:
        if report.problem:
            console.print(f"{report.suite} did not run: {report.problem}", markup=False)
        for one in report.differences[:_SHOWN]:
            reason = one.reason or "UNEXPLAINED"
            console.print(f"{one.suite} {one.test}: {one.direct} → {one.proxied}: {reason}", markup=False)
        if len(report.differences) > _SHOWN:
            console.print(f"{report.suite}: {len(report.differences) - _SHOWN} more differences")


if __name__ == "__main__":
    sys.exit(main())

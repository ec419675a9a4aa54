"""Run test suites that others wrote against a server and through the proxy, one after the other."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.endpoint import Endpoint, endpoints
from tests.conformance.outcome import Difference, Known, Results, compare, load_known, passed
from tests.conformance.packages import Unavailable
from tests.conformance.suites import drivers, frameworks, mysqltest
from tests.conformance.suites.sysbench import sysbench

SUITES: dict[str, Callable[[Endpoint, Path, bool], Results]] = {
    "pymysql": drivers.pymysql,
    "mysqlclient": drivers.mysqlclient,
    "aiomysql": drivers.aiomysql,
    "sqlalchemy-pymysql": frameworks.sqlalchemy_pymysql,
    "sqlalchemy-mysqldb": frameworks.sqlalchemy_mysqldb,
    "sqlalchemy-asyncmy": frameworks.sqlalchemy_asyncmy,
    "django": frameworks.django,
    "sysbench": sysbench,
    "mysqltest-text": mysqltest.as_text,
    "mysqltest-prepared": mysqltest.as_prepared,
    "mysqltest-cursors": mysqltest.with_cursors,
}


@dataclass
class Report:
    """One suite's two runs; ``problem`` says why it could not run."""

    topology: str
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


def run(suites: Sequence[str], topology: str, quick: bool, directory: Path) -> list[Report]:
    """Run the suites one after the other, each directly and then through the proxy."""
    known = load_known()
    with endpoints(topology) as places:
        return [_suite(Report(topology, name), places, quick, directory / topology, known) for name in suites]


def _suite(report: Report, places: Sequence[Endpoint], quick: bool, directory: Path, known: list[Known]) -> Report:
    began = time.monotonic()
    try:
        report.direct = _once(report.suite, places[0], quick, directory)
        report.proxied = _once(report.suite, places[1], quick, directory)
        if not passed(report.direct):
            report.problem = "not one test passes directly"
    except (Unavailable, RuntimeError) as error:
        report.problem = str(error)
    report.differences = compare(report.suite, report.topology, report.direct, report.proxied, known)
    report.seconds = time.monotonic() - began
    say = f"{report.topology} {report.suite}: {passed(report.direct)} direct, {passed(report.proxied)} proxied"
    print(say, report.problem, f"{report.seconds:.0f} s", file=sys.stderr, flush=True)
    return report


def _once(name: str, place: Endpoint, quick: bool, directory: Path) -> Results:
    work = directory / name / place.name
    work.mkdir(parents=True)
    results = SUITES[name](place, work, quick)
    (work / "results.json").write_text(json.dumps(dict(results), indent=1, sort_keys=True))
    return results

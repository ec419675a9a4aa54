"""The one table that a run ends with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.table import Table
from rich.text import Text

from tests.conformance.outcome import Difference, passed
from tests.conformance.run import Report

_SHOWN = 40  # differences of one suite without a reason


def table(reports: Sequence[Report]) -> Table:
    """A row for each suite: what passed directly and through the proxy, and every difference with its reason."""
    found = Table("topology", "suite", "direct", "proxied", "differences, each with its reason", "seconds")
    found.title = "tests passed directly and through the proxy"
    for report in reports:
        counts = (str(passed(report.direct)), str(passed(report.proxied)))
        # Names of tests have brackets, which must not be taken for markup.
        found.add_row(
            report.topology, report.suite, *counts, Text("\n".join(_lines(report)) or "none"), f"{report.seconds:.0f}"
        )
    return found


def _lines(report: Report) -> Iterator[str]:
    if report.problem:
        yield f"DID NOT RUN: {report.problem}"
    if not report.proxied:
        return
    explained = sorted((one for one in report.differences if one.reason), key=lambda one: one.reason)
    for reason, group in groupby(explained, key=lambda one: one.reason):
        yield f"{', '.join(map(_what, group))}: {reason}"
    unexplained = [one for one in report.differences if not one.reason]
    for one in unexplained[:_SHOWN]:
        yield f"{_what(one)}: UNEXPLAINED"
    if len(unexplained) > _SHOWN:
        yield f"{len(unexplained) - _SHOWN} more UNEXPLAINED"


def _what(one: Difference) -> str:
    return f"{one.test} ({one.direct} → {one.proxied})"

"""``python -m tests.chaos``: a round of chaos as root, in namespaces of its own, with a report at the end."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.campaign import Episode, Report, campaign
from tests.chaos.faults import FULL, SHORT, balanced

_INSIDE = "--inside"
_UNSHARE = ("unshare", "--net", "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL")


def main() -> int:
    """Exit code 0 when every promise was kept."""
    arguments = _parser().parse_args()
    if not arguments.inside:
        command = [*_UNSHARE, sys.executable, "-m", "tests.chaos", *sys.argv[1:], _INSIDE]
        os.execvp(command[0], command)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    report = _run(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.as_dict(), indent=1))
    _print(report)
    return 1 if report.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="only the commonest faults, without sysbench")
    parser.add_argument("--only", default="", help="only faults whose name matches this regular expression")
    parser.add_argument("--times", type=int, default=1, help="the whole list so many times")
    parser.add_argument("--minutes", type=float, default=60, help="no longer than this: some faults of every kind")
    parser.add_argument("--exactly-once", action="store_true", help="with exactly_once = true: no error at all")
    parser.add_argument("--against", choices=["haproxy"], default="", help="the same for this product, to compare")
    parser.add_argument("--service", default="", help="further lines of the service's configuration")
    parser.add_argument("--json", type=Path, help="write the report there")
    parser.add_argument(_INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser


def _run(arguments: argparse.Namespace) -> Report:
    chosen = SHORT if arguments.short else balanced(FULL)
    faults = [fault for fault in chosen if re.search(arguments.only, fault.name)]
    service = arguments.service + ("\nexactly_once = true" if arguments.exactly_once else "")
    mixed = not arguments.short
    with campaign(service, arguments.exactly_once, _tell, against=arguments.against, mixed_load=mixed) as round_:
        return round_.run(faults * arguments.times, 60 * arguments.minutes)


def _tell(episode: Episode) -> None:
    pauses = f"reads {episode.read:.2f}s writes {episode.write:.2f}s"
    cluster = "" if episode.cluster is None else f" cluster {episode.cluster:.2f}s"
    print(f"{episode.seconds:6.1f}s {episode.fault}: {pauses}{cluster} {episode.errors}", flush=True)
    for text in episode.violations:
        print(f"        VIOLATION {text[:400]}", flush=True)


def _print(report: Report) -> None:
    table = Table(title=f"{len(report.episodes)} faults in {report.seconds:.0f} s")
    for name in (
        "fault",
        "statements",
        "sysbench",
        "errors",
        "read pause",
        "write pause",
        "cluster's",
        "lost",
        "double",
        "broken",
    ):
        table.add_column(name, justify="left" if name in ("fault", "errors") else "right")
    for e in report.episodes:
        errors = ", ".join(f"{count}× {what}" for what, count in e.errors.items())
        cluster = "" if e.cluster is None else f"{e.cluster:.2f}"
        numbers = (f"{e.read:.2f}", f"{e.write:.2f}", cluster, str(e.lost), str(e.duplicated), str(len(e.violations)))
        table.add_row(e.fault, str(e.statements), str(e.sysbench), errors, *numbers)
    Console(width=max(110, int(os.environ.get("COLUMNS", "0")))).print(table)
    print(f"added by the proxy to the cluster's own pause, median: {report.added * 1000:.0f} ms")
    print("every promise was kept" if not report.violations else f"{len(report.violations)} promises were broken")


if __name__ == "__main__":
    raise SystemExit(main())

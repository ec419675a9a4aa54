"""Other people's test suites, directly and through the proxy, on one MariaDB and on a Galera cluster of three.

    python -m tests.conformance [--suite NAME]… [--topology single|galera] [--quick] [--keep DIRECTORY]

On Galera it ends with the proof that sessions read their own writes. Exits 1 when there is a difference that known.toml
does not explain, when a suite could not run, or when a session read older data than it wrote.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tests.conformance import causal
from tests.conformance.run import SUITES, run
from tests.conformance.table import table

_TOPOLOGIES = ("single", "galera")
_QUICK_TRIES = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 nothing differs without a reason and no read was stale."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no server is left behind
    topologies = options.topology or _TOPOLOGIES
    with tempfile.TemporaryDirectory(prefix="sqlproxy-suites-") as temporary:
        keep = options.keep or Path(temporary)
        reports = [
            report
            for topology in topologies
            for report in run(options.suite or list(SUITES), topology, options.quick, keep)
        ]
    proof = []
    if "galera" in topologies and not options.suite:
        proof = causal.prove(_QUICK_TRIES if options.quick else causal.TRIES)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(reports))
    if proof:
        console.print(causal.table(proof))
    return 0 if all(report.fine for report in reports) and causal.holds(proof) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", action="append", choices=list(SUITES), help="only this one; may be repeated")
    parser.add_argument("--topology", action="append", choices=_TOPOLOGIES, help="only this one")
    parser.add_argument("--quick", action="store_true", help="a representative part")
    parser.add_argument("--keep", type=Path, help="keep what the suites wrote in this directory")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""``make micro``: nanoseconds of every step, compiled and pure, and against an earlier run.

python -m benchmarks.micro [--only TEXT] [--json FILE] [--against FILE]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.micro.timing import both


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(prog="benchmarks.micro", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="only steps whose names contain this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with figures kept of another commit")
    options = parser.parse_args()
    found = both(options.only)
    earlier = json.loads(options.against.read_text()) if options.against else {}
    for line in lines(found, earlier):
        print(line)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


def lines(found: Mapping[str, Mapping[str, float]], earlier: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The table; figures are nanoseconds."""
    head = f"{'step':60} {'compiled ns':>12} {'pure ns':>12}" + (f" {'compiled before':>16}" if earlier else "")
    made = [head]
    for name, compiled in found["compiled"].items():
        line = f"{name:60} {compiled:12.0f} {found['pure'][name]:12.0f}"
        if name in earlier.get("compiled", {}):
            line += f" {compiled / earlier['compiled'][name] * 100 - 100:+15.0f} %"
        made.append(line)
    return made


if __name__ == "__main__":
    main()

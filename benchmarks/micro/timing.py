"""Timing the steps, in a process of its own for each form of the core.

python -m benchmarks.micro.timing [TEXT]: one JSON object of nanoseconds by name, of the form that this process has.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import timeit

from benchmarks.micro.cases import Call, cases

REPEATS = 7  # the best of these counts: the others were disturbed


def both(only: str = "") -> dict[str, dict[str, float]]:
    """Nanoseconds by name of every step whose name contains ``only``, "compiled" and "pure"."""
    return {form: measure(only, pure=form == "pure") for form in ("compiled", "pure")}


def measure(only: str = "", *, pure: bool = False) -> dict[str, float]:
    """Nanoseconds by name, measured in another process."""
    command = [sys.executable, "-m", "benchmarks.micro.timing", only]
    done = subprocess.run(
        command, env={**os.environ, "SQLPROXY_PURE": "1" if pure else "0"}, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def nanoseconds(call: Call) -> float:
    """What one call takes when nothing disturbs it."""
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    count = max(1, number // 5)
    return min(timer.repeat(REPEATS, count)) / count * 1e9


if __name__ == "__main__":
    print(json.dumps({name: nanoseconds(call) for name, call in cases().items() if sys.argv[1] in name}))

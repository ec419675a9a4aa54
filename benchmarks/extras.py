"""What is measured once and not timed: memory of idle sessions, system calls of a query."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.loads import POINT
from benchmarks.targets import LOAD_CORES, Target, pinned

_CALL = re.compile(r"^\s*[0-9.]+\s+[0-9.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.MULTILINE)
_OTHERS = 0.05  # calls of a kind rarer than this per query are not named


@contextmanager
def idle_sessions(client: Path, target: Target, count: int) -> Iterator[None]:
    """So many clients logged in and silent."""
    command = pinned(LOAD_CORES, [str(client), str(target.port), "idle", str(count), "0", ""])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"go\n":
            raise SystemExit(f"{count} idle sessions on {target.name} failed")
        yield


def memory_per_session(client: Path, start: Callable[[], Target], counts: Sequence[int]) -> dict[str, float]:
    """Bytes for each idle session (slope over ``counts``) and the process without any; on a fresh process."""
    target = start()
    try:
        points = [(0, target.rss_bytes())]
        for count in counts:
            with idle_sessions(client, target, count):
                points.append((count, target.rss_bytes()))
            _settle(target)
    finally:
        target.stop()
    return {"base_bytes": points[0][1], "bytes_per_session": slope(points[1:])}


def memory_with(client: Path, start: Callable[[], Target], count: int) -> float:
    """Bytes resident with so many idle sessions on a fresh process."""
    target = start()
    try:
        with idle_sessions(client, target, count):
            return target.rss_bytes()
    finally:
        target.stop()


def _settle(target: Target) -> None:
    """Until the sessions before are gone: it uses no CPU any more."""
    before = -1.0
    while target.cpu_seconds() - before > 0.02:
        before = target.cpu_seconds()
        time.sleep(0.2)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line closest to the points (least squares)."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def system_calls(client: Path, target: Target, connections: int, seconds: float) -> dict[str, float] | None:
    """System calls per query by name; None without strace. Logins are among them, a hundredth or so."""
    strace = shutil.which("strace")
    if strace is None or not target.processes:
        return None
    pids = [option for pid in target.pids() for option in ("-p", str(pid))]
    tracer = subprocess.Popen([strace, "-f", "-c", *pids], stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    tracer.stderr.readline()  # "Process … attached"
    load = [str(client), str(target.port), "text", str(connections), str(seconds), POINT]
    result = subprocess.run(pinned(LOAD_CORES, load), capture_output=True, check=True)
    tracer.send_signal(signal.SIGINT)
    report = tracer.communicate()[1]
    queries = json.loads(result.stdout.splitlines()[-1])["asked"]
    calls = {name: int(number) / queries for number, name in _CALL.findall(report) if name != "total"}
    named = {name: value for name, value in sorted(calls.items()) if value >= _OTHERS}
    return {"all": sum(calls.values()), **named}

"""``make soak``: hours of all that sessions do, while the proxy's memory must not grow.

python -m benchmarks.soak [--minutes N] [--output FILE.json]

In front of a real MariaDB: clients that come and go, prepared statements, large results, readers that stall. Memory is
measured every few seconds; its slope over the second half decides. Exit code 1: it grows, or a client was failed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pymysql
from pymysql.cursors import SSCursor

from benchmarks import loads, targets
from benchmarks.extras import slope
from benchmarks.run import real_server
from benchmarks.targets import Target
from sqlproxy.lab.install import remove_directory

_EVERY = 5.0  # seconds between two measurements
_TURN = 5.0  # seconds of each kind of load at a time
_ALLOWED = 0.02  # of the memory in use, growth in an hour
_ALLOWED_BYTES = 4e6  # or this, where that is more
_STALL = 20.0  # seconds a reader does not read
_LARGE = "SELECT a.c FROM sbtest1 a, sbtest1 b LIMIT 2000000"


class Soak:
    """The loads, each in a thread, and what went wrong."""

    def __init__(self, directory: Path, target: Target) -> None:
        self._directory = directory
        self._target = target
        self._stopping = threading.Event()
        self.failures: list[str] = []
        self.done: dict[str, int] = {}

    def run(self, seconds: float) -> list[tuple[float, float]]:
        """Seconds since the start and resident bytes, every few seconds."""
        works: dict[str, Callable[[], None]] = {
            "reconnects": lambda: self._generate("connect", 8, loads.POINT),
            "prepared statements": lambda: self._generate("binary", 8, loads.POINT_PREPARED),
            "large results": lambda: self._generate("text", 2, "SELECT c FROM sbtest1"),
            "stalled readers": self._stall,
        }
        threads = [threading.Thread(target=self._repeat, args=work, daemon=True) for work in works.items()]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        points = []
        while time.monotonic() - begun < seconds and not self.failures:
            self._stopping.wait(_EVERY)
            points.append((time.monotonic() - begun, float(self._target.rss_bytes())))
        self._stopping.set()
        for thread in threads:
            thread.join(_STALL + 4 * _TURN)
        return points

    def _repeat(self, name: str, work: Callable[[], None]) -> None:
        self.done[name] = 0
        while not self._stopping.is_set():
            try:
                work()
            except (pymysql.MySQLError, OSError, subprocess.CalledProcessError) as error:
                self.failures.append(f"{name}: {error}")
                return
            self.done[name] += 1

    def _generate(self, mode: str, connections: int, statement: str) -> None:
        command = [
            str(self._directory / "client"),
            str(self._target.port),
            mode,
            str(connections),
            str(_TURN),
            statement,
        ]
        subprocess.run(targets.pinned(targets.LOAD_CORES, command), stdout=subprocess.DEVNULL, check=True)

    def _stall(self) -> None:
        """A client asks for much, reads little, waits, and is gone in the middle of it."""
        connection = pymysql.connect(
            host="127.0.0.1",
            port=self._target.port,
            user="app",
            password="app",
            database="sbtest",
            cursorclass=SSCursor,
        )
        cursor = connection.cursor()
        cursor.execute(_LARGE)
        cursor.fetchmany(10)
        self._stopping.wait(_STALL)
        cursor._result.unbuffered_active = False  # else the driver wants to read the rest when it is gone
        cursor._result = None
        connection._force_close()


def verdict(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Bytes an hour that memory grew over the second half, and how many would be too many."""
    half = points[len(points) // 2 :]
    allowed = max(_ALLOWED * half[0][1], _ALLOWED_BYTES)
    # a line through a short time says little: what it may be off by is spread over that time
    return slope(half) * 3600, allowed * max(1.0, 3600 / (half[-1][0] - half[0][0]) / 4)


def main() -> None:
    """Parse, run, judge."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "report" / "soak.json", metavar="FILE")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-soak-"))
    directory.chmod(0o755)
    try:
        loads.build(directory)
        with real_server(directory) as (ports, tls):
            target = targets.sqlproxy("sqlproxy", directory, ports, tls=tls)
            try:
                soak = Soak(directory, target)
                points = soak.run(arguments.minutes * 60)
            finally:
                target.stop()
    finally:
        remove_directory(directory)
    sys.exit(report(arguments.output, soak, points))


def report(output: Path, soak: Soak, points: Sequence[tuple[float, float]]) -> int:
    """Write and print what was found; the exit code."""
    if soak.failures or len(points) < 8:
        print(f"failed: {'; '.join(soak.failures) or 'too short to tell'}")
        return 1
    growth, allowed = verdict(points)
    found = {
        "seconds": round(points[-1][0]),
        "turns": soak.done,
        "rss_first": points[0][1],
        "rss_last": points[-1][1],
        "rss_max": max(rss for _, rss in points),
        "growth_per_hour": round(growth),
        "allowed_per_hour": round(allowed),
        "points": [(round(at, 1), rss) for at, rss in points],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n")
    turns = ", ".join(f"{count} × {name}" for name, count in soak.done.items())
    print(f"{found['seconds']} s: {turns}")
    print(f"memory {points[0][1] / 1e6:.1f} MB at first, {points[-1][1] / 1e6:.1f} MB at last")
    print(f"slope {growth / 1e6:+.2f} MB an hour over the second half, {allowed / 1e6:.2f} allowed")
    return int(growth > allowed)


if __name__ == "__main__":
    main()

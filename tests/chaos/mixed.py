"""A mixed load beside the others: sysbench oltp_read_write through the proxy, which ends at the first error it gets."""

from __future__ import annotations

import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

SYSBENCH = "sysbench"
TABLE, ROWS, THREADS = "sbtest1", 50_000, 2
RATE = 20  # transactions a second: the machine is shared with the servers
_TRANSACTIONS = re.compile(r"tps: ([\d.]+)")
DIFFERS = f"{SYSBENCH} differs"  # a replay found a row that another transaction has changed since, as documented
UNKNOWN = f"{SYSBENCH} unknown"


class Sysbench:
    """sysbench at ``port``, started again whenever an error has ended it. No error is ignored, not even deadlocks."""

    def __init__(self, port: int) -> None:
        self.transactions = 0
        self.failures: list[tuple[str, str]] = []  # what, and all that sysbench said
        self._port = port
        self._stop = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(90)
        if self._thread.is_alive():
            raise AssertionError("sysbench does not end")

    def errors(self) -> dict[str, int]:
        """How many of each kind."""
        return dict(Counter(what for what, _ in self.failures))

    def _run(self) -> None:
        options = ["--time=0", "--events=0", "--report-interval=1", f"--threads={THREADS}", f"--rate={RATE}"]
        while not self._stop.is_set():
            process = subprocess.Popen(
                command(self._port, "run", *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            self._process = process
            if self._stop.is_set():
                process.terminate()
            said = self._listen(process)
            if process.wait() and not self._stop.is_set():
                self.failures.append((kind_of(said), said))
                self._stop.wait(0.2)

    def _listen(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        said = []
        with process.stdout as lines:
            for line in lines:
                found = _TRANSACTIONS.search(line)
                if found:
                    self.transactions += round(float(found[1]))
                elif "FATAL" in line or "error" in line:
                    said.append(line.strip())
        return " | ".join(said)


def kind_of(said: str) -> str:
    """A failure's kind, as ``load.Failure.what`` names them."""
    if "outcome of this statement is unknown" in said:
        return UNKNOWN
    if "of it was answered" in said:
        return DIFFERS
    found = re.search(r"\b(1\d{3}|2\d{3})\b", said)
    return f"{SYSBENCH} {found[1] if found else said[:60]}"


def command(port: int, verb: str, *options: str) -> list[str]:
    """sysbench's command line."""
    return [
        "sysbench",
        "oltp_read_write",
        "--mysql-host=127.0.0.1",
        f"--mysql-port={port}",
        "--mysql-user=app",
        "--mysql-password=app",
        "--mysql-db=app",
        "--mysql-ignore-errors=none",
        "--tables=1",
        f"--table-size={ROWS}",
        "--auto_inc=off",  # Galera leaves gaps between the ids it hands out
        "--rand-type=uniform",
        *options,
        verb,
    ]


def prepare(port: int) -> None:
    """Make the table."""
    done = subprocess.run(command(port, "prepare"), capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"sysbench prepare: {done.stdout}{done.stderr}")


def broken(ask: Callable[[str], list[tuple[Any, ...]]]) -> list[str]:
    """Each of its transactions puts back the row it takes out: a sentence if the table has other than all rows."""
    ((count,),) = ask(f"SELECT COUNT(*) FROM {TABLE}")
    return [] if count == ROWS else [f"sysbench's table has {count} rows, not {ROWS}"]

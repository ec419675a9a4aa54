"""Kinds of load, and one measured run of each: what was answered, how fast, for how much CPU of the proxy."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.targets import LOAD_CORES, Target, pinned, program

SOURCES = Path(__file__).parent / "load"
POINT = "SELECT c FROM sbtest1 WHERE id=42"
POINT_PREPARED = "SELECT c FROM sbtest1 WHERE id=?"
ROW_BYTES = 124  # one row on the wire, as the stub server sends it
_INTERVAL = re.compile(rb"qps: ([0-9.]+) .*lat \(ms,95%\): ([0-9.]+)")


@dataclass(frozen=True)
class Sample:
    """One run. ``seconds`` of wall time, ``cpu`` seconds of the proxy, latencies in µs (0: not measured)."""

    queries: float
    bytes: float
    seconds: float
    cpu: float
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


class Load(Protocol):
    """``unit`` is what CPU is divided by: "query" or "GB"."""

    name: str
    title: str
    unit: str

    def run(self, target: Target, seconds: float) -> Sample:
        """Put load on a target. Raises SystemExit with its words when a statement fails."""
        ...


def build(directory: Path) -> None:
    """Compile the load generator and the stub server."""
    for name in ("client", "server"):
        command = [program("gcc", "gcc"), "-O2", "-pthread", "-o", str(directory / name), str(SOURCES / f"{name}.c")]
        subprocess.run(command, check=True)


def start_stub(directory: Path, ports: Sequence[int]) -> subprocess.Popen[bytes]:
    """The stub server, listening."""
    command = pinned(LOAD_CORES, [str(directory / "server"), *map(str, ports)])
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    if process.stdout.readline() != b"ready\n":
        raise SystemExit("the stub server did not start")
    return process


class Generated:
    """Load by our own generator. ``mode``: text, binary or connect."""

    def __init__(
        self,
        name: str,
        title: str,
        program_path: Path,
        mode: str,
        connections: int,
        statement: str,
        unit: str = "query",
    ) -> None:
        self.name = name
        self.title = title
        self.unit = unit
        self._command = [str(program_path), "PORT", mode, str(connections), "SECONDS", statement]

    def run(self, target: Target, seconds: float) -> Sample:
        """See Load; longer where a machine busy with other things answers nothing in that time."""
        for longer in (1, 4, 16):
            sample = self._run(target, seconds * longer)
            if sample.bytes if self.unit == "GB" else sample.queries:
                return sample
        raise SystemExit(f"{self.name}: {target.name} answers nothing within {seconds * longer:g}s")

    def _run(self, target: Target, seconds: float) -> Sample:
        command = list(self._command)
        command[1], command[4] = str(target.port), str(seconds)
        with subprocess.Popen(pinned(LOAD_CORES, command), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            started = process.stdout.readline()
            before = target.cpu_seconds()
            line = process.stdout.readline()
            cpu = target.cpu_seconds() - before
        if started != b"go\n" or not line:
            raise SystemExit(f"{self.name}: the load on {target.name} failed")
        result = json.loads(line)
        return Sample(
            result["queries"], result["bytes"], result["seconds"], cpu, result["p50"], result["p95"], result["p99"]
        )


class Sysbench:
    """Load by sysbench on a real server; its first second is left out.

    ``test`` is one of its own, or a script's file. ``tls``: where ca.pem, cert.pem and key.pem are, for encrypted
    connections.
    """

    unit = "query"

    def __init__(self, test: str, threads: int, *, title: str = "", tls: Path | None = None) -> None:
        self.name = f"sysbench-{Path(test).stem}-{threads}{'-tls' if tls else ''}"
        self.title = f"sysbench {title or test}, {threads} threads{', TLS (HAProxy passes it through)' if tls else ''}"
        self._test = test
        self._tls = tls
        self._options = ["--report-interval=1", f"--threads={threads}", f"--mysql-ssl={'on' if tls else 'off'}"]

    def run(self, target: Target, seconds: float) -> Sample:
        """See Load."""
        command = sysbench_command(self._test, target.port, [*self._options, f"--time={seconds + 1.5:.0f}"])
        readings: list[tuple[float, float, float]] = []
        with subprocess.Popen(
            pinned(LOAD_CORES, [*command, "run"]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._directory(),
        ) as process:
            assert process.stdout is not None
            said = b""
            for line in process.stdout:
                said += line
                if found := _INTERVAL.search(line):
                    readings.append((target.cpu_seconds(), float(found[1]), float(found[2]) * 1000))
        if process.returncode or len(readings) < 2:
            raise SystemExit(f"{self.name}: the load on {target.name} failed: {said.decode()[-600:]}")
        counted = readings[1:]
        cpu = readings[-1][0] - readings[0][0]
        worst = max(p95 for _, _, p95 in counted)
        return Sample(sum(qps for _, qps, _ in counted), 0, float(len(counted)), cpu, p95=worst)

    def _directory(self) -> Path | None:
        """Sysbench takes key and certificates from files of fixed names where it runs."""
        if self._tls is not None:
            for name, part in (("client-key", "key"), ("client-cert", "cert"), ("cacert", "ca")):
                link = self._tls / f"{name}.pem"
                if not link.exists():
                    link.symlink_to(f"{part}.pem")
        return self._tls


def sysbench_command(test: str, port: int, options: Sequence[str] = ()) -> list[str]:
    """A sysbench test of one table of 10000 rows, as the lab's user."""
    where = ["--mysql-host=127.0.0.1", f"--mysql-port={port}", "--mysql-user=app", "--mysql-password=app"]
    return [program("sysbench", "sysbench"), test, *where, "--mysql-db=sbtest", "--table-size=10000", *options]


def point_selects(directory: Path, connections: Sequence[int]) -> list[Load]:
    """One row by its key: text and binary protocol."""
    client = directory / "client"
    return [
        Generated(f"{mode}-{count}", f"point select, {mode}, {count} connections", client, mode, count, statement)
        for mode, statement in (("text", POINT), ("binary", POINT_PREPARED))
        for count in connections
    ]


def other_loads(directory: Path) -> list[Load]:
    """Large results, and connections that ask one thing."""
    client = directory / "client"
    loads: list[Load] = [
        Generated(
            f"result-{size}MB",
            f"results of {size} MB in rows of {ROW_BYTES} bytes, {count} connections",
            client,
            "text",
            count,
            f"SELECT c FROM sbtest1 LIMIT {size * 1_000_000 // ROW_BYTES}",
            "GB",
        )
        for size, count in ((1, 8), (100, 2))
    ]
    loads.append(Generated("connect", "connect, query, quit; 8 at a time", client, "connect", 8, POINT))
    return loads

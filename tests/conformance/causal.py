"""The proof that a session reads its own writes on Galera, whichever node answers.

A session writes a number and reads it back at once, which another node answers, while a load keeps that node applying:
over the text and the binary protocol, with ``causal_reads = "session"`` and, to show that there was something to wait
for, with ``"none"``. ``python -m tests.conformance.causal [TRIES]`` does nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sqlproxy.wire import codec
from tests.conformance.endpoint import HOST, PASSWORD, USER, Endpoint, endpoints
from tests.conformance.packages import program
from tests.support.proxy import Proxy, running_proxy
from tests.support.rawclient import RawClient, as_error, as_ok, logged_in, values

GUARANTEES = ("session", "none")
TRIES = 5000
_DATABASE = "causal"
_WRITE = "UPDATE own SET v = {} WHERE id = {}"
# The port tells which node answered.
_READ = "SELECT CONCAT(v), CONCAT(@@port) FROM own WHERE id = {}"
_STRING = b"\xfd\x00"  # parameter type VAR_STRING
# About as many transactions as nodes of this size apply while flow control hardly ever stops them.
_LOAD = "oltp_write_only --threads=4 --tables=2 --table-size=5000 --rate=150"


@dataclass
class Reads:
    """Reads after own writes: ``elsewhere`` were answered by another node than the primary, ``stale`` of them by one
    that had not applied the write; ``microseconds`` are those of each read."""

    guarantee: str
    protocol: str
    elsewhere: int = 0
    stale: int = 0
    microseconds: list[int] = field(default_factory=list)

    @property
    def median(self) -> int:
        return sorted(self.microseconds)[len(self.microseconds) // 2]

    @property
    def p95(self) -> int:
        return sorted(self.microseconds)[len(self.microseconds) * 95 // 100]


def prove(tries: int) -> list[Reads]:
    """So many writes and reads for each guarantee and protocol, on a cluster made for it."""
    with endpoints("galera") as (direct, _), _loaded(direct), ExitStack() as stack:
        ports = {guarantee: stack.enter_context(_proxy(direct, guarantee)).port for guarantee in GUARANTEES}
        return [reads for session in (_Text, _Binary) for reads in _reads(session, ports, tries, primary=direct.port)]


def holds(proof: Sequence[Reads]) -> bool:
    """No session missed its own write; one that waited too long on a node may have been answered by the primary."""
    promised = [reads for reads in proof if reads.guarantee == "session"]
    return all(reads.stale == 0 and reads.elsewhere > len(reads.microseconds) * 0.9 for reads in promised)


def table(proof: Sequence[Reads]) -> Table:
    """What the proof found, a row for each guarantee and protocol."""
    found = Table("causal_reads", "protocol", "reads", "on another node", "stale", "median µs", "p95 µs", "mean µs")
    found.title = "reads right after a write of the same session, Galera of three under load"
    for reads in proof:
        mean = sum(reads.microseconds) // len(reads.microseconds)
        numbers = (len(reads.microseconds), reads.elsewhere, reads.stale, reads.median, reads.p95, mean)
        found.add_row(reads.guarantee, reads.protocol, *map(str, numbers))
    return found


@contextmanager
def _loaded(direct: Endpoint) -> Iterator[None]:
    """The table to read, and writers on the primary that go on until the end."""
    direct.fresh_databases(_DATABASE, "sbtest")
    direct.sql(f"CREATE TABLE {_DATABASE}.own (id INT PRIMARY KEY, v INT)")
    direct.sql(f"INSERT INTO {_DATABASE}.own VALUES {', '.join(f'({row}, 0)' for row in range(len(GUARANTEES)))}")
    command = [program("sysbench", "sysbench"), *_LOAD.split(), f"--mysql-host={HOST}", f"--mysql-port={direct.port}"]
    command += [f"--mysql-user={USER}", f"--mysql-password={PASSWORD}", "--time=0", "--events=0"]
    subprocess.run([*command, "prepare"], stdout=subprocess.DEVNULL, check=True)
    load = subprocess.Popen([*command, "run"], stdout=subprocess.DEVNULL)
    try:
        yield
        if load.poll() is not None:
            raise RuntimeError("the load ended before the reads")
    finally:
        load.kill()
        load.wait()


@contextmanager
def _proxy(direct: Endpoint, guarantee: str) -> Iterator[Proxy]:
    servers = {f"n{number}": port for number, port in enumerate(direct.ports, 1)}
    service = f'causal_reads = "{guarantee}"'
    with tempfile.TemporaryDirectory() as directory, running_proxy(Path(directory), servers, service=service) as proxy:
        proxy.wait_roles(**dict.fromkeys(servers, "replica") | {"n1": "primary"})
        yield proxy


def _reads(kind: type[_Session], ports: Mapping[str, int], tries: int, primary: int) -> list[Reads]:
    """The sessions of both guarantees take turns, so that what else the machine does slows both alike."""
    found = [Reads(guarantee, kind.protocol) for guarantee in ports]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(logged_in(port, user=USER, password=PASSWORD, database=_DATABASE))
            for port in ports.values()
        ]
        sessions = [kind(client, row) for row, client in enumerate(clients)]
        for session in sessions:
            session.read()  # opens the connection to the replica
        for number in range(1, tries + 1):
            for session, reads in zip(sessions, found, strict=True):
                _try(session, number, reads, primary)
    return found


def _try(session: _Session, number: int, reads: Reads, primary: int) -> None:
    session.write(number)
    began = time.perf_counter_ns()
    value, port = session.read()
    reads.microseconds.append((time.perf_counter_ns() - began) // 1000)
    reads.elsewhere += port != primary
    reads.stale += value != number


class _Session(ABC):
    """One session's row and how it is written and read."""

    protocol = ""

    @abstractmethod
    def __init__(self, client: RawClient, row: int) -> None: ...

    @abstractmethod
    def write(self, number: int) -> None:
        """Raises ServerError."""

    @abstractmethod
    def read(self) -> tuple[int, int]:
        """The number, and the port of the node that answered."""


class _Text(_Session):
    """Statements as text."""

    protocol = "text"

    def __init__(self, client: RawClient, row: int) -> None:
        self._client, self._row = client, row

    def write(self, number: int) -> None:
        as_ok(self._client.query(_WRITE.format(number, self._row))[0])

    def read(self) -> tuple[int, int]:
        number, port = self._client.rows(_READ.format(self._row))[0]
        return int(number or 0), int(port or 0)


class _Binary(_Session):
    """Prepared statements."""

    protocol = "binary"

    def __init__(self, client: RawClient, row: int) -> None:
        self._client, self._row = client, row
        self._write, _ = client.prepare(_WRITE.format("?", "?"))
        self._read, _ = client.prepare(_READ.format("?"))

    def write(self, number: int) -> None:
        as_ok(self._execute(self._write, number, self._row)[0])

    def read(self) -> tuple[int, int]:
        # Before the end of the reply: a row of a zero byte, one byte of NULL bits and two strings.
        number, port = values(self._execute(self._read, self._row)[-2][2:])
        return int(number or 0), int(port or 0)

    def _execute(self, statement: int, *arguments: int) -> list[bytes]:
        """No NULLs, types follow, every argument a string."""
        strings = b"".join(codec.write_lenenc_string(str(argument).encode()) for argument in arguments)
        packets = self._client.execute(statement, b"\x00\x01" + _STRING * len(arguments) + strings)
        for packet in (packets[0], packets[-1]):
            if packet[0] == 0xFF:
                raise as_error(packet)
        return packets


def main() -> int:
    """Exit code: 0 no read was stale, 1 one was."""
    proof = prove(int(sys.argv[1]) if len(sys.argv) > 1 else TRIES)
    Console(width=120).print(table(proof))
    return 0 if holds(proof) else 1


if __name__ == "__main__":
    sys.exit(main())

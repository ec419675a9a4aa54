"""The proof that a session reads its own writes on Galera, whichever node answers.

A session writes a number and reads it back at once, which another node answers, while a load keeps that node applying:
over the text and the binary protocol, with ``causal_reads = "session"`` and, to show that there was something to wait
for, with ``"none"``. ``python -m tests.conformance.causal [TRIES]`` does nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sqlproxy.wire import codec
from tests.conformance.endpoint import HOST, PASSWORD, USER, Endpoint, endpoints
from tests.conformance.packages import program
from tests.support.proxy import running_proxy
from tests.support.rawclient import RawClient, as_error, logged_in, values

GUARANTEES = ("session", "none")
PROTOCOLS = ("text", "binary")
TRIES = 5000
_DATABASE = "causal"
_WRITE = "UPDATE own SET v = {} WHERE id = 1"
# The port tells which node answered.
_READ = "SELECT CONCAT(v), CONCAT(@@port) FROM own WHERE id = {}"
_STRING = b"\xfd\x00"  # parameter type VAR_STRING
# About as many transactions as nodes of this size apply while flow control hardly ever stops them.
_LOAD = "oltp_write_only --threads=4 --tables=2 --table-size=5000 --rate=150"


@dataclass(frozen=True)
class Reads:
    """Reads after own writes: ``elsewhere`` were answered by another node than the primary, ``stale`` of them by one
    that had not applied the write; ``microseconds`` are those of each read."""

    guarantee: str
    protocol: str
    elsewhere: int
    stale: int
    microseconds: Sequence[int]

    @property
    def median(self) -> int:
        return sorted(self.microseconds)[len(self.microseconds) // 2]

    @property
    def p95(self) -> int:
        return sorted(self.microseconds)[len(self.microseconds) * 95 // 100]


def prove(tries: int) -> list[Reads]:
    """So many writes and reads for each guarantee and protocol, on a cluster made for it."""
    with endpoints("galera") as (direct, _), _loaded(direct):
        return [reads for guarantee in GUARANTEES for reads in _reads(direct, guarantee, tries)]


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
    direct.sql(f"INSERT INTO {_DATABASE}.own VALUES (1, 0)")
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


def _reads(direct: Endpoint, guarantee: str, tries: int) -> Iterator[Reads]:
    servers = {f"n{number}": port for number, port in enumerate(direct.ports, 1)}
    directory = direct.servers[0].directory.parent
    with running_proxy(directory, servers, service=f'causal_reads = "{guarantee}"') as proxy:
        proxy.wait_roles(**dict.fromkeys(servers, "replica") | {"n1": "primary"})
        for protocol in PROTOCOLS:
            with logged_in(proxy.port, user=USER, password=PASSWORD, database=_DATABASE) as client:
                session = _Text(client) if protocol == "text" else _Binary(client)
                yield _measure(session, guarantee, protocol, tries, direct.port)


class _Text:
    """Writes and reads of statements as text."""

    def __init__(self, client: RawClient) -> None:
        self._client = client

    def write(self, number: int) -> None:
        answer = self._client.query(_WRITE.format(number))[0]
        if answer[0] == 0xFF:
            raise as_error(answer)

    def read(self) -> tuple[int, int]:
        """The number, and the port of the node that answered."""
        number, port = self._client.rows(_READ.format(1))[0]
        return int(number or 0), int(port or 0)


class _Binary:
    """The same as prepared statements."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._write, _ = client.prepare(_WRITE.format("?"))
        self._read, _ = client.prepare(_READ.format("?"))

    def write(self, number: int) -> None:
        answer = self._execute(self._write, number)[0]
        if answer[0] == 0xFF:
            raise as_error(answer)

    def read(self) -> tuple[int, int]:
        """The number, and the port of the node that answered."""
        packets = self._execute(self._read, 1)
        if packets[-1][0] == 0xFF or packets[0][0] == 0xFF:
            raise as_error(packets[0] if packets[0][0] == 0xFF else packets[-1])
        # Before the end: a row of a zero byte, one byte of NULL bits and two strings.
        number, port = values(packets[-2][2:])
        return int(number or 0), int(port or 0)

    def _execute(self, statement: int, value: int) -> list[bytes]:
        # No NULLs, types follow, one string.
        return self._client.execute(statement, b"\x00\x01" + _STRING + codec.write_lenenc_string(str(value).encode()))


def _measure(session: _Text | _Binary, guarantee: str, protocol: str, tries: int, primary: int) -> Reads:
    elsewhere = stale = 0
    microseconds = []
    session.read()  # opens the connection to the replica
    for number in range(1, tries + 1):
        session.write(number)
        began = time.perf_counter_ns()
        found, port = session.read()
        microseconds.append((time.perf_counter_ns() - began) // 1000)
        elsewhere += port != primary
        stale += found < number
    return Reads(guarantee, protocol, elsewhere, stale, microseconds)


def main() -> int:
    """Exit code: 0 no read was stale, 1 one was."""
    proof = prove(int(sys.argv[1]) if len(sys.argv) > 1 else TRIES)
    Console(width=120).print(table(proof))
    return 0 if holds(proof) else 1


if __name__ == "__main__":
    sys.exit(main())

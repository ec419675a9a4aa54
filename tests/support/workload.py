"""A load on a cluster through the proxy that knows afterwards what was promised: nothing lost, nothing applied twice.

Readers, autocommit writers and transactions go through the proxy; one writer goes straight to a server that survives,
so that the cluster's own outage can be told from what the proxy adds.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.connections import Connection

from tests.support.mysqlclient import ask, connected, rows
from tests.support.waiting import wait_until

PACE = 0.004  # seconds between two statements of a worker: the machine is shared with the servers
UNKNOWN = 1927
READ, WRITE, TRANSACTION, DIRECT = "read", "write", "transaction", "direct"

Key = tuple[str, int, int]  # kind, worker, counter


@dataclass(frozen=True)
class Failure:
    """An error a worker got; ``at`` is monotonic seconds."""

    kind: str
    worker: int
    at: float
    code: int
    text: str

    @property
    def unknown(self) -> bool:
        """The client was told that its statement may or may not have been applied."""
        return self.code == UNKNOWN and "outcome of this statement is unknown" in self.text


@dataclass(frozen=True)
class Outcome:
    """What the servers have against what the workers were told. All are empty when every promise was kept."""

    lost: set[Key]  # acknowledged, not there
    duplicated: set[Key]
    uninvited: set[Key]  # refused, but there
    halves: set[Key]  # transactions of which one of two rows is there

    @property
    def kept(self) -> bool:
        return not (self.lost or self.duplicated or self.uninvited or self.halves)


@dataclass
class _Worker:
    kind: str
    number: int
    port: int
    done: int = 0
    pause: float = 0.0  # the longest between two successes
    failures: list[Failure] = field(default_factory=list)
    acknowledged: set[Key] = field(default_factory=set)
    unknown: set[Key] = field(default_factory=set)
    broken: BaseException | None = None


class Workload:
    """Started by ``running``; the table ``workload`` in ``app`` is its own."""

    def __init__(
        self, proxy: int, direct: int | None, readers: int = 2, writers: int = 2, transactions: int = 2
    ) -> None:
        kinds = [(READ, readers), (WRITE, writers), (TRANSACTION, transactions)]
        self._workers = [_Worker(kind, number, proxy) for kind, count in kinds for number in range(count)]
        if direct is not None:
            self._workers.append(_Worker(DIRECT, 0, direct))
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(worker,), daemon=True) for worker in self._workers]

    # -- running

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every worker finish its statement; raises what broke a worker."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a worker hangs in a statement"
        for worker in self._workers:
            if worker.broken is not None:
                raise worker.broken

    def progress(self, count: int = 20, timeout: float = 30.0) -> None:
        """Wait until every worker has succeeded ``count`` times more."""
        goals = [(worker, worker.done + count) for worker in self._workers]
        wait_until(
            lambda: self._stop.is_set() or all(worker.done >= goal for worker, goal in goals),
            timeout,
            f"{count} more statements of every worker (failures so far: {self.failures()})",
        )

    def _run(self, worker: _Worker) -> None:
        try:
            self._work(worker)
        except BaseException as error:
            worker.broken = error
            self._stop.set()

    def _work(self, worker: _Worker) -> None:
        connection = _connect(worker.port)
        counter, last = 0, time.monotonic()
        while not self._stop.wait(PACE):
            counter += 1
            key = (worker.kind, worker.number, counter)
            try:
                _STATEMENTS[worker.kind](connection, key)
            except pymysql.MySQLError as error:
                failure = Failure(worker.kind, worker.number, time.monotonic(), *_code_and_text(error))
                worker.failures.append(failure)
                if failure.unknown:
                    worker.unknown.add(key)
                if not connection.open:
                    connection = _connect(worker.port)
                continue
            worker.acknowledged.add(key)
            worker.done += 1
            now = time.monotonic()
            worker.pause, last = max(worker.pause, now - last), now
        if connection.open:
            connection.close()

    # -- what came of it

    def failures(self, *kinds: str) -> list[Failure]:
        """Errors of some kinds of workers, of all without a name."""
        return [f for worker in self._workers if not kinds or worker.kind in kinds for f in worker.failures]

    def most_failures(self, kind: str) -> int:
        """Of the worker of a kind that had the most."""
        return max(len(worker.failures) for worker in self._workers if worker.kind == kind)

    def pause(self, kind: str) -> float:
        """The longest time in seconds that a worker of a kind went without a success."""
        return max(worker.pause for worker in self._workers if worker.kind == kind)

    def outcome(self, port: int) -> Outcome:
        """Compare what the workers through the proxy were told with what a server has, once it has caught up."""
        query = (
            "SELECT kind, worker, counter, COUNT(*), COUNT(DISTINCT part) FROM workload WHERE kind <> 'direct'"
            " GROUP BY 1, 2, 3"
        )
        found = {(kind, worker, counter): (n, parts) for kind, worker, counter, n, parts in _synced(port, query)}
        acknowledged = {key for w in self._workers if w.kind not in (READ, DIRECT) for key in w.acknowledged}
        unknown = {key for w in self._workers for key in w.unknown}
        return Outcome(
            lost=acknowledged - found.keys(),
            duplicated={key for key, (n, parts) in found.items() if n > parts},
            uninvited=found.keys() - acknowledged - unknown,
            halves={key for key, (_, parts) in found.items() if key[0] == TRANSACTION and parts != 2},
        )

    def writers_by_server(self, port: int) -> list[list[int]]:
        """For every worker through the proxy the ports that took its writes, in order, repetitions left out."""
        query = "SELECT kind, worker, port FROM workload WHERE kind <> 'direct' ORDER BY kind, worker, counter, part"
        taken: dict[tuple[str, int], list[int]] = defaultdict(list)
        for kind, worker, server in _synced(port, query):
            ports = taken[kind, worker]
            if not ports or ports[-1] != server:
                ports.append(server)
        return list(taken.values())

    def summary(self) -> str:
        """One line for people: pauses and errors by kind and code."""
        pauses = ", ".join(f"{kind} {self.pause(kind):.2f}s" for kind in dict.fromkeys(w.kind for w in self._workers))
        errors = Counter(f"{f.kind} {f.code}" for f in self.failures())
        return f"longest pauses {pauses}; errors {dict(errors)}"


@contextmanager
def running(proxy: int, direct: int | None, **workers: int) -> Iterator[Workload]:
    """A load that has reached its pace; ended at the latest with the block."""
    ask(proxy, "DROP TABLE IF EXISTS workload")
    ask(
        proxy,
        "CREATE TABLE workload (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(20), worker INT, counter INT,"
        " part INT, port INT)",
    )
    workload = Workload(proxy, direct, **workers)
    workload.start()
    try:
        workload.progress()
        yield workload
    finally:
        workload.stop()


def _connect(port: int) -> Connection:
    return pymysql.connect(
        host="127.0.0.1",
        port=port,
        user="app",
        password="app",
        database="app",
        autocommit=True,
        connect_timeout=30,
        read_timeout=60,
    )


def _code_and_text(error: pymysql.MySQLError) -> tuple[int, str]:
    code, text = (*error.args, "", "")[:2]
    return (code, str(text)) if isinstance(code, int) else (0, str(error))


def _synced(port: int, query: str) -> list[tuple[Any, ...]]:
    with connected(port) as connection:
        rows(connection, "SET wsrep_sync_wait = 1")
        return rows(connection, query)


_INSERT = "INSERT INTO workload (kind, worker, counter, part, port) VALUES (%s, %s, %s, %s, @@port)"


def _read(connection: Connection, key: Key) -> None:
    assert rows(connection, "SELECT COUNT(*) FROM workload WHERE worker = %s AND counter < 3", key[1])


def _write(connection: Connection, key: Key) -> None:
    rows(connection, _INSERT, *key, 0)


def _transact(connection: Connection, key: Key) -> None:
    rows(connection, "BEGIN")
    rows(connection, _INSERT, *key, 0)
    rows(connection, _INSERT, *key, 1)
    rows(connection, "COMMIT")


_STATEMENTS: dict[str, Callable[[Connection, Key], None]] = {
    READ: _read,
    WRITE: _write,
    DIRECT: _write,
    TRANSACTION: _transact,
}

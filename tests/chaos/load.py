"""What applications do while things break: transfers, appends, inserts and reads, each knowing what it was promised.

Every worker is a thread with a connection of its own. What the servers hold afterwards is compared by ``Load.outcome``.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql.connections import Connection

from tests.support.mysqlclient import rows

PACE = 0.004  # seconds between two operations of a worker: the machine is shared with the servers
READ, INSERT, TRANSFER, APPEND, DIRECT = "read", "insert", "transfer", "append", "direct"
WRITES = (INSERT, TRANSFER, APPEND)
ACCOUNTS, BALANCE = 20, 1000
UNKNOWN = "outcome of this statement is unknown"

TABLES = (
    "CREATE TABLE IF NOT EXISTS accounts (id INT PRIMARY KEY, balance INT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS lists (id INT PRIMARY KEY, entries MEDIUMTEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS entries (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(10), worker INT, seq INT,"
    " KEY (kind, worker, seq))",
    # A number from a counter, once shown to the client, may be taken when its transaction is replayed; a UUID never is.
    "CREATE TABLE IF NOT EXISTS commits (id UUID PRIMARY KEY DEFAULT UUID(), kind VARCHAR(10), worker INT, seq INT)",
)
Key = tuple[str, int, int]  # kind, worker, seq
Address = tuple[str, int]


@dataclass(frozen=True)
class Failure:
    """An error a worker got; ``at`` is monotonic seconds, ``key`` what it was about to do."""

    key: Key
    at: float
    code: int
    text: str

    @property
    def unknown(self) -> bool:
        """The client was told that its statement may or may not have been applied."""
        return UNKNOWN in self.text

    @property
    def what(self) -> str:
        """For counting: who got which error."""
        return f"{self.key[0]} {'unknown' if self.unknown else self.code}"


@dataclass(frozen=True)
class Outcome:
    """What the servers hold against what the workers were told; all but ``total`` are empty when promises were kept."""

    lost: list[Key]  # acknowledged, not there
    duplicated: list[Key]
    uninvited: list[Key]  # refused with an error other than "unknown", but there
    disordered: list[int]  # lists whose entries are out of order, double or not those of the entries table
    total: int  # off the sum of all balances

    def broken(self) -> list[str]:
        """One sentence for each promise that was not kept."""
        named = {name: getattr(self, name) for name in ("lost", "duplicated", "uninvited", "disordered")}
        found = [f"{name}: {value}" for name, value in named.items() if value]
        return [*found, f"the balances are off by {self.total}"] if self.total else found


@dataclass
class Worker:
    """One thread's part; ``pause`` is the longest time in seconds between two successes."""

    kind: str
    number: int
    address: Address
    done: int = 0
    last: float = 0.0
    pause: float = 0.0
    stale: int = 0
    failures: list[Failure] = field(default_factory=list)
    acknowledged: set[Key] = field(default_factory=set)
    unknown: set[Key] = field(default_factory=set)
    broken: BaseException | None = None

    def succeeded(self, key: Key) -> None:
        now = time.monotonic()
        self.pause = max(self.pause, now - self.last) if self.last else 0.0
        self.last = now
        self.done += 1
        self.acknowledged.add(key)


class Load:
    """``proxy`` is where the application connects; ``direct`` a node that one writer goes straight to, if any."""

    def __init__(self, proxy: Address, direct: Address | None, counts: Mapping[str, int]) -> None:
        self.workers = [Worker(kind, number, proxy) for kind, count in counts.items() for number in range(count)]
        if direct is not None:
            self.workers.append(Worker(DIRECT, 0, direct))
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(worker,), daemon=True) for worker in self.workers]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every worker finish its statement; raises what broke one."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            if thread.is_alive():
                raise AssertionError("a worker hangs in a statement")
        for worker in self.workers:
            if worker.broken is not None:
                raise worker.broken

    def progress(self, count: int = 15, timeout: float = 40.0) -> None:
        """Wait until every worker has succeeded ``count`` times more; AssertionError when one does not."""
        goals = [(worker, worker.done + count) for worker in self.workers]
        deadline = time.monotonic() + timeout
        while missing := [w for w, goal in goals if w.done < goal]:
            if self._stop.is_set() or time.monotonic() > deadline:
                names = ", ".join(f"{w.kind} {w.number}" for w in missing)
                raise AssertionError(f"no progress of {names}; failures {self.errors()}")
            time.sleep(0.02)

    def _run(self, worker: Worker) -> None:
        try:
            self._work(worker)
        except BaseException as error:
            worker.broken = error
            self._stop.set()

    def _work(self, worker: Worker) -> None:
        connection: Connection | None = None
        seq = 0
        while not self._stop.wait(PACE):
            seq += 1
            key = (worker.kind, worker.number, seq)
            try:
                connection = connection or _connect(worker.address)
                _OPERATIONS[worker.kind](connection, worker, key)
            except pymysql.MySQLError as error:
                failure = Failure(key, time.monotonic(), *_code_and_text(error))
                worker.failures.append(failure)
                if failure.unknown:
                    worker.unknown.add(key)
                connection = _rolled_back(connection)
                if connection is None:
                    self._stop.wait(0.05)
                continue
            worker.succeeded(key)
        if connection is not None and connection.open:
            connection.close()

    # -- what came of it

    def failures(self, *kinds: str) -> list[Failure]:
        """Errors of some kinds of workers, of all without a name."""
        return [f for worker in self.workers if not kinds or worker.kind in kinds for f in worker.failures]

    def errors(self) -> dict[str, int]:
        """How many of each kind."""
        return dict(Counter(failure.what for failure in self.failures()))

    def done(self) -> int:
        """Operations that succeeded through the proxy."""
        return sum(worker.done for worker in self.workers if worker.kind != DIRECT)

    def pause(self, *kinds: str) -> float:
        """The longest time in seconds that a worker of these kinds went without a success."""
        return max((worker.pause for worker in self.workers if worker.kind in kinds), default=0.0)

    def stale(self) -> int:
        """Reads that missed what their own session had written."""
        return sum(worker.stale for worker in self.workers)

    def outcome(self, ask: Callable[[str], list[tuple[Any, ...]]]) -> Outcome:
        """Compare with what a server holds; ``ask`` must give rows as new as any acknowledgement."""
        found: Counter[Key] = Counter()
        for kind, worker, seq, count in ask(
            "SELECT kind, worker, seq, COUNT(*) FROM (SELECT kind, worker, seq FROM entries UNION ALL"
            " SELECT kind, worker, seq FROM commits) AS both_tables GROUP BY 1, 2, 3"
        ):
            found[kind, worker, seq] = count
        acknowledged = {key for w in self.workers if w.kind != READ for key in w.acknowledged}
        unknown = {key for w in self.workers for key in w.unknown}
        (total,) = ask("SELECT SUM(balance) FROM accounts")[0]
        return Outcome(
            lost=sorted(acknowledged - found.keys()),
            duplicated=sorted(key for key, count in found.items() if count > 1),
            uninvited=sorted(found.keys() - acknowledged - unknown),
            disordered=[
                number for number, text in ask("SELECT id, entries FROM lists") if not _matches(number, text, found)
            ],
            total=int(total) - ACCOUNTS * BALANCE,
        )


def _matches(number: int, text: str, found: Mapping[Key, int]) -> bool:
    """A list holds exactly the entries committed with it, in order."""
    entries = [int(part) for part in text.split(",") if part]
    return entries == sorted(seq for kind, worker, seq in found if (kind, worker) == (APPEND, number))


def prepare(ask: Callable[[str], object], lists: int) -> None:
    """Fresh tables; ``ask`` runs a statement on the primary."""
    for table in TABLES:
        ask(table)
    for name in ("accounts", "lists", "entries", "commits"):
        ask(f"TRUNCATE TABLE {name}")
    ask("INSERT INTO accounts VALUES " + ", ".join(f"({number}, {BALANCE})" for number in range(ACCOUNTS)))
    ask("INSERT INTO lists VALUES " + ", ".join(f"({number}, '')" for number in range(lists)))


def _connect(address: Address) -> Connection:
    return pymysql.connect(
        host=address[0],
        port=address[1],
        user="app",
        password="app",
        database="app",
        autocommit=True,
        connect_timeout=35,
        read_timeout=80,
    )


def _rolled_back(connection: Connection | None) -> Connection | None:
    """What an application does after an error: no half transaction stays open, a useless connection goes."""
    if connection is None or not connection.open:
        return None
    try:
        connection.rollback()
    except pymysql.MySQLError:
        return None
    return connection


def _code_and_text(error: pymysql.MySQLError) -> tuple[int, str]:
    code, text = (*error.args, "", "")[:2]
    return (code, str(text)) if isinstance(code, int) else (0, str(error))


_ENTRY = "INSERT INTO entries (kind, worker, seq) VALUES (%s, %s, %s)"
_COMMIT = "INSERT INTO commits (kind, worker, seq) VALUES (%s, %s, %s)"


def _read(connection: Connection, worker: Worker, key: Key) -> None:
    assert rows(connection, "SELECT balance FROM accounts WHERE id = %s", key[2] % ACCOUNTS)


def _insert(connection: Connection, worker: Worker, key: Key) -> None:
    rows(connection, _ENTRY, *key)
    if key[2] % 5 == 0:
        worker.acknowledged.add(key)
        query = "SELECT COUNT(*) FROM entries WHERE kind = %s AND worker = %s AND seq = %s"
        worker.stale += rows(connection, query, *key) == [(0,)]


def _transfer(connection: Connection, worker: Worker, key: Key) -> None:
    first, second = sorted(random.sample(range(ACCOUNTS), 2))
    rows(connection, "BEGIN")
    rows(connection, "UPDATE accounts SET balance = balance - 7 WHERE id = %s", first)
    rows(connection, _COMMIT, *key)
    rows(connection, "UPDATE accounts SET balance = balance + 7 WHERE id = %s", second)
    rows(connection, "COMMIT")


def _append(connection: Connection, worker: Worker, key: Key) -> None:
    rows(connection, "START TRANSACTION")
    rows(connection, "SELECT entries FROM lists WHERE id = %s FOR UPDATE", key[1])
    rows(connection, "UPDATE lists SET entries = CONCAT(entries, %s) WHERE id = %s", f"{key[2]},", key[1])
    rows(connection, _COMMIT, *key)
    rows(connection, "COMMIT")


def _direct(connection: Connection, worker: Worker, key: Key) -> None:
    rows(connection, _ENTRY, *key)


_OPERATIONS: dict[str, Callable[[Connection, Worker, Key], None]] = {
    READ: _read,
    INSERT: _insert,
    TRANSFER: _transfer,
    APPEND: _append,
    DIRECT: _direct,
}

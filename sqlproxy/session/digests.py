"""What statements of which shape cost, by user and server: a bounded table, kept for every statement.

A statement finds its row by ``sql.shape.shape_key``; its digest, the text without literals, is made only when the key
is new. When the table is full, the tenth of its rows that has not been seen for longest makes place, as far as it has
not been seen for a minute, at most every ten seconds. Statements that find no place, and the figures of rows that made
place, are added up in one row, ``(others)``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sqlproxy.session.histogram import Histogram
from sqlproxy.sql.digest import Digest
from sqlproxy.sql.shape import LIMIT

OTHERS: Final = "(others)"
IDLE: Final = 60.0  # seconds after which a row may make place
SWEEP: Final = 10.0  # seconds between two looks for such rows
_RECENT: Final = 256  # rows found without the table
_NO_MARKS: Final = [0] * _RECENT
_KEYS_PER_ROW: Final = 8  # white space and the lengths of lists make keys of their own
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_PRIME: Final = 0x100000001B3

Identity = tuple[int, bytes, str]  # hash of the digest, user, server


class Row:
    """One shape, user and server. ``first`` and ``last`` are monotonic, ``slowest`` and ``fastest`` seconds."""

    def __init__(self, text: bytes, number: int, user: bytes, server: str, known: bool, now: float) -> None:
        self.text = text
        self.number = number
        self.user = user
        self.server = server
        self.known = known  # the text was understood
        self.times = Histogram()
        self.errors = 0
        self.rows = 0
        self.size = 0
        self.fastest = 0.0
        self.slowest = 0.0
        self.first = now
        self.last = now

    def add(self, seconds: float, rows: int, size: int, failed: bool, now: float) -> None:
        """Count one statement: ``rows`` sent or affected, ``size`` the bytes of its reply."""
        if seconds < self.fastest or not self.times.count:
            self.fastest = seconds
        if seconds > self.slowest:
            self.slowest = seconds
        self.times.add(seconds)
        self.rows += rows
        self.size += size
        if failed:
            self.errors += 1
        self.last = now

    def absorb(self, other: Row) -> None:
        """Add another row's figures."""
        _add_up(self, other)


@dataclass(slots=True)
class Figures:
    """One row as it travels between processes and is shown; ``first`` and ``last`` are seconds since the epoch."""

    service: str
    statement: str
    number: int
    user: str
    server: str
    known: bool
    errors: int
    rows: int
    size: int
    fastest: float
    slowest: float
    first: float
    last: float
    times: Histogram

    def absorb(self, other: Figures) -> None:
        """Add another row's figures."""
        _add_up(self, other)
        self.known = self.known and other.known


def _add_up(into: Row | Figures, other: Row | Figures) -> None:
    """Add the other's counts, times and span to ``into``."""
    if other.times.count and (other.fastest < into.fastest or not into.times.count):
        into.fastest = other.fastest
    into.slowest = max(into.slowest, other.slowest)
    into.times.merge(other.times.state())
    into.rows += other.rows
    into.size += other.size
    into.errors += other.errors
    into.first = min(into.first, other.first)
    into.last = max(into.last, other.last)


class Digests:
    """The rows of one service in one process, at most ``limit`` and ``(others)``; 0 keeps none."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows: dict[Identity, Row] = {}
        self._by_key: dict[int, Row] = {}
        self._marks = list(_NO_MARKS)
        self._recent: list[Row | None] = [None] * _RECENT  # by the lowest bits of their marks, which are in ``_marks``
        self._next_sweep = 0.0
        self._others = _others()

    def note(
        self,
        key: int,
        text: bytes,
        start: int,
        mode: int,
        user: bytes,
        server: str,
        known: bool,
        seconds: float,
        rows: int,
        size: int,
        failed: bool,
        now: float,
    ) -> None:
        """Count the statement ``text[start:]``, whose ``shape_key`` is ``key``; ``now`` is monotonic."""
        mark = (key ^ (hash(user) & _MASK)) & _MASK
        mark = (mark * _PRIME) & _MASK ^ (hash(server) & _MASK)
        slot = mark % _RECENT
        row = self._recent[slot]
        if row is None or self._marks[slot] != mark:
            row = self._by_key.get(mark)
            if row is None:
                if not self._limit:
                    return
                row = self._by_key[mark] = self._find(text[start : start + LIMIT], mode, user, server, known, now)
            self._marks[slot] = mark
            self._recent[slot] = row
        row.add(seconds, rows, size, failed, now)

    def _find(self, text: bytes, mode: int, user: bytes, server: str, known: bool, now: float) -> Row:
        """The row of a statement whose key is new."""
        if len(self._by_key) >= self._limit * _KEYS_PER_ROW:
            self._forget_keys()
        digest = Digest(text, 0, mode)
        digest.run()
        identity = (digest.hash, user, server)
        row = self._rows.get(identity)
        if row is None:
            if len(self._rows) >= self._limit and not self._make_place(now):
                return self._others
            row = self._rows[identity] = Row(digest.text(), digest.hash, user, server, known, now)
        return row

    def _forget_keys(self) -> None:
        self._by_key.clear()
        self._recent = [None] * _RECENT

    def _make_place(self, now: float) -> bool:
        """Whether rows could be given up."""
        if now < self._next_sweep:
            return False
        self._next_sweep = now + SWEEP
        oldest = sorted(self._rows.items(), key=lambda item: item[1].last)[: max(1, self._limit // 10)]
        gone = [(identity, row) for identity, row in oldest if now - row.last >= IDLE]
        for identity, row in gone:
            self._others.absorb(row)
            del self._rows[identity]
        if gone:
            self._forget_keys()
        return bool(gone)

    def resize(self, limit: int) -> None:
        """Keep so many rows from now on; what is too much goes as others make place."""
        self._limit = limit
        self._forget_keys()
        if not limit:
            self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._rows.clear()
        self._forget_keys()
        self._others = _others()

    def figures(self, service: str) -> Iterator[Figures]:
        """All rows as they are now; rows that come while this is read may be missing."""
        rows = list(self._rows.values())
        if self._others.times.count:
            rows.append(self._others)
        to_wall = time.time() - time.monotonic()
        for row in rows:
            times = Histogram()
            times.merge(row.times.state())
            yield Figures(
                service,
                row.text.decode("utf-8", "replace"),
                row.number,
                row.user.decode("utf-8", "replace"),
                row.server,
                row.known,
                row.errors,
                row.rows,
                row.size,
                row.fastest,
                row.slowest,
                row.first + to_wall,
                row.last + to_wall,
                times,
            )


def _others() -> Row:
    return Row(OTHERS.encode(), 0, b"", "", True, time.monotonic())

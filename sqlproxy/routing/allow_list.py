"""Which statements may run in a service: a list of shapes and users, learned from what they run. Pure.

Shapes are compared as whole texts, never by their hashes, which anybody can make collide. Nothing is kept of literals;
so what a literal holds that is itself a statement (``PREPARE … FROM '…'``, ``EXECUTE IMMEDIATE '…'``) is looked at as
one, and dynamic SQL whose text does not stand there is not understood.

Sources: ProxySQL's firewall whitelist, https://proxysql.com/documentation/firewall-whitelist; MaxScale's and MySQL
Enterprise's firewalls, which learn likewise.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlproxy.config_rules import AllowListConfig
from sqlproxy.sql.digest import hash_of, shapes
from sqlproxy.sql.extract import prepare_body

ANYBODY: Final = b"*"  # in the place of a user
MOST_UNLISTED: Final = 500  # rows of what was not on the list
NOT_UNDERSTOOD: Final = b""  # in the place of a shape
_LEARNED: Final = 10_000  # what is kept for whoever writes the file
_DYNAMIC: Final = re.compile(
    rb"\b(?:EXECUTE IMMEDIATE\b|PREPARE (?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\"|\S+) FROM\b)", re.IGNORECASE
)

Entry = tuple[bytes, bytes]  # shape, user


@dataclass(slots=True)
class Unlisted:
    """One shape and user not on the list; times are seconds since the epoch. ``refused``: in mode enforce."""

    service: str
    shape: bytes
    user: bytes
    refused: bool
    count: int
    first: float
    last: float

    def absorb(self, other: Unlisted) -> None:
        """Add what another process saw of it."""
        self.count += other.count
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        self.refused = self.refused or other.refused


def digest_of(shape: bytes) -> str:
    """The name of a shape, as in the digests; "" for what is not understood."""
    return f"{hash_of(shape):016x}" if shape else ""


def shapes_of(data: bytes, start: int, mode: int) -> list[bytes] | None:
    """The shapes of all that ``data[start:]`` runs; None when that is not understood."""
    found = shapes(data, start, mode)
    if found is None or not any(_DYNAMIC.search(shape) for shape in found):
        return found
    body = prepare_body(data, start, mode) if len(found) == 1 else None
    inner = shapes_of(body, 0, mode) if body is not None else None
    return found + inner if inner is not None else None


class AllowList:
    """The list of one service in one process."""

    def __init__(self, service: str, config: AllowListConfig, entries: Iterable[Entry]) -> None:
        self.service = service
        self.mode = config.mode
        self._most = config.max_statements
        self._entries = set(entries)
        self._learned: list[Entry] = []
        self._unlisted: dict[Entry, Unlisted] = {}  # what was seen last, last

    @property
    def enforces(self) -> bool:
        """What is not on the list is refused."""
        return self.mode == "enforce"

    def missing(self, data: bytes, start: int, mode: int, user: bytes) -> list[bytes]:
        """The shapes in ``data[start:]`` that are not on the list; ``NOT_UNDERSTOOD`` alone for what is not.

        While the list learns it has everything.
        """
        return self.missing_of(shapes_of(data, start, mode), user)

    def missing_of(self, found: list[bytes] | None, user: bytes) -> list[bytes]:
        """The same for shapes, None for what is not understood."""
        if self.mode == "learn":
            if found:
                self._learn(found, user)
            return []
        if found is None:
            return [NOT_UNDERSTOOD]
        entries = self._entries
        return [shape for shape in found if (shape, user) not in entries and (shape, ANYBODY) not in entries]

    def _learn(self, found: list[bytes], user: bytes) -> None:
        for shape in found:
            entry = shape, user
            if entry in self._entries or (shape, ANYBODY) in self._entries:
                continue
            if len(self._entries) < self._most and len(self._learned) < _LEARNED:
                self._entries.add(entry)
                self._learned.append(entry)

    def take_learned(self) -> list[Entry]:
        """What was learned since this was asked last."""
        learned, self._learned = self._learned, []
        return learned

    def add(self, entries: Iterable[Entry]) -> None:
        """Allow these too."""
        for entry in entries:
            self._entries.add(entry)
            for unlisted in [known for known in self._unlisted if _covers(entry, known)]:
                del self._unlisted[unlisted]

    def note(self, shape: bytes, user: bytes) -> bool:
        """Count a statement that is not on the list; whether it is the first of its kind."""
        now = time.time()
        row = self._unlisted.pop((shape, user), None)
        first = row is None
        if row is None:
            if len(self._unlisted) >= MOST_UNLISTED:
                del self._unlisted[next(iter(self._unlisted))]
            row = Unlisted(self.service, shape, user, self.enforces, 0, now, now)
        row.count += 1
        row.last = now
        self._unlisted[shape, user] = row
        return first

    def unlisted(self) -> list[Unlisted]:
        """What was run and is not on the list, as far as it is kept: what was seen last, last."""
        return list(self._unlisted.values())

    def take_over(self, other: AllowList) -> None:
        """Go on from another list of the same service: what it has learned and seen is not lost."""
        self._learned = other._learned
        self._unlisted = {entry: row for entry, row in other._unlisted.items() if not self._has(entry)}

    def _has(self, entry: Entry) -> bool:
        return entry in self._entries or (entry[0], ANYBODY) in self._entries


def _covers(entry: Entry, other: Entry) -> bool:
    return entry[0] == other[0] and entry[1] in (ANYBODY, other[1])

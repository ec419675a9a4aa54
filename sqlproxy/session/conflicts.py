"""Tells what a conflict was that a Galera node answered, as error 1213 or 1020, by the counters of the node.

The error is the same for all: another node's transaction was certified first (InnoDB never answers a COMMIT with it),
an applier took the locks of a transaction that was still open ("brute-force abort"), or two sessions of one node waited
for each other. Which it was, a node says only in counters of its own: ``wsrep_local_cert_failures``,
``wsrep_local_bf_aborts`` (MariaDB sql/wsrep_mysqld.cc, from wsrep-lib) and ``Innodb_deadlocks``, which no privilege is
needed for. They are of the whole node, so that conflicts of different kinds within a moment are told apart by which
counter rose most; what is done about them is the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from sqlproxy.errors import SqlproxyError
from sqlproxy.session.backend import Backend
from sqlproxy.wire.constants import COM_QUERY, ER_CHECKREAD
from sqlproxy.wire.response import QUERY
from sqlproxy.wire.result_set import text_rows

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

COUNTERS: Final = ("wsrep_local_cert_failures", "wsrep_local_bf_aborts", "innodb_deadlocks")
MOMENT: Final = 0.1  # seconds in which several victims of one rise may ask
_UNKNOWN: Final = -1  # a counter that the server does not have
_QUESTION: Final = "SHOW GLOBAL STATUS WHERE Variable_name IN ({})".format(", ".join(f"'{n}'" for n in COUNTERS))
Counts = tuple[int, int, int]


class Conflict(StrEnum):
    """What it was; the values are the counters' names in ServiceStats, after ``conflicts_``."""

    CERTIFICATION = "certification"
    BRUTE_FORCE = "brute_force"
    DEADLOCK = "deadlock"
    SNAPSHOT = "snapshot"


WORDS: Final = {
    Conflict.CERTIFICATION: "another server's transaction was certified first",
    Conflict.BRUTE_FORCE: "a replicated transaction took its locks",
    Conflict.DEADLOCK: "InnoDB chose it in a deadlock",
    Conflict.SNAPSHOT: "a row that it had read was changed",
}


def counts_of(rows: Mapping[str, str]) -> Counts:
    """The counters by name, as far as the server has them."""
    first, second, third = (int(value) if (value := rows.get(name, "")).isdigit() else _UNKNOWN for name in COUNTERS)
    return first, second, third


class ConflictCounters:
    """One server's counters as they were; ``seed`` as far as they are known from before the first conflict."""

    def __init__(self, seed: Counts) -> None:
        self._looks = deque([(float("-inf"), seed)])  # when and what: all of the last moment, and the one before

    def judge(self, now: float, found: Counts, *, committing: bool, alone: bool) -> Conflict:
        """What a conflict was after which the counters were ``found`` at ``now`` (seconds of any clock).

        ``committing``: a COMMIT was answered with it; ``alone``: a statement that commits by itself.
        """
        looks = self._looks
        looks.append((now, found))
        while looks[1][0] <= now - MOMENT:
            looks.popleft()
        failed, aborted, deadlocks = (_rise(old, new) for old, new in zip(looks[0][1], found, strict=True))
        if committing:
            return Conflict.BRUTE_FORCE if aborted > 0 and not failed > 0 else Conflict.CERTIFICATION
        if alone and failed > 0 and failed >= deadlocks:
            return Conflict.CERTIFICATION
        if found[2] == _UNKNOWN:
            return Conflict.BRUTE_FORCE if aborted > 0 else Conflict.DEADLOCK
        return Conflict.DEADLOCK if deadlocks > max(aborted, 0) else Conflict.BRUTE_FORCE


def _rise(old: int, new: int) -> int:
    """By how much a counter has risen; from nothing if its server began anew, not at all if it was not known."""
    if _UNKNOWN in (old, new):
        return 0
    return new - old if new >= old else new


async def conflict_of(session: Session, backend: Backend, code: int, *, committing: bool, alone: bool) -> Conflict:
    """What error ``code`` of a backend was about; counts it. Costs one question to the server."""
    kind = Conflict.SNAPSHOT
    if code != ER_CHECKREAD:
        kind = await _asked(session, backend, committing=committing, alone=alone)
    stats = session.service.stats
    stats.conflicts_retried += 1
    name = f"conflicts_{kind}"
    setattr(stats, name, getattr(stats, name) + 1)
    return kind


async def _asked(session: Session, backend: Backend, *, committing: bool, alone: bool) -> Conflict:
    service = session.service
    try:
        question = bytes((COM_QUERY,)) + _QUESTION.encode()
        reply = await backend.call(question, QUERY, service.config.connect_timeout)
    except SqlproxyError:  # the next statement finds the connection as it is; this one's kind nobody knows
        return Conflict.CERTIFICATION if committing else Conflict.BRUTE_FORCE
    found = counts_of({name.decode().lower(): value.decode() for name, value in text_rows(reply)})
    known = service.conflicts.get(backend.server)
    if known is None:
        known = service.conflicts[backend.server] = ConflictCounters(_seed(session, backend.server))
    return known.judge(asyncio.get_running_loop().time(), found, committing=committing, alone=alone)


def _seed(session: Session, server: str) -> Counts:
    view = session.service.snapshot.server(server)
    figures = view.figures if view is not None else {}
    return counts_of({name: figures.get(name.removeprefix("wsrep_"), "") for name in COUNTERS})

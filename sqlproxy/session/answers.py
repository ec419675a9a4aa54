"""Answers to reads, kept for a while by rules with ``cache``. Bounded; the least recently used go first.

An answer is given to sessions that would get the same from a server: same user from the same address, database,
capabilities, session statements and text. Nothing is ever taken or kept inside a transaction, nor by a pinned session.
Answers go by time alone; a session that has written does not take any for twice that time, so that it reads its writes.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlproxy.sql.bits import (
    BEGIN_READ_ONLY,
    CALC_FOUND_ROWS,
    EXECUTE_TEXT,
    EXPLAIN,
    MULTI,
    READ,
    SHOW,
    USERVAR_READ,
    USERVAR_WRITE,
)
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.tokens import BAD, END, SYSVAR, WORD
from sqlproxy.wire.attributes import NONE

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

Key = tuple[object, ...]

_SHARE: Final = 8  # no answer takes more than this part of the whole
_OVERHEAD: Final = 500  # bytes of an entry besides its key's text and its answer
_OTHERS: Final = (
    MULTI | SHOW | EXPLAIN | EXECUTE_TEXT | USERVAR_READ | USERVAR_WRITE | CALC_FOUND_ROWS | BEGIN_READ_ONLY
)
# Functions whose value is another one each time or for each connection; what MySQL's query cache left out, too.
_VOLATILE: Final = frozenset(
    b"benchmark connection_id convert_tz curdate current_date current_role current_time current_timestamp curtime "
    b"encrypt found_rows get_lock is_free_lock is_used_lock last_insert_id load_file localtime localtimestamp "
    b"master_gtid_wait master_pos_wait now password rand random_bytes release_lock row_count sleep sysdate "
    b"unix_timestamp utc_date utc_time utc_timestamp uuid uuid_short sys_guid wsrep_last_seen_gtid "
    b"wsrep_last_written_gtid information_schema performance_schema sys".split()
)


@dataclass(frozen=True, slots=True)
class _Answer:
    data: bytes
    expires: float
    size: int


class Answers:
    """At most ``limit`` bytes of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.longest = limit // _SHARE
        self.size = 0
        self._known: OrderedDict[Key, _Answer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, key: Key) -> bytes | None:
        """The answer kept under a key, if its time is not over."""
        known = self._known.get(key)
        if known is None:
            return None
        if known.expires <= time.monotonic():
            self._forget(key)
            return None
        self._known.move_to_end(key)
        return known.data

    def store(self, key: Key, data: bytes, until: float) -> None:
        """Keep an answer until a time (monotonic seconds)."""
        size = len(data) + _OVERHEAD + sum(len(part) for part in key if isinstance(part, bytes))
        if size > self.longest:
            return
        self._forget(key)
        self._known[key] = _Answer(data, until, size)
        self.size += size
        while self.size > self.limit:
            self._forget(next(iter(self._known)))

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()
        self.size = 0

    def _forget(self, key: Key) -> None:
        known = self._known.pop(key, None)
        if known is not None:
            self.size -= known.size


def key_of(session: Session, mask: int, payload: bytes) -> Key | None:
    """What an answer depends on; None when it is nobody else's."""
    state = session.state
    if not mask & READ or mask & _OTHERS or state.pins or state.next_transaction or session.block != NONE:
        return None
    if state.in_transaction or not state.context.autocommit or is_volatile(payload, state.mode):
        return None
    login = session.login
    return (
        login.credentials.username,
        session.client.address,
        login.capabilities,
        login.collation,
        login.tls,
        state.database,
        b"\x00".join(entry.payload for entry in state.history.since(0)),
        payload,
    )


def is_volatile(payload: bytes, mode: int) -> bool:
    """Whether a query's answer may be another one next time though no data has changed."""
    lexer = Lexer(payload, 1, mode)
    while True:
        kind = lexer.advance()
        if kind == SYSVAR:
            return True
        if kind == WORD and payload[lexer.start : lexer.pos].lower() in _VOLATILE:
            return True
        if kind in (END, BAD):
            return kind == BAD

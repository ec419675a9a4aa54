"""Commit tokens: which statements get one, the SQL that writes it, and the reply without a trace of it.

See ``session.exactly_once`` for what they are good for.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final

from sqlproxy.config import COMMIT_TOKENS
from sqlproxy.session.replay import LEADING
from sqlproxy.sql.bits import (
    BEGIN,
    BEGIN_READ_ONLY,
    CALL,
    COMMIT,
    DDL,
    EMPTY,
    LOAD_LOCAL,
    LOCK_TABLES,
    MULTI,
    ROLLBACK,
    UNKNOWN,
    UNLOCK_TABLES,
    USER_LOCK,
    WRITE,
    XA,
)
from sqlproxy.wire import codec
from sqlproxy.wire.constants import HEADER, OK, SERVER_STATUS_IN_TRANS

if TYPE_CHECKING:
    from sqlproxy.session.state import SessionState

_MORE_THAN_ONE: Final = (
    BEGIN
    | BEGIN_READ_ONLY
    | COMMIT
    | ROLLBACK
    | CALL
    | DDL
    | EMPTY
    | LOAD_LOCAL
    | LOCK_TABLES
    | MULTI
    | UNKNOWN
    | UNLOCK_TABLES
    | USER_LOCK
    | XA
)
_DML: Final = re.compile(LEADING + rb"(?:insert|update|delete|replace)\b", re.IGNORECASE | re.DOTALL)
_RETURNING: Final = re.compile(rb"\breturning\b", re.IGNORECASE)


def applies(state: SessionState, mask: int, text: bytes) -> bool:
    """Whether a statement (a payload's text from offset 1 on) ends a transaction, or is one, that gets a token."""
    if state.pins or not mask & WRITE:
        return False
    if state.in_transaction:
        return bool(mask & COMMIT) and not mask & (_MORE_THAN_ONE & ~COMMIT)
    if not state.context.autocommit or mask & _MORE_THAN_ONE:
        return False
    return bool(_DML.match(text, 1)) and not _RETURNING.search(text)


def new_token() -> bytes:
    """An id nobody else has: 6 bytes of milliseconds since the epoch, so that ids grow, and 10 of chance."""
    return (time.time_ns() // 1_000_000).to_bytes(6) + os.urandom(10)


def claim_of(token: bytes) -> bytes:
    """The statement that takes an id."""
    return f"INSERT INTO {COMMIT_TOKENS} (id) VALUES (x'{token.hex()}')".encode()


def without_transaction(reply: bytes) -> bytes:
    """An OK reply as it would have been outside a transaction. Anything else stays as it is."""
    if reply[HEADER] != OK:
        return reply
    _, pos = codec.read_lenenc(reply, HEADER + 1, "affected rows")
    _, pos = codec.read_lenenc(reply, pos, "insert id")
    status = int.from_bytes(reply[pos : pos + 2], "little") & ~SERVER_STATUS_IN_TRANS
    return reply[:pos] + status.to_bytes(2, "little") + reply[pos + 2 :]

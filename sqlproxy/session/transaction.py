"""What a session has done in its open transaction, so that it can be done again on another server.

Recorded are the commands as the client sent them and a checksum of each reply; the results themselves are not kept.
As MaxScale's ``transaction_replay``: https://mariadb.com/docs/maxscale (readwritesplit, transaction_replay).
"""

from __future__ import annotations

from typing import Final

from sqlproxy.session.prepared import PreparedStatement
from sqlproxy.sql.bits import (
    AUTOCOMMIT_ON,
    AUTOCOMMIT_UNKNOWN,
    BEGIN,
    BEGIN_READ_ONLY,
    CALL,
    COMMIT,
    DDL,
    LOCK_TABLES,
    MULTI,
    ROLLBACK,
    UNKNOWN,
    UNLOCK_TABLES,
    XA,
)
from sqlproxy.wire.attributes import NONE

# Statements after which an open transaction may have been committed, by their words or implicitly.
MAY_COMMIT: Final = (
    COMMIT
    | DDL
    | BEGIN
    | BEGIN_READ_ONLY
    | AUTOCOMMIT_ON
    | AUTOCOMMIT_UNKNOWN
    | LOCK_TABLES
    | UNLOCK_TABLES
    | MULTI
    | CALL
    | XA
    | UNKNOWN
)
# Statements that end an open transaction and may begin another, or write outside of one.
GOES_ON: Final = BEGIN | BEGIN_READ_ONLY | DDL | LOCK_TABLES | XA
_NEW_TRANSACTION: Final = BEGIN | BEGIN_READ_ONLY | COMMIT | ROLLBACK | DDL
# Statements that may have committed on their way, nobody knows before which of their parts.
OPAQUE: Final = MULTI | CALL | XA | UNKNOWN
_OVERHEAD: Final = 256  # bytes accounted for a step besides its command


class Step:
    """One statement of the transaction and what it was answered with; not changed once it is made.

    ``command`` is whole, as the client sent it but for its query attributes, which are ``block``; ``statement``,
    ``types`` and ``long_data`` belong to a COM_STMT_EXECUTE. ``digest`` is the reply's checksum, ``insert_id`` the one
    the server reported, 0 for none.
    """

    __slots__ = ("block", "command", "digest", "insert_id", "kind", "long_data", "mask", "statement", "types")

    def __init__(
        self,
        command: bytes,
        kind: int,
        mask: int,
        digest: bytes,
        insert_id: int = 0,
        statement: PreparedStatement | None = None,
        types: bytes = b"",
        long_data: tuple[bytes, ...] = (),
        block: bytes = NONE,
    ) -> None:
        self.command = command
        self.kind = kind
        self.mask = mask
        self.digest = digest
        self.insert_id = insert_id
        self.statement = statement
        self.types = types
        self.long_data = long_data
        self.block = block


class TransactionLog:
    """The steps of the open transaction. ``reason`` says why it cannot be replayed, "" when it can.

    ``prelude`` is the payload of a SET TRANSACTION that it began with; ``position`` the session history's position
    then.
    """

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.steps: list[Step] = []
        self.size = 0
        self.reason = ""
        self.prelude = b""
        self.position = 0

    def begin(self, position: int, prelude: bytes) -> None:
        """A new transaction."""
        self.clear()
        self.position = position
        self.prelude = prelude

    def record(self, step: Step) -> None:
        """Take in a completed statement; beyond the size cap everything is dropped."""
        if self.reason:
            return
        self.size += len(step.command) + len(step.block) + len(step.digest) + _OVERHEAD
        if step.long_data:
            self.size += sum(map(len, step.long_data))
        if self.size > self.max_size:
            self.forbid(f"it is larger than transaction_replay_max_size ({self.max_size} bytes)")
            return
        self.steps.append(step)

    def forbid(self, reason: str) -> None:
        """From here on the transaction cannot be replayed."""
        self.reason = self.reason or reason
        self.steps.clear()

    def clear(self) -> None:
        """The transaction is over."""
        if self.steps:
            self.steps = []
        self.size = 0
        self.reason = ""
        self.prelude = b""

    @property
    def replayable(self) -> bool:
        """There is something to replay and nothing against it."""
        return bool(self.steps) and not self.reason


def leaves(mask: int) -> bool:
    """Whether what a statement does after ending the open transaction belongs on the primary."""
    return bool(mask & GOES_ON) or bool(mask & MULTI and mask & MAY_COMMIT & ~MULTI)


def begins_anew(mask: int) -> bool:
    """Whether a statement after which a transaction is open has ended the one before (BEGIN, COMMIT AND CHAIN)."""
    return bool(mask & _NEW_TRANSACTION)

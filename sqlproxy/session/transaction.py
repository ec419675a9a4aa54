"""What statements do to an open transaction: which end it, begin another, or may do so on their way."""

from __future__ import annotations

from typing import Final

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


def leaves(mask: int) -> bool:
    """Whether what a statement does after ending the open transaction belongs on the primary."""
    return bool(mask & GOES_ON) or bool(mask & MULTI and mask & MAY_COMMIT & ~MULTI)


def begins_anew(mask: int) -> bool:
    """Whether a statement after which a transaction is open has ended the one before (BEGIN, COMMIT AND CHAIN)."""
    return bool(mask & _NEW_TRANSACTION)

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
    HANDLER,
    LAST,
    LOCK_TABLES,
    MULTI,
    ROLLBACK,
    TEMP_TABLE,
    UNKNOWN,
    UNLOCK_TABLES,
    USER_LOCK,
    USERVAR_WRITE,
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
# Statements that leave a session tied to the server that has run them.
TIES: Final = USER_LOCK | TEMP_TABLE | HANDLER | USERVAR_WRITE | XA


def leaves(mask: int) -> bool:
    """Whether what a statement does after ending the open transaction belongs on the primary."""
    return bool(mask & GOES_ON) or bool(mask & MULTI and mask & MAY_COMMIT & ~MULTI)


def outgrows_replica(mask: int) -> bool:
    """Whether a statement of a READ ONLY transaction needs the primary, or would tie the session to its replica.

    What is called may end the transaction and write. Questions about the statement before (LAST) are for the server
    that has run that.
    """
    return bool(mask & (CALL | UNKNOWN) or (mask & TIES and not mask & LAST))


def chains(mask: int) -> bool:
    """COMMIT or ROLLBACK AND CHAIN: another transaction like the one before follows."""
    return bool(mask & BEGIN and mask & (COMMIT | ROLLBACK)) and not mask & MULTI


def begins_anew(mask: int) -> bool:
    """Whether a statement after which a transaction is open has ended the one before (BEGIN, COMMIT AND CHAIN)."""
    return bool(mask & _NEW_TRANSACTION)

"""What a lost server or a telling error means for the statement at hand: the table of failure rules, as a function.

==============================================  ===========================================
what was going on                               what happens
==============================================  ===========================================
nothing, or only session state                  run again elsewhere, after the history
autocommit read, no reply byte forwarded        run again elsewhere
not read whole by the server that was lost      run again elsewhere, or with its transaction
reply partly forwarded                          the client's connection ends
autocommit write or COMMIT sent, no reply       outcome unknown: the client is told so
several statements in one text, no reply        outcome unknown unless all of them read, or all of them
                                                are in an open transaction and change rows only
open transaction                                error 1213: the client starts it again
pinned                                          an error that names the pin
==============================================  ===========================================
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from sqlproxy.session.transaction import MAY_COMMIT
from sqlproxy.sql.bits import (
    BEGIN,
    BEGIN_READ_ONLY,
    CALL,
    COMMIT,
    EMPTY,
    LAST,
    LAST_INSERT_ID,
    LOCKING_READ,
    MULTI,
    READ,
    ROLLBACK,
    SESSION,
    UNSAFE_FUNCTION,
    USERVAR_READ,
    WRITE,
)
from sqlproxy.wire.constants import (
    ER_CHECKREAD,
    ER_CONNECTION_KILLED,
    ER_ERROR_DURING_COMMIT,
    ER_LOCK_DEADLOCK,
    ER_LOCK_WAIT_TIMEOUT,
    ER_OPTION_PREVENTS_STATEMENT,
    ER_READ_ONLY_MODE,
    ER_SERVER_SHUTDOWN,
    ER_UNKNOWN_COM_ERROR,
)

# Several statements in one text that do no more than this end no transaction. Others can give another meaning to what
# follows them: a ROLLBACK, an autocommit, a prepared statement, a mode of the lexer.
_ROWS_ONLY: Final = MULTI | WRITE | LOCKING_READ | UNSAFE_FUNCTION | USERVAR_READ | LAST_INSERT_ID
_HARMLESS: Final = READ | LAST | SESSION | BEGIN | BEGIN_READ_ONLY | EMPTY


class Outcome(Enum):
    """What to do about a statement whose server failed it."""

    RUN_AGAIN = auto()
    UNKNOWN = auto()
    TRANSACTION_LOST = auto()
    TRANSACTION_GONE = auto()  # it was to be rolled back anyway: that is done
    PIN_LOST = auto()
    PIN_LOST_UNKNOWN = auto()  # and nobody knows whether the statement was applied
    CLOSE = auto()
    FORWARD = auto()  # the server's own error goes to the client


def after_loss(mask: int, *, in_transaction: bool, pinned: bool, forwarded: bool, unread: bool = False) -> Outcome:
    """The connection broke after a statement of classification ``mask`` was sent and before its reply was complete.

    ``unread``: the server has surely not read the statement whole, so it has not run it.
    """
    if forwarded:
        return Outcome.CLOSE
    if pinned:
        known = unread or (not may_commit(mask) if in_transaction else changes_nothing(mask))
        return Outcome.PIN_LOST if known else Outcome.PIN_LOST_UNKNOWN
    if in_transaction:
        if may_commit(mask) and not unread:
            return Outcome.UNKNOWN
        return Outcome.TRANSACTION_GONE if only_rolls_back(mask) else Outcome.TRANSACTION_LOST
    return Outcome.RUN_AGAIN if unread or changes_nothing(mask) else Outcome.UNKNOWN


def changes_nothing(mask: int) -> bool:
    """Whether a statement may be run twice while no transaction is open; COMMIT and ROLLBACK then have nothing to end.

    Connection pools send them whenever a connection comes back.
    """
    return is_harmless(mask) or (bool(mask & (COMMIT | ROLLBACK)) and not mask & MAY_COMMIT & ~COMMIT)


def is_harmless(mask: int) -> bool:
    """Whether a statement outside a transaction may be run twice: it changes no data."""
    return bool(mask & _HARMLESS) and not mask & CALL and not (mask & MULTI and mask & WRITE)


def may_commit(mask: int) -> bool:
    """Whether a statement within a transaction may commit it, by its words or implicitly."""
    if mask & ROLLBACK and not mask & (COMMIT | MULTI):
        return False  # also with AND CHAIN
    return bool(mask & MAY_COMMIT & ~(MULTI if mask & READ or not mask & ~_ROWS_ONLY else 0))


def only_rolls_back(mask: int) -> bool:
    """Whether losing the transaction does all that a statement asks for: ROLLBACK, with no other in the same text."""
    return bool(mask & ROLLBACK) and not mask & (MAY_COMMIT | BEGIN)


def is_conflict(code: int) -> bool:
    """Whether an error of a Galera node says that another transaction went first and this one was rolled back whole.

    1213, or 1020 with ``innodb_snapshot_isolation`` (the default of MariaDB from 11.6.2 on): a row that the transaction
    had read was changed since. https://mariadb.com/kb/en/innodb-system-variables/#innodb_snapshot_isolation
    """
    return code in (ER_LOCK_DEADLOCK, ER_CHECKREAD)


def may_end(code: int) -> bool:
    """Whether an error other than 1213 may have rolled back the whole transaction, of which ERR packets say nothing.

    1020 does with ``innodb_snapshot_isolation``, not in other engines; 1205 with ``innodb_rollback_on_timeout``.
    """
    return code in (ER_CHECKREAD, ER_LOCK_WAIT_TIMEOUT)


def after_conflict(mask: int, *, in_transaction: bool, pinned: bool) -> Outcome:
    """A Galera node's error for which ``is_conflict``: nothing of the transaction was applied.

    A whole transaction, or an autocommit statement that is one transaction, can be run again.
    """
    if pinned:
        return Outcome.FORWARD
    if mask & MAY_COMMIT & ~COMMIT:
        return Outcome.FORWARD  # a part of it may have been committed before the conflict
    return Outcome.TRANSACTION_LOST if in_transaction else Outcome.RUN_AGAIN


def after_error(code: int, text: bytes, mask: int, *, in_transaction: bool, pinned: bool) -> Outcome:
    """The server answered with an ERR packet and nothing of the reply was forwarded yet.

    Only errors that say "not executed here" are acted upon: 1047 (a Galera node that is not ready refuses the command
    before looking at it), 1290 and 1836 when the server is read-only, and for reads also those of a server that shuts
    down; and those that are ``is_doubtful``, as if the server had been lost.
    """
    if is_doubtful(code, text):
        return after_loss(mask, in_transaction=in_transaction, pinned=pinned, forwarded=False)
    if code == ER_UNKNOWN_COM_ERROR and b"WSREP" in text:
        refused = True
    elif code == ER_READ_ONLY_MODE or (code == ER_OPTION_PREVENTS_STATEMENT and b"read-only" in text):
        refused = not mask & MULTI
    elif code in (ER_SERVER_SHUTDOWN, ER_CONNECTION_KILLED):
        refused = is_harmless(mask)
    else:
        return Outcome.FORWARD
    if pinned or not refused:
        return Outcome.FORWARD
    if not in_transaction:
        return Outcome.RUN_AGAIN
    return Outcome.TRANSACTION_GONE if only_rolls_back(mask) else Outcome.TRANSACTION_LOST


def is_doubtful(code: int, text: bytes) -> bool:
    """Whether an error says no more than a lost connection: Galera could not tell how a commit ended.

    A node that loses its peers while it replicates a transaction answers so, "(provider status: Not connected to
    Primary Component)", whether or not they have received it. Source: MariaDB sql/wsrep_thd.h, wsrep_override_error,
    for e_error_during_commit.
    """
    return code == ER_ERROR_DURING_COMMIT and b"replication fragment" in text


def is_evidence(code: int, text: bytes) -> bool:
    """Whether an error says something about the server that the monitor should look at now."""
    return (
        code in (ER_SERVER_SHUTDOWN, ER_READ_ONLY_MODE, ER_CONNECTION_KILLED)
        or is_doubtful(code, text)
        or (code == ER_UNKNOWN_COM_ERROR and b"WSREP" in text)
        or (code == ER_OPTION_PREVENTS_STATEMENT and b"read-only" in text)
    )

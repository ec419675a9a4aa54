"""What a statement is: where it may run and what it does to the session.

``classify`` answers with one ``int`` of the bits in ``sqlproxy.sql.bits``, which this module hands on; ``explain``
says the same in sentences.
"""

from sqlproxy.sql import bits
from sqlproxy.sql.bits import *  # noqa: F403
from sqlproxy.sql.bits import describe as describe
from sqlproxy.sql.bits import target_of as target_of
from sqlproxy.sql.statement import Statement
from sqlproxy.sql.statement import classify as classify

# Sentences for the bits that decide a target, in the order of their weight.
_REASONS = {
    bits.UNKNOWN: "the text is not understood: primary",
    bits.EMPTY: "nothing but comments and white space: primary",
    bits.MULTI: "several statements in one text: primary unless every one reads",
    bits.LOCKING_READ: "FOR UPDATE, FOR SHARE or LOCK IN SHARE MODE takes locks: primary",
    bits.USERVAR_WRITE: "it sets a user variable: the session carries that to other servers",
    bits.USER_LOCK: "GET_LOCK holds a lock on its connection: primary",
    bits.RELEASE_LOCK: "it releases a lock held on a connection: primary",
    bits.LAST_INSERT_ID: "it reads the last insert id, which only the primary's connection has: primary",
    bits.CALL: "a stored procedure may write: primary",
    bits.EXECUTE_TEXT: "EXECUTE does what the prepared statement does: primary unless that is known to read",
    bits.XA: "XA transactions belong to one connection: primary",
    bits.HANDLER: "HANDLER holds a cursor on its connection: primary",
    bits.KILL: "KILL concerns the proxy's own connection numbers",
    bits.LOAD_LOCAL: "LOAD DATA LOCAL sends a file: primary",
    bits.TEMP_TABLE: "a temporary table exists on one connection only: primary",
    bits.DROP_TEMP: "a temporary table exists on one connection only: primary",
    bits.LOCK_TABLES: "it locks tables for its connection: primary",
    bits.UNLOCK_TABLES: "it unlocks tables of its connection: primary",
    bits.DDL: "it commits implicitly: primary",
    bits.SET_GLOBAL: "it sets a global variable: primary only, the other servers keep theirs",
    bits.NEXT_TRX: "it concerns the next transaction only: primary",
    bits.BEGIN_READ_ONLY: "the transaction is read-only: any synced server",
    bits.BEGIN: "it opens a transaction: primary",
    bits.COMMIT: "it ends a transaction where that runs",
    bits.ROLLBACK: "it ends a transaction where that runs",
    bits.SAVEPOINT: "savepoints belong to the open transaction",
    bits.AUTOCOMMIT_UNKNOWN: "autocommit gets a value only the server can evaluate",
    bits.HINT: "a comment speaks to the proxy",
}
_TARGET_REASONS = {
    bits.READ: "reads with built-in functions only: any synced server",
    bits.WRITE: "it writes, or its answer depends on the server asked: primary",
    bits.LAST: "it asks about the previous statement: the server that answered that",
    bits.SESSION: "it changes session state only: one server now, replayed on the others before they are used",
}


def explain(data: bytes, start: int = 0, mode: int = 0) -> list[str]:
    """Every rule that decided the classification of ``data[start:]``, as sentences, the decisive ones first."""
    statement = Statement(data, start, mode)
    mask = statement.run()
    reasons = []
    if mask & bits.UNSAFE_FUNCTION:
        reasons.append(f"{_function_name(statement)}() is not a known read-only built-in function: primary")
    reasons += [sentence for bit, sentence in _REASONS.items() if mask & bit]
    if not reasons or not mask & bits.WRITE:
        reasons.append(_TARGET_REASONS[target_of(mask)])
    return reasons


def _function_name(statement: Statement) -> str:
    name = statement.data[statement.unsafe_start : statement.unsafe_stop]
    return name.strip(b'`"').decode("utf-8", "replace")

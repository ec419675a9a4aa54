"""Why a statement goes where it goes, in sentences, from its text alone; needs no running proxy."""

from __future__ import annotations

from sqlproxy.sql import classify as sql

_TARGETS = {
    sql.READ: ("replica", "a read: any synced server may answer it"),
    sql.WRITE: ("primary", "a write, or not known to be a read: only the primary may run it"),
    sql.LAST: ("last used", "it asks about the statement before: the server that ran that one"),
    sql.SESSION: ("any", "it changes session state only: one server answers, others replay it before their next use"),
}
_FACTS = {
    sql.UNKNOWN: "it is not understood",
    sql.UNSAFE_FUNCTION: "it calls a function that is not a known read-only built-in",
    sql.LOCKING_READ: "it locks the rows it reads",
    sql.MULTI: "it is more than one statement",
    sql.BEGIN: "it begins a transaction",
    sql.BEGIN_READ_ONLY: "it begins a read-only transaction, which a replica can serve",
    sql.COMMIT: "it commits",
    sql.ROLLBACK: "it rolls back",
    sql.AUTOCOMMIT_ON: "it switches autocommit on",
    sql.AUTOCOMMIT_OFF: "it switches autocommit off, so a transaction follows",
    sql.AUTOCOMMIT_UNKNOWN: "it sets autocommit to a value only the server can tell",
    sql.NEXT_TRX: "it sets up the next transaction",
    sql.XA: "it is part of an XA transaction",
    sql.DDL: "it changes the schema, which commits implicitly",
    sql.SET_GLOBAL: "it sets a global variable, on the primary only",
    sql.USERVAR_WRITE: "it sets a user variable",
    sql.EXECUTE_TEXT: "it runs a statement prepared by name",
    sql.TEMP_TABLE: "it makes a temporary table, which pins the session",
    sql.LOCK_TABLES: "it takes table locks, which pin the session",
    sql.USER_LOCK: "it takes a user lock, which pins the session",
    sql.HANDLER: "it uses HANDLER, which pins the session",
    sql.LOAD_LOCAL: "it loads a file of the client",
    sql.KILL: "it kills a session, by the id clients see",
    sql.CALL: "it calls a procedure, which may do anything",
    sql.LAST_INSERT_ID: "it reads LAST_INSERT_ID()",
    sql.HINT: "a comment in it carries a routing hint",
    sql.EMPTY: "it is empty",
}


def sentences(mask: int) -> tuple[str, list[str]]:
    """Target ("primary", "replica", "last used" or "any") and the reasons, of a classification."""
    target, why = _TARGETS[sql.target_of(mask)]
    return target, [why, *(text for bit, text in _FACTS.items() if mask & bit)]


def explain(statement: bytes, in_transaction: bool) -> dict[str, object]:
    """target, server (None: not known here) and rules, for a new session."""
    mask = sql.classify(statement)
    target, rules = sentences(mask)
    if in_transaction:
        target, rules = "transaction", ["a transaction is open: its server answers everything", *rules]
    return {"target": target, "server": None, "rules": rules, "classification": sql.describe(mask)}

"""SET: variables, NAMES and transaction characteristics of a session on a simulated node."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from sqlglot import exp

from sqlproxy.lab import embedded_sql as sql
from sqlproxy.lab.embedded_errors import syntax_error
from sqlproxy.lab.embedded_state import SessionState
from sqlproxy.lab.embedded_store import Done, Rows
from sqlproxy.lab.embedded_variables import Value

Evaluate = Callable[[str, Sequence[Any]], Awaitable[Rows | Done]]


async def run_set(session: SessionState, text: str, parameters: Sequence[Any], evaluate: Evaluate) -> None:
    """Run a SET statement; ``evaluate`` runs the SELECT of a value. Raises ServerError."""
    tree, _ = sql.parse_one(text)
    if not isinstance(tree, exp.Set):
        raise syntax_error(text)
    for item in tree.expressions:
        await _set_item(session, item, parameters, evaluate)


async def _set_item(session: SessionState, item: exp.SetItem, parameters: Sequence[Any], evaluate: Evaluate) -> None:
    kind = (item.text("kind") or "").upper()
    if kind in ("NAMES", "CHARACTER SET"):
        for name in ("character_set_client", "character_set_connection", "character_set_results"):
            session.variables.set(name, item.name.lower() if item.name.upper() != "DEFAULT" else "utf8mb4")
        return
    if kind == "TRANSACTION":
        _set_transaction(session, [part.name.upper() for part in item.expressions])
        return
    if not isinstance(item.this, exp.EQ):
        raise syntax_error(item.sql(dialect="mysql"))
    left, right = item.this.left, item.this.right
    if isinstance(left, exp.SessionParameter):
        kind = left.text("kind").upper()
    value = await _assigned(right, parameters, evaluate)
    if isinstance(left, exp.Parameter):
        session.user_variables[left.name.lower()] = value
    elif kind == "GLOBAL":
        session.node.variables.set(left.name, value)
    else:
        _set_variable(session, left.name.lower(), value)


def _set_transaction(session: SessionState, words: list[str]) -> None:
    for word in words:
        if word.startswith("READ "):
            session.variables.set("tx_read_only", word == "READ ONLY")
        elif word.startswith("ISOLATION LEVEL "):
            session.variables.set("tx_isolation", word.removeprefix("ISOLATION LEVEL ").replace(" ", "-"))


async def _assigned(right: exp.Expr, parameters: Sequence[Any], evaluate: Evaluate) -> Value:
    """The value of an expression; bare words stand for themselves, DEFAULT is None."""
    if isinstance(right, exp.Var | exp.Column) and not right.args.get("table"):
        return None if right.name.upper() == "DEFAULT" else right.name
    if isinstance(right, exp.Literal | exp.Boolean | exp.Null):
        return None if isinstance(right, exp.Null) else _literal(right)
    written = right.sql(dialect="mysql")
    numbers = [int(number) for number in re.findall(r":p(\d+)", written)]
    if any(number >= len(parameters) for number in numbers):
        raise syntax_error(written)  # the client's own text, not a parameter of ours
    values = [parameters[number] for number in numbers]
    result = await evaluate(f"SELECT {re.sub(r':p[0-9]+', '?', written)}", values)
    return result.rows[0][0] if isinstance(result, Rows) else None


def _set_variable(session: SessionState, name: str, value: Value) -> None:
    value = session.variables.set(name, value)
    transaction = session.transaction
    if name == "autocommit":
        if value and not transaction.autocommit:
            transaction.commit()
        transaction.autocommit = bool(value)
    elif name == "innodb_lock_wait_timeout":
        transaction.lock_wait = max(0.05, float(str(value)))


def _literal(node: exp.Expr) -> Value:
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Literal) and not node.is_string and re.fullmatch(r"\d+", node.name):
        return int(node.name)
    return node.name

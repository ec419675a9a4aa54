"""From MySQL's SQL to the SQLite dialect of the embedded cluster's store. Pure: text in, ``Statement`` out.

A MySQL table ``app.t`` is the SQLite table ``"app.t"``, so that one SQLite database, and with it one transaction, holds
all MySQL databases. System variables, user variables and what SQLite lacks become calls of functions that
``embedded_functions`` registers; rewriting depends on nothing but text and current database and is cached.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import cast

from sqlglot import exp, parse, tokenize
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType

from sqlproxy.lab.embedded_errors import sql_error, syntax_error, unsupported

# sqlglot warns of every statement it does not fully know; the client is told by an error.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_CALLS: dict[type[exp.Expr], str] = {
    exp.CurrentSchema: "DATABASE",
    exp.CurrentUser: "CURRENT_USER_NAME",
    exp.SessionUser: "USER",
    exp.CurrentVersion: "VERSION",
    exp.CurrentTimestamp: "NOW",
    exp.CurrentDate: "CURDATE",
    exp.CurrentTime: "CURTIME",
    exp.UtcTimestamp: "UTC_TIMESTAMP",
    exp.Rand: "RAND",
}
_BINARY: dict[type[exp.Expr], str] = {exp.IntDiv: "DIV", exp.Left: "LEFT", exp.Right: "RIGHT"}
# Optimizer modifiers of SELECT and INSERT that sqlglot takes for columns; here they would change nothing.
_MODIFIERS = ("SQL_NO_CACHE", "SQL_CACHE", "SQL_CALC_FOUND_ROWS", "SQL_BUFFER_RESULT", "HIGH_PRIORITY", "LOW_PRIORITY")


class Kind(Enum):
    """What running a statement needs."""

    READ = auto()  # a snapshot
    LOCKING_READ = auto()  # SELECT … FOR UPDATE: the writer's lock
    WRITE = auto()
    SCHEMA = auto()  # ends the transaction first


@dataclass(frozen=True, slots=True)
class Output:
    """One column of a result as far as the text tells: a column (table "" unknown), all of a table, or a type."""

    table: str = ""
    column: str = ""  # "*": all columns of the table
    type: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement for SQLite. ``steps`` run in order; parameters are named p0, p1, … and belong to the only step."""

    kind: Kind
    steps: tuple[str, ...]
    tables: tuple[str, ...] = ()  # "app.t"; those a statement writes come first
    outputs: tuple[Output, ...] = ()
    returns_rows: bool = False
    sleep: float = 0.0  # seconds, from SLEEP(n)
    columns: tuple[str, ...] = ()  # an INSERT's own column list


def tokens_of(sql: str) -> list[Token]:
    """The tokens of a statement. Raises error 1064 for text that is none, such as an unclosed quote."""
    try:
        return list(tokenize(sql, read="mysql"))
    except SqlglotError:
        raise syntax_error(sql) from None


def count_parameters(sql: str) -> int:
    """How many ``?`` a statement has outside strings and comments."""
    return sum(token.token_type is TokenType.PLACEHOLDER for token in tokens_of(sql))


@lru_cache(maxsize=1024)
def rewrite(sql: str, database: str | None) -> Statement:
    """The SQLite form of one MySQL statement. Raises ServerError: 1046, 1064, 1065, 1235."""
    tree, source = parse_one(sql)
    database = database or ""
    names = _projection_names(source) if isinstance(tree, exp.Select) else []
    if isinstance(tree, exp.Create | exp.Alter | exp.Drop | exp.TruncateTable):
        from sqlproxy.lab.embedded_ddl import rewrite_schema

        return rewrite_schema(tree, database)
    if isinstance(tree, exp.Query):
        return _rewrite_query(tree, database, names)
    if isinstance(tree, exp.Insert | exp.Update | exp.Delete):
        return _rewrite_write(tree, database)
    raise unsupported(f"this statement: {sql[:60]}")


def parse_one(sql: str) -> tuple[exp.Expr, str]:
    """The tree of the only statement in the text, and the text with numbered parameters it was parsed from."""
    source, replaces = _prepare(sql)
    try:
        trees = [
            tree for tree in parse(source, read="mysql") if tree is not None and not isinstance(tree, exp.Semicolon)
        ]
    except (SqlglotError, RecursionError):
        raise syntax_error(sql) from None
    if not trees:
        raise sql_error(1065, "42000", "Query was empty")
    if len(trees) > 1 or isinstance(trees[0], exp.Alias | exp.Column):
        raise syntax_error(sql)
    tree = trees[0]
    if replaces:
        tree.set("alternative", "REPLACE")
    return tree, source


def _prepare(sql: str) -> tuple[str, bool]:
    """Name the parameters, which may change places, and turn REPLACE into the INSERT that sqlglot can parse."""
    tokens, parts, end, number = tokens_of(sql), [], 0, 0
    replaces = bool(tokens) and tokens[0].text.upper() == "REPLACE"
    if replaces:
        parts.append("INSERT")
        end = tokens[0].end + 1
    for token in tokens:
        if token.token_type is TokenType.PLACEHOLDER:
            parts += [sql[end : token.start], f":p{number}"]
            end, number = token.end + 1, number + 1
        elif token.text.upper() in _MODIFIERS and token.token_type is TokenType.VAR:
            parts.append(sql[end : token.start])
            end = token.end + 1
    return "".join(parts) + sql[end:], replaces


def _rewrite_query(tree: exp.Query, database: str, names: list[str]) -> Statement:
    if any(select.args.get("into") for select in tree.find_all(exp.Select)):
        raise unsupported("SELECT … INTO")
    locking = any(select.args.get("locks") for select in tree.find_all(exp.Select))
    sleep = _sleep_of(tree)
    if isinstance(tree, exp.Select):
        _name_projections(tree, names)
    tables = qualify(tree, database)
    outputs = tuple(_outputs(tree))
    adapt(tree)
    kind = Kind.LOCKING_READ if locking else Kind.READ
    return Statement(kind, (to_sqlite(tree),), tables, outputs, True, sleep)


def _rewrite_write(tree: exp.Insert | exp.Update | exp.Delete, database: str) -> Statement:
    if isinstance(tree, exp.Delete) and tree.args.get("tables"):
        raise unsupported("DELETE from several tables")
    if tree.args.get("limit") or tree.args.get("order"):
        _limit_by_rowid(tree)
    columns = _adapt_insert(tree) if isinstance(tree, exp.Insert) else ()
    returning = tree.args.get("returning") is not None
    target = tree.this.this if isinstance(tree.this, exp.Schema) else tree.this
    if not isinstance(target, exp.Table) or target.args.get("joins"):
        raise unsupported("writing to several tables in one statement")
    first = table_name(target, database)
    tables = qualify(tree, database)
    sleep = _sleep_of(tree)
    adapt(tree)
    rest = tuple(table for table in tables if table != first)
    return Statement(Kind.WRITE, (to_sqlite(tree),), (first, *rest), (), returning, sleep, columns)


def to_sqlite(tree: exp.Expr) -> str:
    """SQLite's text of a tree; error 1235 where sqlglot finds no way."""
    try:
        return tree.sql(dialect="sqlite", comments=False)
    except (SqlglotError, ValueError, RecursionError):
        raise unsupported("this statement") from None


def table_name(table: exp.Table, database: str) -> str:
    """``app.t`` of a table reference. Raises error 1046 if no database is named or selected."""
    name = table.text("db") or database
    if not name:
        raise sql_error(1046, "3D000", "No database selected")
    return f"{name}.{table.name}"


def qualify(tree: exp.Expr, database: str) -> tuple[str, ...]:
    """Give every table its SQLite name, keeping the MySQL one as alias; the names of the tables."""
    views = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    found: list[str] = []
    for table in list(tree.find_all(exp.Table)):
        if not isinstance(table.this, exp.Identifier):
            raise unsupported("table functions")
        if not table.text("db") and table.name.lower() in views:
            continue
        if table.name.lower() == "dual" and isinstance(table.parent, exp.From):
            table.parent.pop()
            continue
        name = table_name(table, database)
        found.append(name)
        if not table.alias and not _is_insert_target(table):
            table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
        table.set("this", exp.to_identifier(name, quoted=True))
        table.set("db", None)
    for column in tree.find_all(exp.Column):
        column.set("db", None)
    return tuple(dict.fromkeys(found))


def _is_insert_target(table: exp.Table) -> bool:
    parent = table.parent.parent if isinstance(table.parent, exp.Schema) else table.parent
    return isinstance(parent, exp.Insert | exp.Create)


def adapt(tree: exp.Expr) -> None:
    """Replace, in place, what SQLite spells differently and sqlglot leaves or gets wrong."""
    for node in reversed(list(tree.walk())):  # the inner ones first, as replacing copies them
        replacement = _replacement(node)
        if replacement is not None and node.parent is not None:
            node.replace(replacement)


def _replacement(node: exp.Expr) -> exp.Expr | None:
    if isinstance(node, exp.SessionParameter):
        return call("MYSQL_VARIABLE", exp.Literal.string(node.name), exp.Literal.string(node.text("kind")))
    if isinstance(node, exp.Parameter):
        return call("MYSQL_USER_VARIABLE", exp.Literal.string(node.name))
    if type(node) in _CALLS:
        return call(_CALLS[type(node)], *([node.this] if isinstance(node.this, exp.Expr) else []))
    if isinstance(node, exp.DateAdd | exp.DateSub):
        name = "MYSQL_DATE_ADD" if isinstance(node, exp.DateAdd) else "MYSQL_DATE_SUB"
        return call(name, node.this, node.expression, exp.Literal.string(node.text("unit") or "DAY"))
    if isinstance(node, exp.Add | exp.Sub) and isinstance(node.expression, exp.Interval):
        name = "MYSQL_DATE_ADD" if isinstance(node, exp.Add) else "MYSQL_DATE_SUB"
        interval = node.expression
        return call(name, node.this, interval.this, exp.Literal.string(interval.text("unit") or "DAY"))
    if isinstance(node, exp.IntDiv | exp.Left | exp.Right):  # LEFT and RIGHT are words of joins in SQLite
        return call(f"MYSQL_{_BINARY[type(node)]}", node.this, node.expression)
    if isinstance(node, exp.Introducer):
        return cast(exp.Expr, node.expression)
    if isinstance(node, exp.TimeToStr):
        return call("MYSQL_DATE_FORMAT", node.this, cast(exp.Expr, node.args.get("format")))
    if isinstance(node, exp.Like) and not isinstance(node.parent, exp.Escape):
        return exp.Escape(this=node.copy(), expression=exp.Literal.string("\\"))
    if isinstance(node, exp.Xor):
        left, right = exp.Not(this=exp.paren(node.this)), exp.Not(this=exp.paren(node.expression))
        return exp.paren(exp.NEQ(this=exp.paren(left), expression=exp.paren(right)))
    return None


def call(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    """A call of a function that the store registers."""
    return exp.Anonymous(this=name, expressions=[argument.copy() for argument in arguments])


def _adapt_insert(tree: exp.Insert) -> tuple[str, ...]:
    """DEFAULT, ``() VALUES ()`` and ON DUPLICATE KEY UPDATE in SQLite's words; the columns the statement names."""
    columns = tree.this.expressions if isinstance(tree.this, exp.Schema) else []
    values = tree.expression
    if isinstance(values, exp.Values):
        if all(isinstance(row, exp.Tuple) and not row.expressions for row in values.expressions):
            tree.set("expression", None)
            tree.set("default", True)
        for word in list(values.find_all(exp.Var)):
            if word.name.upper() == "DEFAULT":
                word.replace(exp.Null())  # right for AUTO_INCREMENT columns, which is where people write it
    conflict = tree.args.get("conflict")
    if isinstance(conflict, exp.OnConflict) and conflict.args.get("duplicate"):
        _adapt_conflict(conflict, tree)
    return tuple(column.name.lower() for column in columns)


def _adapt_conflict(conflict: exp.OnConflict, tree: exp.Insert) -> None:
    for node in list(conflict.find_all(exp.Anonymous)):
        if node.name.upper() in ("VALUES", "VALUE") and len(node.expressions) == 1:
            node.replace(exp.column(node.expressions[0].name, table="excluded"))
    conflict.set("duplicate", False)
    conflict.set("action", exp.var("DO UPDATE"))
    query = tree.expression
    if isinstance(query, exp.Select) and not query.args.get("where"):
        query.where(exp.true(), copy=False)  # else SQLite takes ON for a join's


def _limit_by_rowid(tree: exp.Update | exp.Delete | exp.Insert) -> None:
    """UPDATE or DELETE … ORDER BY … LIMIT n by way of a subquery, as not every SQLite is built with it."""
    chosen = exp.select("rowid").from_(tree.this.copy())
    for part in ("where", "order", "limit"):
        if tree.args.get(part):
            chosen.set(part, tree.args[part].copy())
            tree.set(part, None)
    tree.set("where", exp.Where(this=exp.In(this=exp.column("rowid"), query=exp.Subquery(this=chosen))))


def _sleep_of(tree: exp.Expr) -> float:
    """The seconds of every SLEEP(n) with a literal n."""
    calls = [node for node in tree.find_all(exp.Anonymous) if node.name.upper() == "SLEEP" and node.expressions]
    return sum(float(node.expressions[0].name) for node in calls if isinstance(node.expressions[0], exp.Literal))


def _projection_names(source: str) -> list[str]:
    """The select list's items as written, which is what MySQL calls unnamed columns."""
    depth, start, items = 0, -1, []
    tokens = tokens_of(source)
    for token in tokens[1:]:
        start = token.start if start < 0 else start
        if token.token_type in (TokenType.L_PAREN, TokenType.CASE):
            depth += 1
        elif token.token_type in (TokenType.R_PAREN, TokenType.END):
            depth -= 1
        elif depth == 0 and token.token_type in (TokenType.COMMA, TokenType.FROM, TokenType.LIMIT, TokenType.SEMICOLON):
            items.append(source[start : token.start].strip())
            if token.token_type is not TokenType.COMMA:
                return items
            start = -1
    return [*items, source[start : tokens[-1].end + 1].strip()]


def _name_projections(tree: exp.Select, names: list[str]) -> None:
    exact = len(names) == len(tree.expressions)
    for number, item in enumerate(tree.expressions):
        if not isinstance(item, exp.Alias | exp.Column | exp.Star | exp.Dot):
            name = names[number] if exact else item.sql(dialect="mysql")
            if isinstance(item, exp.Literal) and item.is_string:
                name = item.name
            item.replace(exp.alias_(item.copy(), name, quoted=True))


def _outputs(tree: exp.Query) -> Iterator[Output]:
    """Where the columns of the outermost (leftmost) SELECT come from."""
    select = tree
    while not isinstance(select, exp.Select):
        inner = select.this
        if not isinstance(inner, exp.Query):
            return
        select = inner
    tables = dict(_sources(select))
    for item in select.expressions:
        inner = item.this if isinstance(item, exp.Alias) else item
        if isinstance(inner, exp.Star):
            yield from (Output(table, "*") for table in tables.values())
        elif isinstance(inner, exp.Column):
            star = isinstance(inner.this, exp.Star)
            names = [tables.get(inner.table.lower(), "")] if inner.table else list(tables.values())
            yield Output("\n".join(names), "*" if star else inner.name)
        else:
            yield Output(type="bigint" if isinstance(inner, exp.Count) else "")


def _sources(select: exp.Select) -> Iterator[tuple[str, str]]:
    """Alias and SQLite name of the tables of a SELECT; the name is empty for subqueries."""
    start = select.args.get("from_") or select.args.get("from")
    items = [start.this] if start else []
    for item in [*items, *(join.this for join in select.args.get("joins") or [])]:
        name = item.name if isinstance(item, exp.Table) and "." in item.name else ""
        yield item.alias_or_name.lower(), name
        for join in item.args.get("joins") or []:
            yield join.this.alias_or_name.lower(), join.this.name if isinstance(join.this, exp.Table) else ""

"""The tables of the SQL admin side: what the admin side shows, as rows in a database of SQLite made for one query.

Texts run in SQLite, on a thread of its own and within limits of time and size; nothing but reading is allowed there.
"""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlproxy.errors import ServerError
from sqlproxy.wire.result_set import Value

SECONDS: Final = 2.0  # for one query
MOST_ROWS: Final = 100_000
MOST_BYTES: Final = 16 << 20
_LONGEST: Final = 16 << 20  # bytes of a value
_STEPS: Final = 20_000  # of SQLite's machine between two looks at the clock
_READING: Final = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
DATABASE: Final = "sqlproxy"

_T, _I, _R = "TEXT", "INTEGER", "REAL"
_COUNTERS = "connections connections_total connect_errors losses operations reads writes errors bytes_sent"
_SERVICE = "sessions sessions_total logins_failed client_errors statements unknown_statements reads_retried"
_SERVICE += " primary_waits outcomes_decided outcomes_unknown transactions_lost transactions_replayed"
_SERVICE += " replay_mismatches conflicts_retried conflicts_certification conflicts_brute_force conflicts_deadlock"
_SERVICE += " conflicts_snapshot hints_ignored unexplained_changes unlisted_passed unlisted_refused"
_SERVICE += " spans spans_dropped spans_failed"


def _columns(text: str, kind: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, kind) for name in text.split())


TABLES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "servers": (
        *_columns("name address role state reason", _T),
        *_columns("primary", _I),
        *_columns("weight priority", _I),
        *_columns("zone version", _T),
        *_columns("latency_ms lag", _R),
        *_columns(_COUNTERS + " bytes_received", _I),
    ),
    "services": (*_columns("name router listen", _T), *_columns("waiting", _I), *_columns(_SERVICE, _I)),
    "sessions": (
        *_columns("id", _I),
        *_columns("service user host database state primary replica waiting_for", _T),
        *_columns("in_transaction statements", _I),
        *_columns("pins since", _T),
        *_columns("idle_seconds", _R),
    ),
    "pools": (
        *_columns("service server", _T),
        *_columns("in_use working pooled max_connections persistpoolmax", _I),
        *_columns("persistmaxtime", _R),
        *_columns("opened reused refused lost", _I),
        *_columns("connect_avg_ms connect_p95_ms", _R),
    ),
    "events": (*_columns("number", _I), *_columns("time kind server text", _T)),
    "digests": (
        *_columns("service digest statement user server", _T),
        *_columns("understood count errors rows bytes", _I),
        *_columns("total_ms min_ms avg_ms p95_ms max_ms", _R),
        *_columns("first_seen last_seen", _T),
    ),
    "allow_list": (
        *_columns("service state digest user statement", _T),
        *_columns("count", _I),
        *_columns("first_seen last_seen", _T),
    ),
    "accounts": (*_columns("user host plugin", _T), *_columns("locked", _I), *_columns("tls", _T)),
    "monitor": (
        *_columns("topology primary alarms causal version started_at", _T),
        *_columns("snapshot stale", _I),
        *_columns("age uptime interval timeout", _R),
    ),
    "config": _columns("name value", _T),
}
_TIMES: Final = frozenset({"since", "time", "first_seen", "last_seen", "started_at"})
_SCHEMA: Final = {
    "schemata": _columns("catalog_name schema_name default_character_set_name default_collation_name", _T),
    "tables": (
        *_columns("table_catalog table_schema table_name table_type engine", _T),
        *_columns("table_rows", _I),
        *_columns("table_comment", _T),
    ),
    "columns": (
        *_columns("table_catalog table_schema table_name column_name", _T),
        *_columns("ordinal_position", _I),
        *_columns("column_default is_nullable data_type column_type column_key extra column_comment", _T),
    ),
}
_MYSQL_TYPES: Final = {_T: "varchar(4096)", _I: "bigint", _R: "double"}


class Query:
    """A text for SQLite with its parameters, and the tables that it may use."""

    def __init__(self, text: str, parameters: Mapping[str, Value], names: Mapping[str, str]) -> None:
        self.text = text
        self.parameters = _Parameters(parameters)
        self.names = names  # of result columns, where the client called them something else
        words = set(re.findall(r"\w+", text.lower()))
        self.tables = [name for name in TABLES if name in words]


class _Parameters(dict[str, Value]):
    def __missing__(self, key: str) -> None:
        return None  # a user variable


class Result:
    """Rows of one query."""

    def __init__(self, names: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        self.names = list(names)
        self.rows = list(rows)


def values(table: str, row: Mapping[str, Any]) -> tuple[Value, ...]:
    """One row of the admin side in the order of a table's columns."""
    return tuple(_plain(name, row.get(name)) for name, _ in TABLES[table])


def _plain(name: str, value: Any) -> Value:
    if isinstance(value, bool):
        return int(value)
    if name in _TIMES and isinstance(value, int | float):
        return datetime.fromtimestamp(value).isoformat(sep=" ", timespec="milliseconds")
    if isinstance(value, list | tuple):
        return "; ".join(str(item) for item in value)
    if value is None or isinstance(value, int | float | str):
        return value
    return json.dumps(value, default=str)


def run(query: Query, rows: Mapping[str, Sequence[Sequence[Value]]]) -> Result:
    """Run a query over these rows by table; for a thread of its own. Raises ServerError."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _fill(connection, query.tables, rows)
        _confine(connection)
        cursor = connection.execute(query.text, query.parameters)
        found = _fetched(cursor)
        names = [column[0] for column in cursor.description or ()]
    except sqlite3.Error as error:
        raise _translated(str(error)) from None
    finally:
        connection.close()
    return Result([query.names.get(name, name) for name in names], [[_text(v) for v in row] for row in found])


def _fetched(cursor: sqlite3.Cursor) -> list[tuple[Any, ...]]:
    """All rows. Raises ServerError when they are too many or too long."""
    found: list[tuple[Any, ...]] = []
    size = 0
    while part := cursor.fetchmany(1000):
        found += part
        size += sum(len(value) for row in part for value in row if isinstance(value, str | bytes))
        if len(found) > MOST_ROWS or size > MOST_BYTES:
            text = f"the result has more than {MOST_ROWS} rows or {MOST_BYTES >> 20} MiB: add a LIMIT"
            raise ServerError(text, code=1104, sqlstate="42000")
    return found


def _text(value: Any) -> Value:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _translated(text: str) -> ServerError:
    if text == "interrupted":
        return ServerError(f"the query took more than {SECONDS:g} s", code=1317, sqlstate="70100")
    if text.startswith("no such table: "):
        table = text.removeprefix("no such table: ")
        hint = f"Table '{table}' doesn't exist; SHOW TABLES lists those that do"
        return ServerError(hint, code=1146, sqlstate="42S02")
    if text.startswith("no such column: "):
        return ServerError(f"Unknown column '{text.removeprefix('no such column: ')}'", code=1054, sqlstate="42S22")
    if "not authorized" in text or "prohibited" in text:
        return ServerError("nothing but reading is allowed in a query", code=1142, sqlstate="42000")
    return ServerError(f"the query cannot be run: {text}", code=1064, sqlstate="42000")


def _confine(connection: sqlite3.Connection) -> None:
    deadline = time.monotonic() + SECONDS
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS)
    allow, deny = sqlite3.SQLITE_OK, sqlite3.SQLITE_DENY
    connection.set_authorizer(lambda action, *_: allow if action in _READING else deny)


def _fill(connection: sqlite3.Connection, tables: Sequence[str], rows: Mapping[str, Sequence[Sequence[Value]]]) -> None:
    connection.execute(f"ATTACH ':memory:' AS {DATABASE}")
    for table in tables:
        _create(connection, f'{DATABASE}."{table}"', TABLES[table], rows.get(table, ()))
    _create(connection, "dual", (("dummy", _T),), [("X",)])
    connection.execute("ATTACH ':memory:' AS information_schema")
    for name, columns in _SCHEMA.items():
        _create(connection, f"information_schema.{name}", columns, list(_schema_rows(name)))
    for name, (count, function) in FUNCTIONS.items():
        connection.create_function(name, count, function)


def _create(
    connection: sqlite3.Connection, name: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[Value]]
) -> None:
    declared = ", ".join(f'"{column}" {kind} COLLATE NOCASE' for column, kind in columns)
    connection.execute(f"CREATE TABLE {name} ({declared})")
    if rows:
        connection.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(columns))})", rows)


def _schema_rows(name: str) -> Iterator[tuple[Value, ...]]:
    if name == "schemata":
        for database in (DATABASE, "information_schema"):
            yield "def", database, "utf8mb4", "utf8mb4_general_ci"
    for table, columns in TABLES.items():
        if name == "tables":
            yield "def", DATABASE, table, "BASE TABLE", "MEMORY", None, ""
        if name == "columns":
            for place, (column, kind) in enumerate(columns, 1):
                full = _MYSQL_TYPES[kind]
                yield "def", DATABASE, table, column, place, None, "YES", full.partition("(")[0], full, "", "", ""


def _concat(*parts: Value) -> str | None:
    return None if None in parts else "".join(str(part) for part in parts)


FUNCTIONS: Final[dict[str, tuple[int, Callable[..., Any]]]] = {
    "concat": (-1, _concat),
    "if": (3, lambda condition, yes, no: yes if condition else no),
    "now": (-1, lambda *_: datetime.now().isoformat(sep=" ", timespec="seconds")),
    "unix_timestamp": (0, lambda: int(time.time())),
    "database": (0, lambda: DATABASE),
    "schema": (0, lambda: DATABASE),
    "lcase": (1, lambda text: None if text is None else str(text).lower()),
    "ucase": (1, lambda text: None if text is None else str(text).upper()),
    "left": (2, lambda text, count: None if text is None else str(text)[: max(int(count), 0)]),
}

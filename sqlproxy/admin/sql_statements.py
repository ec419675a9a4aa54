"""The statements of the SQL admin side: queries, SHOW, what operators order. No protocol here, see ``admin.sql``."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlproxy import __version__
from sqlproxy.admin import allowing, commands, digests, view
from sqlproxy.admin.commands import CommandError
from sqlproxy.admin.sql_tables import DATABASE, TABLES, Query, Result, run, values
from sqlproxy.admin.view import Runtime
from sqlproxy.errors import ServerError, SqlproxyError
from sqlproxy.routing.explain import as_rows
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.tokens import BAD, END, SYSVAR
from sqlproxy.wire.result_set import Value

VERSION: Final = f"8.0.36-sqlproxy-{__version__}"
MAX_TEXT: Final = 64 << 10
_PLACEHOLDER: Final = 63  # ?
_COMMENT: Final = re.compile(r"\s*(?:/\*(?!!).*?\*/|--\s[^\n]*\n|#[^\n]*\n)", re.DOTALL)
_NAME: Final = r"[`'\"]?([\w.-]+)[`'\"]?"
_USER: Final = r"[`'\"]?([\w.*-]+)[`'\"]?"
_VARIABLES: Final[dict[str, Value]] = {
    "version": VERSION,
    "version_comment": "sqlproxy admin",
    "version_compile_os": "Linux",
    "version_compile_machine": "x86_64",
    "autocommit": 1,
    "auto_increment_increment": 1,
    "character_set_client": "utf8mb4",
    "character_set_connection": "utf8mb4",
    "character_set_database": "utf8mb4",
    "character_set_results": "utf8mb4",
    "character_set_server": "utf8mb4",
    "collation_connection": "utf8mb4_general_ci",
    "collation_database": "utf8mb4_general_ci",
    "collation_server": "utf8mb4_general_ci",
    "init_connect": "",
    "interactive_timeout": 28800,
    "license": "Apache-2.0",
    "lower_case_table_names": 0,
    "max_allowed_packet": 1 << 20,
    "net_write_timeout": 60,
    "performance_schema": 0,
    "query_cache_size": 0,
    "query_cache_type": "OFF",
    "read_only": 0,
    "sql_mode": "",
    "sql_select_limit": (1 << 64) - 1,
    "system_time_zone": "UTC",
    "time_zone": "SYSTEM",
    "transaction_isolation": "REPEATABLE-READ",
    "tx_isolation": "REPEATABLE-READ",
    "wait_timeout": 28800,
}
# What SHOW leaves out so that a terminal can hold it; SELECT has it all.
_SHOWN: Final = {
    "servers": "name, address, role, state, connections, operations, reads, writes, errors, reason",
    "services": "name, router, listen, sessions, statements, waiting, outcomes_unknown, transactions_lost",
    "sessions": "id, service, user, host, database, state, `primary`, replica, statements, pins",
    "allow_list": "service, state, digest, user, statement, count",
    "digests": "statement, user, server, count, errors, avg_ms, p95_ms, max_ms, total_ms",
}
_IGNORED: Final = ("USE", "BEGIN", "START", "COMMIT", "ROLLBACK", "LOCK", "UNLOCK", "FLUSH")


@dataclass(frozen=True, slots=True)
class Done:
    """An OK without rows."""

    affected: int = 0


Answer = Result | Done


class Statements:
    """What one client may say; ``who`` it is stands in the audit log."""

    def __init__(self, runtime: Runtime, who: str, threads: asyncio.Semaphore | None = None) -> None:
        self._runtime = runtime
        self._who = who
        self._threads = threads or asyncio.Semaphore()  # how many queries of all clients run at one time

    async def execute(self, text: str, parameters: Sequence[Value] = ()) -> Answer:
        """Run one statement; ``?`` in it stand for ``parameters``. Raises SqlproxyError for the client to read."""
        text = _stripped(text)
        if not text:
            raise ServerError("Query was empty", code=1065, sqlstate="42000")
        word = re.split(r"\W", text, maxsplit=1)[0].upper()
        if word in ("SELECT", "WITH", "VALUES"):
            return await self._select(text, parameters)
        if word == "SHOW":
            return await self._show(text)
        for pattern, handler in _ORDERS:
            match = pattern.fullmatch(text)
            if match:
                return await _told(handler(self, match))
        if word in ("DESCRIBE", "DESC", "EXPLAIN"):
            return await self._show(f"SHOW COLUMNS FROM {text.split(None, 1)[-1]}")
        if word in _IGNORED or word == "SET":
            return Done()
        raise ServerError(f"there is no statement {word} here; see SHOW TABLES and the manual", code=1064)

    async def describe(self, text: str) -> list[str]:
        """The names of a query's columns, [] for what is none; nothing is asked of the proxy."""
        text = _stripped(text)
        if re.match(r"(?i)(select|with|values)\b", text):
            return (await self._run(query(text, ()), {})).names
        return []

    async def _select(self, text: str, parameters: Sequence[Value] = ()) -> Result:
        wanted = query(text, parameters)
        pace = self._runtime.pace
        rows: dict[str, list[tuple[Value, ...]]] = {}
        for table in wanted.tables:
            items = await _ROWS[table](self._runtime)
            slices = pace.slices(items, lambda row, table=table: values(table, row))  # type: ignore[misc]
            rows[table] = [row async for part in slices for row in part]
        return await self._run(wanted, rows)

    async def _run(self, wanted: Query, rows: Mapping[str, Sequence[Sequence[Value]]]) -> Result:
        """Run a query beside the event loop; what it takes counts all the same."""
        async with self._threads:
            began = time.monotonic()
            try:
                return await asyncio.to_thread(run, wanted, rows)
            finally:
                self._runtime.pace.spent(time.monotonic() - began)

    # -- SHOW

    async def _show(self, text: str) -> Answer:
        text = text.replace("`", "")
        for pattern, select in _SHOWS:
            match = pattern.fullmatch(text)
            if match:
                return await self._select(select(match))
        raise ServerError(f"there is nothing to show as {text[5:60]!r}; SHOW TABLES lists what there is", code=1064)

    # -- orders

    async def set_server(self, match: re.Match[str]) -> Answer:
        """SET SERVER n1 = 'drain'."""
        commands.set_state(self._runtime, match[1], match[2].lower(), self._who)
        return Done(1)

    async def state(self, match: re.Match[str]) -> Answer:
        """DRAIN n1, MAINTENANCE n1, ACTIVATE n1."""
        wanted = {"activate": "active"}.get(match[1].lower(), match[1].lower())
        commands.set_state(self._runtime, match[2], wanted, self._who)
        return Done(1)

    async def switchover(self, match: re.Match[str]) -> Answer:
        """SWITCHOVER [TO n2]."""
        answer = await commands.switchover(self._runtime, match[1], self._who)
        return Result(["primary"], [[str(answer["primary"])]])

    async def kill(self, match: re.Match[str]) -> Answer:
        """KILL 17."""
        await commands.kill(self._runtime, match[1], self._who)
        return Done(1)

    async def reload(self, match: re.Match[str]) -> Answer:
        """RELOAD."""
        answer = await commands.reload(self._runtime, self._who)
        changes = answer["changes"]
        return Result(["change"], [[str(change)] for change in changes] if isinstance(changes, list) else [])

    async def reset_digests(self, match: re.Match[str]) -> Answer:
        """RESET DIGESTS, TRUNCATE TABLE digests."""
        await commands.clear_digests(self._runtime, self._who)
        return Done()

    async def allow(self, match: re.Match[str]) -> Answer:
        """ALLOW digest [FOR user] [IN service]."""
        wanted = {"digest": match[1], "user": match[2], "service": match[3]}
        answer = await allowing.allow(self._runtime, wanted, self._who)
        rows = answer["allowed"]
        assert isinstance(rows, list)
        return Result(["service", "user", "statement"], [[r["service"], r["user"], r["statement"]] for r in rows])

    async def explain(self, match: re.Match[str]) -> Answer:
        """EXPLAIN ROUTE [IN TRANSACTION] statement."""
        answer = commands.explain(self._runtime, match[2], "true" if match[1] else "")
        return Result(["what", "explanation"], as_rows(answer))


async def _told(answer: Awaitable[Answer]) -> Answer:
    """A refusal as an error of the protocol, its hint in the text."""
    try:
        return await answer
    except CommandError as error:
        text = f"{error}; {error.hint}" if error.hint else str(error)
        raise ServerError(text, code=1094 if error.status == 404 else 1227, sqlstate="HY000") from None


def _stripped(text: str) -> str:
    while match := _COMMENT.match(text):
        text = text[match.end() :]
    return text.strip().rstrip(";").strip()


def query(text: str, parameters: Sequence[Value]) -> Query:
    """A text as SQLite reads it: system variables and ``?`` become named parameters. Raises ServerError."""
    if len(text) > MAX_TEXT:
        raise ServerError(f"a query may have {MAX_TEXT} characters", code=1153, sqlstate="08S01")
    data = text.encode("utf-8", "surrogateescape")
    lexer = Lexer(data, 0, 0)
    parts, given, names = [], dict[str, Value](), dict[str, str]()
    end = number = 0
    while (kind := lexer.advance()) not in (END, BAD):
        if kind in (SYSVAR, _PLACEHOLDER):
            key = f"p{len(given)}"
            parts += [data[end : lexer.start], f":{key}".encode()]
            written = data[lexer.start : lexer.pos].decode("utf-8", "replace")
            given[key] = _variable(written) if kind == SYSVAR else _nth(parameters, number)
            names[f":{key}"] = written
            number += kind == _PLACEHOLDER
            end = lexer.pos
    return Query(b"".join([*parts, data[end:]]).decode("utf-8", "replace"), given, names)


def count_parameters(text: str) -> int:
    """How many ``?`` a text has."""
    return sum(name == "?" for name in query(_stripped(text), ()).names.values())


def _nth(parameters: Sequence[Value], number: int) -> Value:
    return parameters[number] if number < len(parameters) else None


def _variable(written: str) -> Value:
    return _VARIABLES.get(written.lstrip("@").lower().rpartition(".")[2])


# -- tables


async def _digest_rows(runtime: Runtime) -> Sequence[Mapping[str, Any]]:
    figures = await runtime.digests()
    return [row async for part in runtime.pace.slices(digests.merged(figures), digests.row) for row in part]


def _ready(rows: Callable[[Runtime], Sequence[Mapping[str, Any]]]) -> Callable[[Runtime], Awaitable[Any]]:
    async def give(runtime: Runtime) -> Sequence[Mapping[str, Any]]:
        with runtime.pace.work():
            return rows(runtime)

    return give


_ROWS: Final[dict[str, Callable[[Runtime], Awaitable[Sequence[Mapping[str, Any]]]]]] = {
    "servers": _ready(view.servers),
    "services": _ready(view.services),
    "sessions": view.sessions,
    "pools": _ready(view.pools),
    "events": _ready(view.events),
    "digests": _digest_rows,
    "allow_list": allowing.rows,
    "accounts": _ready(view.accounts),
    "monitor": _ready(lambda runtime: [view.monitor(runtime)]),
    "config": _ready(lambda runtime: [{"name": k, "value": v} for k, v in view.config(runtime).items()]),
}

# -- SHOW as SELECT; what a client writes gets into a text only as it stands or as a name of the tables above

_LIKE: Final = r"(?:\s+LIKE\s+('(?:[^'\\]|'')*'))?"


def _show(pattern: str, select: Callable[[re.Match[str]], str]) -> tuple[re.Pattern[str], Any]:
    return re.compile(pattern, re.IGNORECASE | re.DOTALL), select


def _like(match: re.Match[str], group: int, column: str, word: str = "WHERE") -> str:
    return f" {word} {column} LIKE {match[group]}" if match[group] else ""


def _table(match: re.Match[str]) -> str:
    name = match[1].lower()
    return f"SELECT {_SHOWN.get(name, '*')} FROM {name} {match[2] or ''}"


def _variables(match: re.Match[str]) -> str:
    rows = " UNION ALL ".join(
        f"SELECT '{name}' AS Variable_name, '{value}' AS Value" for name, value in _VARIABLES.items()
    )
    return f"SELECT * FROM ({rows}) AS v" + (_like(match, 1, "Variable_name") or f" {match[2] or ''}")


def _columns(match: re.Match[str]) -> str:
    name = match[1].rpartition(".")[2].replace("'", "")
    return (
        'SELECT column_name AS "Field", column_type AS "Type", \'YES\' AS "Null", \'\' AS "Key", NULL AS "Default",'
        f" '' AS \"Extra\" FROM information_schema.columns WHERE table_name = '{name}'"
        + _like(match, 2, "column_name", "AND")
    )


def _nothing(*names: str) -> Callable[[re.Match[str]], str]:
    columns = ", ".join(f"'' AS {name}" for name in names)
    return lambda match: f"SELECT {columns} LIMIT 0"


_SHOWS: Final = (
    _show(rf"SHOW\s+({'|'.join(TABLES)})(?:\s+(WHERE\b.*|ORDER\b.*|LIMIT\b.*))?", _table),
    _show(r"SHOW\s+(?:FULL\s+)?()PROCESSLIST()", lambda match: f"SELECT {_SHOWN['sessions']} FROM sessions"),
    _show(
        rf"SHOW\s+TABLES(?:\s+(?:FROM|IN)\s+{_NAME})?{_LIKE}",
        lambda m: (
            f'SELECT table_name AS "Tables_in_{DATABASE}" FROM information_schema.tables' + _like(m, 2, "table_name")
        ),
    ),
    _show(
        rf"SHOW\s+FULL\s+TABLES(?:\s+(?:FROM|IN)\s+{_NAME})?{_LIKE}.*",
        lambda m: (
            f'SELECT table_name AS "Tables_in_{DATABASE}", table_type AS "Table_type" FROM information_schema.tables'
            + _like(m, 2, "table_name")
        ),
    ),
    _show(
        rf"SHOW\s+(?:DATABASES|SCHEMAS){_LIKE}",
        lambda m: 'SELECT schema_name AS "Database" FROM information_schema.schemata' + _like(m, 1, "schema_name"),
    ),
    _show(rf"SHOW\s+(?:FULL\s+)?(?:COLUMNS|FIELDS)\s+(?:FROM|IN)\s+{_NAME}(?:\s+(?:FROM|IN)\s+\S+)?{_LIKE}", _columns),
    _show(rf"SHOW\s+(?:GLOBAL\s+|SESSION\s+)?VARIABLES{_LIKE}(?:\s+(WHERE\b.*))?", _variables),
    _show(r"SHOW\s+(?:GLOBAL\s+|SESSION\s+)?STATUS.*", _nothing("Variable_name", "Value")),
    _show(r"SHOW\s+(?:WARNINGS|ERRORS).*", _nothing("Level", "Code", "Message")),
    _show(r"SHOW\s+(?:INDEX|INDEXES|KEYS)\b.*", _nothing('"Table"', "Key_name", "Column_name")),
    _show(r"SHOW\s+(?:PLUGINS|ENGINES|COLLATION|CHARACTER\s+SET|CHARSET|TRIGGERS|EVENTS\s+FROM)\b.*", _nothing("Name")),
    _show(r"SHOW\s+(?:PROCEDURE|FUNCTION)\s+STATUS.*", _nothing("Db", "Name", "Type")),
)

_ORDERS: Final[tuple[tuple[re.Pattern[str], Any], ...]] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), handler)
    for pattern, handler in (
        (rf"SET\s+SERVER\s+{_NAME}\s*=\s*['\"]?(\w+)['\"]?", Statements.set_server),
        (rf"(DRAIN|MAINTENANCE|ACTIVATE)\s+{_NAME}", Statements.state),
        (rf"SWITCHOVER(?:\s+TO\s+{_NAME})?", Statements.switchover),
        (r"KILL\s+(?:CONNECTION\s+)?(\d+)", Statements.kill),
        (r"RELOAD", Statements.reload),
        (rf"ALLOW\s+['\"]?([0-9a-f]{{16}})['\"]?(?:\s+FOR\s+{_USER})?(?:\s+IN\s+{_NAME})?", Statements.allow),
        (r"RESET\s+DIGESTS|TRUNCATE\s+(?:TABLE\s+)?digests|DELETE\s+FROM\s+digests", Statements.reset_digests),
        (r"EXPLAIN\s+ROUTE\s+(IN\s+TRANSACTION\s+)?(.+)", Statements.explain),
    )
)


def refusal(error: BaseException) -> SqlproxyError:
    """Any error as one that a client may read."""
    if isinstance(error, SqlproxyError):
        return error
    return ServerError(f"the admin side failed on this statement: {type(error).__name__}", code=1105)

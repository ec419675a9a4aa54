"""The statements of a session on a simulated node. No protocol here, see ``embedded_connection``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from sqlglot import exp

from sqlproxy.errors import ServerError
from sqlproxy.lab import embedded_sql as sql
from sqlproxy.lab.embedded_errors import sql_error, syntax_error, unsupported
from sqlproxy.lab.embedded_settings import run_set
from sqlproxy.lab.embedded_show import show_to_select
from sqlproxy.lab.embedded_sql import Kind
from sqlproxy.lab.embedded_state import SessionState
from sqlproxy.lab.embedded_store import Done, Rows

_COMMENT = re.compile(r"\s*(?:--\s[^\n]*\n?|#[^\n]*\n?|/\*(?![!M+]).*?\*/)", re.S)
_EXECUTABLE = re.compile(r"/\*M?!\d*\s*(.*?)\s*\*/\s*;?", re.S)
_SYSTEM = ("information_schema.", "mysql.")


class Session(SessionState):
    """One client's statements. ``execute`` runs one and raises ServerError."""

    async def execute(self, text: str, parameters: Sequence[Any] = ()) -> Rows | Done:
        """Run one statement; ``?`` in it stand for ``parameters``. Raises ServerError."""
        text = _strip(text)
        word = _first_word(text)
        if word != "SHOW":
            self.warnings = []
        self.node.questions += 1
        self.info = text
        try:
            result = await self._handler(word)(text, parameters)
        except ServerError as error:
            self.row_count = -1
            self.warnings = [("Error", error.code, error.message)]
            raise
        finally:
            self.info = None
        self._count(result)
        return result

    async def describe(self, text: str, parameters: int) -> Rows | None:
        """The columns a statement will answer with, for COM_STMT_PREPARE; None if it is none. Raises ServerError."""
        text = _strip(text)
        word = _first_word(text)
        if word in ("SELECT", "WITH", "VALUES"):
            statement = sql.rewrite(text, self.database)
            self._check_node(statement)
            return self.transaction.describe(statement, parameters)
        if word in ("SHOW", "DESC", "DESCRIBE", "EXPLAIN") and not parameters:
            result = await self._handler(word)(text, ())
            return Rows(result.names, result.types, []) if isinstance(result, Rows) else None
        return None

    def _count(self, result: Rows | Done) -> None:
        self.row_count = -1 if isinstance(result, Rows) else result.affected
        if isinstance(result, Rows):
            self.found_rows = len(result.rows)
        elif result.insert_id:
            self.last_insert_id = result.insert_id

    def _handler(self, word: str) -> Callable[[str, Sequence[Any]], Awaitable[Rows | Done]]:
        if word in _HANDLERS:
            return getattr(self, _HANDLERS[word])  # type: ignore[no-any-return]
        if word in _NOTHING_TO_DO:
            return self._nothing
        return self._refuse

    async def _refuse(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        if not text:
            raise sql_error(1065, "42000", "Query was empty")
        word = text.split(None, 1)[0].upper()
        raise unsupported(word) if word in _UNSUPPORTED else syntax_error(text)

    async def _nothing(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        return Done()

    async def _data(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        statement = sql.rewrite(text, self.database)
        self._check_node(statement)
        if statement.sleep:
            await asyncio.sleep(statement.sleep)
        self._failure = None
        try:
            values = {f"p{number}": value for number, value in enumerate(parameters)}
            return await self.transaction.run(statement, values)
        except ServerError:
            if self._failure is not None:
                raise self._failure from None
            raise

    def _check_node(self, statement: sql.Statement) -> None:
        """What a node that is not ready, read-only or out of service refuses."""
        variables = self.node.variables
        user_tables = any(not table.lower().startswith(_SYSTEM) for table in statement.tables)
        if user_tables and (not self.node.status().ready or variables.get("wsrep_reject_queries") != "NONE"):
            raise sql_error(1047, "08S01", "WSREP has not yet prepared node for application use")
        if statement.kind in (Kind.WRITE, Kind.SCHEMA):
            if variables.get("read_only") and self.user != "root":
                text = "The MariaDB server is running with the --read-only option so it cannot execute this statement"
                raise sql_error(1290, "HY000", text)
            for table in statement.tables[:1]:
                if table.lower().startswith("information_schema."):
                    raise sql_error(1044, "42000", f"Access denied for user '{self.user}' to 'information_schema'")
        if statement.kind is Kind.SCHEMA and statement.tables:
            database = statement.tables[0].partition(".")[0]
            if not self.node.store.has_database(database):
                raise sql_error(1049, "42000", f"Unknown database '{database}'")

    async def _schema(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        match = re.match(
            r"(CREATE|DROP)\s+(?:DATABASE|SCHEMA)\s+(IF\s+(?:NOT\s+)?EXISTS\s+)?(`[^`]+`|[\w$]+)", text, re.I
        )
        if match is None:
            if re.match(
                r"(CREATE|DROP|ALTER)\s+(?!.*\bTABLE\b)(OR\s+REPLACE\s+)?(USER|ROLE|PROC|FUNC|TRIG|EV|SEQ|SERV)",
                text,
                re.I,
            ):
                raise unsupported(" ".join(text.split()[:2]).upper())
            return await self._data(text, parameters)
        name = match[3].strip("`")
        self._check_node(sql.Statement(Kind.SCHEMA, ()))
        if match[1].upper() == "CREATE":
            await self.transaction.create_database(name, if_missing=bool(match[2]))
            return Done(1)
        await self.transaction.drop_database(name, if_exists=bool(match[2]))
        if self.database and self.database.lower() == name.lower():
            self.database = None
        return Done()

    async def _show(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        if re.fullmatch(r"SHOW\s+(WARNINGS|ERRORS)(\s+LIMIT.*)?", text, re.I):
            return Rows(("Level", "Code", "Message"), ("varchar", "int", "varchar"), list(self.warnings))
        if re.fullmatch(r"SHOW\s+COUNT\(\*\)\s+(WARNINGS|ERRORS)", text, re.I):
            return Rows(("@@session.warning_count",), ("int",), [(len(self.warnings),)])
        if re.match(r"SHOW\s+GRANTS", text, re.I):
            grant = f"GRANT ALL PRIVILEGES ON *.* TO `{self.user}`@`%`"
            return Rows((f"Grants for {self.account}",), ("varchar",), [(grant,)])
        create = re.fullmatch(r"SHOW\s+CREATE\s+TABLE\s+(?:(`[^`]+`|[\w$]+)\.)?(`[^`]+`|[\w$]+)", text, re.I)
        if create:
            return await self._show_create((create[1] or self.database or "").strip("`"), create[2].strip("`"))
        result = await self._data(show_to_select(text, self.database), ())
        if re.match(r"SHOW\s+(FULL\s+)?(COLUMNS|FIELDS|INDEX|INDEXES|KEYS)", text, re.I):
            self._must_exist(text, result)
        return result

    def _must_exist(self, text: str, result: Rows | Done) -> None:
        match = re.search(r"(?:FROM|IN)\s+([\w$`.]+)", text, re.I)
        name = match[1].replace("`", "") if match else ""
        name = name if "." in name else f"{self.database or ''}.{name}"
        if isinstance(result, Rows) and not result.rows and not self.transaction.columns(name):
            raise sql_error(1146, "42S02", f"Table '{name}' doesn't exist")

    async def _show_create(self, database: str, table: str) -> Rows:
        where = f"WHERE TABLE_SCHEMA = {_quoted(database)} AND TABLE_NAME = {_quoted(table)}"
        columns = await self._data(f"SELECT * FROM information_schema.COLUMNS {where}", ())
        if not isinstance(columns, Rows) or not columns.rows:
            raise sql_error(1146, "42S02", f"Table '{database}.{table}' doesn't exist")
        found = [dict(zip(columns.names, row, strict=True)) for row in columns.rows]
        lines = [_column_line(column) for column in found]
        keys = [f"`{column['COLUMN_NAME']}`" for column in found if column["COLUMN_KEY"] == "PRI"]
        if keys:
            lines.append(f"  PRIMARY KEY ({','.join(keys)})")
        parts = await self._data(
            "SELECT INDEX_NAME, NON_UNIQUE, GROUP_CONCAT(COLUMN_NAME) FROM information_schema.STATISTICS "
            f"{where} AND INDEX_NAME <> 'PRIMARY' GROUP BY INDEX_NAME, NON_UNIQUE",
            (),
        )
        for name, repeats, names in parts.rows if isinstance(parts, Rows) else []:
            lines.append(f"  {'' if repeats else 'UNIQUE '}KEY `{name}` (`{names.replace(',', '`,`')}`)")
        body = ",\n".join(lines)
        text = f"CREATE TABLE `{table}` (\n{body}\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4"
        return Rows(("Table", "Create Table"), ("varchar", "varchar"), [(table, text)])

    async def _explain(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        rest = text.split(None, 1)[1] if len(text.split(None, 1)) > 1 else ""
        table = re.fullmatch(r"(?:(`[^`]+`|[\w$]+)\.)?(`[^`]+`|[\w$]+)", rest)
        if table:
            schema = f"`{(table[1] or self.database or '').strip('`')}`."
            return await self._show(f"SHOW COLUMNS FROM {schema}{table[2]}", ())
        statement = sql.rewrite(re.sub(r"^(EXTENDED|FORMAT\s*=\s*\w+)\s+", "", rest, flags=re.I), self.database)
        names = ("id", "select_type", "table", "type", "possible_keys", "key", "key_len", "ref", "rows", "Extra")
        tables = [table.partition(".")[2] for table in statement.tables] or [""]
        return Rows(names, ("",) * 10, [(1, "SIMPLE", name or None, "ALL", *(None,) * 6) for name in tables])

    async def _use(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        match = re.fullmatch(r"USE\s+(`[^`]+`|[\w$-]+)", text, re.I)
        if match is None:
            raise syntax_error(text)
        self.use(match[1].strip("`"))
        return Done()

    async def _begin(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        match = re.fullmatch(
            r"(?:BEGIN(?:\s+WORK)?|START\s+TRANSACTION(?P<how>(?:[\s,]+(?:READ\s+(?:ONLY|WRITE)|"
            r"WITH\s+CONSISTENT\s+SNAPSHOT))*))",
            text,
            re.I,
        )
        if match is None:
            raise syntax_error(text)
        how = (match["how"] or "").upper()
        read_only = "ONLY" in how or ("WRITE" not in how and bool(self.variables.get("tx_read_only")))
        self.transaction.begin(read_only=read_only, snapshot="SNAPSHOT" in how)
        return Done()

    async def _end(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        savepoint = re.fullmatch(r"ROLLBACK(?:\s+WORK)?\s+TO\s+(?:SAVEPOINT\s+)?`?([\w$]+)`?", text, re.I)
        if savepoint:
            self.transaction.savepoint("ROLLBACK TO", savepoint[1])
            return Done()
        match = re.fullmatch(
            r"(COMMIT|ROLLBACK)(?:\s+WORK)?(\s+AND\s+CHAIN)?(?:\s+(?:AND\s+NO\s+CHAIN|NO\s+RELEASE))*", text, re.I
        )
        if match is None:
            raise syntax_error(text)
        if match[1].upper() == "COMMIT":
            self.transaction.commit()
        else:
            self.transaction.rollback()
        if match[2]:
            self.transaction.begin()
        return Done()

    async def _savepoint(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        match = re.fullmatch(r"(SAVEPOINT|RELEASE)\s+(?:SAVEPOINT\s+)?`?([\w$]+)`?", text, re.I)
        if match is None:
            raise syntax_error(text)
        self.transaction.savepoint(match[1].upper(), match[2])
        return Done()

    async def _do(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        await self._data(f"SELECT {text[2:]}", parameters)
        return Done()

    async def _kill(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        match = re.fullmatch(r"KILL\s+(?:HARD\s+|SOFT\s+)?(?:(QUERY|CONNECTION)\s+)?(\d+)", text, re.I)
        if match is None:
            raise syntax_error(text)
        if not self.node.kill(int(match[2]), query_only=(match[1] or "").upper() == "QUERY"):
            raise sql_error(1094, "HY000", f"Unknown thread id: {match[2]}")
        return Done()

    async def _shutdown(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        self.node.shut_down()
        return Done()

    async def _prepare(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        match = re.fullmatch(r"PREPARE\s+`?([\w$]+)`?\s+FROM\s+(.+)", text, re.I | re.S)
        if match is None:
            raise syntax_error(text)
        source = await self._value(match[2])
        sql.count_parameters(str(source))
        self._prepared[match[1].lower()] = str(source)
        return Done()

    async def _execute_prepared(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        match = re.fullmatch(r"EXECUTE\s+`?([\w$]+)`?(?:\s+USING\s+(.+))?", text, re.I | re.S)
        if match is None:
            raise syntax_error(text)
        source = self._known_prepared(match[1])
        values = [await self._value(part.strip()) for part in (match[2] or "").split(",") if part.strip()]
        if len(values) != sql.count_parameters(source):
            raise sql_error(1210, "HY000", "Incorrect arguments to EXECUTE")
        return await self._handler(_first_word(_strip(source)))(_strip(source), values)

    async def _deallocate(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        name = text.split()[-1].strip("`")
        self._known_prepared(name)
        del self._prepared[name.lower()]
        return Done()

    def _known_prepared(self, name: str) -> str:
        if name.lower() not in self._prepared:
            raise sql_error(1243, "HY000", f"Unknown prepared statement handler ({name}) given to EXECUTE")
        return self._prepared[name.lower()]

    async def _value(self, expression: str) -> Any:
        result = await self._data(f"SELECT {expression}", ())
        return result.rows[0][0] if isinstance(result, Rows) else None

    async def _set(self, text: str, parameters: Sequence[Any]) -> Rows | Done:
        if not re.match(r"SET\s+STATEMENT\s", text, re.I):
            await run_set(self, text, parameters, self._data)
            return Done()
        # SET STATEMENT a=b FOR q: the values hold for nothing but q, and no statement here depends on them.
        word = next((token for token in sql.tokens_of(text) if token.text.upper() == "FOR"), None)
        if word is None:
            raise syntax_error(text)
        inner = text[word.end + 1 :].strip()
        return await self._handler(_first_word(inner))(inner, parameters)


def _quoted(text: str) -> str:
    return exp.Literal.string(text).sql(dialect="mysql")


def _column_line(column: dict[str, Any]) -> str:
    """A column in SHOW CREATE TABLE."""
    words = [f"  `{column['COLUMN_NAME']}`", column["COLUMN_TYPE"]]
    if column["IS_NULLABLE"] == "NO":
        words.append("NOT NULL")
    if column["COLUMN_DEFAULT"] is not None:
        words.append(f"DEFAULT {column['COLUMN_DEFAULT']}")
    if column["EXTRA"]:
        words.append(column["EXTRA"].upper())
    return " ".join(words)


def _first_word(text: str) -> str:
    match = re.match(r"\(*\s*(\w*)", text)
    return match[1].upper() if match else ""


def _strip(text: str) -> str:
    """The statement without leading comments, trailing semicolons, and the marks of an executable comment."""
    text = text.strip()
    while match := _COMMENT.match(text):
        text = text[match.end() :].lstrip()
    executable = _EXECUTABLE.fullmatch(text)
    return (executable[1] if executable else text).rstrip("; \t\r\n\0")


_HANDLERS: Mapping[str, str] = {
    **dict.fromkeys(("SELECT", "WITH", "VALUES", "INSERT", "REPLACE", "UPDATE", "DELETE"), "_data"),
    **dict.fromkeys(("CREATE", "DROP", "ALTER", "TRUNCATE"), "_schema"),
    **dict.fromkeys(("DESC", "DESCRIBE", "EXPLAIN"), "_explain"),
    **dict.fromkeys(("BEGIN", "START"), "_begin"),
    **dict.fromkeys(("COMMIT", "ROLLBACK"), "_end"),
    **dict.fromkeys(("SAVEPOINT", "RELEASE"), "_savepoint"),
    **dict.fromkeys(("DEALLOCATE",), "_deallocate"),
    "SHOW": "_show",
    "USE": "_use",
    "SET": "_set",
    "DO": "_do",
    "KILL": "_kill",
    "SHUTDOWN": "_shutdown",
    "PREPARE": "_prepare",
    "EXECUTE": "_execute_prepared",
}
_NOTHING_TO_DO = ("FLUSH", "ANALYZE", "OPTIMIZE", "UNLOCK")
_UNSUPPORTED = (
    "CALL",
    "GRANT",
    "REVOKE",
    "HANDLER",
    "LOAD",
    "XA",
    "LOCK",
    "RENAME",
    "CHANGE",
    "RESET",
    "BINLOG",
    "CHECK",
    "REPAIR",
    "INSTALL",
    "UNINSTALL",
    "SIGNAL",
    "BACKUP",
    "TABLE",
    "HELP",
    "CHECKSUM",
    "PURGE",
    "STOP",
)

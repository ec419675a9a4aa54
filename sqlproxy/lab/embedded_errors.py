"""SQLite's errors as the MySQL errors a real server would have answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlproxy.errors import ServerError

if TYPE_CHECKING:
    from sqlproxy.lab.embedded_sql import Statement


def sql_error(code: int, sqlstate: str, message: str) -> ServerError:
    """What a server would answer."""
    return ServerError(message, code=code, sqlstate=sqlstate)


def unsupported(what: str) -> ServerError:
    """The answer to what a real server can do and the embedded one cannot."""
    return sql_error(1235, "42000", f"The embedded cluster does not support {what}")


def syntax_error(sql: str) -> ServerError:
    """Error 1064 as a server words it."""
    return sql_error(1064, "42000", f"You have an error in your SQL syntax near '{sql[:80]}' at line 1")


# pattern of SQLite's text -> code, SQLSTATE, text made of the match
_RULES: tuple[tuple[str, int, str, Callable[[re.Match[str]], str]], ...] = (
    (r"no such table: (?:main\.|temp\.)?(.+)", 1146, "42S02", lambda m: f"Table '{m[1]}' doesn't exist"),
    (r"no such view: (.+)", 1051, "42S02", lambda m: f"Unknown VIEW: '{m[1]}'"),
    (r"table (.+) already exists", 1050, "42S01", lambda m: f"Table '{_plain(m[1])}' already exists"),
    (r"there is already another table.+: (.+)", 1050, "42S01", lambda m: f"Table '{m[1]}' already exists"),
    (r"index (.+) already exists", 1061, "42000", lambda m: f"Duplicate key name '{_last(m[1])}'"),
    (r"no such index: (.+)", 1091, "42000", lambda m: f"Can't DROP INDEX `{_last(m[1])}`; check that it exists"),
    (r"no such column: \"?(.+?)\"?$", 1054, "42S22", lambda m: f"Unknown column '{m[1]}' in 'SELECT'"),
    (r"table .+ has no column named (.+)", 1054, "42S22", lambda m: f"Unknown column '{m[1]}' in 'INSERT INTO'"),
    (r"duplicate column name: (.+)", 1060, "42S21", lambda m: f"Duplicate column name '{m[1]}'"),
    (r"ambiguous column name: (.+)", 1052, "23000", lambda m: f"Column '{m[1]}' in SELECT is ambiguous"),
    (r"UNIQUE constraint failed: (.+)", 1062, "23000", lambda m: f"Duplicate entry for key '{_key(m[1])}'"),
    (r"NOT NULL constraint failed: (.+)", 1048, "23000", lambda m: f"Column '{_last(m[1])}' cannot be null"),
    (r"CHECK constraint failed: (.+)", 4025, "23000", lambda m: f"CONSTRAINT `{m[1]}` failed"),
    (r"no such function: (.+)", 1305, "42000", lambda m: f"FUNCTION {m[1]} does not exist"),
    (r"wrong number of arguments to function (.+)\(\)", 1582, "42000", lambda m: _arguments(m[1])),
    (r"(?:table .+ has \d+ columns but|\d+ values for \d+ columns)", 1136, "21S01", lambda m: _COUNT),
    (r"all VALUES must have the same number of terms", 1136, "21S01", lambda m: _COUNT),
    (r".*SELECTs to the left and right of .+", 1222, "21000", lambda m: "The SELECTs have different column counts"),
    (r"cannot modify .+ because it is a view", 1288, "HY000", lambda m: "The target table is not updatable"),
    (r"(?:database|database table) is locked", 1205, "HY000", lambda m: "Lock wait timeout exceeded"),
    (r"interrupted", 1969, "70100", lambda m: "Query execution was interrupted (max_statement_time exceeded)"),
    (r"string or blob too big", 1301, "HY000", lambda m: "Result was larger than max_allowed_packet"),
    (r".*syntax error", 1064, "42000", lambda m: f"You have an error in your SQL syntax: {m[0]}"),
)
_COUNT = "Column count doesn't match value count"


def translate(error: Exception, statement: Statement) -> ServerError:
    """The error to answer; 1366 for numbers that do not fit, 1105 for what no rule knows."""
    text = str(error)
    if isinstance(error, OverflowError):
        return sql_error(1264, "22003", "Out of range value: the embedded cluster keeps integers of 64 bits")
    for pattern, code, sqlstate, words in _RULES:
        match = re.match(pattern, text)
        if match:
            return sql_error(code, sqlstate, words(match))
    if "user-defined function raised exception" in text:
        return sql_error(1210, "HY000", "Incorrect arguments to a function")
    where = f" ({', '.join(statement.tables)})" if statement.tables else ""
    return sql_error(1105, "HY000", f"The embedded cluster cannot run this statement{where}: {text}")


def _plain(name: str) -> str:
    return name.strip('"')


def _last(name: str) -> str:
    return name.rpartition(".")[2].strip('"')


def _key(columns: str) -> str:
    return ", ".join(_last(column) for column in columns.split(", "))


def _arguments(name: str) -> str:
    return f"Incorrect parameter count in the call to native function '{name}'"

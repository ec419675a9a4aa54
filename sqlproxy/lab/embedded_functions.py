"""The functions of MySQL that SQLite lacks, registered on one session's SQLite connection."""

from __future__ import annotations

import hashlib
import json
import random
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

_DATE_CODES = {"%i": "%M", "%s": "%S", "%e": "%-d", "%T": "%H:%M:%S", "%k": "%-H"}  # where MySQL's differ
_UNITS = {"MICROSECOND": 1e-6, "SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400, "WEEK": 604800}
_MONTHS = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}


class Context(Protocol):
    """What functions may ask about the session they run in."""

    database: str | None
    login: str  # "app@localhost"
    account: str  # "app@%"
    connection_id: int
    last_insert_id: int
    row_count: int
    found_rows: int
    user_variables: dict[str, Any]

    def variable(self, name: str, scope: str) -> str | int | None: ...
    def rows(self, what: str) -> Iterable[tuple[Any, ...]]: ...
    def lock(self, verb: str, name: str) -> int | None: ...


def register(connection: sqlite3.Connection, session: Context) -> None:
    """Make everything here callable from the statements of ``session``."""
    for name, (count, function) in {**_session_functions(session), **_PLAIN}.items():
        connection.create_function(name, count, function)
    for name, (count, function) in _PURE.items():
        connection.create_function(name, count, function, deterministic=True)


def _session_functions(session: Context) -> dict[str, tuple[int, Callable[..., Any]]]:
    return {
        "DATABASE": (0, lambda: session.database),
        "USER": (0, lambda: session.login),
        "SYSTEM_USER": (0, lambda: session.login),
        "CURRENT_USER_NAME": (0, lambda: session.account),
        "CONNECTION_ID": (0, lambda: session.connection_id),
        "LAST_INSERT_ID": (0, lambda: session.last_insert_id),
        "ROW_COUNT": (0, lambda: session.row_count),
        "FOUND_ROWS": (0, lambda: session.found_rows),
        "VERSION": (0, lambda: session.variable("version", "")),
        "MYSQL_VARIABLE": (2, session.variable),
        "MYSQL_USER_VARIABLE": (1, lambda name: session.user_variables.get(name.lower())),
        "MYSQL_ROWS": (1, lambda what: json.dumps(list(session.rows(what)))),
        "GET_LOCK": (2, lambda name, timeout: session.lock("get", str(name))),
        "RELEASE_LOCK": (1, lambda name: session.lock("release", str(name))),
        "RELEASE_ALL_LOCKS": (0, lambda: session.lock("release all", "")),
        "IS_FREE_LOCK": (1, lambda name: session.lock("is free", str(name))),
        "IS_USED_LOCK": (1, lambda name: session.lock("owner", str(name))),
    }


def _now(digits: int = 0, moment: datetime | None = None) -> str:
    moment = moment or datetime.now()
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    return f"{text}.{moment.microsecond:06d}"[: 20 + int(digits)] if digits else text


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None


def _date_add(value: Any, amount: Any, unit: str, sign: int = 1) -> str | None:
    moment = _moment(value)
    if moment is None:
        return None
    unit, count = unit.upper(), float(amount) * sign
    try:
        if unit in _MONTHS:
            moment = _add_months(moment, int(count) * _MONTHS[unit])
        else:
            moment += timedelta(seconds=count * _UNITS[unit])
    except (KeyError, OverflowError, ValueError):
        return None
    if len(str(value)) == 10 and unit not in ("SECOND", "MINUTE", "HOUR", "MICROSECOND"):
        return moment.strftime("%Y-%m-%d")
    return _now(6 if moment.microsecond else 0, moment)


def _add_months(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    first_of_next = datetime(year + month // 11, (month + 1) % 12 + 1, 1)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, (first_of_next - timedelta(days=1)).day))


def _date_format(value: Any, pattern: str) -> str | None:
    moment = _moment(value)
    return None if moment is None else moment.strftime(re.sub("%.", lambda m: _DATE_CODES.get(m[0], m[0]), pattern))


def _unix_timestamp(*arguments: Any) -> int | None:
    if not arguments:
        return int(time.time())
    moment = _moment(arguments[0])
    return None if moment is None else int(moment.timestamp())


def _hash(name: str) -> Callable[[Any], str | None]:
    def digest(value: Any) -> str | None:
        if value is None:
            return None
        data = value if isinstance(value, bytes) else str(value).encode()
        return hashlib.new(name, data).hexdigest()

    return digest


def _concat(*parts: Any) -> str | None:
    return None if None in parts else "".join(map(str, parts))


def _concat_ws(separator: str, *parts: Any) -> str:
    return separator.join(str(part) for part in parts if part is not None)


def _if_null_safe(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: None if None in arguments else function(*arguments)


def _field(wanted: Any, *values: Any) -> int:
    return values.index(wanted) + 1 if wanted in values else 0


# name -> argument count (-1 any), function
_PLAIN: dict[str, tuple[int, Callable[..., Any]]] = {
    "NOW": (-1, _now),
    "SYSDATE": (-1, _now),
    "LOCALTIME": (-1, _now),
    "UTC_TIMESTAMP": (-1, lambda digits=0: _now(digits, datetime.now(UTC))),
    "CURDATE": (0, lambda: _now()[:10]),
    "CURTIME": (-1, lambda digits=0: _now(digits)[11:]),
    "UNIX_TIMESTAMP": (-1, _unix_timestamp),
    "RAND": (-1, lambda *seed: random.random()),
    "UUID": (0, lambda: str(uuid.uuid1())),
    "SLEEP": (1, lambda seconds: 0),  # the session has slept before it asked SQLite
}
_PURE: dict[str, tuple[int, Callable[..., Any]]] = {
    "MYSQL_DATE_ADD": (3, _date_add),
    "MYSQL_DATE_SUB": (3, lambda value, amount, unit: _date_add(value, amount, unit, -1)),
    "MYSQL_DATE_FORMAT": (2, _date_format),
    "MD5": (1, _hash("md5")),
    "SHA": (1, _hash("sha1")),
    "SHA1": (1, _hash("sha1")),
    "SHA2": (2, lambda value, bits: _hash(f"sha{int(bits) or 256}")(value)),
    "CONCAT": (-1, _concat),
    "CONCAT_WS": (-1, _concat_ws),
    "MYSQL_LEFT": (2, _if_null_safe(lambda text, count: str(text)[: max(0, count)])),
    "MYSQL_RIGHT": (2, _if_null_safe(lambda text, count: str(text)[-count:] if count > 0 else "")),
    "REPEAT": (2, _if_null_safe(lambda text, count: str(text) * max(0, min(count, 1 << 20)))),
    "REVERSE": (1, _if_null_safe(lambda text: str(text)[::-1])),
    "CHAR_LENGTH": (1, _if_null_safe(lambda text: len(str(text)))),
    "REGEXP": (2, _if_null_safe(lambda pattern, text: int(re.search(pattern, str(text), re.I) is not None))),
    "FIELD": (-1, _field),
    "MYSQL_DIV": (2, lambda left, right: None if not right or left is None else int(left / right)),
}

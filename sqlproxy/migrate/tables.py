"""ProxySQL's configuration as tables and variables, from its configuration file or from statements of its admin side.

The file is libconfig: https://hyperrealm.github.io/libconfig/libconfig_manual.html. Columns and their order: the table
definitions in ProxySQL's documentation of ``main``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlproxy.errors import ConfigError

_HOSTGROUPS: Final = (
    *("writer_hostgroup", "backup_writer_hostgroup", "reader_hostgroup", "offline_hostgroup", "active", "max_writers"),
    *("writer_is_also_reader", "max_transactions_behind", "comment"),
)
_SERVERS: Final = (
    *("hostgroup_id", "hostname", "port", "gtid_port", "status", "weight", "compression", "max_connections"),
    *("max_replication_lag", "use_ssl", "max_latency_ms", "comment"),
)
# The columns of an INSERT that names none, where the dump does not create the table.
COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "mysql_servers": _SERVERS,
    "mysql_users": (
        *("username", "password", "active", "use_ssl", "default_hostgroup", "default_schema", "schema_locked"),
        *("transaction_persistent", "fast_forward", "backend", "frontend", "max_connections", "attributes", "comment"),
    ),
    "mysql_query_rules": (
        *("rule_id", "active", "username", "schemaname", "flagIN", "client_addr", "proxy_addr", "proxy_port", "digest"),
        *("match_digest", "match_pattern", "negate_match_pattern", "re_modifiers", "flagOUT", "replace_pattern"),
        *("destination_hostgroup", "cache_ttl", "cache_empty_result", "cache_timeout", "reconnect", "timeout"),
        *("retries", "delay", "next_query_flagIN", "mirror_flagOUT", "mirror_hostgroup", "error_msg", "OK_msg"),
        *("sticky_conn", "multiplex", "gtid_from_hostgroup", "log", "apply", "attributes", "comment"),
    ),
    "mysql_replication_hostgroups": ("writer_hostgroup", "reader_hostgroup", "check_type", "comment"),
    "mysql_galera_hostgroups": _HOSTGROUPS,
    "mysql_group_replication_hostgroups": _HOSTGROUPS,
    "global_variables": ("variable_name", "variable_value"),
    "scheduler": ("id", "active", "interval_ms", "filename", "arg1", "arg2", "arg3", "arg4", "arg5", "comment"),
    "proxysql_servers": ("hostname", "port", "weight", "comment"),
}
_GROUPS: Final = ("mysql_variables", "admin_variables")
_DEEPEST: Final = 50  # groups within groups


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table; column names in lower case, NULL left out."""

    table: str
    line: int
    values: Mapping[str, str]

    def get(self, *names: str, default: str = "") -> str:
        """The first of these columns that is there."""
        return next((self.values[name] for name in names if name in self.values), default)


@dataclass(slots=True)
class Tables:
    """Everything of one configuration. ``variables``: full name (``mysql-threads``) to line and value."""

    rows: list[Row] = field(default_factory=list)
    variables: dict[str, tuple[int, str]] = field(default_factory=dict)
    unknown: list[tuple[int, str]] = field(default_factory=list)

    def of(self, table: str) -> list[Row]:
        """The rows of a table."""
        return [row for row in self.rows if row.table == table]

    def add(self, table: str, line: int, values: Mapping[str, str]) -> None:
        """A row, or a variable when it is one of ``global_variables``."""
        if table == "global_variables":
            self.variables[values.get("variable_name", "")] = line, values.get("variable_value", "")
        else:
            self.rows.append(Row(table, line, values))


@dataclass(frozen=True, slots=True)
class _Token:
    line: int
    kind: str  # string, word or sign
    text: str


def _tokens(text: str, pattern: re.Pattern[str]) -> list[_Token]:
    found, line, place = [], 1, 0
    for match in pattern.finditer(text):
        line += text.count("\n", place, match.start())
        place = match.start()
        kind = match.lastgroup or ""
        if kind and kind != "comment":
            found.append(_Token(line, kind, match[kind]))
    return found


# -- libconfig ---------------------------------------------------------------------------------------------------

_LIBCONFIG = re.compile(
    r"""(?P<comment>\#[^\n]*|//[^\n]*|/\*.*?(?:\*/|\Z))
    |"(?P<string>(?:[^"\\]|\\.)*)"
    |(?P<word>[A-Za-z0-9_*.+@-]+)
    |(?P<sign>[={}()\[\]:;,])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}


def from_file(text: str) -> Tables:
    """A ``proxysql.cnf``. Raises ConfigError, with the line, where it is not understood."""
    return _Libconfig(_tokens(text, _LIBCONFIG)).tables()


class _Libconfig:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._found = Tables()

    def tables(self) -> Tables:
        while (token := self._peek()) is not None:
            if not self._skip(";", ","):
                self._setting(self._next(), token.line)
        return self._found

    def _setting(self, name: _Token, line: int) -> None:
        if not self._skip("=", ":"):
            raise ConfigError(f"line {line}: {name.text!r} is followed by no value")
        opening = self._peek()
        if opening is not None and opening.text == "{" and opening.kind == "sign":
            self._group(name.text)
        elif opening is not None and opening.text == "(" and opening.kind == "sign":
            self._list(name.text)
        else:
            self._found.unknown.append((line, f"{name.text}={self._value()}"))

    def _group(self, name: str) -> None:
        line = self._next().line
        pairs = self._pairs()
        if name not in _GROUPS:
            self._found.unknown.append((line, name))
            return
        prefix = name.removesuffix("_variables")
        for key, (place, value) in pairs.items():
            self._found.variables[key if key.startswith(f"{prefix}-") else f"{prefix}-{key}"] = place, value

    def _list(self, table: str) -> None:
        self._next()
        while not self._skip(")"):
            if self._skip(","):
                continue
            opening = self._next()
            if opening.text != "{":
                raise ConfigError(f"line {opening.line}: {table} has {opening.text!r} where a row in braces belongs")
            values = {key.lower(): value for key, (_, value) in self._pairs().items()}
            self._found.add(table, opening.line, values)

    def _pairs(self) -> dict[str, tuple[int, str]]:
        """The settings up to the closing brace."""
        pairs: dict[str, tuple[int, str]] = {}
        while not self._skip("}"):
            if self._skip(";", ","):
                continue
            name = self._next()
            if not self._skip("=", ":"):
                raise ConfigError(f"line {name.line}: {name.text!r} is followed by no value")
            pairs[name.text] = name.line, self._value()
        return pairs

    def _value(self, depth: int = 0) -> str:
        """A scalar as text, strings side by side as one; of anything deeper the scalars with commas."""
        token = self._next()
        if token.kind == "sign":
            if token.text not in "([{" or depth > _DEEPEST:
                raise ConfigError(f"line {token.line}: {token.text!r} is no value")
            return self._inside(depth)
        text = token.text
        if token.kind == "string":
            text = _unescaped(text)
            while (following := self._peek()) is not None and following.kind == "string":
                text += _unescaped(self._next().text)
        return text

    def _inside(self, depth: int) -> str:
        parts: list[str] = []
        while not self._skip(")", "]", "}"):
            if not self._skip(",", ";", "=", ":"):
                parts.append(self._value(depth + 1))
        return ",".join(parts)

    def _peek(self) -> _Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _next(self) -> _Token:
        token = self._peek()
        if token is None:
            last = self._tokens[-1].line if self._tokens else 1
            raise ConfigError(f"line {last}: the file ends inside a setting")
        self._place += 1
        return token

    def _skip(self, *signs: str) -> bool:
        token = self._peek()
        if token is None or token.kind != "sign" or token.text not in signs:
            return False
        self._place += 1
        return True


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPE.get(match[1], match[1]), text, flags=re.DOTALL)


# -- statements --------------------------------------------------------------------------------------------------

_SQL = re.compile(
    r"""(?P<comment>--[^\n]*|\#[^\n]*|/\*.*?(?:\*/|\Z))
    |'(?P<string>(?:[^'\\]|''|\\.)*)'
    |"(?P<quoted>(?:[^"\\]|""|\\.)*)"
    |`(?P<name>[^`]*)`
    |(?P<word>[A-Za-z0-9_.+-]+)
    |(?P<sign>[=(),;])""",
    re.VERBOSE | re.DOTALL,
)


def from_statements(text: str) -> Tables:
    """INSERT, REPLACE, SET and UPDATE global_variables as the admin side takes them; dumps of its tables."""
    found = Tables()
    columns = {name: list(names) for name, names in COLUMNS.items()}
    for statement in _statements(_tokens(text, _SQL)):
        words = [token.text.lower() for token in statement]
        line = statement[0].line
        if words[0] in ("insert", "replace") and "values" in words:
            _insert(statement, words, columns, found)
        elif words[:2] == ["create", "table"]:
            _create(statement, columns)
        elif words[0] == "set" and len(words) > 3 and words[2] == "=":
            found.add("global_variables", line, {"variable_name": words[1], "variable_value": _literal(statement[3])})
        elif words[:2] == ["update", "global_variables"]:
            _update(statement, words, found)
        elif words[0] not in (
            "load",
            "save",
            "select",
            "begin",
            "commit",
            "delete",
            "pragma",
            "use",
            "lock",
            "unlock",
            "drop",
        ):
            found.unknown.append((line, " ".join(token.text for token in statement)))
    return found


def _statements(tokens: list[_Token]) -> Iterator[list[_Token]]:
    statement: list[_Token] = []
    for token in tokens:
        if token.kind == "sign" and token.text == ";":
            if statement:
                yield statement
            statement = []
        else:
            statement.append(token)
    if statement:
        yield statement


def _insert(statement: list[_Token], words: list[str], columns: dict[str, list[str]], found: Tables) -> None:
    values = words.index("values")
    head = [token.text for token in statement[:values] if token.kind != "sign"]
    into = next((i for i, word in enumerate(head) if word.lower() == "into"), 0)
    if head[into + 2 : into + 3] == ["."]:  # `main`.`mysql_servers`
        into += 2
    table = head[into + 1].rpartition(".")[2].lower() if len(head) > into + 1 else ""
    named = head[into + 2 :]
    for line, row in _rows(statement[values + 1 :]):
        names = named or _columns(columns.get(table, []), len(row))
        pairs = zip(names, row, strict=False)
        found.add(table, line, {name.lower(): value for name, value in pairs if value is not None})


def _columns(known: list[str], count: int) -> list[str]:
    """ProxySQL 1 had no gtid_port."""
    return [name for name in known if name != "gtid_port"] if count == len(known) - 1 else known


def _rows(tokens: list[_Token]) -> Iterator[tuple[int, list[str | None]]]:
    row: list[str | None] = []
    line = 0
    for token in tokens:
        if token.kind == "sign" and token.text == "(":
            row, line = [], token.line
        elif token.kind == "sign" and token.text == ")":
            yield line, row
        elif token.kind != "sign":
            null = token.kind == "word" and token.text.lower() == "null"
            row.append(None if null else _literal(token))


def _create(statement: list[_Token], columns: dict[str, list[str]]) -> None:
    """The first word of each column's definition; CHECKs and keys nest deeper or are known words."""
    names, depth, fresh, table = [], 0, False, ""
    for token in statement[2:]:
        if token.kind == "sign" and token.text in "()":
            depth += 1 if token.text == "(" else -1
            fresh = token.text == "(" and depth == 1
        elif token.kind == "sign" and token.text == ",":
            fresh = depth == 1
        elif depth == 0 and token.text.lower() not in ("if", "not", "exists") and not table:
            table = token.text.rpartition(".")[2].lower()
        elif fresh and token.text.lower() not in ("primary", "unique", "key", "check", "constraint", "foreign"):
            names.append(token.text)
            fresh = False
        else:
            fresh = False
    columns[table] = names


def _update(statement: list[_Token], words: list[str], found: Tables) -> None:
    pairs = {
        words[i - 1]: _literal(statement[i + 1])
        for i, token in enumerate(statement[:-1])
        if i and token.kind == "sign" and token.text == "="
    }
    if {"variable_name", "variable_value"} <= pairs.keys():
        found.add("global_variables", statement[0].line, pairs)
    else:
        found.unknown.append((statement[0].line, "update global_variables"))


def _literal(token: _Token) -> str:
    text = token.text
    if token.kind == "string":
        text = text.replace("''", "'")
    elif token.kind == "quoted":
        text = text.replace('""', '"')
    return text

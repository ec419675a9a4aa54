"""Names and values out of statements whose kind is known: what USE names, what KILL aims at, what SET assigns.

These run once per such statement, never for queries, and answer ``None`` or nothing for text they do not understand.
``mode`` is a sum of the MODE_ bits of ``sqlproxy.sql.bits``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlproxy.sql.bits import MODE_KANA, MODE_MULTIBYTE, MODE_NO_BACKSLASH_ESCAPES
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.tokens import (
    ASSIGN,
    BAD,
    COMMA,
    DOT,
    END,
    EQUAL,
    LEFT,
    NUMBER,
    QUOTED,
    RIGHT,
    SEMICOLON,
    STRING,
    SYSVAR,
    USERVAR,
    WORD,
)

_ESCAPES = {0x30: 0x00, 0x6E: 0x0A, 0x72: 0x0D, 0x74: 0x09, 0x62: 0x08, 0x5A: 0x1A}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind, its raw bytes, and where it stands."""

    kind: int
    text: bytes
    start: int
    stop: int

    def is_word(self, *words: bytes) -> bool:
        """Whether the token is one of some keywords, given in lower case."""
        return self.kind == WORD and self.text.lower() in words


_NOTHING = Token(END, b"", 0, 0)


class _Reader:
    """The tokens of the first statement in a text, with one look ahead."""

    def __init__(self, data: bytes, start: int, mode: int) -> None:
        self.data = data
        self.mode = mode
        self._tokens = list(_tokens(data, start, mode))
        self._next = 0

    def peek(self) -> Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else _NOTHING

    def take(self) -> Token:
        token = self.peek()
        self._next += 1
        return token

    def take_word(self, *words: bytes) -> bool:
        """Take the next token if it is one of these keywords."""
        found = self.peek().is_word(*words)
        self._next += found
        return found

    def at_end(self) -> bool:
        return self.peek().kind == END

    def name(self) -> bytes | None:
        """Take an identifier; its text without quotes."""
        token = self.take()
        if token.kind == WORD:
            return token.text
        return unquote(token.text, self.mode) if token.kind == QUOTED else None


def _tokens(data: bytes, start: int, mode: int) -> list[Token]:
    """The tokens of the first statement that is not empty; nothing when any part of it is not understood."""
    lexer = Lexer(data, start, mode)
    found: list[Token] = []
    kind = lexer.advance()
    while kind != END and (kind != SEMICOLON or not found):
        if kind == BAD:
            return []
        if kind != SEMICOLON:
            found.append(Token(kind, data[lexer.start : lexer.pos], lexer.start, lexer.pos))
        kind = lexer.advance()
    return found


def unquote(text: bytes, mode: int = 0) -> bytes:
    """The content of a quoted string or identifier, with doubled quotes and backslash escapes resolved."""
    quote = text[0]
    escape = 0x5C if quote != 0x60 and not mode & MODE_NO_BACKSLASH_ESCAPES else -1
    content = bytearray()
    i, end = 1, len(text) - 1
    while i < end:
        byte = text[i]
        i += 1
        if byte == escape and i < end:
            content += _escaped(text[i])
            i += 1
            continue
        content.append(byte)
        if byte == quote:
            i += 1
        elif _leads(byte, mode) and i < end and text[i] >= 0x40:
            content.append(text[i])
            i += 1
    return bytes(content)


def _leads(byte: int, mode: int) -> bool:
    """Whether a byte leads a character of two."""
    if not mode & MODE_MULTIBYTE or byte < 0x81:
        return False
    return not (mode & MODE_KANA and 0xA1 <= byte <= 0xDF)


def _escaped(byte: int) -> bytes:
    r"""What a backslash and this byte stand for; ``\%`` and ``\_`` stay (MySQL manual, "String Literals")."""
    if byte in b"%_":
        return bytes((0x5C, byte))
    return bytes((_ESCAPES.get(byte, byte),))


def use_database(data: bytes, start: int = 0, mode: int = 0) -> bytes | None:
    """The database that ``USE name`` names, in the client's character set."""
    reader = _Reader(data, start, mode)
    if not reader.take_word(b"use"):
        return None
    name = reader.name()
    return name if reader.at_end() else None


def kill_target(data: bytes, start: int = 0, mode: int = 0) -> tuple[int, bool] | None:
    """The connection number of ``KILL [HARD|SOFT] [CONNECTION|QUERY] number`` and whether only its query is meant."""
    reader = _Reader(data, start, mode)
    if not reader.take_word(b"kill"):
        return None
    reader.take_word(b"hard", b"soft")
    query_only = reader.peek().is_word(b"query")
    reader.take_word(b"query", b"connection")
    token = reader.take()
    if token.kind != NUMBER or not token.text.isdigit() or not reader.at_end():
        return None
    return int(token.text), query_only


def prepare_name(data: bytes, start: int = 0, mode: int = 0) -> bytes | None:
    """The statement name of PREPARE, EXECUTE and DEALLOCATE (or DROP) PREPARE, lower-cased: names ignore case."""
    reader = _Reader(data, start, mode)
    if reader.take_word(b"deallocate", b"drop"):
        if not reader.take_word(b"prepare"):
            return None
    elif reader.take_word(b"execute"):
        if reader.peek().is_word(b"immediate"):
            return None
    elif not reader.take_word(b"prepare"):
        return None
    name = reader.name()
    return name.lower() if name is not None else None


def prepare_body(data: bytes, start: int = 0, mode: int = 0) -> bytes | None:
    """The statement text of ``PREPARE name FROM '…'`` or ``EXECUTE IMMEDIATE '…'``; None for FROM @var."""
    reader = _Reader(data, start, mode)
    if reader.take_word(b"prepare"):
        if reader.name() is None or not reader.take_word(b"from"):
            return None
    elif not (reader.take_word(b"execute") and reader.take_word(b"immediate")):
        return None
    parts = []
    while reader.peek().kind == STRING:
        parts.append(unquote(reader.take().text, mode))
    if not parts or not (reader.at_end() or reader.peek().is_word(b"using")):
        return None
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class TransactionOptions:
    """What START TRANSACTION or SET TRANSACTION asks for; None where it says nothing."""

    scope: str  # "" for the next or this transaction, "session", "global"
    read_only: bool | None
    isolation: str | None  # "READ COMMITTED", …
    consistent_snapshot: bool


def transaction_options(data: bytes, start: int = 0, mode: int = 0) -> TransactionOptions | None:
    """The characteristics in START TRANSACTION, BEGIN or SET [scope] TRANSACTION; None for other statements."""
    reader = _Reader(data, start, mode)
    scope = ""
    if reader.take_word(b"set"):
        if reader.peek().is_word(b"session", b"local", b"global"):
            scope = "global" if reader.take().is_word(b"global") else "session"
        if not reader.take_word(b"transaction"):
            return None
    elif not reader.take_word(b"begin") and not (reader.take_word(b"start") and reader.take_word(b"transaction")):
        return None
    words = []
    while not reader.at_end():
        words.append(reader.take().text.decode("latin1").upper())
    return _characteristics(scope, " ".join(words))


def _characteristics(scope: str, text: str) -> TransactionOptions:
    isolation = text.partition("ISOLATION LEVEL ")[2].partition(" ,")[0]
    read_only = True if "READ ONLY" in text else False if "READ WRITE" in text else None
    return TransactionOptions(scope, read_only, isolation or None, "CONSISTENT SNAPSHOT" in text)


_SCOPES = {
    b"session": "session",
    b"local": "session",
    b"global": "global",
    b"persist": "persist",
    b"persist_only": "persist_only",
}
_SCOPE_WORDS = tuple(_SCOPES)
_BARE = re.compile(r"[\w$.]+", re.ASCII)  # a user variable's name without quotes


def set_assignments(data: bytes, start: int = 0, mode: int = 0) -> list[tuple[str, str, bytes]]:
    """What ``SET …`` assigns: scope, name in lower case, and the value's text as written.

    Scopes: "session", "global", "persist", "persist_only", "user" (``@name``) and "next" (``@@transaction_…``: the next
    transaction only). ``SET NAMES x COLLATE y`` has the name "names", ``SET CHARACTER SET x`` "charset", SET ROLE
    "role", SET [scope] TRANSACTION "transaction". An empty list when the text is not a SET or not understood.
    """
    reader = _Reader(data, start, mode)
    if not reader.take_word(b"set") or reader.peek().is_word(b"statement", b"password", b"default", b"resource"):
        return []
    found: list[tuple[str, str, bytes]] = []
    scope = "session"
    while True:
        assignment = _assignment(reader, scope)
        if assignment is None:
            return []
        found.append(assignment[1:])
        scope = assignment[0]
        if reader.take().kind != COMMA:
            return found


def user_variables_set(data: bytes, start: int = 0, mode: int = 0) -> list[str]:
    """The names, in lower case, of the user variables that a SET or GET DIAGNOSTICS gives values to.

    Empty when it sets something else as well, or a name needs quotes.
    """
    reader = _Reader(data, start, mode)
    if reader.take_word(b"get"):
        names = _diagnostics_targets(reader)
    else:
        assignments = set_assignments(data, start, mode)
        names = [name if scope == "user" else "" for scope, name, _ in assignments]
    return names if all(_BARE.fullmatch(name) for name in names) else []


def user_variables_named(data: bytes, start: int = 0, mode: int = 0) -> set[str]:
    """The names, in lower case, of all user variables in a statement; "" stands for those that need quotes.

    {""} for text that is not understood.
    """
    tokens = _tokens(data, start, mode)
    names = [t.text[1:].decode("utf-8", "surrogateescape").lower() for t in tokens if t.kind == USERVAR]
    return {name if _BARE.fullmatch(name) else "" for name in names} if tokens else {""}


def _diagnostics_targets(reader: _Reader) -> list[str]:
    names = []
    while not reader.at_end():
        if reader.peek().kind != USERVAR:
            reader.take()
        elif (target := _target(reader, "user")) is not None and reader.peek().kind == EQUAL:
            names.append(target[1])
    return names


def _assignment(reader: _Reader, sticky: str) -> tuple[str, str, str, bytes] | None:
    """The scope that holds from here on, then scope, name and value of one assignment."""
    token = reader.peek()
    if token.is_word(*_SCOPE_WORDS):
        sticky = _SCOPES[reader.take().text.lower()]
        if reader.take_word(b"transaction"):
            return sticky, sticky, "transaction", _value(reader, commas=True)
    elif token.kind == WORD and (special := _special(reader)) is not None:
        return sticky, *special
    target = _target(reader, sticky)
    if target is None or reader.take().kind not in (EQUAL, ASSIGN):
        return None
    value = _value(reader, commas=False)
    return (sticky, *target, value) if value else None


def _special(reader: _Reader) -> tuple[str, str, bytes] | None:
    """The assignments that have no "="; None, with nothing taken, for others."""
    if reader.take_word(b"names"):
        return "session", "names", _value(reader, commas=False)
    if reader.take_word(b"charset"):
        return "session", "charset", _value(reader, commas=False)
    if reader.take_word(b"character", b"char"):
        reader.take_word(b"set")
        return "session", "charset", _value(reader, commas=False)
    if reader.take_word(b"role"):
        return "session", "role", _value(reader, commas=True)
    if reader.take_word(b"transaction"):
        return "next", "transaction", _value(reader, commas=True)
    return None


def _target(reader: _Reader, scope: str) -> tuple[str, str] | None:
    """Scope and name on the left of "="."""
    token = reader.take()
    if token.kind == USERVAR:
        raw = token.text[1:]
        name = unquote(raw, reader.mode) if raw[0] in b"'\"`" else raw
        return "user", name.decode("utf-8", "surrogateescape").lower()
    if token.kind == SYSVAR:
        return _system_target(token.text[2:].lower())
    if token.kind not in (WORD, QUOTED):
        return None
    raw = token.text if token.kind == WORD else unquote(token.text, reader.mode)
    if reader.peek().kind == DOT:
        reader.take()
        raw += b"." + (reader.name() or b"")
        scope = "global"
    return scope, raw.lower().decode("latin1")


def _system_target(name: bytes) -> tuple[str, str]:
    head, dot, tail = name.partition(b".")
    if dot and head in _SCOPES:
        return _SCOPES[head], tail.decode("latin1")
    if dot:
        return "global", name.decode("latin1")
    bare = name.decode("latin1")
    is_next = bare in ("transaction_isolation", "tx_isolation", "transaction_read_only", "tx_read_only")
    return ("next" if is_next else "session"), bare


def _value(reader: _Reader, commas: bool) -> bytes:
    """The text of a value, up to the comma that ends it (or the end, where commas belong to it)."""
    depth = 0
    first = last = reader.peek()
    while not reader.at_end() and (commas or depth or reader.peek().kind != COMMA):
        last = reader.take()
        depth += (last.kind == LEFT) - (last.kind == RIGHT)
    return reader.data[first.start : last.stop] if last is not first or first.kind not in (END, COMMA) else b""

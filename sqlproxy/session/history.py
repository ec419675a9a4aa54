"""The session statements a client has sent, to be replayed on every other backend before its next use.

One mechanism serves a second server, a reconnect and a reset. Each entry has a number; a backend remembers the number
up to which it is current. A statement that sets again what an earlier one set replaces it (as MaxScale's
``max_sescmd_history``), unless it or a statement between them might have read the old value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from sqlproxy.sql.assignments import USED_UP
from sqlproxy.sql.bits import (
    DEALLOCATE_TEXT,
    LITERAL_ONLY,
    PREPARE_TEXT,
    USE_DB,
)
from sqlproxy.sql.extract import prepare_name, set_assignments
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.tokens import BAD, END, LEFT, QUOTED, SYSVAR, WORD
from sqlproxy.wire.constants import COM_SET_OPTION

# What may appear in the value of a SET that is to have the same effect on every server: functions of nothing but their
# arguments, words that stand for themselves, and settings that are alike on all servers or set by the session itself.
_FUNCTIONS: Final = frozenset(
    b"concat concat_ws replace if ifnull nullif coalesce upper lower ucase lcase trim ltrim rtrim left right substring "
    b"substr cast convert hex unhex abs greatest least char charset collation length find_in_set instr in".split()
)
_WORDS: Final = frozenset(
    b"null true false on off default and or not xor div mod is like in between case when then else end collate using "
    b"binary as char signed unsigned integer decimal x b n".split()
)
_SETTINGS: Final = frozenset(
    b"sql_mode character_set_client character_set_connection character_set_results collation_connection time_zone "
    b"autocommit foreign_key_checks unique_checks check_constraint_checks sql_notes sql_warnings sql_safe_updates "
    b"sql_auto_is_null sql_quote_show_create sql_select_limit sql_big_selects sql_log_bin transaction_isolation "
    b"tx_isolation transaction_read_only tx_read_only lc_time_names lc_messages wait_timeout interactive_timeout "
    b"net_read_timeout net_write_timeout lock_wait_timeout innodb_lock_wait_timeout max_statement_time "
    b"max_execution_time group_concat_max_len optimizer_switch default_storage_engine storage_engine".split()
)
_SPECIAL: Final = ("names", "charset", "role", "transaction")  # assignments whose value is no expression
# Settings that decide how the text of later statements is read.
_READING: Final = re.compile(r"session (names|charset|character_set_.*|collation_.*|sql_mode)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One statement to replay. ``key`` names what it sets; ``payload`` is the command without its packet header."""

    number: int
    key: tuple[str, ...]
    payload: bytes = field(repr=False)
    literal: bool
    may_fail: bool = False  # a failure on another server means nothing
    textual: bool = False  # what it means depends on character set and sql_mode


class History:
    """The entries in order. ``position`` is the number of the newest entry ever appended.

    ``kept`` is the position at which the open transaction began, 0 without one: its replay needs the settings of then,
    also those that it has set anew itself.
    """

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.position = 0
        self.kept = 0

    def append(self, key: tuple[str, ...], payload: bytes, literal: bool, may_fail: bool = False) -> None:
        """Add a statement, dropping an earlier one that it makes redundant."""
        self.position += 1
        if literal or key[:1] == ("statement",):  # what is no literal may read the value it replaces
            self._drop_redundant(key)
        self.entries.append(Entry(self.position, key, payload, literal, may_fail, _is_textual(key, payload)))

    def since(self, number: int) -> list[Entry]:
        """What a backend that is current up to ``number`` still has to be told."""
        if number >= self.position:
            return []
        return [entry for entry in self.entries if entry.number > number]

    def forget(self, key: tuple[str, ...]) -> None:
        """Drop what is of no use any more."""
        self.entries = [entry for entry in self.entries if entry.key != key]

    def clear(self) -> None:
        """Forget everything; positions go on growing, so that no backend takes itself for current."""
        self.entries.clear()

    def _drop_redundant(self, key: tuple[str, ...]) -> None:
        if not key:
            return
        newest_kept = False
        decides_reading = any(_READING.fullmatch(name) for name in key)
        for index in range(len(self.entries) - 1, -1, -1):
            entry = self.entries[index]
            if entry.key == key:
                if entry.number > self.kept or newest_kept:
                    del self.entries[index]
                newest_kept = newest_kept or entry.number <= self.kept
                continue
            if not entry.literal or (decides_reading and entry.textual):
                return

    def __len__(self) -> int:
        return len(self.entries)


def _is_textual(key: tuple[str, ...], payload: bytes) -> bool:
    if any(name.startswith("user ") for name in key) and b"'" in payload:
        return True  # a user variable keeps the character set of its string
    return b"\\" in payload or b'"' in payload or not payload.isascii()


def key_of(mask: int, payload: bytes, mode: int) -> tuple[str, ...]:
    """What a session statement (a COM_QUERY payload) sets; () when that is not known, so that it is always kept."""
    if payload[0] == COM_SET_OPTION:
        return ("option",)
    if mask & USE_DB:
        return ("database",)
    if mask & (PREPARE_TEXT | DEALLOCATE_TEXT):
        name = prepare_name(payload, 1, mode)
        return ("statement", repr(name)) if name else ()
    names = sorted({f"{scope} {name}".lower() for scope, name, _ in set_assignments(payload, 1, mode)})
    return ("set", *names) if names else ()


def is_replayable(mask: int, payload: bytes, mode: int) -> bool:
    """Whether a session statement has the same effect on every server of the cluster.

    Literals, user variables, known settings and functions of nothing but their arguments do; a subquery, ``NOW()``,
    ``@@hostname`` or a stored function may not.
    """
    if mask & (LITERAL_ONLY | USE_DB | PREPARE_TEXT | DEALLOCATE_TEXT):
        return True
    assignments = set_assignments(payload, 1, mode)
    return bool(assignments) and all(
        name in _SPECIAL or (_is_repeatable(value, mode, scope != "user") and not _is_used_up(scope, name))
        for scope, name, value in assignments
    )


def names_next_id(payload: bytes, mode: int) -> bool:
    """Whether a SET says which id the next INSERT hands out, and nothing else."""
    assignments = set_assignments(payload, 1, mode)
    return bool(assignments) and all(name == "insert_id" and scope != "user" for scope, name, _ in assignments)


def _is_used_up(scope: str, name: str) -> bool:
    return scope != "user" and name in USED_UP


def _is_repeatable(value: bytes, mode: int, bare: bool) -> bool:
    """Whether an expression has one value everywhere; ``bare``: a single word is a name, such as a character set."""
    lexer = Lexer(value, 0, mode)
    kind, before = lexer.advance(), b""
    while kind != END:
        text = value[lexer.start : lexer.pos].lower()
        following = lexer.advance()
        if kind in (BAD, QUOTED):
            return False
        if kind == SYSVAR and text[2:].rpartition(b".")[2] not in _SETTINGS:
            return False
        if kind == WORD and not (bare and text == value.lower()):
            known = _FUNCTIONS if following == LEFT else _WORDS
            if text not in known and before not in (b"collate", b"using") and not text.startswith(b"_"):
                return False
        kind, before = following, text
    return True

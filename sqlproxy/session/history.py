"""The session statements a client has sent, to be replayed on every other backend before its next use.

One mechanism serves a second server, a reconnect and a reset. Each entry has a number; a backend remembers the number
up to which it is current. A statement that sets again what an earlier one set replaces it (as MaxScale's
``max_sescmd_history``), unless a statement between them might have read the old value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlproxy.sql.bits import (
    DEALLOCATE_TEXT,
    LITERAL_ONLY,
    PREPARE_TEXT,
    USE_DB,
)
from sqlproxy.sql.extract import prepare_name, set_assignments

# Functions whose result depends on nothing but their arguments, as found in the SET statements of drivers.
_DETERMINISTIC = frozenset(
    b"concat concat_ws replace if ifnull nullif coalesce upper lower ucase lcase trim ltrim rtrim left right substring "
    b"substr cast convert hex unhex abs greatest least char charset collation length find_in_set instr".split()
)
_CALL = re.compile(rb"([A-Za-z_][A-Za-z0-9_$]*)\s*\(")
_SUBQUERY = re.compile(rb"\(\s*(select|with|table|values)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One statement to replay. ``key`` names what it sets; ``payload`` is the command without its packet header."""

    number: int
    key: tuple[str, ...]
    payload: bytes = field(repr=False)
    literal: bool
    may_fail: bool = False  # a failure on another server means nothing


class History:
    """The entries in order. ``position`` is the number of the newest entry ever appended."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.position = 0

    def append(self, key: tuple[str, ...], payload: bytes, literal: bool, may_fail: bool = False) -> None:
        """Add a statement, dropping an earlier one that it makes redundant."""
        self.position += 1
        self._drop_redundant(key)
        self.entries.append(Entry(self.position, key, payload, literal, may_fail))

    def since(self, number: int) -> list[Entry]:
        """What a backend that is current up to ``number`` still has to be told."""
        if number >= self.position:
            return []
        return [entry for entry in self.entries if entry.number > number]

    def clear(self) -> None:
        """Forget everything; positions go on growing, so that no backend takes itself for current."""
        self.entries.clear()

    def _drop_redundant(self, key: tuple[str, ...]) -> None:
        if not key:
            return
        for index in range(len(self.entries) - 1, -1, -1):
            entry = self.entries[index]
            if entry.key == key:
                del self.entries[index]
                return
            if not entry.literal:
                return

    def __len__(self) -> int:
        return len(self.entries)


def key_of(mask: int, payload: bytes, mode: int) -> tuple[str, ...]:
    """What a session statement (a COM_QUERY payload) sets; () when that is not known, so that it is always kept."""
    if mask & USE_DB:
        return ("database",)
    if mask & (PREPARE_TEXT | DEALLOCATE_TEXT):
        name = prepare_name(payload, 1, mode)
        return ("statement", repr(name)) if name else ()
    names = sorted({f"{scope} {name}".lower() for scope, name, _ in set_assignments(payload, 1, mode)})
    return ("set", *names) if names else ()


def is_replayable(mask: int, payload: bytes, mode: int) -> bool:
    """Whether a session statement has the same effect on every server of the cluster.

    Literals, variables and functions of nothing but their arguments do; a subquery, ``NOW()`` or a stored function
    may not.
    """
    if mask & (LITERAL_ONLY | USE_DB | PREPARE_TEXT | DEALLOCATE_TEXT):
        return True
    for _, _, value in set_assignments(payload, 1, mode):
        if _SUBQUERY.search(value):
            return False
        if any(name.lower() not in _DETERMINISTIC for name in _CALL.findall(value)):
            return False
    return True

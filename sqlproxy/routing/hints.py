"""Routing hints in comments: MaxScale's, and our own ``/* sqlproxy: primary */``.

Pure. A session has one HintStack; it is asked only for statements whose classification says HINT (a comment mentions
maxscale or sqlproxy) and while a block is open. ``redirect`` then turns the router's decision into the hinted one, or
says why it does not: a hint never takes a statement that may write away from the primary.

Source: MaxScale's hintfilter, https://mariadb.com/docs/maxscale/reference/maxscale-filters/maxscale-hintfilter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sqlproxy.routing.balancer import pick, read_candidates
from sqlproxy.routing.base import Decision, Load, RouteContext
from sqlproxy.sql.bits import BEGIN_READ_ONLY, HINT, LAST, LITERAL_ONLY, NEXT_TRX, READ, SESSION
from sqlproxy.sql.lexer import Lexer
from sqlproxy.sql.tokens import BAD, END
from sqlproxy.topology.model import Snapshot

MAY_WRITE: Final = "the statement may write, and writes go to the primary"
_DEPTH: Final = 32  # blocks open at once, and named hints, of one session
_LAG: Final = "max_slave_replication_lag"
_COMMENT: Final = re.compile(rb"/\*(?!!|M!)(.*?)\*/|(?:#|--(?=[\x00-\x20\x7f]|\Z))([^\n]*)", re.DOTALL)
_TOKEN: Final = re.compile(r"=|[^\s=]+")
_OURS: Final = re.compile(r"\s*sqlproxy\s*:\s*(primary|replica|last|server\s*=\s*(\S+))\s*", re.IGNORECASE)


_EXPLAIN: Final = re.compile(r"\s*sqlproxy\s*:\s*explain\s*", re.IGNORECASE)


class Target(Enum):
    """Where a hint wants a statement to go."""

    PRIMARY = "primary"
    REPLICA = "replica"
    LAST = "last"
    SERVER = "server"
    LAG = "lag"  # a replica that lags no more than so many seconds
    ZONE = "zone"  # a server of a zone; only rules say that


@dataclass(frozen=True, slots=True)
class Hint:
    """``server`` belongs to SERVER and is the name of a ZONE, ``lag`` in seconds to LAG.

    ``rule`` names the operator's rule that says so, "" when the client does.
    """

    target: Target
    server: str = ""
    lag: float = 0.0
    rule: str = ""

    def __str__(self) -> str:
        if self.target in (Target.SERVER, Target.ZONE):
            return f"{self.target.value} {self.server}"
        return f"{_LAG}={self.lag:g}" if self.target is Target.LAG else self.target.value


class HintStack:
    """The blocks and named hints of one session."""

    def __init__(self) -> None:
        self.told = False  # an ignored hint was logged
        self._blocks: list[Hint] = []
        self._named: dict[str, Hint] = {}
        self._taken: tuple[int, Hint | None] = (-1, None)

    @property
    def active(self) -> bool:
        """A block is open, so that statements without a hint have one too."""
        return bool(self._blocks)

    def take(self, number: int, mask: int, data: bytes, start: int, mode: int) -> Hint | None:
        """The hint for the session's ``number``-th statement, whose text is ``data[start:]``.

        Asked again for the same number (the statement runs again), it answers the same.
        """
        if number != self._taken[0]:
            found = None
            if mask & HINT:
                hints = [self._read(comment) for comment in comments(data, start, mode)]
                found = next((hint for hint in hints if hint is not None), None)
            self._taken = (number, found or self.top())
        return self._taken[1]

    def top(self) -> Hint | None:
        """The hint of the innermost open block."""
        return self._blocks[-1] if self._blocks else None

    @property
    def kept(self) -> tuple[bool, list[Hint], dict[str, Hint]]:
        """What there is between two statements: whether one was told, open blocks, named hints."""
        return self.told, self._blocks, self._named

    def restore(self, told: bool, blocks: list[Hint], named: dict[str, Hint]) -> None:
        """The reverse of ``kept``."""
        self.told, self._blocks, self._named = told, blocks, named

    def clear(self) -> None:
        """As for a new connection."""
        self._blocks.clear()
        self._named.clear()

    def _read(self, comment: str) -> Hint | None:
        """What a comment says; blocks and names are noted."""
        ours = _OURS.fullmatch(comment)
        if ours:
            name = ours[2]
            return Hint(Target.SERVER, name) if name else Hint(Target(ours[1].lower()))
        tag, *tokens = _TOKEN.findall(comment) or [""]
        if tag != "maxscale" or not tokens:
            return None
        if tokens[0] in ("end", "stop"):
            if self._blocks:
                self._blocks.pop()
            return None
        if tokens[0] in ("begin", "start"):
            return self._open(definition(tokens[1:]))
        if len(tokens) > 1 and tokens[1] in ("begin", "start", "prepare"):
            return self._name(tokens[0], tokens[1], tokens[2:])
        return definition(tokens)

    def _open(self, hint: Hint | None) -> Hint | None:
        if hint is not None and len(self._blocks) < _DEPTH:
            self._blocks.append(hint)
        return hint

    def _name(self, name: str, word: str, tokens: list[str]) -> Hint | None:
        hint = definition(tokens)
        if hint is not None and (name in self._named or len(self._named) < _DEPTH):
            self._named[name] = hint
        if word == "prepare":
            return None
        return self._open(hint if tokens else self._named.get(name))


def definition(tokens: list[str]) -> Hint | None:
    """The hint in ``route to …`` or ``name=value``; None when it is not one."""
    match tokens:
        case ["route", "to", "master"]:
            return Hint(Target.PRIMARY)
        case ["route", "to", "slave"]:
            return Hint(Target.REPLICA)
        case ["route", "to", "last"]:
            return Hint(Target.LAST)
        case ["route", "to", "server", name]:
            return Hint(Target.SERVER, name)
        case [key, "=", value] if key == _LAG and value.isascii() and value.isdigit() and len(value) < 10:
            return Hint(Target.LAG, lag=float(value))
    return None


def comments(data: bytes, start: int, mode: int) -> Iterator[str]:
    """The texts of all comments in ``data[start:]`` that are not executable, in order."""
    lexer = Lexer(data, start, mode)
    end = start
    while True:
        kind = lexer.advance()
        gap = data[end : lexer.start]
        for match in _COMMENT.finditer(gap):
            yield (match[1] if match[1] is not None else match[2]).decode("utf-8", "replace")
        end = lexer.pos
        if kind in (END, BAD):
            return


def asks_to_explain(data: bytes, start: int, mode: int) -> bool:
    """Whether a comment in ``data[start:]`` says ``sqlproxy: explain``: it shall not be run but explained."""
    return any(_EXPLAIN.fullmatch(comment) for comment in comments(data, start, mode))


def redirect(
    hint: Hint, decision: Decision, mask: int, context: RouteContext, snapshot: Snapshot, loads: Mapping[str, Load]
) -> tuple[Decision, str]:
    """The decision under a hint and "", or the router's own decision and why the hint is ignored."""
    if context.pinned or context.transaction:
        followed = hint.target is Target.PRIMARY and decision.server == snapshot.primary
        return decision, "" if followed else decision.reason
    source = f"the rule {hint.rule}" if hint.rule else "a hint"
    if hint.target is Target.PRIMARY:
        return Decision(snapshot.primary or "", f"{source}: the primary", decision.read), ""
    name = _wanted(hint, context, snapshot, loads)
    if name == snapshot.primary and name:
        return Decision(name, f"{source}: {hint}", decision.read), ""
    if not _may_leave_primary(mask, context):
        return decision, MAY_WRITE
    if not name:
        return decision, f"there is no usable server for: {hint}"
    return Decision(name, f"{source}: {hint}", decision.read), ""


def _may_leave_primary(mask: int, context: RouteContext) -> bool:
    if context.next_transaction or not context.autocommit:
        return False
    return bool(
        mask & (READ | BEGIN_READ_ONLY | LAST) or (mask & SESSION and mask & LITERAL_ONLY and not mask & NEXT_TRX)
    )


def _wanted(hint: Hint, context: RouteContext, snapshot: Snapshot, loads: Mapping[str, Load]) -> str:
    """The name of the server a hint means, "" when it cannot be used."""
    usable = [view for view in snapshot.servers if view.usable]
    if hint.target is Target.LAST or hint.target is Target.SERVER:
        name = context.last if hint.target is Target.LAST else hint.server
        return name if any(view.name == name for view in usable) else ""
    if hint.target is Target.ZONE:
        near = [view for view in usable if view.zone == hint.server]
        return pick(read_candidates(near, snapshot.primary, False), loads, context.last)
    if hint.target is Target.LAG:
        usable = [view for view in usable if view.lag is None or view.lag <= hint.lag]
    replicas = [view for view in usable if view.name != snapshot.primary]
    return pick(read_candidates(replicas, None, True), loads, context.last)

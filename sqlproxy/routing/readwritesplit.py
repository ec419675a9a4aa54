"""Statement by statement: writes to the primary, reads across the replicas, transactions where they began.

The order of the rules follows MaxScale's readwritesplit (``get_route_target``), with the differences named in
docs/design/routing.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlproxy.routing.balancer import Candidate, pick_of, read_candidates, with_loads
from sqlproxy.routing.base import Decision, Load, RouteContext
from sqlproxy.sql.bits import (
    LAST,
    LITERAL_ONLY,
    NEXT_TRX,
    READ,
    SESSION,
)
from sqlproxy.topology.model import Snapshot


class ReadWriteSplit:
    """A pure router; what it keeps is derived from the snapshot it saw last."""

    def __init__(self, primary_accepts_reads: bool = False) -> None:
        self._primary_accepts_reads = primary_accepts_reads
        self._snapshot: Snapshot | None = None
        self._loads: Mapping[str, Load] = {}
        self._candidates: tuple[Candidate, ...] = ()
        self._usable: frozenset[str] = frozenset()
        self._active: frozenset[str] = frozenset()
        self._to_primary = Decision("", "")
        self._to_nobody = Decision("", "", True)
        self._reads: dict[str, Decision] = {}

    def route(self, mask: int, context: RouteContext, snapshot: Snapshot, loads: Mapping[str, Load]) -> Decision:
        """Where a statement with classification ``mask`` goes, and why."""
        if snapshot is not self._snapshot or loads is not self._loads:
            self._adopt(snapshot, loads)
        if context.pinned or context.transaction:
            return self._bound(context)
        if mask & READ and context.autocommit and not context.next_transaction:
            return self._read(context)
        if mask & LAST and context.last in self._usable:
            return Decision(context.last, "it asks about the statement before: the server used last")
        if mask & SESSION and mask & LITERAL_ONLY and not mask & NEXT_TRX and not context.next_transaction:
            return self._to_primary if context.history_full else self._session_statement(context)
        return self._to_primary

    def read_server(self, last: str, snapshot: Snapshot, loads: Mapping[str, Load]) -> str:
        """The name that ``route`` decides on for a read of a session that nothing ties to a server."""
        if snapshot is not self._snapshot or loads is not self._loads:
            self._adopt(snapshot, loads)
        return pick_of(self._candidates, last)

    def may_read(self, server: str, snapshot: Snapshot, loads: Mapping[str, Load]) -> bool:
        """Whether new reads may go to this server."""
        if snapshot is not self._snapshot or loads is not self._loads:
            self._adopt(snapshot, loads)
        return server in self._reads

    def _adopt(self, snapshot: Snapshot, loads: Mapping[str, Load]) -> None:
        """What follows from a snapshot; ``loads`` keeps one Load for each server as long as a router is used."""
        self._snapshot, self._loads = snapshot, loads
        candidates = read_candidates(snapshot.servers, snapshot.primary, self._primary_accepts_reads)
        self._candidates = with_loads(candidates, loads)
        self._usable = frozenset(view.name for view in snapshot.servers if view.usable)
        self._active = frozenset(view.name for view in snapshot.servers if view.readable)
        reason = "a write, or not known to be a read: the primary" if snapshot.primary else describe_absence(snapshot)
        self._to_primary = Decision(snapshot.primary or "", reason)
        self._to_nobody = Decision("", describe_absence(snapshot, "readable"), True)
        self._reads = {name: Decision(name, "a read: least current operations", True) for name, _ in candidates}

    def _bound(self, context: RouteContext) -> Decision:
        if context.pinned:
            return Decision(context.pinned, f"pinned: {context.pin_reason}")
        return Decision(context.transaction, "the open transaction is there")

    def _read(self, context: RouteContext) -> Decision:
        name = pick_of(self._candidates, context.last)
        return self._reads[name] if name else self._to_nobody

    def _session_statement(self, context: RouteContext) -> Decision:
        if context.last in self._active:
            return Decision(
                context.last, "session state: the server used last, replayed on others before their use", True
            )
        return self._read(context)


def describe_absence(snapshot: Snapshot, wanted: str = "primary") -> str:
    """Why there is no server of the kind wanted, server by server."""
    reasons = "; ".join(f"{view.name}: {view.reason}" for view in snapshot.servers)
    return f"no server is {wanted} ({reasons})" if reasons else "no server has been probed yet"

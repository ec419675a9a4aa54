"""Statement by statement: writes to the primary, reads across the replicas, transactions where they began.

The order of the rules follows MaxScale's readwritesplit (``get_route_target``), with the differences named in
docs/design/routing.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlproxy.routing.balancer import pick, read_candidates
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
        self._candidates: tuple[tuple[str, int], ...] = ()
        self._usable: frozenset[str] = frozenset()
        self._active: frozenset[str] = frozenset()
        self._to_primary = Decision("", "")
        self._to_nobody = Decision("", "", True)
        self._reads: dict[str, Decision] = {}

    def route(self, mask: int, context: RouteContext, snapshot: Snapshot, loads: Mapping[str, Load]) -> Decision:
        """Where a statement with classification ``mask`` goes, and why."""
        if snapshot is not self._snapshot:
            self._adopt(snapshot)
        if context.pinned or context.transaction:
            return self._bound(context)
        if mask & READ and context.autocommit and not context.next_transaction:
            return self._read(context, loads)
        if mask & LAST and context.last in self._usable:
            return Decision(context.last, "it asks about the statement before: the server used last")
        if mask & SESSION and mask & LITERAL_ONLY and not mask & NEXT_TRX and not context.next_transaction:
            return self._to_primary if context.history_full else self._session_statement(context, loads)
        return self._to_primary

    def read_server(self, last: str, snapshot: Snapshot, loads: Mapping[str, Load]) -> str:
        """The name that ``route`` decides on for a read of a session that nothing ties to a server."""
        if snapshot is not self._snapshot:
            self._adopt(snapshot)
        return pick(self._candidates, loads, last)

    def may_read(self, server: str, snapshot: Snapshot) -> bool:
        """Whether new reads may go to this server."""
        if snapshot is not self._snapshot:
            self._adopt(snapshot)
        return server in self._reads

    def _adopt(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._candidates = read_candidates(snapshot.servers, snapshot.primary, self._primary_accepts_reads)
        self._usable = frozenset(view.name for view in snapshot.servers if view.usable)
        self._active = frozenset(view.name for view in snapshot.servers if view.readable)
        reason = "a write, or not known to be a read: the primary" if snapshot.primary else describe_absence(snapshot)
        self._to_primary = Decision(snapshot.primary or "", reason)
        self._to_nobody = Decision("", describe_absence(snapshot, "readable"), True)
        self._reads = {name: Decision(name, "a read: least current operations", True) for name, _ in self._candidates}

    def _bound(self, context: RouteContext) -> Decision:
        if context.pinned:
            return Decision(context.pinned, f"pinned: {context.pin_reason}")
        return Decision(context.transaction, "the open transaction is there")

    def _read(self, context: RouteContext, loads: Mapping[str, Load]) -> Decision:
        name = pick(self._candidates, loads, context.last)
        return self._reads[name] if name else self._to_nobody

    def _session_statement(self, context: RouteContext, loads: Mapping[str, Load]) -> Decision:
        if context.last in self._active:
            return Decision(
                context.last, "session state: the server used last, replayed on others before their use", True
            )
        return self._read(context, loads)


def describe_absence(snapshot: Snapshot, wanted: str = "primary") -> str:
    """Why there is no server of the kind wanted, server by server."""
    reasons = "; ".join(f"{view.name}: {view.reason}" for view in snapshot.servers)
    return f"no server is {wanted} ({reasons})" if reasons else "no server has been probed yet"

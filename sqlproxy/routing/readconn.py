"""The whole connection to one server of a role: for applications that split reads themselves.

As MaxScale's readconnroute. A session moves between statements when its server loses the role.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlproxy.routing.balancer import pick, read_candidates
from sqlproxy.routing.base import Decision, Load, RouteContext
from sqlproxy.routing.readwritesplit import describe_absence
from sqlproxy.topology.model import Snapshot


class ReadConn:
    """``role``: "primary", "replica" (the primary when there is no replica) or "any"."""

    def __init__(self, role: str) -> None:
        self._role = role

    def route(self, mask: int, context: RouteContext, snapshot: Snapshot, loads: Mapping[str, Load]) -> Decision:
        """Where every statement of the session goes."""
        if context.pinned:
            return Decision(context.pinned, f"pinned: {context.pin_reason}")
        if context.transaction:
            return Decision(context.transaction, "the open transaction is there")
        if self._role == "primary":
            reason = "this service uses the primary" if snapshot.primary else describe_absence(snapshot)
            return Decision(snapshot.primary or "", reason)
        candidates = read_candidates(snapshot.servers, snapshot.primary, self._role == "any")
        if any(name == context.last for name, _ in candidates):
            return Decision(context.last, "the session stays on its server")
        name = pick(candidates, loads, "")
        if not name:
            return Decision("", describe_absence(snapshot, "readable"))
        return Decision(name, f"this service uses a server of role {self._role}")

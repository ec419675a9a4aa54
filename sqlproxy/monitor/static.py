"""Servers that somebody else manages (MMM, MHA, keepalived addresses): who answers is usable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlproxy.monitor.base import (
    Situation,
    Standing,
    Verdict,
    as_last_seen,
    candidates,
    choose_primary,
    is_on,
    refusals,
    unprobed,
    view,
)
from sqlproxy.topology.model import Role, Server


@dataclass(frozen=True, slots=True)
class StaticFacts:
    """``read_only``: the server's variable, as text."""

    read_only: str = "OFF"


class Static:
    """Health by login only; the primary is the first by priority, then by place in the file, that is not read-only."""

    causal = ""
    SETUP: tuple[str, ...] = ()
    QUERIES: tuple[str, ...] = ("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only')",)

    def parse(self, rows: Mapping[str, str]) -> StaticFacts:
        """See StaticFacts."""
        return StaticFacts(rows.get("read_only", "OFF"))

    def assess(self, situation: Situation) -> Verdict:
        """Every reachable server is usable."""
        standings = [self._standing(server, i, situation) for i, server in enumerate(situation.servers)]
        primary = choose_primary(standings, situation)
        alarms = () if primary else ("no primary: no reachable server may be primary",)
        return Verdict(
            servers=tuple(view(s, primary, situation) for s in standings),
            primary=primary.name if primary else None,
            alarms=refusals(situation) + alarms,
            candidates=candidates(standings),
        )

    def _standing(self, server: Server, place: int, situation: Situation) -> Standing:
        standing = unprobed(server, situation)
        if standing is not None:
            return standing
        read_only = self.parse(situation.reports[server.name].facts).read_only
        standing = Standing(
            server,
            situation.state(server.name),
            Role.REPLICA,
            "reachable",
            veto=f"read_only={read_only}" if is_on(read_only) else "",
            order=place,
            distinction="first",
            figures={"read_only": read_only},
        )
        return as_last_seen(standing, situation)

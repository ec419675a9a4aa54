"""Which of several servers takes a read: least current operations, by weight.

As MaxScale's ``slave_selection_criteria=least_current_operations``, with weights. Among servers that are equally idle
the one the session used last is taken, so that sessions hold few connections; otherwise the one that took the smallest
share so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlproxy.routing.base import Load
from sqlproxy.topology.model import ServerView


def read_candidates(
    servers: Sequence[ServerView], primary: str | None, primary_accepts_reads: bool
) -> tuple[tuple[str, int], ...]:
    """Names and weights of the servers new reads may go to.

    Replicas first of all; the primary when it shall take reads or is alone; a draining server when nothing else is
    left; a server of weight 0 only when no other is.
    """
    readable = [view for view in servers if view.readable] or [view for view in servers if view.usable]
    weighted = [view for view in readable if view.weight > 0] or readable
    if not primary_accepts_reads:
        weighted = [view for view in weighted if view.name != primary] or weighted
    return tuple((view.name, max(view.weight, 1)) for view in weighted)


class Candidate:
    """A server that may take a read, and its load."""

    __slots__ = ("load", "name", "weight")

    def __init__(self, name: str, weight: int, load: Load) -> None:
        self.name = name
        self.weight = float(weight)
        self.load = load


def with_loads(candidates: Sequence[tuple[str, int]], loads: Mapping[str, Load]) -> tuple[Candidate, ...]:
    """The same servers for ``pick_of``."""
    return tuple(Candidate(name, weight, loads[name]) for name, weight in candidates)


def pick(candidates: Sequence[tuple[str, int]], loads: Mapping[str, Load], last: str) -> str:
    """As ``pick_of``, for who asks once."""
    return pick_of(with_loads(candidates, loads), last)


def pick_of(candidates: tuple[Candidate, ...], last: str) -> str:
    """The name of the candidate to read from; "" when there is none.

    Servers that have room compete: those on which one more statement weighs no more than it would on the best one.
    Among them the session's last one wins, then the one with the smallest share so far, so that weights hold at any
    load: by operations alone an idle heavy server would leave nothing to a light one.
    """
    if len(candidates) == 1:
        return candidates[0].name
    limit = -1.0
    for candidate in candidates:
        room = (candidate.load.operations + 1) / candidate.weight
        if limit < 0 or room < limit:
            limit = room
    best = ""
    best_share = 0.0
    for candidate in candidates:
        if candidate.load.operations / candidate.weight >= limit:
            continue
        if candidate.name == last:
            return last
        share = candidate.load.reads / candidate.weight
        if not best or share < best_share:
            best, best_share = candidate.name, share
    return best

"""Which of several servers takes a read: least current operations, by weight.

As MaxScale's ``slave_selection_criteria=least_current_operations``, with weights. A tie goes to the server the session
used last, so that idle sessions hold few connections; otherwise to the one that took the smallest share so far.
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


def pick(candidates: Sequence[tuple[str, int]], loads: Mapping[str, Load], last: str) -> str:
    """The name of the candidate with the least load; "" when there is none."""
    if len(candidates) == 1:
        return candidates[0][0]
    best = ""
    best_score = best_share = 0.0
    for name, weight in candidates:
        load = loads[name]
        score = (load.operations + 1) / weight
        share = -1.0 if name == last else load.reads / weight
        if not best or score < best_score or (score == best_score and share < best_share):
            best, best_score, best_share = name, score, share
    return best

"""Where a statement goes and why, in words: what decided, which servers were considered, why others were not. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlproxy.routing.balancer import read_candidates
from sqlproxy.routing.base import Decision, Load, RouteContext, Router
from sqlproxy.routing.hints import Hint, redirect
from sqlproxy.sql import bits
from sqlproxy.sql.classify import explain as explain_text
from sqlproxy.sql.digest import digest_hash
from sqlproxy.topology.model import AdminState, ServerView, Snapshot

_NOBODY: Final = "no server takes it now: it waits for one"


def explained(
    router: Router,
    splits: bool,
    mask: int,
    text: bytes,
    mode: int,
    context: RouteContext,
    snapshot: Snapshot,
    loads: Mapping[str, Load],
    *,
    hint: Hint | None = None,
    primary_accepts_reads: bool = False,
    pins: Sequence[str] = (),
    found: Sequence[str] = (),
) -> dict[str, object]:
    """The decision on the statement ``text`` of classification ``mask`` in a session as ``context`` says.

    ``splits``: the router is readwritesplit, which alone follows hints. The answer: server (None when there is none),
    reason, classification, digest, rules, candidates, pins; the last three are sentences. ``found``: rules of the
    operator that match, ``hint`` may be one's.
    """
    decision = router.route(mask, context, snapshot, loads)
    rules = [*found, *explain_text(text, 0, mode)]
    if hint is not None and splits:
        decision, ignored = redirect(hint, decision, mask, context, snapshot, loads)
        rules.append(
            f"the {'route' if hint.rule else 'hint'} ({hint}) is {f'ignored: {ignored}' if ignored else 'followed'}"
        )
    return {
        "server": decision.server or None,
        "reason": decision.reason,
        "classification": bits.describe(mask),
        "digest": f"{digest_hash(text, 0, mode):016x}",
        "rules": rules,
        "candidates": list(_candidates(decision, snapshot, loads, primary_accepts_reads)),
        "pins": list(pins),
    }


def _candidates(
    decision: Decision, snapshot: Snapshot, loads: Mapping[str, Load], primary_accepts_reads: bool
) -> Iterator[str]:
    weights = dict(read_candidates(snapshot.servers, snapshot.primary, primary_accepts_reads))
    for view in snapshot.servers:
        chosen = "chosen" if view.name == decision.server else ""
        why = _out_of_use(view) or _considered(view, decision, snapshot.primary, weights, loads)
        yield f"{view.name}: {', '.join(part for part in (chosen, why) if part)}"


def _out_of_use(view: ServerView) -> str:
    if view.usable:
        return ""
    state = "in maintenance" if view.state is AdminState.MAINTENANCE else ""
    return f"not considered: {state or view.reason}"


def _considered(
    view: ServerView, decision: Decision, primary: str | None, weights: Mapping[str, int], loads: Mapping[str, Load]
) -> str:
    if not decision.read:
        return "the primary" if view.name == primary else "not considered: it is not the primary"
    if view.name in weights:
        load, weight = loads.get(view.name, Load()), weights[view.name]
        score = f"{load.operations} statements under way / weight {weight} = {load.operations / weight:g}"
        return f"{score}, {load.reads} reads so far"
    if view.name == primary:
        return "not considered: the primary takes no reads while there are replicas"
    return f"not considered: {'it is drained' if view.state is AdminState.DRAIN else 'its weight is 0'}"


def as_rows(answer: Mapping[str, object]) -> list[tuple[str, str]]:
    """The answer as a table of two columns: what, and in words."""
    rows = [("target", str(answer["server"] or _NOBODY)), ("reason", str(answer["reason"]))]
    rows.append(("classification", str(answer["classification"])))
    for name, single in (("rules", "rule"), ("candidates", "candidate"), ("pins", "pin")):
        sentences = answer[name]
        if isinstance(sentences, list):
            rows += [(single, str(sentence)) for sentence in sentences]
    return rows

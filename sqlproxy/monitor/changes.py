"""What changed between two snapshots, in sentences for the event list and the log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlproxy.topology.model import Role, ServerView, Snapshot


@dataclass(frozen=True, slots=True)
class Change:
    """One change: ``kind`` and ``server`` as in Event, ``bad`` when an operator should look."""

    kind: str
    server: str
    text: str
    bad: bool = False


def visible(snapshot: Snapshot) -> tuple[object, ...]:
    """What of a snapshot is news when it changes: all but numbers, times and figures."""
    views = tuple(replace(view, latency=0.0, lag=None, figures={}) for view in snapshot.servers)
    return views, snapshot.primary, snapshot.alarms, snapshot.causal


def changes(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    """Role changes, then the primary's, then alarms raised and over."""
    for view in new.servers:
        before = old.server(view.name)
        was = before.role if before else Role.UNKNOWN
        if view.role is not was:
            bad = view.role not in (Role.PRIMARY, Role.REPLICA)
            reason = view.reason.removeprefix(f"{view.role}: ")
            yield Change("role", view.name, f"{view.name}: {was} -> {view.role}: {reason}", bad)
    if old.primary != new.primary:
        yield _primary_change(old, new)
    for alarm in new.alarms:
        if alarm not in old.alarms:
            yield Change("alarm", "", alarm, bad=True)
    for alarm in old.alarms:
        if alarm not in new.alarms:
            yield Change("alarm", "", f"over: {alarm}")


def _primary_change(old: Snapshot, new: Snapshot) -> Change:
    """Names the cause: what became of the old primary if it fell, else why the new one is preferred."""
    move = f"primary {old.primary or 'none'} -> {new.primary or 'none'}"
    left, came = new.server(old.primary or ""), new.server(new.primary or "")
    cause = left if left is not None and not _stands(left) else came or left
    text = f"{move}: {cause.name} is {cause.reason}" if cause else f"{move}: {old.primary} is no longer configured"
    return Change("primary", new.primary or "", text, bad=new.primary is None)


def _stands(view: ServerView) -> bool:
    """Still in service, so that the move has its cause in the new primary."""
    return view.readable and "never primary" not in view.reason

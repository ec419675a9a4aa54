"""Which Galera component counts, when reports tell of more than one.

A component is a set of Primary, ready nodes with one (state uuid, conf id). During a view change reports taken
moments apart differ for a while: that is skew, and only time tells it from two components that both hold themselves
for Primary (a double bootstrap). Until it is known nobody new becomes primary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlproxy.monitor.base import Situation

ROUNDS = 2  # probe rounds that a disagreement must outlast to be a split brain


@dataclass(frozen=True, slots=True)
class Member:
    """A Primary, ready node's word on the view it is in; ``at`` is when it said so, monotonic seconds."""

    name: str
    state_uuid: str
    conf_id: int
    size: int
    index: int
    incoming: str
    at: float


@dataclass(frozen=True, slots=True)
class Component:
    """Members of one view."""

    state_uuid: str
    conf_id: int
    members: tuple[Member, ...]

    @property
    def names(self) -> str:
        return ", ".join(member.name for member in self.members)

    @property
    def newest(self) -> float:
        return max(member.at for member in self.members)

    def has(self, name: str | None) -> bool:
        return any(member.name == name for member in self.members)

    def __str__(self) -> str:
        return f"{self.names} in view {self.conf_id}"


@dataclass(frozen=True, slots=True)
class Memory:
    """What one verdict leaves for the next: the cluster's uuid, and since when which views differ."""

    state_uuid: str = ""
    disputed: frozenset[tuple[int, str]] = frozenset()
    since: float = 0.0
    split: bool = False


@dataclass(frozen=True, slots=True)
class Outlook:
    """Which nodes do not count (name to reason) and whether the primary may move.

    ``frozen`` says why no new primary may be chosen, "" when one may; ``split`` that this is a split brain.
    """

    memory: Memory = Memory()
    outsiders: Mapping[str, str] = field(default_factory=dict)
    frozen: str = ""
    split: bool = False
    alarms: tuple[str, ...] = ()
    recheck: tuple[str, ...] = ()


def judge_views(members: Sequence[Member], situation: Situation) -> Outlook:
    """Choose the state uuid first, then judge the views of that cluster."""
    remembered = situation.memory if isinstance(situation.memory, Memory) else Memory()
    if not members:
        return Outlook(memory=Memory(remembered.state_uuid))
    uuid = _chosen_uuid(members, remembered, situation.previous.primary)
    foreign = [member for member in members if member.state_uuid != uuid]
    home = _components([member for member in members if member.state_uuid == uuid])
    outlook = _judge_home(home, uuid, remembered, situation)
    if not foreign:
        return outlook
    names = ", ".join(f"{m.name} (state uuid {m.state_uuid})" for m in foreign)
    alarm = f"foreign cluster: {names} not of the cluster {uuid}"
    reasons = {m.name: f"in another cluster: wsrep_cluster_state_uuid={m.state_uuid}, not {uuid}" for m in foreign}
    return Outlook(
        memory=outlook.memory,
        outsiders={**outlook.outsiders, **reasons},
        frozen=outlook.frozen,
        split=outlook.split,
        alarms=(*outlook.alarms, alarm),
        recheck=outlook.recheck,
    )


def _chosen_uuid(members: Sequence[Member], remembered: Memory, primary: str | None) -> str:
    """Most members; then the cluster known so far, then the current primary's, then the smaller text."""
    counts = Counter(member.state_uuid for member in members)
    home = {member.state_uuid for member in members if member.name == primary}
    return min(counts, key=lambda uuid: (-counts[uuid], uuid != remembered.state_uuid, uuid not in home, uuid))


def _components(members: Sequence[Member]) -> tuple[Component, ...]:
    """One component per view, newest first; a view whose members contradict each other is taken apart.

    Two halves bootstrapped by hand may reach the same conf id: then an index is there twice, or the nodes are more
    than the view has.
    """
    views: dict[int, list[Member]] = {}
    for member in members:
        views.setdefault(member.conf_id, []).append(member)
    components = []
    for conf_id in sorted(views, reverse=True):
        for part in _parts(views[conf_id]):
            ordered = tuple(sorted(part, key=lambda member: member.name))
            components.append(Component(ordered[0].state_uuid, conf_id, ordered))
    return tuple(components)


def _parts(view: list[Member]) -> list[list[Member]]:
    indexes = {member.index for member in view}
    if len(indexes) == len(view) <= max(member.size for member in view):
        return [view]
    parts: dict[tuple[int, str], list[Member]] = {}
    for member in view:
        parts.setdefault((member.size, member.incoming), []).append(member)
    if len(parts) == 1:  # nodes that do not know their own address cannot be told apart: trust no two of them
        return [[member] for member in view]
    return [parts[key] for key in sorted(parts)]


def _judge_home(home: tuple[Component, ...], uuid: str, remembered: Memory, situation: Situation) -> Outlook:
    if len(home) == 1:
        return Outlook(memory=Memory(uuid))
    keys = frozenset((c.conf_id, c.names) for c in home)
    same = remembered.split or keys == remembered.disputed
    since = remembered.since if same and remembered.disputed else situation.now
    lasted = min(component.newest for component in home) > since + ROUNDS * situation.interval
    behind = [c for c in home if _is_behind(c, home)] if lasted and not remembered.split else []
    if len(home) - len(behind) == 1:
        return _leave_behind(behind, home[0], Memory(uuid, keys, since))
    memory = Memory(uuid, keys, since, remembered.split or lasted)
    return _split(home, memory, situation) if memory.split else _skew(home, memory, situation)


def _is_behind(component: Component, home: Sequence[Component]) -> bool:
    """Whether the majority of a view has gone on to a newer one, which these members have not noticed.

    So it is with a node that was frozen and woke up. A second half that is Primary in earnest counts nobody missing.
    """
    size = max(member.size for member in component.members)
    newer = sum(len(other.members) for other in home if other.conf_id > component.conf_id)
    return 0 < size - len(component.members) <= newer and 2 * newer > size


def _leave_behind(behind: Sequence[Component], current: Component, memory: Memory) -> Outlook:
    """Go on without those that have missed a view change: no split brain, and nothing to keep the primary for."""
    outsiders = {
        member.name: f"behind: it still sees view {component.conf_id}, the others {current.conf_id}"
        for component in behind
        for member in component.members
    }
    return Outlook(memory, outsiders)


def _skew(home: tuple[Component, ...], memory: Memory, situation: Situation) -> Outlook:
    """Views differ for the moment: everybody stays what it was, nobody is let in, all are asked again."""
    current = next((c for c in home if c.has(situation.previous.primary)), home[0])
    outsiders = {}
    for component in home:
        for member in component.members if component is not current else ():
            before = situation.previous.server(member.name)
            if before is None or not before.usable:
                reason = f"in another view: wsrep_cluster_conf_id={member.conf_id}, not {current.conf_id}"
                outsiders[member.name] = reason
    names = tuple(member.name for component in home for member in component.members)
    return Outlook(memory, outsiders, frozen="views differ", recheck=names)


def _split(home: tuple[Component, ...], memory: Memory, situation: Situation) -> Outlook:
    """Two halves both hold themselves for Primary: stay with the primary's (or the operator's), move nothing."""
    wanted = (situation.preferred, situation.previous.primary)
    chosen = next((c for name in wanted for c in home if c.has(name)), None)
    outsiders = {
        member.name: f"on the other side of a split brain: {component}"
        for component in home
        if component is not chosen
        for member in component.members
    }
    sides = " against ".join(str(component) for component in home)
    keeping = f"staying with {chosen.names}" if chosen else "none has the current primary, prefer one by a switchover"
    alarm = f"split brain: several Primary components with state uuid {memory.state_uuid}: {sides}; {keeping}"
    return Outlook(memory, outsiders, frozen="the cluster is split", split=True, alarms=(alarm,))

"""What every topology flavour shares: the words of a judgement, and how a primary is chosen.

A flavour is three pure steps: what to ask (``QUERIES``), the facts of one node (``parse``), the verdict on all
(``assess``). Nothing here knows time, sockets or asyncio; the loop supplies the Situation and acts on the Verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sqlproxy.topology.model import AdminState, NodeReport, Role, Server, ServerView, Snapshot

REFUSAL_GRACE = 3.0  # seconds that a primary which lets the monitor look no more keeps its role before others


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a verdict may depend on.

    ``now`` is monotonic seconds, ``interval`` seconds between probes. ``preferred`` is the server an operator asked
    for; ``rising`` names servers that came back so recently that they must not take over from a healthy primary.
    ``suspects`` are servers that have been silent for a moment, with the reason. ``memory`` is whatever the flavour's
    last Verdict carried.
    """

    servers: Sequence[Server]
    reports: Mapping[str, NodeReport]
    states: Mapping[str, AdminState]
    previous: Snapshot
    now: float
    interval: float = 0.5
    preferred: str | None = None
    rising: frozenset[str] = frozenset()
    suspects: Mapping[str, str] = field(default_factory=dict)
    memory: object = None

    def state(self, name: str) -> AdminState:
        """What the operator wants of a server; active unless said otherwise."""
        return self.states.get(name, AdminState.ACTIVE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement on all servers, in the order they are configured.

    ``candidates`` may become primary if an operator asks, best first; ``recheck`` names servers whose report should
    be renewed at once; ``memory`` comes back in the next Situation.
    """

    servers: tuple[ServerView, ...]
    primary: str | None
    alarms: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    recheck: tuple[str, ...] = ()
    memory: object = None


class Flavour(Protocol):
    """What the loop and the probe need of a topology.

    ``causal`` is the Snapshot's; ``SETUP`` statements prepare a probe connection (a variable the server does not
    know is ignored); ``QUERIES`` answer with rows of (name, value).
    """

    causal: str
    SETUP: tuple[str, ...]
    QUERIES: tuple[str, ...]

    def parse(self, rows: Mapping[str, str]) -> object:
        """The facts of one node from its rows, lower-case name to value."""

    def assess(self, situation: Situation) -> Verdict:
        """The verdict on all servers."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one server stands before a primary is chosen.

    ``role`` is REPLICA when it can take work, else what keeps it from it; ``veto`` says why it must never be
    primary; ``last_resort`` says why only if nobody else can. Candidates of one priority are taken by ``order``,
    which ``position`` puts in words, and ``distinction`` for the one that is chosen by it.
    """

    server: Server
    state: AdminState
    role: Role
    reason: str
    veto: str = ""
    last_resort: str = ""
    order: int = 0
    position: str = ""
    distinction: str = ""
    figures: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def key(self) -> tuple[int, int, str]:
        """Orders candidates the same way in every proxy."""
        return self.server.priority, self.order, self.name

    @property
    def electable(self) -> bool:
        """May be primary, if only as a last resort."""
        able = self.role is Role.REPLICA or bool(self.last_resort)
        in_service = self.state is not AdminState.MAINTENANCE
        return able and in_service and not self.veto and self.server.priority > 0


def unprobed(server: Server, situation: Situation) -> Standing | None:
    """The standing of a server without facts (no report yet, a failed or a refused one); None when it has facts."""
    report = situation.reports.get(server.name)
    state = situation.state(server.name)
    if report is None:
        return Standing(server, state, Role.UNKNOWN, "not probed yet")
    if report.error:
        return Standing(server, state, Role.DOWN, f"down: {report.error}")
    if report.refusal and not report.facts:
        return Standing(server, state, Role.UNKNOWN, f"alive, but it cannot be judged: {report.refusal}")
    return None


def as_last_seen(standing: Standing, situation: Situation) -> Standing:
    """The standing of a server that is silent, or lets the monitor look no more: primary only if nobody else can be.

    One that refuses is alive and stays what it was, so what runs there goes on; where it must not write it says so
    itself. As primary it gets a moment in which the others may turn out to refuse as well, or the role would go round.
    """
    if standing.role is Role.REPLICA and standing.name in situation.suspects:
        reason = situation.suspects[standing.name]
        return replace(standing, role=Role.SUSPECT, reason=reason, last_resort=standing.last_resort or "silent")
    report = situation.reports[standing.name]
    if not report.refusal:
        return standing
    spared = standing.name == situation.previous.primary and situation.now - report.seen < REFUSAL_GRACE
    last_resort = "" if spared or standing.role is not Role.REPLICA else "out of the monitor's sight"
    reason = f"{standing.reason} as last seen: {report.refusal}"
    return replace(standing, reason=reason, last_resort=standing.last_resort or last_resort)


def is_current(name: str, situation: Situation) -> bool:
    """Whether a server's facts are news of now."""
    return name not in situation.suspects and not situation.reports[name].refusal


def refusals(situation: Situation) -> tuple[str, ...]:
    """The alarm about servers that do not let the monitor look, if there are any."""
    found = {name: report.refusal for name, report in situation.reports.items() if report.refusal}
    if not found:
        return ()
    names = [server.name for server in situation.servers if server.name in found]
    return (f"the monitor cannot look at {', '.join(names)}: {found[names[0]]}",)


def is_on(value: str) -> bool:
    """Whether a server variable is switched on; modes such as read_only=NO_LOCK count as on."""
    return value.upper() not in ("", "OFF", "0", "NO", "FALSE")


def candidates(standings: Iterable[Standing]) -> tuple[str, ...]:
    """Names an operator may prefer, best first: in service, not only a last resort."""
    fit = [s for s in standings if s.electable and s.state is AdminState.ACTIVE and not s.last_resort]
    return tuple(s.name for s in sorted(fit, key=lambda s: s.key))


def choose_primary(standings: Sequence[Standing], situation: Situation) -> Standing | None:
    """The primary by rule, its ``reason`` saying which; None when nobody may be.

    The operator's preference first; then the lowest priority and order among those fully in service. Only without
    any of these: servers just back, then last resorts, then drained ones, there keeping the current primary.
    """
    electable = [s for s in standings if s.electable]
    if situation.preferred in candidates(electable):
        chosen = next(s for s in electable if s.name == situation.preferred)
        return replace(chosen, reason=f"{chosen.reason}, preferred by an operator")
    if not electable:
        return None
    tier = min(_tier(s, situation) for s in electable)
    pool = [s for s in electable if _tier(s, situation) == tier]
    chosen = min(pool, key=lambda s: s.key)
    if tier:
        chosen = next((s for s in pool if s.name == situation.previous.primary), chosen)
    return replace(chosen, reason=_why(chosen, tier))


def _tier(standing: Standing, situation: Situation) -> int:
    if standing.state is AdminState.DRAIN:
        return 3
    if standing.last_resort:
        return 2
    return 1 if standing.name in situation.rising else 0


def _why(standing: Standing, tier: int) -> str:
    if tier == 0:
        return f"{standing.reason}, {standing.distinction} of priority {standing.server.priority}"
    limits = ("", "just returned", standing.last_resort, "in drain")
    return f"{standing.reason}, primary although {limits[tier]}: there is no other candidate"


def view(standing: Standing, primary: Standing | None, situation: Situation) -> ServerView:
    """The published view of one server."""
    server, report = standing.server, situation.reports.get(standing.name)
    elected = primary is not None and primary.name == standing.name
    reason = primary.reason if elected and primary is not None else _describe(standing, situation)
    return ServerView(
        name=server.name,
        role=Role.PRIMARY if elected else standing.role,
        state=standing.state,
        reason=reason,
        weight=server.weight,
        zone=server.zone,
        version=report.version if report else "",
        capabilities=report.capabilities if report else 0,
        collation=report.collation if report else 0,
        latency=report.latency if report else 0.0,
        figures=standing.figures,
    )


def _describe(standing: Standing, situation: Situation) -> str:
    """The reason of a server that is not primary: what it is, then what keeps it from being primary."""
    reason = standing.reason
    if standing.role is Role.REPLICA:
        veto = standing.veto or ("priority=0" if standing.server.priority == 0 else "")
        if veto:
            reason += f", never primary: {veto}"
        elif standing.name in situation.rising:
            reason += ", just returned and not yet a candidate for primary"
        elif standing.position:
            reason += f", {standing.position}"
    if standing.state is AdminState.ACTIVE or situation.state(standing.name) is AdminState.ACTIVE:
        return reason
    return f"in {standing.state}; {reason}"

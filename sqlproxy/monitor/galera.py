"""Galera (MariaDB, MySQL-wsrep, Percona XtraDB Cluster): what to ask a node, its facts, and the verdict on all.

Variables and states: https://galeracluster.com/library/documentation/galera-status-variables.html. All facts are
collected before anything is decided, so the verdict never depends on the order of rows or reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlproxy.monitor.base import (
    Situation,
    Standing,
    Verdict,
    as_last_seen,
    candidates,
    choose_primary,
    is_current,
    is_on,
    refusals,
    unprobed,
    view,
)
from sqlproxy.monitor.views import Member, Outlook, judge_views
from sqlproxy.topology.model import AdminState, Role, Server

STATUS = (
    "wsrep_cluster_status",
    "wsrep_ready",
    "wsrep_connected",
    "wsrep_local_state",
    "wsrep_local_state_comment",
    "wsrep_cluster_conf_id",
    "wsrep_cluster_size",
    "wsrep_cluster_state_uuid",
    "wsrep_last_committed",
    "wsrep_local_index",
    "wsrep_gcomm_uuid",
    "wsrep_incoming_addresses",
    "wsrep_local_recv_queue",
    "wsrep_flow_control_paused_ns",
    "wsrep_flow_control_sent",
    "wsrep_local_bf_aborts",
    "wsrep_local_cert_failures",
    "innodb_deadlocks",
)
VARIABLES = (
    "wsrep_on",
    "wsrep_desync",
    "wsrep_reject_queries",
    "wsrep_sst_donor_rejects_queries",
    "wsrep_sst_method",
    "read_only",
    "pxc_maint_mode",
)
DONOR, SYNCED = 2, 4  # wsrep_local_state
UNBLOCKED_SST = ("mariabackup", "xtrabackup", "xtrabackup-v2", "clone")  # the donor goes on serving
LAST_INDEX = 1 << 31  # a node outside any view has no index


def _question(scope: str, names: tuple[str, ...]) -> str:
    wanted = ", ".join(f"'{name}'" for name in names)
    return f"SHOW GLOBAL {scope} WHERE Variable_name IN ({wanted})"


def _number(text: str, default: int = -1) -> int:
    return int(text) if text.isdigit() else default


@dataclass(frozen=True, slots=True)
class GaleraFacts:
    """One node's own words. ``figures`` are its rows by name without the wsrep prefix, for operators."""

    wsrep_on: str
    status: str
    ready: str
    connected: str
    local_state: int
    comment: str
    state_uuid: str
    conf_id: int
    size: int
    index: int
    incoming: str
    desync: str
    reject: str
    donor_rejects: str
    sst_method: str
    read_only: str
    maint_mode: str
    figures: Mapping[str, str]

    @property
    def primary_component(self) -> bool:
        """In a Primary component and ready to serve: only then does its view count."""
        connected = is_on(self.connected) and is_on(self.wsrep_on)
        return connected and self.status == "Primary" and is_on(self.ready)


class Galera:
    """The flavour. ``available_when_donor``: read from a donor whose state transfer does not block it."""

    causal = "galera"
    # Otherwise a probe waits for replication to catch up, or gets error 1047.
    SETUP: tuple[str, ...] = ("SET SESSION wsrep_sync_wait=0", "SET SESSION wsrep_dirty_reads=1")
    QUERIES: tuple[str, ...] = (_question("STATUS", STATUS), _question("VARIABLES", VARIABLES))

    def __init__(self, available_when_donor: bool = False) -> None:
        self._available_when_donor = available_when_donor

    def parse(self, rows: Mapping[str, str]) -> GaleraFacts:
        """See GaleraFacts; rows a server does not have read as switched off."""
        index = _number(rows.get("wsrep_local_index", ""), LAST_INDEX)
        return GaleraFacts(
            wsrep_on=rows.get("wsrep_on", ""),
            status=rows.get("wsrep_cluster_status", ""),
            ready=rows.get("wsrep_ready", "OFF"),
            connected=rows.get("wsrep_connected", "OFF"),
            local_state=_number(rows.get("wsrep_local_state", "")),
            comment=rows.get("wsrep_local_state_comment", ""),
            state_uuid=rows.get("wsrep_cluster_state_uuid", ""),
            conf_id=_number(rows.get("wsrep_cluster_conf_id", "")),
            size=_number(rows.get("wsrep_cluster_size", "")),
            index=min(index, LAST_INDEX),
            incoming=rows.get("wsrep_incoming_addresses", ""),
            desync=rows.get("wsrep_desync", "OFF"),
            reject=rows.get("wsrep_reject_queries", "NONE"),
            donor_rejects=rows.get("wsrep_sst_donor_rejects_queries", "OFF"),
            sst_method=rows.get("wsrep_sst_method", ""),
            read_only=rows.get("read_only", "OFF"),
            maint_mode=rows.get("pxc_maint_mode", "DISABLED"),
            figures={name.removeprefix("wsrep_"): value for name, value in sorted(rows.items())},
        )

    def assess(self, situation: Situation) -> Verdict:
        """Standings first, then which component counts, then its primary."""
        facts = self._facts(situation)
        standings = [self._standing(server, facts.get(server.name), situation) for server in situation.servers]
        members = [
            Member(s.name, f.state_uuid, f.conf_id, f.size, f.index, f.incoming, situation.reports[s.name].at)
            for s in standings
            if (f := facts.get(s.name)) is not None and f.primary_component and is_current(s.name, situation)
        ]
        outlook = judge_views(members, situation)
        placed = [_place(s, outlook) for s in standings]
        primary = _elect(placed, outlook, situation)
        eligible = standings if outlook.split else placed  # the operator ends a split by preferring one side
        return Verdict(
            servers=tuple(view(s, primary, situation) for s in placed),
            primary=primary.name if primary else None,
            alarms=outlook.alarms + refusals(situation) + _shortage(placed, primary, outlook),
            candidates=candidates(eligible),
            recheck=outlook.recheck,
            memory=outlook.memory,
        )

    def _facts(self, situation: Situation) -> dict[str, GaleraFacts]:
        reports = situation.reports
        names = [s.name for s in situation.servers if s.name in reports and not reports[s.name].error]
        return {name: self.parse(reports[name].facts) for name in names}

    def _standing(self, server: Server, facts: GaleraFacts | None, situation: Situation) -> Standing:
        """What one node is by its own word, whatever view it is in."""
        standing = unprobed(server, situation)
        if standing is not None or facts is None:
            return standing or Standing(server, situation.state(server.name), Role.UNKNOWN, "not probed yet")
        obstacle = self._obstacle(facts)
        state = situation.state(server.name)
        draining = facts.maint_mode.upper() != "DISABLED"
        reason = "synced"
        if facts.local_state == DONOR:
            reason = f"donor that goes on serving: wsrep_sst_method={facts.sst_method}"
        if draining:
            reason = f"draining: pxc_maint_mode={facts.maint_mode}"
        role, reason = obstacle or (Role.REPLICA, reason)
        standing = Standing(
            server,
            AdminState.DRAIN if draining and state is AdminState.ACTIVE else state,
            role,
            reason,
            veto=f"read_only={facts.read_only}" if is_on(facts.read_only) else "",
            last_resort=self._last_resort(role, facts),
            order=facts.index,
            position=f"local index {facts.index}",
            distinction=f"lowest local index {facts.index}",
            figures=facts.figures,
        )
        return as_last_seen(standing, situation)

    def _obstacle(self, facts: GaleraFacts) -> tuple[Role, str] | None:
        """What keeps a node from taking work, the deepest cause first; None when nothing does."""
        if not is_on(facts.wsrep_on):
            value = f"wsrep_on={facts.wsrep_on}" if facts.wsrep_on else "the server has no wsrep_on"
            return Role.NON_PRIMARY, f"outside any cluster, wsrep is off: {value}"
        if not is_on(facts.connected):
            return Role.NON_PRIMARY, f"not connected to the cluster: wsrep_connected={facts.connected}"
        if facts.status != "Primary":
            return Role.NON_PRIMARY, f"cut off from the majority: wsrep_cluster_status={facts.status}"
        if facts.local_state not in (DONOR, SYNCED):
            return Role.JOINING, f"joining: wsrep_local_state={facts.local_state} ({facts.comment})"
        if not is_on(facts.ready):
            return Role.JOINING, f"not ready: wsrep_ready={facts.ready}"
        if is_on(facts.desync):
            return Role.DESYNCED, f"desynced: wsrep_desync={facts.desync}"
        if facts.reject.upper() != "NONE":
            return Role.DESYNCED, f"refusing queries: wsrep_reject_queries={facts.reject}"
        refusal = self._donor_refusal(facts) if facts.local_state == DONOR else ""
        return (Role.DONOR, f"donor: {refusal}") if refusal else None

    def _last_resort(self, role: Role, facts: GaleraFacts) -> str:
        """A donor beats having no primary: an incremental transfer blocks nothing, a full one only for its time."""
        willing = role in (Role.REPLICA, Role.DONOR) and facts.local_state == DONOR
        return "a donor" if willing and not is_on(facts.donor_rejects) else ""

    def _donor_refusal(self, facts: GaleraFacts) -> str:
        if not self._available_when_donor:
            return "wsrep_local_state=2 and available_when_donor is off"
        if facts.sst_method not in UNBLOCKED_SST:
            return f"blocked by wsrep_sst_method={facts.sst_method}"
        if is_on(facts.donor_rejects):
            return f"wsrep_sst_donor_rejects_queries={facts.donor_rejects}"
        return ""


def _place(standing: Standing, outlook: Outlook) -> Standing:
    """Take out a node that the chosen component does not count as its own."""
    if standing.name not in outlook.outsiders:
        return standing
    if standing.role is Role.REPLICA:
        standing = replace(standing, role=Role.NON_PRIMARY, reason=outlook.outsiders[standing.name])
    return replace(standing, last_resort="")


def _elect(placed: list[Standing], outlook: Outlook, situation: Situation) -> Standing | None:
    """The rule's choice; while views differ only the current primary (or the operator's choice) may be it."""
    if not outlook.frozen or situation.preferred in candidates(placed):
        return choose_primary(placed, situation)
    current = situation.previous.server(situation.previous.primary or "")
    kept = next((s for s in placed if s.name == situation.previous.primary and s.electable), None)
    if kept is None or current is None:
        return None
    # A view change is over in a moment: it leaves the reason alone, or every one would be news to all sessions.
    return replace(kept, reason=f"{kept.reason}, kept while {outlook.frozen}" if outlook.split else current.reason)


def _shortage(placed: list[Standing], primary: Standing | None, outlook: Outlook) -> tuple[str, ...]:
    if primary is not None:
        return ()
    if outlook.frozen:
        return (f"no primary: {outlook.frozen}, and the current primary is in none of them",)
    if any(s.role is Role.REPLICA for s in placed):
        return ("no primary: no usable server may be primary",)
    cut_off = [s.name for s in placed if s.role is Role.NON_PRIMARY]
    if cut_off:
        return (f"no primary: no usable Primary component, {', '.join(cut_off)} outside",)
    return ("no primary: no usable server",)

"""Galera clusters in words: rows of a synced node, changed where a test says so."""

from __future__ import annotations

from collections.abc import Mapping

from sqlproxy.monitor.base import Situation, Verdict
from sqlproxy.monitor.galera import Galera
from sqlproxy.topology.model import Address, AdminState, NodeReport, Role, Server, ServerView, Snapshot

UUID = "a4a575d8-e590-11f1-b701-f76f2960707d"
OTHER_UUID = "b0000000-e590-11f1-b701-f76f2960707d"
NOW = 1000.0


def server(name: str, priority: int = 1) -> Server:
    return Server(name, Address("127.0.0.1", 3306), priority=priority)


def rows(index: int = 0, **changed: str) -> dict[str, str]:
    """The rows of a synced node; keywords replace them, with or without the wsrep prefix."""
    base = {
        "wsrep_on": "ON",
        "wsrep_cluster_status": "Primary",
        "wsrep_ready": "ON",
        "wsrep_connected": "ON",
        "wsrep_local_state": "4",
        "wsrep_local_state_comment": "Synced",
        "wsrep_cluster_conf_id": "7",
        "wsrep_cluster_size": "3",
        "wsrep_cluster_state_uuid": UUID,
        "wsrep_last_committed": "42",
        "wsrep_local_index": str(index),
        "wsrep_incoming_addresses": "n1:3306,n2:3306,n3:3306",
        "wsrep_desync": "OFF",
        "wsrep_reject_queries": "NONE",
        "wsrep_sst_donor_rejects_queries": "OFF",
        "wsrep_sst_method": "rsync",
        "read_only": "OFF",
    }
    for name, value in changed.items():
        base[name if name in ("read_only", "pxc_maint_mode") else f"wsrep_{name}"] = value
    return base


def report(name: str, index: int = 0, at: float = NOW, **changed: str) -> NodeReport:
    return NodeReport(name, at, facts=rows(index, **changed))


def down(name: str, error: str = "connection refused", at: float = NOW) -> NodeReport:
    return NodeReport(name, at, error=error)


def previous(primary: str | None, *names: str) -> Snapshot:
    """A snapshot in which ``names`` are usable and one of them is primary."""
    views = tuple(
        ServerView(n, Role.PRIMARY if n == primary else Role.REPLICA, AdminState.ACTIVE, "synced") for n in names
    )
    return Snapshot(5, NOW - 1, views, primary)


def judge(
    *reports: NodeReport,
    servers: tuple[Server, ...] = (),
    states: Mapping[str, AdminState] | None = None,
    before: Snapshot | None = None,
    now: float = NOW,
    preferred: str | None = None,
    rising: frozenset[str] = frozenset(),
    memory: object = None,
    flavour: Galera | None = None,
) -> Verdict:
    """Judge reports; servers default to the reports' names, all of priority 1."""
    situation = Situation(
        servers=servers or tuple(server(name) for name in sorted({r.server for r in reports})),
        reports={r.server: r for r in reports},
        states=states or {},
        previous=before or Snapshot(0, 0.0),
        now=now,
        interval=0.5,
        preferred=preferred,
        rising=rising,
        memory=memory,
    )
    return (flavour or Galera()).assess(situation)


def seen(verdict: Verdict, name: str) -> ServerView:
    return next(view for view in verdict.servers if view.name == name)

"""What the composition root answers without running: routes explained."""

from __future__ import annotations

import pytest

from sqlproxy.app import explain_route
from sqlproxy.config import ServiceConfig
from sqlproxy.session.stats import ServerStats
from sqlproxy.topology.model import AdminState, Role, ServerView, Snapshot

SNAPSHOT = Snapshot(
    1,
    1.0,
    (
        ServerView("n1", Role.PRIMARY, AdminState.ACTIVE, "it is primary"),
        ServerView("n2", Role.REPLICA, AdminState.ACTIVE, "it is synced"),
        ServerView("n3", Role.REPLICA, AdminState.ACTIVE, "it is synced"),
    ),
    "n1",
)
LOADS = {name: ServerStats() for name in ("n1", "n2", "n3")}


def service(**more: object) -> ServiceConfig:
    return ServiceConfig(name="app", listen=["127.0.0.1:4006"], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sql", "in_transaction", "server", "reason"),
    [
        (b"SELECT 1", False, "n2", "a read: least current operations"),
        (b"SELECT 1", True, "n1", "the open transaction is there"),
        (b"DELETE FROM t", False, "n1", "a write, or not known to be a read: the primary"),
    ],
)
def test_a_route_is_explained(sql: bytes, in_transaction: bool, server: str, reason: str) -> None:
    found = explain_route(service(), SNAPSHOT, LOADS, sql, in_transaction)
    assert (found["service"], found["server"], found["reason"]) == ("app", server, reason)
    assert found["rules"]
    assert found["classification"]
    assert len(found["candidates"]) == 3  # type: ignore[arg-type]


def test_a_service_of_some_servers_knows_no_others() -> None:
    found = explain_route(service(servers=["n2", "n3"]), SNAPSHOT, LOADS, b"DELETE FROM t", False)
    assert found["server"] is None
    assert "no server is primary (n2: it is synced; n3: it is synced)" in str(found["reason"])

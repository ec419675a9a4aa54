"""A runtime without sockets: what the admin side would see of a proxy in front of three servers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sqlproxy.admin.http import AdminServer
from sqlproxy.config import AdminConfig, Settings, validate
from sqlproxy.errors import ConfigError, SqlproxyError
from sqlproxy.pace import Pace
from sqlproxy.routing.allow_list import Entry, Unlisted
from sqlproxy.session.digests import Figures
from sqlproxy.session.stats import ServerStats, ServiceStats
from sqlproxy.topology.model import AdminState, Role, ServerView, Snapshot
from sqlproxy.topology.publisher import Publisher

MONITOR_SECRET = "m0nitor-secret"


@dataclass
class Service:
    name: str
    router: str = "readwritesplit"
    listen: list[str] = field(default_factory=lambda: ["127.0.0.1:4006"])
    stats: ServiceStats = field(default_factory=ServiceStats)
    server_stats: dict[str, ServerStats] = field(default_factory=dict)
    waiting: int = 0
    unknown_shapes: dict[str, int] = field(default_factory=dict)
    pause: float = 0.0

    def longest_pause(self, within: float = 60.0) -> float:
        return self.pause


class Runtime:
    """Implements sqlproxy.admin.view.Runtime in memory and remembers what it was asked."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.publisher = Publisher()
        self.started_at = time.time()
        self.services = [Service("app", server_stats={name: ServerStats() for name in ("n1", "n2")})]
        self.rows: list[dict[str, object]] = []
        self.pace = Pace()
        self.figures: list[Figures] = []
        self.account_rows: list[dict[str, object]] = []
        self.asked: list[object] = []
        self.refusal: SqlproxyError | None = None
        self.lists: dict[str, set[Entry]] = {}
        self.seen: list[Unlisted] = []
        self.full = False

    def show(self, primary: str | None, *views: ServerView, alarms: tuple[str, ...] = ()) -> None:
        """Publish a verdict made just now."""
        number = self.publisher.snapshot.number + 1
        self.publisher.publish(Snapshot(number, time.monotonic(), views, primary, alarms))

    async def sessions(self) -> list[dict[str, object]]:
        return self.rows

    async def digests(self) -> list[Figures]:
        return self.figures

    async def clear_digests(self) -> None:
        self.figures = []

    def set_server_state(self, name: str, state: AdminState) -> None:
        if name not in {server.name for server in self.settings.servers}:
            raise KeyError(name)
        self.asked.append((name, state))

    def notify(self, source: str, detail: str) -> None:
        self.asked.append((source, detail))

    async def switchover(self, name: str | None) -> str:
        if self.refusal:
            raise self.refusal
        self.asked.append(("switchover", name))
        return name or "n2"

    async def reload(self) -> list[str]:
        if isinstance(self.refusal, ConfigError):
            raise self.refusal
        return ["servers: n3 was added"]

    async def kill_session(self, session_id: int) -> bool:
        return session_id == 7

    def allowed(self) -> dict[str, set[Entry]]:
        return self.lists

    async def unlisted(self) -> list[Unlisted]:
        return self.seen

    async def allow(self, service: str, entries: Sequence[Entry]) -> None:
        if self.full:
            raise SqlproxyError("the allow list of the service app is full: raise max_statements")
        self.lists[service] |= set(entries)

    def rule_counters(self) -> dict[str, dict[str, int]]:
        return {"reports": {"matched": 3}}

    def accounts(self) -> list[dict[str, object]]:
        return self.account_rows

    def explain(self, sql: bytes, in_transaction: bool) -> dict[str, object]:
        self.asked.append((sql, in_transaction))
        words: dict[str, object] = {"reason": "a write", "classification": "WRITE", "candidates": [], "pins": []}
        return {"target": "primary", "server": "n1", "rules": ["it is a write"]} | words


def view(name: str, role: Role = Role.REPLICA, state: AdminState = AdminState.ACTIVE, **more: object) -> ServerView:
    return ServerView(name, role, state, f"{role.value} for a reason", **more)  # type: ignore[arg-type]


def settings(**more: object) -> Settings:
    servers = [{"name": f"n{i}", "address": f"127.0.0.1:3310{i}"} for i in (1, 2, 3)]
    services = [{"name": "app", "listen": "127.0.0.1:4006"}]
    monitor = {"password": MONITOR_SECRET}
    return validate({"servers": servers, "services": services, "monitor": monitor} | more, "test")


@pytest.fixture
def runtime() -> Runtime:
    """n1 is primary, n2 and n3 replicas."""
    runtime = Runtime(settings())
    runtime.show("n1", view("n1", Role.PRIMARY), view("n2"), view("n3"))
    return runtime


Connect = Callable[..., Awaitable[TestClient]]


@pytest.fixture
async def connect(runtime: Runtime) -> AsyncIterator[Connect]:
    """A client of the admin side; keyword arguments are its configuration."""
    clients = []

    async def open_client(**config: object) -> TestClient:
        server = AdminServer(runtime, AdminConfig(**config))  # type: ignore[arg-type]
        client = TestClient(TestServer(server.application()))
        clients.append(client)
        await client.start_server()
        return client

    yield open_client
    for client in clients:
        await client.close()

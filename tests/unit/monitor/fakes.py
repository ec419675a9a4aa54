"""A clock that moves when told, and probes that answer what a test put there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from sqlproxy.config import MonitorConfig
from sqlproxy.monitor.base import Flavour
from sqlproxy.monitor.loop import Monitor
from sqlproxy.topology.model import AdminState, NodeReport
from sqlproxy.topology.model import Server as ServerModel
from sqlproxy.topology.publisher import Publisher

from .cases import down, report, server

VERSION = "5.5.5-10.11.19-MariaDB"
SETTLE = 20  # turns of the loop that let every task run until it waits again


class FakeClock:
    """Time stands still until ``advance``."""

    def __init__(self, start: float = 100.0) -> None:
        self.time = start
        self._timers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event | None, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        timer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timers.append((self.time + seconds, timer))
        if event is None:
            await timer
            return
        waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({timer, waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiter.cancel()
            timer.cancel()

    async def advance(self, seconds: float) -> None:
        """Let time pass, stopping wherever somebody wakes."""
        end = self.time + seconds
        await settle()
        while True:
            self._timers = [entry for entry in self._timers if not entry[1].done()]
            due = min((entry for entry in self._timers if entry[0] <= end), key=lambda entry: entry[0], default=None)
            if due is None:
                break
            self.time = max(self.time, due[0])
            due[1].set_result(None)
            await settle()
        self.time = end


async def settle() -> None:
    for _ in range(SETTLE):
        await asyncio.sleep(0)


class FakeServers:
    """What each server answers now; ``hung`` ones answer only after the timeout."""

    def __init__(self, clock: FakeClock, timeout: float) -> None:
        self.clock = clock
        self.timeout = timeout
        self.answers: dict[str, NodeReport] = {}
        self.hung: set[str] = set()
        self.unreachable: set[str] = set()
        self.slow: dict[str, float] = {}
        self.asked: dict[str, int] = {}
        self.closed: list[str] = []

    def probe(self, server: ServerModel, config: MonitorConfig, flavour: Flavour) -> FakeProbe:
        return FakeProbe(self, server.name)


class FakeProbe:
    def __init__(self, servers: FakeServers, name: str) -> None:
        self._servers = servers
        self._name = name

    async def report(self) -> NodeReport:
        servers = self._servers
        servers.asked[self._name] = servers.asked.get(self._name, 0) + 1
        if self._name in servers.hung:
            await servers.clock.wait(None, servers.timeout)
            return down(self._name, "no answer within 1s", servers.clock.now())
        await servers.clock.wait(None, servers.slow.get(self._name, 0.0))
        return replace(servers.answers[self._name], at=servers.clock.now())

    def unreachable(self) -> bool:
        return self._name in self._servers.unreachable

    def close(self) -> None:
        self._servers.closed.append(self._name)


class Bench:
    """A monitor of n1 to n3, all synced, on a fake clock."""

    def __init__(
        self,
        states: dict[str, AdminState] | None = None,
        publisher: Publisher | None = None,
        preferred: str | None = None,
        suspect_after: float = 0.35,
    ) -> None:
        self.clock = FakeClock()
        self.config = MonitorConfig(suspect_after=suspect_after)
        self.servers = FakeServers(self.clock, self.config.timeout)
        self.publisher = publisher or Publisher()
        self.numbers: list[int] = []
        self.publisher.subscribe(lambda new, old: self.numbers.append(new.number))
        for index, name in enumerate(("n1", "n2", "n3")):
            self.servers.answers[name] = replace(report(name, index), version=VERSION)
        self.monitor = Monitor(
            [server(name) for name in self.servers.answers],
            self.config,
            self.publisher,
            clock=self.clock,
            probe=self.servers.probe,
            states=states,
            preferred=preferred,
        )

    async def __aenter__(self) -> Bench:
        await self.monitor.start()
        await settle()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.monitor.stop()

    def change(self, name: str, index: int = 0, **rows: str) -> None:
        self.servers.answers[name] = replace(report(name, index, **rows), version=VERSION)

    def fail(self, name: str, error: str = "connection refused") -> None:
        self.servers.answers[name] = down(name, error)

    def refuse(self, name: str) -> None:
        self.servers.answers[name] = NodeReport(name, 0.0, refusal="no entry")

    @property
    def primary(self) -> str | None:
        return self.publisher.snapshot.primary

    def role(self, name: str) -> str:
        view = self.publisher.snapshot.server(name)
        return view.role if view else ""

    def events(self, kind: str) -> list[str]:
        return [event.text for event in self.publisher.events if event.kind == kind]

    async def until(self, condition: Callable[[], bool], limit: float = 10.0) -> float:
        """Seconds of fake time until a condition holds."""
        start = self.clock.time
        while not condition():
            assert self.clock.time - start < limit
            await self.clock.advance(0.01)
        return self.clock.time - start

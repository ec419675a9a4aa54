"""Clients at work while servers die, return and change roles, all on a virtual clock and from a seed.

Real sessions over fake servers; after every run it is known what each client was told and what the servers did:
an acknowledged write was committed exactly once and a refused one never; no write went to a server that the newest
snapshot did not call primary, outside an open transaction; every statement met its session's settings.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from functools import partial

import pytest

from sqlproxy.topology.model import AdminState, Role
from sqlproxy.wire import constants as c
from sqlproxy.wire.packets import parse_err
from tests.support.fakes import Bench, Connection, FakeClient, command, err, packets, query, settle
from tests.support.virtualtime import virtual

STEPS = 60  # statements per client
CLIENTS = 4
SEEDS = range(40)

# What a client was told about the values it wrote: how often each may be in the table.
ONCE, NEVER, MAYBE = {1}, {0}, {0, 1}


@dataclass
class Told:
    """What one client believes, from nothing but the replies it got."""

    settings: dict[str, str] = field(default_factory=dict)
    autocommit: bool = True
    open: bool = False
    pending: list[int] = field(default_factory=list)

    def begin_anew(self) -> None:
        self.__init__()  # type: ignore[misc]  # a new connection


class Simulation:
    """One run. ``counts``: value written → how often it may have been committed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.random = random.Random(seed)
        self.bench = Bench(monkeypatch, failover_timeout=20.0)
        self.fleet = self.bench.fleet
        self.fleet.ran = self.ran
        self.fleet.chunk = self.random.choice([0, 0, 1, 5])
        self.counts: dict[int, set[int]] = {}
        self.expected: dict[str, tuple[dict[str, str], bool]] = {}  # statement → settings, autocommit
        self.violations: list[str] = []
        self.values = 0
        self.calm = False
        for server in self.fleet.servers.values():
            server.script = self.script

    # -- what goes wrong

    def script(self, connection: Connection, payload: bytes) -> bytes | None:
        if self.calm:
            return None
        server, chance = connection.server, self.random.random()
        if chance < 0.01:
            asyncio.get_running_loop().call_soon(server.kill)
            return b""
        if chance < 0.02:
            server.run(connection, payload)
            asyncio.get_running_loop().call_soon(server.kill)
            return b""
        if chance < 0.03:
            asyncio.get_running_loop().call_soon(server.lose)
            return None
        if chance < 0.04 and payload[0] == c.COM_QUERY:
            return err(1047, "WSREP has not yet prepared node for application use", "08S01")
        if chance < 0.06:
            asyncio.get_running_loop().call_soon(partial(connection.lose, unread=True))
            return b""
        return None

    async def watch(self) -> None:
        """The monitor: notices with a delay, and sometimes moves the primary for no reason."""
        while True:
            await asyncio.sleep(self.random.uniform(0.05, 1.0))
            for server in self.fleet.servers.values():
                server.up = server.up or self.calm or self.random.random() < 0.3
            for name in self.bench.states:
                drained = self.random.random() < 0.05 and not self.calm
                self.bench.states[name] = AdminState.DRAIN if drained else AdminState.ACTIVE
            up = [name for name, server in self.fleet.servers.items() if server.up]
            primary = self.bench.publisher.snapshot.primary
            if primary not in up or self.random.random() < 0.1:
                primary = self.random.choice(up) if up else None
            roles = {name: Role.REPLICA if name in up else Role.DOWN for name in self.fleet.servers}
            if primary is not None:
                roles[primary] = Role.PRIMARY
            self.bench.publish(**roles)

    # -- what servers see

    def ran(self, connection: Connection, text: str) -> None:
        words = text.lower().split()
        primary = self.bench.publisher.snapshot.primary
        if words[0] in ("insert", "begin") and not connection.open and connection.server.name != primary:
            self.violations.append(f"{text} ran on {connection.server.name} while {primary} was primary")
        met = (connection.settings, connection.autocommit)
        if text in self.expected and met != self.expected[text]:
            self.violations.append(f"{text} met {met}, not {self.expected[text]}")

    # -- what clients do

    async def client(self) -> None:
        told = Told()
        far = self.connect(told)
        for _ in range(STEPS):
            if far.transport.closing:
                far = self.connect(told)
            await asyncio.sleep(self.random.uniform(0, 0.2))
            await self.step(far, told)
        if not far.transport.closing and (told.open or not told.autocommit):
            await self.finish(far, told, "ROLLBACK")
        self.settle_values(told.pending, NEVER if not told.pending else MAYBE)
        far.hang_up()

    def connect(self, told: Told) -> FakeClient:
        """A new connection; what was pending on the old one is lost with it."""
        self.settle_values(told.pending, MAYBE)
        told.begin_anew()
        return self.bench.client()

    async def step(self, far: FakeClient, told: Told) -> None:
        action = self.random.choice(
            ["insert"] * 3 + ["select"] * 3 + ["set", "begin", "commit", "rollback", "auto", "stmt"]
        )
        if action in ("insert", "stmt"):
            await self.insert(far, told, action == "stmt")
        elif action == "select":
            self.values += 1
            text = f"SELECT a FROM t WHERE b = {self.values}"
            self.counts[self.values] = NEVER
            self.expect(text, told)
            self.lost(await self.ask(far, text), told)
        elif action == "set":
            await self.set(far, told)
        elif action == "begin":
            await self.begin(far, told)
        elif action == "auto":
            await self.autocommit(far, told)
        else:
            await self.finish(far, told, action.upper())

    async def insert(self, far: FakeClient, told: Told, is_prepared: bool) -> None:
        self.values += 1
        value, text = self.values, f"INSERT INTO t VALUES ({self.values})"
        self.expect(text, told)
        code = await (self.execute(far, text) if is_prepared else self.ask(far, text))
        if code == 0 and (told.open or not told.autocommit):
            told.open = True
            told.pending.append(value)
            return
        self.counts[value] = ONCE if code == 0 else MAYBE if code == c.ER_CONNECTION_KILLED else NEVER
        self.lost(code, told)

    def expect(self, text: str, told: Told) -> None:
        self.expected[text] = (dict(told.settings), told.autocommit)

    async def execute(self, far: FakeClient, text: str) -> int:
        reply = await self.run(far, command(c.COM_STMT_PREPARE, text.encode()))
        if not reply or reply[0][0] == c.ERR:
            return self.code(reply, c.ER_LOCK_DEADLOCK)  # nothing was run
        body = reply[0][1:5] + b"\x00" + (1).to_bytes(4, "little")
        return self.code(await self.run(far, command(c.COM_STMT_EXECUTE, body)))

    async def set(self, far: FakeClient, told: Told) -> None:
        name, value = self.random.choice(["@a", "@b", "sql_mode"]), str(self.random.randrange(9))
        code = await self.ask(far, f"SET {name} = {value}")
        if code == 0:
            told.settings[name] = value
        self.lost(code, told)

    async def begin(self, far: FakeClient, told: Told) -> None:
        code = await self.ask(far, "BEGIN")  # commits what is open
        self.ended(code, told, ONCE)
        told.open = code == 0

    async def finish(self, far: FakeClient, told: Told, text: str) -> None:
        code = await self.ask(far, text)
        self.ended(code, told, ONCE if text == "COMMIT" else NEVER)

    async def autocommit(self, far: FakeClient, told: Told) -> None:
        on = not told.autocommit
        code = await self.ask(far, f"SET autocommit = {int(on)}")
        if on or code:
            self.ended(code, told, ONCE)
        if code == 0:
            told.autocommit = on

    def ended(self, code: int, told: Told, fate: set[int]) -> None:
        """A statement that ends the transaction was answered."""
        if code == 0:
            self.settle_values(told.pending, fate)
            told.open = False
        else:
            self.lost(code, told)

    def lost(self, code: int, told: Told) -> None:
        """What an error says about the open transaction."""
        if code:
            self.settle_values(told.pending, MAYBE if code == c.ER_CONNECTION_KILLED else NEVER)
            told.open = False

    def settle_values(self, values: list[int], fate: set[int]) -> None:
        self.counts.update(dict.fromkeys(values, fate))
        values.clear()

    async def ask(self, far: FakeClient, text: str) -> int:
        """0 for a success, else the error's code."""
        return self.code(await self.run(far, query(text)))

    def code(self, reply: list[bytes], otherwise: int = c.ER_CONNECTION_KILLED) -> int:
        if not reply:
            return otherwise
        if reply[0][0] != c.ERR:
            return 0
        error = parse_err(reply[0])
        assert error is not None
        return error.code

    async def run(self, far: FakeClient, data: bytes) -> list[bytes]:
        """The payloads of a reply; none when the connection ended before."""
        if far.transport.closing:
            return []
        far.send(data)
        for _ in range(10_000):
            if not far.session.busy or far.transport.closing:
                return packets(far.take())
            await settle(0.01)
        raise AssertionError(f"no answer to {data!r}")

    # -- the whole

    async def go(self) -> None:
        monitor = asyncio.ensure_future(self.watch())
        await asyncio.gather(*(self.client() for _ in range(CLIENTS)))
        self.calm = True
        await settle(1)
        monitor.cancel()

    def check(self) -> None:
        assert self.violations == []
        for value, allowed in self.counts.items():
            times = self.fleet.committed.count(value)
            assert times in allowed, f"value {value} was committed {times} times, not {allowed}"
        assert len(self.counts) == self.values
        assert self.bench.counters() == (0, 0)
        assert self.bench.open_connections() == 0


@pytest.mark.parametrize("seed", SEEDS)
@virtual
async def test_promises_hold_while_servers_come_and_go(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    simulation = Simulation(monkeypatch, seed)
    await simulation.go()
    simulation.check()

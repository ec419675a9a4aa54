"""The monitor against real nodes: what they are called, how fast they fall and how they return."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from pydantic import SecretStr

from sqlproxy.config import MonitorConfig
from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.single import SingleServer
from sqlproxy.monitor.galera import Galera
from sqlproxy.monitor.loop import Monitor
from sqlproxy.monitor.probe import Probe
from sqlproxy.monitor.static import Static
from sqlproxy.topology.model import Address, AdminState, Role, Server, ServerTLS, ServerView, Snapshot
from sqlproxy.topology.publisher import Publisher
from tests.support.waiting import wait_until_async

CONFIG = MonitorConfig(user="monitor", password=SecretStr("monitor"))
SLACK = 15.0  # seconds a loaded machine may add


class Watched:
    """A cluster under a running monitor."""

    def __init__(self, lab: GaleraLab, monitor: Monitor, publisher: Publisher) -> None:
        self.lab = lab
        self.monitor = monitor
        self.publisher = publisher

    @property
    def snapshot(self) -> Snapshot:
        return self.publisher.snapshot

    def view(self, name: str) -> ServerView:
        view = self.snapshot.server(name)
        assert view is not None
        return view

    async def sql(self, name: str, statement: str) -> None:
        await asyncio.to_thread(self.lab.node(name).query, statement)

    async def until(self, condition: Callable[[], object], limit: float, wish: str) -> float:
        """Seconds until a condition holds."""
        start = time.monotonic()
        await wait_until_async(condition, limit, f"{wish} ({self.snapshot})")
        return time.monotonic() - start

    def events(self, kind: str) -> list[str]:
        return [event.text for event in self.publisher.events if event.kind == kind]


def servers(lab: GaleraLab) -> list[Server]:
    return [Server(name, Address("127.0.0.1", node.port)) for name, node in lab.nodes.items()]


@asynccontextmanager
async def monitoring(lab: GaleraLab, config: MonitorConfig = CONFIG) -> AsyncIterator[Watched]:
    publisher = Publisher()
    monitor = Monitor(servers(lab), config, publisher)
    await monitor.start()
    try:
        await monitor.first_snapshot(5)
        yield Watched(lab, monitor, publisher)
    finally:
        await monitor.stop()


@pytest.fixture
async def watched(healthy_galera: GaleraLab) -> AsyncIterator[Watched]:
    async with monitoring(healthy_galera) as watched:
        yield watched


async def test_a_healthy_cluster_has_one_primary_and_two_replicas(watched: Watched) -> None:
    roles = sorted(view.role for view in watched.snapshot.servers)
    assert roles == [Role.PRIMARY, Role.REPLICA, Role.REPLICA]
    assert watched.snapshot.primary is not None
    primary = watched.view(watched.snapshot.primary)
    assert primary.figures["local_index"] == "0"
    assert primary.reason == "synced, lowest local index 0 of priority 1"
    assert primary.figures["cluster_size"] == "3"
    assert watched.snapshot.causal == "galera"
    assert watched.snapshot.alarms == ()


async def test_version_and_capabilities_are_those_of_the_greeting(watched: Watched) -> None:
    with socket.create_connection(("127.0.0.1", watched.lab.ports[0]), 5) as raw:
        greeting = raw.recv(4096)
    version = greeting[5 : greeting.index(b"\0", 5)].decode()
    assert watched.view("n1").version == version
    at = 5 + len(version) + 1 + 4 + 8 + 1
    low, high = greeting[at : at + 2], greeting[at + 5 : at + 7]
    extended = greeting[at + 5 + 2 + 1 + 6 : at + 5 + 2 + 1 + 6 + 4]  # MariaDB's own, in the reserved bytes
    assert watched.view("n1").capabilities == int.from_bytes(low + high + extended, "little")


async def test_a_killed_primary_is_replaced_and_leads_again_after_its_return(watched: Watched) -> None:
    old = watched.snapshot.primary
    assert old is not None
    watched.lab.kill(old)
    took = await watched.until(lambda: watched.snapshot.primary not in (old, None), 60, "a new primary")
    assert took < CONFIG.interval + SLACK
    assert f"{old} is down: connection refused" in watched.events("primary")[-1]
    await asyncio.to_thread(watched.lab.join, old)
    await watched.until(lambda: watched.view(old).role in (Role.REPLICA, Role.PRIMARY), 60, f"{old} back")
    await watched.until(lambda: all(view.usable for view in watched.snapshot.servers), 60, "all usable")
    lowest = min(watched.snapshot.servers, key=lambda view: int(view.figures["local_index"])).name
    await watched.until(lambda: watched.snapshot.primary == lowest, 60, f"{lowest} primary by the rule")
    assert watched.snapshot.alarms == ()


async def test_in_band_evidence_beats_the_interval(healthy_galera: GaleraLab) -> None:
    async with monitoring(healthy_galera, CONFIG.model_copy(update={"interval": 30.0})) as watched:
        old = watched.snapshot.primary
        assert old is not None
        watched.lab.kill(old)
        watched.monitor.probe_now(old, "connection lost")
        took = await watched.until(lambda: watched.snapshot.primary not in (old, None), 60, "a new primary")
        assert took < SLACK


async def test_a_frozen_primary_is_down_after_its_timeout_and_back_when_it_goes_on(watched: Watched) -> None:
    old = watched.snapshot.primary
    assert old is not None
    watched.lab.stop(old)
    took = await watched.until(lambda: watched.view(old).role is Role.DOWN, 60, f"{old} down")
    assert took < CONFIG.interval + CONFIG.timeout + SLACK
    assert watched.view(old).reason == "down: no answer within 1s"
    assert watched.snapshot.primary not in (old, None)
    watched.lab.cont(old)
    await watched.until(lambda: watched.view(old).role is not Role.DOWN, 60, f"{old} noticed")
    await asyncio.to_thread(watched.lab.up)
    await watched.until(lambda: watched.view(old).usable, 60, f"{old} usable")


@pytest.mark.parametrize(
    ("statement", "undo", "role", "reason"),
    [
        ("wsrep_desync=ON", "wsrep_desync=OFF", Role.DESYNCED, "desynced: wsrep_desync=ON"),
        (
            "wsrep_reject_queries=ALL",
            "wsrep_reject_queries=NONE",
            Role.DESYNCED,
            "refusing queries: wsrep_reject_queries=ALL",
        ),
        (
            "wsrep_reject_queries=ALL_KILL",
            "wsrep_reject_queries=NONE",
            Role.DESYNCED,
            "refusing queries: wsrep_reject_queries=ALL_KILL",
        ),
        ("read_only=ON", "read_only=OFF", Role.REPLICA, "synced, never primary: read_only=ON"),
        ("wsrep_on=OFF", "wsrep_on=ON", Role.NON_PRIMARY, "outside any cluster, wsrep is off: wsrep_on=OFF"),
    ],
)
async def test_what_an_administrator_sets_takes_the_primary_away_and_gives_it_back(
    watched: Watched, statement: str, undo: str, role: Role, reason: str
) -> None:
    old = watched.snapshot.primary
    assert old is not None
    await watched.sql(old, f"SET GLOBAL {statement}")
    try:
        await watched.until(lambda: watched.snapshot.primary not in (old, None), 60, "a new primary")
        assert (watched.view(old).role, watched.view(old).reason) == (role, reason)
    finally:
        await watched.sql(old, f"SET GLOBAL {undo}")
    await watched.until(lambda: watched.snapshot.primary == old, 60, f"{old} primary again")


async def test_draining_the_primary_moves_it_and_a_switchover_sticks(watched: Watched) -> None:
    old = watched.snapshot.primary
    assert old is not None
    watched.monitor.set_state(old, AdminState.DRAIN)
    chosen = watched.snapshot.primary
    assert chosen not in (old, None)
    watched.monitor.set_state(old, AdminState.ACTIVE)
    assert watched.monitor.switchover(chosen) == chosen
    assert watched.snapshot.primary == chosen
    watched.monitor.prefer(None)
    assert watched.snapshot.primary == old


async def test_a_cut_off_node_is_non_primary_and_a_second_bootstrap_is_a_split_brain(watched: Watched) -> None:
    primary = watched.snapshot.primary
    lost = next(view.name for view in reversed(watched.snapshot.servers) if view.name != primary)
    try:
        await watched.sql(lost, "SET GLOBAL wsrep_provider_options='gmcast.isolate=1'")
        await watched.until(lambda: watched.view(lost).role is Role.NON_PRIMARY, 60, f"{lost} cut off")
        assert watched.snapshot.primary == primary
        await watched.sql(lost, "SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'")
        await watched.until(lambda: watched.snapshot.alarms, 60, "an alarm")
        assert watched.snapshot.alarms[0].startswith("split brain: several Primary components")
        assert watched.snapshot.primary == primary
        assert not watched.view(lost).usable
    finally:
        await asyncio.to_thread(watched.lab.kill, lost)
        await asyncio.to_thread(watched.lab.join, lost)
    await watched.until(lambda: watched.view(lost).usable and not watched.snapshot.alarms, 60, "peace")


async def test_a_wrong_password_is_named_with_user_and_server(healthy_galera: GaleraLab) -> None:
    config = CONFIG.model_copy(update={"password": SecretStr("wrong")})
    async with monitoring(healthy_galera, config) as watched:
        view = watched.view("n1")
        assert view.role is Role.UNKNOWN
        refusal = "n1 refuses the monitor user 'monitor': Access denied for user 'monitor'"
        assert view.reason.startswith(f"alive, but it cannot be judged: {refusal}")
        assert "wrong" not in repr(watched.monitor.reports)
        assert watched.snapshot.alarms[0].startswith(f"the monitor cannot look at n1, n2, n3: {refusal}")
        assert watched.snapshot.alarms[1] == "no primary: no usable server"


async def test_servers_that_refuse_the_monitor_stay_what_they_were(watched: Watched) -> None:
    before = {view.name: view.role for view in watched.snapshot.servers}
    await watched.sql("n1", "ALTER USER monitor@'%' ACCOUNT LOCK")
    try:
        for name in before:
            await watched.sql(name, "KILL USER monitor")
        await watched.until(lambda: watched.snapshot.alarms, 60, "an alarm")
        await watched.until(lambda: all(r.refusal for r in watched.monitor.reports.values()), 60, "all refuse")
        assert {view.name: view.role for view in watched.snapshot.servers} == before
        assert "as last seen: n1 " in watched.view("n1").reason
    finally:
        await watched.sql("n1", "ALTER USER monitor@'%' ACCOUNT UNLOCK")
    await watched.until(lambda: not watched.snapshot.alarms, 60, "the end of the alarm")


async def test_a_killed_probe_connection_is_no_verdict_on_the_server(watched: Watched) -> None:
    number = watched.snapshot.number
    at = watched.monitor.reports["n1"].at
    await watched.sql("n1", "KILL USER monitor")
    await watched.until(lambda: watched.monitor.reports["n1"].at > at + 1.0, 60, "two more reports")
    assert watched.snapshot.number == number


async def test_stopping_in_the_middle_of_a_probe_of_a_frozen_server_is_prompt(healthy_galera: GaleraLab) -> None:
    async with monitoring(healthy_galera, CONFIG.model_copy(update={"timeout": 30.0})) as watched:
        watched.lab.stop("n2")
        watched.monitor.probe_now("n2", "test")
        await asyncio.sleep(0)
        start = time.monotonic()
    assert time.monotonic() - start < SLACK
    healthy_galera.cont("n2")


async def test_a_server_without_galera_is_outside_for_galera_and_usable_for_static(mariadb: SingleServer) -> None:
    server = Server("m1", Address("127.0.0.1", mariadb.port))
    publisher = Publisher()
    for topology, role in (("galera", Role.NON_PRIMARY), ("static", Role.PRIMARY)):
        monitor = Monitor([server], CONFIG.model_copy(update={"topology": topology}), publisher)
        await monitor.start()
        snapshot = await monitor.first_snapshot(5)
        await monitor.stop()
        assert snapshot.servers[0].role is role
    reasons = [event.text for event in publisher.events if event.kind == "role"]
    assert reasons == [
        "m1: unknown -> non-primary: outside any cluster, wsrep is off: wsrep_on=OFF",
        "m1: non-primary -> primary: reachable, first of priority 1",
    ]


@pytest.mark.parametrize("mode", ["disabled", "preferred", "required", "verify_ca", "verify_identity"])
async def test_every_tls_mode_reaches_a_server_with_a_good_certificate(mariadb: SingleServer, mode: str) -> None:
    tls = ServerTLS(mode, ca=str(mariadb.ca_file))
    probe = Probe(Server("m1", Address("127.0.0.1", mariadb.port), tls=tls), CONFIG, Static())
    report = await probe.report()
    probe.close()
    await asyncio.sleep(0)
    assert report.error == ""
    assert report.facts["read_only"] == "OFF"


async def test_an_unknown_authority_is_refused(mariadb: SingleServer) -> None:
    server = Server("m1", Address("127.0.0.1", mariadb.port), tls=ServerTLS("verify_ca"))
    report = await Probe(server, CONFIG, Static()).report()
    assert report.error == f"TLS with 127.0.0.1:{mariadb.port} failed: CERTIFICATE_VERIFY_FAILED"


@asynccontextmanager
async def pretender(greeting: bytes, answer: bytes = b"") -> AsyncIterator[tuple[Server, list[bytes]]]:
    """A listener that greets, answers what it reads once, and keeps what it read."""
    heard: list[bytes] = []
    served: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            writer.write(greeting)
            while chunk := await reader.read(65536):
                heard.append(chunk)
                writer.write(answer)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield Server("p1", Address("127.0.0.1", listener.sockets[0].getsockname()[1])), heard
        await asyncio.gather(*served)


def greeting_without_tls(port: int, plugin: bytes = b"mysql_native_password") -> bytes:
    """A server's own greeting with CLIENT_SSL taken out and another plugin named."""
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        payload = bytearray(raw.recv(4096)[4:])
    at = payload.index(0, 1) + 1 + 4 + 8 + 1
    payload[at + 1] &= ~0x08
    del payload[payload.rindex(0, 0, -1) + 1 :]
    payload += plugin + b"\0"
    return len(payload).to_bytes(3, "little") + b"\0" + bytes(payload)


async def test_a_server_without_tls_is_refused_before_anything_is_said(mariadb: SingleServer) -> None:
    async with pretender(greeting_without_tls(mariadb.port)) as (server, heard):
        report = await Probe(replace(server, tls=ServerTLS("required")), CONFIG, Galera()).report()
    assert report.error == "the server offers no TLS, which its tls mode requires"
    assert heard == []


async def test_the_password_is_never_sent_in_clear(mariadb: SingleServer) -> None:
    refusal = "the server asks for the password in clear on a connection without TLS"
    config = CONFIG.model_copy(update={"password": SecretStr("geheim")})
    switch = b"\x16\0\0\x02\xfemysql_clear_password\0"
    async with pretender(greeting_without_tls(mariadb.port), switch) as (server, heard):
        report = await Probe(server, config, Galera()).report()
        assert report.error == refusal
        assert b"geheim" not in b"".join(heard)
    async with pretender(greeting_without_tls(mariadb.port, b"mysql_clear_password")) as (server, heard):
        report = await Probe(server, config, Galera()).report()
        assert report.error == refusal
        assert heard == []


@pytest.mark.parametrize("greeting", [b"\x04\0\0\0\x0a5.5", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x01\0\0\0\0"])
async def test_nonsense_is_reported_as_such(greeting: bytes) -> None:
    async with pretender(greeting) as (server, _):
        report = await Probe(server, CONFIG.model_copy(update={"timeout": 0.3}), Galera()).report()
    assert report.error != ""

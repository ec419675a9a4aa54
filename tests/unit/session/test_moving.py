"""A session on its way from one process to another: what it takes along, when it may not go, and who has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from sqlproxy.session import backend as backend_module
from sqlproxy.session import client as client_module
from sqlproxy.session import moving
from sqlproxy.session.parcel import HintParcel, Parcel
from sqlproxy.sql.bits import WRITE
from sqlproxy.topology.model import Role
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, FakeClient, command, query, settle
from tests.support.virtualtime import virtual


@pytest.fixture
def movable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The transports of fakes count as plain sockets."""
    monkeypatch.setattr(client_module, "movable_socket", lambda transport: transport)
    monkeypatch.setattr(backend_module, "movable_socket", lambda transport: transport)


async def busy_life(bench: Bench) -> FakeClient:
    """A session with all the state that may move."""
    client = bench.client(database=b"shop")
    for text in (
        "SET @a = 1, sql_mode = 'ANSI_QUOTES'",
        "USE stock",
        "INSERT INTO t VALUES (5)",
        "PREPARE kept FROM 'SELECT 1'",
        "SELECT 1",
        "/* maxscale begin route to master */ SELECT 2",
        "SET TRANSACTION READ ONLY",
    ):
        client.send(query(text))
        await settle()
    client.send(command(c.COM_STMT_PREPARE, b"SELECT ?"))
    await settle()
    number = next(iter(client.session.state.statements))
    body = number.to_bytes(4, "little") + b"\x00\x01\x00\x00\x00" + b"\x00\x01\x08\x00" + (7).to_bytes(8, "little")
    client.send(command(c.COM_STMT_EXECUTE, body))
    await settle()
    return client


@virtual
async def test_all_of_it_comes_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    session = (await busy_life(before)).session
    parcel = Parcel.decode(moving.pack(session).encode())
    found = moving.unpack(after.service, parcel)
    assert moving.pack(found) == parcel
    assert found.state.context == session.state.context
    assert found.state.free == session.state.free
    assert list(found.state.history.since(0)) == list(session.state.history.since(0))
    assert found.hints.active
    assert found.state.statements.keys() == session.state.statements.keys()
    assert {name: b.statements.keys() for name, b in found.backends.items()} == {
        name: b.statements.keys() for name, b in session.backends.items()
    }


@virtual
async def test_the_parcel_names_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    session = (await busy_life(Bench(monkeypatch))).session
    parcel = moving.pack(session)
    assert parcel.state.database == b"stock"
    assert parcel.hint_blocks == (HintParcel("primary", "", 0.0, ""),)
    assert [statement.payload[1:] for statement in parcel.state.statements] == [b"SELECT ?"]
    assert parcel.state.statements[0].types == b"\x08\x00"
    assert parcel.state.text_statements[0][0] == b"kept"
    assert {backend.server for backend in parcel.backends} == set(session.backends)


@pytest.mark.usefixtures("movable")
@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["SELECT 1"], ""),
        (["BEGIN"], "in a transaction"),
        (["BEGIN", "COMMIT"], ""),
        (["SELECT GET_LOCK('a', 1)"], "pinned to a server"),
        (["CREATE TEMPORARY TABLE t (a INT)"], "pinned to a server"),
        (["SELECT @a := 5"], "pinned to a server"),
    ],
)
@virtual
async def test_what_ties_a_session_to_its_process(
    monkeypatch: pytest.MonkeyPatch, texts: list[str], reason: str
) -> None:
    client = Bench(monkeypatch).client()
    for text in texts:
        client.send(query(text))
        await settle()
    assert moving.obstacle(client.session) == reason


@pytest.mark.usefixtures("movable")
@pytest.mark.parametrize(
    "change",
    [
        lambda client: client.send(query("SELECT 1")),
        lambda client: client.client.pause_writing(),
        lambda client: client.client.pause_reading("server"),
        lambda client: client.client.close(),
        lambda client: client.send(b"\xff\xff\x00\x00" + b"\x03" * 40_000),
        lambda client: next(iter(client.session.backends.values())).ping(),
    ],
    ids=["running", "a client that does not read", "a server that does not", "closing", "half a command", "pinged"],
)
@virtual
async def test_what_is_under_way_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[FakeClient], object]
) -> None:
    client = Bench(monkeypatch).client()
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    assert moving.obstacle(client.session) == ""
    change(client)
    assert moving.obstacle(client.session) == "busy"
    await settle()


@virtual
async def test_encrypted_connections_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Bench(monkeypatch).client()
    client.client.tls = True
    assert moving.obstacle(client.session) == "TLS"


@pytest.mark.usefixtures("movable")
@virtual
async def test_a_held_session_reads_nothing_until_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Bench(monkeypatch).client()
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    (backend,) = client.session.backends.values()
    moving.hold(client.session)
    assert (client.transport.reading, backend._transport.reading) == (False, False)
    assert moving.obstacle(client.session) == ""
    moving.resume(client.session)
    assert (client.transport.reading, backend._transport.reading) == (True, True)


@virtual
async def test_a_session_let_go_is_forgotten_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client = bench.client()
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    client.transport.written.clear()
    (connection,) = [one for server in bench.fleet.servers.values() for one in server.live]
    connection.transport.written.clear()
    moving.let_go(client.session)
    await settle()
    assert bench.registry.sessions == {}
    assert bench.service.stats.sessions == 0
    assert bench.counters() == (0, 0)
    assert client.transport.aborted
    assert connection.transport.aborted
    assert not client.transport.written
    assert not connection.transport.written
    assert bench.evidence == []


Change = Callable[[Parcel, Bench], Any]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda parcel, bench: parcel, ""),
        (lambda parcel, bench: replace(parcel, service="other"), "there is no service other"),
        (
            lambda parcel, bench: replace(parcel, backends=(replace(parcel.backends[0], address="10.0.0.9:3306"),)),
            "server n1 is not at 10.0.0.9:3306",
        ),
        (
            lambda parcel, bench: replace(parcel, backends=(replace(parcel.backends[0], server="n9"),)),
            "server n9 is not at 127.0.0.1:3306",
        ),
        (lambda parcel, bench: bench.publish(n1=Role.DOWN, n2=Role.PRIMARY), "server n1 is down"),
        (lambda parcel, bench: bench.registry.sessions.update({parcel.number: None}), "is here already"),
    ],
    ids=["none", "service", "address", "server", "down", "twice"],
)
@virtual
async def test_what_the_new_process_cannot_go_on_with_it_refuses(
    monkeypatch: pytest.MonkeyPatch, change: Change, reason: str
) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    client = before.client()
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    parcel = moving.pack(client.session)
    changed = change(parcel, after) or parcel
    found = moving.refusal({after.service.name: after.service}, changed)
    assert reason in found
    assert bool(found) == bool(reason)
    after.registry.sessions.clear()


@virtual
async def test_rules_that_were_told_on_its_way_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    monkeypatch.setattr(moving, "attach", AsyncMock())
    parcel = moving.pack(before.client().session)
    session = moving.unpack(after.service, parcel)
    after.service.govern(None, True, None)  # when it is nobody's session
    assert not session._slow & WRITE
    await moving.adopt(session, b"", [Mock()])
    assert session._slow & WRITE
    assert after.registry.sessions == {parcel.number: session}
    after.registry.sessions.clear()

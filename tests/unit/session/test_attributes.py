"""Query attributes in a session: only the text is understood, servers get what they take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sqlproxy.session.session import Session
from sqlproxy.topology.model import AdminState, Role
from sqlproxy.wire import constants as c
from sqlproxy.wire.attributes import NONE
from tests.support import fakes
from tests.support.fakes import Bench, FakeClient, command, error_in, is_ok, query, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]
ONE = b"\x01\x01\x00\x01\xfe\x00\x01x\x03abc"


def speaking(bench: Bench, monkeypatch: pytest.MonkeyPatch, *, servers: bool) -> FakeClient:
    """A client with attributes; whether its servers take them."""
    monkeypatch.setattr(fakes, "CAPABILITIES", fakes.CAPABILITIES | c.CLIENT_QUERY_ATTRIBUTES)
    connect = bench.fleet.backend

    def backend(*arguments: Any) -> Any:
        made = connect(*arguments)
        made.attributed = servers
        return made

    monkeypatch.setattr(bench.fleet, "backend", backend)
    for server in bench.fleet.servers.values():
        server.script = lambda connection, payload: plain(connection, payload) if servers else None
    return bench.client()


def plain(connection: fakes.Connection, payload: bytes) -> bytes | None:
    """Answer a COM_QUERY with attributes as one without."""
    if payload[0] != c.COM_QUERY:
        return None
    for block in (NONE, ONE):
        if payload[1:].startswith(block):
            connection.server.fleet.ran(connection, block.hex())
            return connection.server.run(connection, payload[:1] + payload[1 + len(block) :])
    raise AssertionError(f"no attributes before {payload!r}")


@virtual
async def test_servers_without_attributes_get_the_text_alone(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    some = bench()
    client = speaking(some, monkeypatch, servers=False)
    assert is_ok(await client.run(query(ONE + b"INSERT INTO t VALUES (1)")))
    assert some.fleet["n1"].texts[-1] == "INSERT INTO t VALUES (1)"
    assert await client.where(NONE.decode() + "SELECT 1") != "n1"


@virtual
async def test_the_text_alone_decides_and_settings_are_replayed(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = bench()
    client = speaking(some, monkeypatch, servers=True)
    assert is_ok(await client.run(query(ONE + b"SET @x = 1")))
    assert is_ok(await client.run(query(ONE + b"INSERT INTO t VALUES (1)")))
    [connection] = some.fleet["n1"].live
    assert connection.settings == {"@x": "1"}
    assert some.fleet["n1"].log[-1] == b"\x03" + ONE + b"INSERT INTO t VALUES (1)"
    assert await client.where(NONE.decode() + "SELECT 1") != "n1"


@virtual
async def test_a_write_with_a_commit_token_keeps_its_attributes(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = bench(exactly_once=True)
    client = speaking(some, monkeypatch, servers=True)
    assert is_ok(await client.run(query(ONE + b"INSERT INTO t VALUES (1)")))
    statement = fakes.packets(await client.run(command(c.COM_STMT_PREPARE, b"INSERT INTO t VALUES (2)")))[0][1:5]
    execution = b"\x08\1\0\0\0" + b"\x01\x00\x01\xfe\x00\x01x\x03abc"
    assert is_ok(await client.run(command(c.COM_STMT_EXECUTE, statement + execution)))
    sent = some.fleet["n1"].log
    tokens = [one for one in sent if b"commit_token" in one]
    assert len(tokens) == 2
    assert all(one.startswith(b"\x03" + NONE + b"INSERT INTO sqlproxy.commit_token") for one in tokens)
    assert b"\x03" + ONE + b"INSERT INTO t VALUES (1)" in sent
    assert any(one[0] == c.COM_STMT_EXECUTE and one.endswith(execution) for one in sent)


@virtual
async def test_a_replayed_transaction_repeats_its_attributes(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    some = bench()
    client = speaking(some, monkeypatch, servers=True)
    await client.run(query(NONE + b"BEGIN"))
    await client.run(query(ONE + b"INSERT INTO t VALUES (7)"))
    statement = fakes.packets(await client.run(command(c.COM_STMT_PREPARE, b"INSERT INTO t VALUES (8)")))[0][1:5]
    await client.run(command(c.COM_STMT_EXECUTE, statement + b"\x08\1\0\0\0" + b"\x01\x00\x01\xfe\x00\x01x\x03abc"))
    some.states["n1"] = AdminState.MAINTENANCE
    some.publish(n1=Role.REPLICA, n2=Role.PRIMARY)
    assert is_ok(await client.run(query(NONE + b"COMMIT")))
    assert some.fleet.committed == [7, 8]
    sent = some.fleet["n2"].log
    assert b"\x03" + ONE + b"INSERT INTO t VALUES (7)" in sent
    assert any(
        one[0] == c.COM_STMT_EXECUTE and one.endswith(b"\x08\1\0\0\0\x01\x00\x01\xfe\x00\x01x\x03abc") for one in sent
    )


@virtual
async def test_a_malformed_block_is_answered_and_the_session_goes_on(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = bench()
    client = speaking(some, monkeypatch, servers=True)
    assert error_in(await client.run(query(b"\x00\x02SELECT 1"))) == (1835, "Malformed communication packet.")
    client.send(query(b"\x01") + query(NONE + b"SELECT 1"))
    await settle()
    assert error_in(client.take())[0] == 1835
    session: Session = client.session
    assert not session.busy
    assert await client.where(NONE.decode() + "SELECT 1") in ("n2", "n3")

"""Idle connections to servers are pinged, busy ones are not, and what a ping answers reaches nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest

from sqlproxy.session import backend as backend_module
from sqlproxy.session.keepalive import keep_alive, watch_paths
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, is_ok, query, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]


def pings(b: Bench, name: str) -> list[float]:
    """When a server is pinged, from now on."""
    found: list[float] = []
    server = b.fleet[name]
    run = server.script

    def script(connection, payload):  # type: ignore[no-untyped-def]
        if payload[0] == c.COM_PING:
            found.append(asyncio.get_running_loop().time())
        return run(connection, payload) if run is not None else None

    server.script = script
    return found


async def cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@virtual
async def test_only_idle_connections_are_pinged(bench: MakeBench) -> None:
    b = bench("n1", "n2", connection_keepalive=100.0)
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    primary, replica = pings(b, "n1"), pings(b, "n2")
    task = asyncio.get_running_loop().create_task(keep_alive(b.service))
    for _ in range(100):
        assert await client.where() == "n2"
        await settle(10.0)
    await cancelled(task)
    assert replica == []
    assert 12 <= len(primary) <= 14
    assert client.take() == b""


@virtual
async def test_a_command_may_follow_a_ping_at_once(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    seen = pings(b, "n1")
    client.session.backends["n1"].ping()
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert (len(seen), b.fleet.committed) == (1, [1, 2])


@virtual
async def test_a_server_that_answers_no_ping_is_given_up(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = lambda connection, payload: b"" if payload[0] == c.COM_PING else None
    backend = client.session.backends["n1"]
    backend.ping()
    await settle()
    assert not backend.closed
    backend.ping()
    assert (backend.closed, backend.reason) == (True, "no answer to a ping")
    assert "n1" not in client.session.backends


@virtual
async def test_a_connection_that_is_not_heard_of_is_given_up_and_a_slow_one_is_not(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench("n1", "n2")
    unheard: set[str] = set()
    monkeypatch.setattr(backend_module, "is_unheard", lambda sock: sock in unheard)
    client = b.client()
    await client.ask("INSERT INTO t VALUES (1)")
    assert await client.where() == "n2"
    backend = client.session.backends["n2"]
    backend._transport._extra = {"socket": "the way to n2"}
    b.fleet["n2"].script = lambda connection, payload: b"" if payload.endswith(b"SELECT 9") else None
    task = asyncio.get_running_loop().create_task(watch_paths(b.service))
    client.send(query("SELECT 9"))
    monkeypatch.setattr(client.session, "active_at", client.session.active_at - 60.0)
    await settle(60.0)
    assert not backend.closed
    unheard.add("the way to n2")
    await settle(5.0)
    assert (backend.closed, backend.reason) == (True, "nothing was heard of it for 11s")
    await cancelled(task)

"""KILL by the ids that clients see."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sqlproxy.topology.model import Role
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, command, err, error_in, is_ok, query, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]


@virtual
async def test_a_running_query_is_killed_where_it_runs(bench: MakeBench) -> None:
    b = bench("n1")
    victim, killer = b.client(), b.client()
    await victim.ask("SELECT 1")
    thread = b.fleet["n1"].live[0].backend.thread_id
    b.fleet["n1"].script = lambda connection, payload: b"" if b"SLEEP" in payload else None
    victim.send(query("SELECT SLEEP(100)"))
    await settle()
    assert is_ok(await killer.ask(f"KILL QUERY {victim.session.number}"))
    assert b.fleet["n1"].texts[-1] == f"KILL QUERY {thread}"
    assert not victim.transport.closing


@pytest.mark.parametrize("number", ["KILL {}", "KILL CONNECTION {}", "KILL HARD {}"])
@virtual
async def test_a_killed_connection_ends(bench: MakeBench, number: str) -> None:
    b = bench("n1")
    victim, killer = b.client(), b.client()
    await victim.ask("SELECT 1")
    assert is_ok(await killer.ask(number.format(victim.session.number)))
    assert victim.transport.closing
    assert not killer.transport.closing


@virtual
async def test_com_process_kill_does_the_same(bench: MakeBench) -> None:
    b = bench("n1")
    victim, killer = b.client(), b.client()
    await victim.ask("SELECT 1")
    number = victim.session.number.to_bytes(4, "little")
    assert is_ok(await killer.run(command(c.COM_PROCESS_KILL, number)))
    assert victim.transport.closing
    assert error_in(await killer.run(command(c.COM_PROCESS_KILL, b"\x01")))[0] == 1835


@virtual
async def test_the_servers_decide_who_may_kill(bench: MakeBench) -> None:
    b = bench("n1")
    victim, killer = b.client(b"root"), b.client(b"app")
    await victim.ask("SELECT 1")
    b.fleet["n1"].script = lambda connection, payload: (
        err(1095, "You are not owner of thread 1") if b"KILL" in payload else None
    )
    assert error_in(await killer.ask(f"KILL {victim.session.number}")) == (1095, "You are not owner of thread 1")
    assert not victim.transport.closing


@virtual
async def test_what_waits_for_a_server_is_interrupted_by_its_own_user_only(bench: MakeBench) -> None:
    b = bench()
    b.publish(n1=Role.DOWN)
    victim, stranger, friend = b.client(b"app"), b.client(b"other"), b.client(b"app")
    victim.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    assert error_in(await stranger.ask(f"KILL QUERY {victim.session.number}"))[0] == 1095
    assert victim.session.busy
    assert is_ok(await friend.ask(f"KILL QUERY {victim.session.number}"))
    assert error_in(victim.take())[0] == 1317
    assert not victim.session.busy


@virtual
async def test_a_session_may_kill_itself(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    await client.ask("SELECT 1")
    assert is_ok(await client.ask(f"KILL {client.session.number}"))
    assert client.transport.closing


@virtual
async def test_ids_that_are_not_ours_are_the_servers(bench: MakeBench) -> None:
    b = bench()
    assert is_ok(await b.client().ask("KILL 5"))
    assert b.fleet["n1"].texts == ["KILL 5"]


@virtual
async def test_ids_are_never_given_twice_at_a_time(bench: MakeBench) -> None:
    registry = bench().registry
    numbers = [registry.next_id() for _ in range(100)]
    assert len(set(numbers)) == 100
    assert all(1 << 30 < number < 1 << 31 for number in numbers)

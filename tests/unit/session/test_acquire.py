"""Finding a backend: waiting on a virtual clock, trying elsewhere, giving up in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sqlproxy.errors import ServerError
from sqlproxy.session import acquire as acquire_module
from sqlproxy.session import errand
from sqlproxy.session.backend import Backend
from sqlproxy.topology.model import Role
from tests.support.fakes import Bench, error_in, is_ok, packets, query, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]


@virtual
async def test_a_write_waits_for_a_primary(bench: MakeBench) -> None:
    b = bench()
    b.publish(n1=Role.DOWN)
    client = b.client()
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle(20)
    assert client.take() == b""
    assert b.service.stats.primary_waits == 1
    b.publish(n3=Role.PRIMARY)
    await settle()
    assert is_ok(client.take())
    assert b.fleet["n3"].texts == ["INSERT INTO t VALUES (1)"]
    assert not client.session.waiting
    assert b.service.waiting == 0


@virtual
async def test_the_wait_ends_with_the_reasons(bench: MakeBench) -> None:
    b = bench("n1", "n2", failover_timeout=7.0)
    b.publish(n1=Role.NON_PRIMARY, n2=Role.DOWN)
    client = b.client()
    before = asyncio.get_running_loop().time()
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle(6.9)
    assert client.take() == b""
    await settle(0.2)
    assert error_in(client.take()) == (
        1429,
        "No server took this statement within 7s: no server is primary (n1: n1 is non-primary; n2: n2 is down)",
    )
    assert asyncio.get_running_loop().time() - before < 7.2
    assert b.service.waiting == 0


@virtual
async def test_more_than_may_wait_learn_so_at_once(bench: MakeBench) -> None:
    b = bench("n1", max_waiting=2)
    b.publish(n1=Role.DOWN)
    clients = [b.client() for _ in range(3)]
    for client in clients:
        client.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    assert [client.take() for client in clients[:2]] == [b"", b""]
    assert error_in(clients[2].take()) == (
        1429,
        "2 statements are waiting for a server already: no server is primary (n1: n1 is down)",
    )
    clients[0].hang_up()
    await settle()
    clients[2].send(query("INSERT INTO t VALUES (1)"))
    await settle()
    assert clients[2].take() == b""
    assert b.service.waiting == 2


@virtual
async def test_a_queue_enters_a_new_primary_some_at_a_time(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """All who wait hear of the new primary at once; it gets so many logins at one time and no more."""
    b = bench("n1", "n2")
    b.publish(n1=Role.DOWN)
    most = opening = 0

    async def connect(*login: Any) -> Backend:
        nonlocal most, opening
        opening += 1
        most = max(most, opening)
        await asyncio.sleep(0.1)
        opening -= 1
        return await b.fleet.connect(*login)

    monkeypatch.setattr(acquire_module, "connect", connect)
    clients = [b.client() for _ in range(300)]
    for number, client in enumerate(clients):
        client.send(query(f"INSERT INTO t VALUES ({number})"))
    await settle(1)
    assert b.service.waiting == 300
    assert most == 0
    b.publish(n2=Role.PRIMARY)
    await settle(1)
    assert most == 64
    assert all(is_ok(client.take()) for client in clients)
    assert sorted(b.fleet.committed) == list(range(300))
    assert b.service.waiting == 0
    assert not b.evidence


@virtual
async def test_reads_need_no_primary(bench: MakeBench) -> None:
    b = bench()
    b.publish(n1=Role.DOWN)
    assert await b.client().where() in ("n2", "n3")


@virtual
async def test_a_server_that_cannot_be_reached_is_passed_over_and_reported(bench: MakeBench) -> None:
    b = bench()
    b.fleet["n2"].up = False
    assert await b.client().where() == "n3"
    assert [server for server, _ in b.evidence] == ["n2"]


@virtual
async def test_a_primary_that_cannot_be_reached_is_tried_again_until_it_can(bench: MakeBench) -> None:
    b = bench()
    b.fleet["n1"].up = False
    client = b.client()
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle(5)
    assert client.take() == b""
    b.fleet["n1"].up = True
    await settle(1)
    assert is_ok(client.take())


@virtual
async def test_what_made_a_server_unreachable_is_told_in_the_end(bench: MakeBench) -> None:
    b = bench("n1", failover_timeout=2.0)
    b.fleet["n1"].up = False
    client = b.client()
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle(3)
    assert error_in(client.take())[1] == (
        "No server took this statement within 2s: server n1 at 127.0.0.1:3306 cannot be reached: Connection refused"
    )


@virtual
async def test_a_refused_login_is_the_clients_to_read(bench: MakeBench) -> None:
    b = bench()
    b.fleet["n2"].refusal = b.fleet["n3"].refusal = ServerError("Unknown database 'a'", code=1049, sqlstate="42000")
    assert error_in(await b.client().ask("SELECT 1")) == (1049, "Unknown database 'a'")


@virtual
async def test_a_full_server_is_passed_over_for_reads(bench: MakeBench) -> None:
    b = bench()
    b.fleet["n2"].refusal = ServerError("Too many connections", code=1040, sqlstate="08004")
    assert await b.client().where() == "n3"


@virtual
async def test_a_full_primary_says_so(bench: MakeBench) -> None:
    b = bench()
    b.fleet["n1"].refusal = ServerError("Too many connections", code=1040, sqlstate="08004")
    assert error_in(await b.client().ask("INSERT INTO t VALUES (1)"))[0] == 1040


@virtual
async def test_full_servers_all_of_them_say_so(bench: MakeBench) -> None:
    b = bench()
    for server in b.fleet.servers.values():
        server.refusal = ServerError("Too many connections", code=1040, sqlstate="08004")
    assert error_in(await b.client().ask("SELECT 1"))[0] == 1040


@virtual
async def test_an_old_view_of_the_servers_stops_writes_and_not_reads(bench: MakeBench) -> None:
    b = bench()
    b.service._stale_after = 5.0
    client = b.client()
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))
    await settle(6)
    assert await client.where() in ("n2", "n3")
    client.send(query("INSERT INTO t VALUES (2)"))
    await settle()
    assert client.take() == b""
    assert client.session.waiting == "the newest view of the servers is too old to write by"
    b.publisher.confirm(asyncio.get_running_loop().time())
    await settle(1)
    assert is_ok(client.take())
    assert b.fleet.committed == [1, 2]


@virtual
async def test_a_next_transactions_settings_go_with_it_to_a_new_primary(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    await client.ask("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    b.publish(n1=Role.DOWN, n2=Role.PRIMARY)
    assert is_ok(await client.ask("BEGIN"))
    assert b.fleet["n2"].texts[-2:] == ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN"]


@virtual
async def test_a_new_connection_begins_in_the_sessions_database(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client(database=b"shop")
    await client.ask("USE other")
    await client.ask("SELECT 1")
    assert b.fleet["n1"].logins[0].database == b"shop"
    assert b.fleet["n2"].logins[0].database == b"other"


@virtual
async def test_a_killed_query_that_waits_is_interrupted_and_the_session_goes_on(bench: MakeBench) -> None:
    b = bench()
    b.publish(n1=Role.DOWN)
    client = b.client()
    client.send(query("INSERT INTO t VALUES (1)") + query("INSERT INTO t VALUES (2)"))
    await settle()
    assert errand.interrupt(client.session)
    await settle()
    assert error_in(client.take()) == (1317, "Query execution was interrupted")
    b.publish(n1=Role.PRIMARY)
    await settle()
    assert is_ok(client.take())
    assert b.fleet.committed == [2]
    assert b.service.waiting == 0


@virtual
async def test_a_query_killed_while_settings_are_replayed_takes_that_connection_along(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SET @a = 1")
    b.fleet["n1"].script = lambda connection, payload: b""
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle()
    assert errand.interrupt(client.session)
    await settle()
    client.take()
    b.fleet["n1"].script = None
    assert is_ok(await client.ask("INSERT INTO t VALUES (2)"))
    assert b.fleet.committed == [2]


@virtual
async def test_a_read_that_waits_for_replication_moves_when_its_server_leaves_use(bench: MakeBench) -> None:
    b = bench("n1", "n2", "n3")
    client = b.client()
    for name in ("n2", "n3"):
        b.fleet[name].script = lambda connection, payload: b"" if b"wsrep_sync_wait" in payload else None
    await client.ask("INSERT INTO t VALUES (1)")
    client.send(query("SELECT 1"))
    await settle(0.1)
    (waiting,) = [name for name in ("n2", "n3") if b.fleet[name].live]
    other = "n3" if waiting == "n2" else "n2"
    b.fleet[other].script = None
    b.publish(**{waiting: Role.DONOR})
    await settle(0.1)
    assert packets(client.take())[2][1:].decode() == other
    assert not b.fleet[waiting].live

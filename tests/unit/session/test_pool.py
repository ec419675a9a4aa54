"""What is kept when clients go, for whom, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sqlproxy.errors import ServerError
from sqlproxy.session import pool as module
from sqlproxy.session.pool import last_value, reuse
from sqlproxy.topology.model import AdminState, Role
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, FakeServer, command, err, error_in, is_ok, ok, query, rows, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]
QUIT = command(c.COM_QUIT)


async def visit(b: Bench, *texts: str, user: bytes = b"app", database: bytes = b"") -> None:
    """A session from its first statement to its end."""
    client = b.client(user, database)
    for text in texts or ("SELECT 1",):
        await client.ask(text)
    await client.run(QUIT)


def codes(server: FakeServer) -> list[int]:
    """The commands a server got, but for queries."""
    return [payload[0] for payload in server.log if payload[0] != c.COM_QUERY]


def kept(b: Bench) -> int:
    return sum(stats.pooled for stats in b.service.server_stats.values())


@virtual
async def test_the_next_session_of_the_same_user_takes_it_over(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    await visit(b, database=b"one")
    assert (kept(b), b.service.server_stats["n1"].connections) == (1, 1)
    client = b.client(database=b"two")
    await client.ask("SELECT 1")
    assert (kept(b), b.service.server_stats["n1"].reused, b.open_connections()) == (0, 1, 1)
    assert b.service.server_stats["n1"].connections_total == 1
    request = next(payload for payload in b.fleet["n1"].log if payload[0] == c.COM_CHANGE_USER)
    assert b"app\x00" in request
    assert b"two\x00" in request


@virtual
async def test_nothing_is_kept_by_default(bench: MakeBench) -> None:
    b = bench("n1")
    await visit(b)
    assert b.open_connections() == 0


@virtual
async def test_another_user_gets_a_connection_of_his_own(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    await visit(b)
    await visit(b, user=b"other")
    assert (kept(b), b.open_connections(), codes(b.fleet["n1"])) == (2, 2, [])


@pytest.mark.parametrize("text", ["SET a=1", "INSERT INTO t VALUES (1)", "USE shop"])
@virtual
async def test_one_that_was_touched_is_reset_at_once(bench: MakeBench, text: str) -> None:
    b = bench("n1", pooled=5)
    await visit(b, "SELECT 1")
    assert c.COM_RESET_CONNECTION not in codes(b.fleet["n1"])
    await visit(b, text)
    await settle()
    assert codes(b.fleet["n1"])[-1] == c.COM_RESET_CONNECTION
    assert kept(b) == 1


@pytest.mark.parametrize("text", ["BEGIN", "SELECT GET_LOCK('a', 1)", "CREATE TEMPORARY TABLE t (a INT)", "SELECT 9"])
@virtual
async def test_one_that_is_tied_or_busy_is_closed(bench: MakeBench, text: str) -> None:
    b = bench("n1", pooled=5)
    b.fleet["n1"].script = lambda connection, payload: b"" if payload.endswith(b"SELECT 9") else None
    client = b.client()
    await client.ask(text)
    client.hang_up()
    await settle()
    assert (kept(b), b.open_connections()) == (0, 0)


@virtual
async def test_a_server_that_refuses_is_asked_again_by_a_new_connection(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    await visit(b)
    b.fleet["n1"].script = lambda connection, payload: (
        err(1045, "Access denied") if payload[0] == c.COM_CHANGE_USER else None
    )
    client = b.client()
    await client.ask("SELECT 1")
    assert (b.service.server_stats["n1"].connections_total, b.open_connections()) == (1, 1)
    assert b.service.server_stats["n1"].reused == 0


@virtual
async def test_an_answer_at_the_very_moment_that_it_is_too_late_is_too_late(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = bench("n1", pooled=5)
    await visit(b)
    loop = asyncio.get_running_loop()

    class Late(module.Relogin):
        def start(self, deadlines: object = None, timeout: float = 0.0) -> None:
            super().start()
            loop.call_later(0, lambda: loop.call_at(until + loop._clock_resolution / 2, self._answer))  # type: ignore[attr-defined]

        def _answer(self) -> None:
            self.taken = self._backend
            self._finish()

    monkeypatch.setattr(module, "Relogin", Late)
    b.fleet["n1"].script = lambda connection, payload: b"" if payload[0] == c.COM_CHANGE_USER else None
    until = loop.time() + 1.0
    assert await reuse(b.service.pools["n1"], b.client().session.login, 1.0) is None
    assert (kept(b), b.open_connections()) == (0, 0)


@virtual
async def test_a_server_that_does_not_answer_loses_its_pool(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    for _ in range(3):
        await visit(b)
    b.fleet["n1"].script = lambda connection, payload: b"" if payload[0] == c.COM_CHANGE_USER else None
    client = b.client()
    client.send(query("SELECT 1"))
    await settle(b.service.config.connect_timeout + 1)
    assert (kept(b), b.open_connections()) == (0, 1)


@virtual
async def test_the_oldest_goes_when_there_are_too_many_and_all_in_time(bench: MakeBench) -> None:
    b = bench("n1", pooled=2)
    clients = [b.client() for _ in range(4)]
    for client in clients:
        await client.ask("SELECT 1")
    for client in clients:
        await client.run(QUIT)
        await settle(2)
    assert kept(b) == 2
    assert [connection.backend.thread_id for connection in b.fleet["n1"].live] == [3, 4]
    await settle(7)
    assert kept(b) == 1
    await settle(3)
    assert (kept(b), b.open_connections()) == (0, 0)


@virtual
async def test_what_a_server_ends_is_gone(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    await visit(b)
    b.fleet["n1"].lose()
    assert (kept(b), b.counters()) == (0, (0, 0))
    assert is_ok(await b.client().ask("INSERT INTO t VALUES (1)"))


@virtual
async def test_a_server_that_changes_role_or_state_loses_its_pool(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    await visit(b)
    b.publish()
    assert kept(b) == 1
    b.publish(n1=Role.REPLICA)
    assert kept(b) == 0
    b.publish(n1=Role.PRIMARY)
    await visit(b)
    client = b.client()
    await client.ask("SELECT 1")
    b.states["n1"] = AdminState.DRAIN
    b.publish()
    await client.run(QUIT)
    assert (kept(b), b.open_connections()) == (0, 0)


@virtual
async def test_changed_accounts_empty_it(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    await visit(b)
    b.service.clear_pools()
    await settle()
    assert (kept(b), b.open_connections()) == (0, 0)


@virtual
async def test_nothing_is_kept_where_new_connections_run_a_statement(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    await visit(b)
    b.fleet["n1"].init_connect = b"SET @a = 1"
    await settle(2)
    await visit(b)
    await settle()
    assert (kept(b), b.open_connections()) == (0, 0)
    b.fleet["n1"].init_connect = b""
    await settle(2)
    await visit(b)
    assert kept(b) == 1


@virtual
async def test_idle_ones_make_room(bench: MakeBench) -> None:
    b = bench("n1", pooled=5)
    await visit(b)
    b.fleet["n1"].refusal = ServerError("Too many connections", code=1040, sqlstate="08004")
    client = b.client(b"other")
    answer = await client.ask("SELECT 1")
    assert error_in(answer)[0] == 1040
    assert kept(b) == 0


def test_the_value_of_a_collected_reply() -> None:
    assert last_value(rows(b"abc")) == b"abc"
    assert last_value(rows(b"")) == b""
    assert last_value(rows()) == b""
    assert last_value(ok()) == b""

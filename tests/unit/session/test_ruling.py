"""What rules do to statements of real sessions in front of scripted servers."""

from __future__ import annotations

from typing import Any

import pytest

from sqlproxy.config import RuleConfig
from sqlproxy.routing.rules import RuleBook
from sqlproxy.session.answers import Answers, is_volatile
from sqlproxy.topology.model import Role
from sqlproxy.wire import constants as c
from tests.support.fakes import (
    Bench,
    Connection,
    FakeClient,
    command,
    err,
    error_in,
    is_ok,
    packets,
    query,
    rows,
    settle,
)
from tests.support.virtualtime import virtual


def governed(monkeypatch: pytest.MonkeyPatch, *rules: dict[str, Any], read_only: bool = False, **config: Any) -> Bench:
    bench = Bench(monkeypatch, **config)
    bench.service.govern(RuleBook([RuleConfig(**rule) for rule in rules]), read_only, Answers(1 << 20))
    return bench


def counters(bench: Bench, name: str = "r") -> dict[str, int]:
    assert bench.service.rules is not None
    return {key: value for key, value in bench.service.rules.counters()[name].items() if value}


def prepare(text: str) -> bytes:
    return command(c.COM_STMT_PREPARE, text.encode())


def execute(number: int) -> bytes:
    return command(c.COM_STMT_EXECUTE, number.to_bytes(4, "little") + b"\x00\x01\x00\x00\x00")


@virtual
async def test_without_a_rule_that_concerns_it_a_session_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "user": "report", "reject": "no"})
    client = bench.client()
    assert client.session.rules is None
    assert await client.where() in ("n2", "n3")
    assert bench.client(b"report").session.rules is not None


@virtual
async def test_a_statement_that_no_rule_acts_upon_takes_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "pattern": "secrets", "reject": "no"}, {"name": "d", "dry_run": True})
    client = bench.client()
    await client.ask("SELECT 1")
    client.send(query("SELECT 2"))
    assert client.session._task is None
    await settle()
    assert counters(bench, "d") == {"matched": 2}


@virtual
async def test_a_rejected_statement_reaches_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "pattern": "^drop ", "reject": "tables stay"})
    client = bench.client()
    assert error_in(await client.ask("DROP TABLE t")) == (1148, "tables stay")
    assert error_in(await client.run(prepare("DROP TABLE t"))) == (1148, "tables stay")
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))
    assert not any("DROP" in text for server in bench.fleet.servers.values() for text in server.texts)
    assert counters(bench) == {"matched": 2, "rejected": 2}


@virtual
async def test_a_read_goes_where_a_rule_says_and_a_write_is_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "route": "server=n3"})
    client = bench.client()
    assert [await client.where() for _ in range(4)] == ["n3"] * 4
    code, text = error_in(await client.ask("INSERT INTO t VALUES (1)"))
    assert (code, "writes go to the primary" in text, "The rule r" in text) == (1148, True, True)
    assert bench.fleet.committed == []
    await client.ask("BEGIN")
    assert counters(bench)["ignored"] >= 1


@virtual
async def test_a_route_to_a_server_out_of_use_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "route": "server=n3"})
    bench.publish(n3=Role.DOWN)
    assert await bench.client().where() == "n2"
    assert counters(bench)["ignored"] == 1


@virtual
async def test_in_a_transaction_the_server_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "pattern": "^(select|insert)", "route": "replica"})
    client = bench.client()
    await client.ask("BEGIN")
    assert await client.where() == "n1"
    assert is_ok(await client.ask("INSERT INTO t VALUES (7)"))
    await client.ask("COMMIT")
    assert bench.fleet.committed == [7]


@virtual
async def test_a_rewritten_statement_is_classified_run_and_replayed_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = {
        "name": "r",
        "pattern": r"^select (.*) /\*write\*/$",
        "match": "statement",
        "rewrite": r"INSERT INTO t VALUES (\1)",
    }
    bench = governed(monkeypatch, rule)
    client = bench.client()
    assert is_ok(await client.ask("SELECT 5 /*write*/"))
    assert bench.fleet.committed == [5]
    await client.ask("BEGIN")
    await client.ask("SELECT 6 /*write*/")
    bench.fleet["n1"].kill()
    bench.publish(n1=Role.DOWN, n2=Role.PRIMARY)
    assert is_ok(await client.ask("COMMIT"))
    assert bench.fleet.committed == [5, 6]
    assert counters(bench) == {"matched": 2, "rewritten": 2}


@virtual
async def test_a_rewritten_text_is_what_gets_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = {"name": "r", "pattern": "t_old", "match": "statement", "rewrite": "t_new"}
    bench = governed(monkeypatch, rule)
    client = bench.client()
    await client.run(prepare("SELECT 1 FROM t_old"))
    assert packets(await client.run(execute(1)))[0] == b"\x01"
    texts = [payload[1:] for s in bench.fleet.servers.values() for payload in s.log if payload[0] == c.COM_STMT_PREPARE]
    assert set(texts) == {b"SELECT 1 FROM t_new"}


@virtual
async def test_only_so_many_run_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "pattern": "report", "max_concurrent": 1})
    for server in bench.fleet.servers.values():
        server.script = lambda connection, payload: b"" if b"report" in payload else None
    first, second = bench.client(), bench.client()
    first.send(query("SELECT report"))
    await settle()
    code, text = error_in(await second.ask("SELECT report"))
    assert (code, "The rule r allows 1" in text) == (1637, True)
    assert await second.where() in ("n2", "n3")
    first.hang_up()
    await settle()
    assert bench.service.rules is not None
    assert bench.service.rules.rules[0].running == 0
    assert counters(bench) == {"matched": 2, "crowded": 1}


def slow(bench: Bench) -> list[int]:
    """Statements with "slow" are answered when they are killed; the killed connections' ids."""
    killed: list[int] = []

    def script(connection: Connection, payload: bytes) -> bytes | None:
        if payload.startswith(b"\x03KILL QUERY"):
            killed.append(int(payload.split()[-1]))
            victim = next(x for x in connection.server.connections if x.backend.thread_id == killed[-1])
            victim.transport.send(err(1317, "Query execution was interrupted", "70100"))
            return None
        return b"" if b"slow" in payload else None

    for server in bench.fleet.servers.values():
        server.script = script
    return killed


@virtual
async def test_a_statement_that_takes_too_long_is_killed_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "timeout": "2s"})
    killed = slow(bench)
    client = bench.client()
    assert await client.where()
    client.send(query("SELECT slow"))
    await settle(1.9)
    assert client.take() == b""
    await settle(0.2)
    code, text = error_in(client.take())
    assert (code, text) == (3024, "Query execution was interrupted: the rule r allows it 2s")
    assert len(killed) == 1
    assert await client.where()
    assert bench.counters()[0] == 0
    assert counters(bench)["timed_out"] == 1


@virtual
async def test_waiting_for_a_server_takes_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "timeout": "2s"})
    client = bench.client()
    assert await client.where()
    bench.publish(n1=Role.DOWN)
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle(2.5)
    assert error_in(client.take())[0] == 3024
    bench.publish(n1=Role.PRIMARY)
    assert await client.where()
    assert bench.fleet.committed == []


@virtual
async def test_the_next_statement_waits_until_the_kill_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "pattern": "slow", "timeout": "1s"})
    release: list[Connection] = []

    def script(connection: Connection, payload: bytes) -> bytes | None:
        if payload.startswith(b"\x03KILL QUERY"):
            release.append(connection)
            return b""
        return b"" if b"slow" in payload else None

    for server in bench.fleet.servers.values():
        server.script = script
    client = bench.client()
    await client.ask("SELECT 1")
    client.send(query("SELECT slow"))
    await settle(1.1)
    backend = client.session.running_on
    assert backend is not None
    victim = next(x for s in bench.fleet.servers.values() for x in s.live if x.backend is backend)
    victim.transport.send(rows(b"just in time"))  # done before the KILL arrived
    client.send(query("SELECT 2"))
    await settle(0.1)
    assert b"just in time" in client.take()
    assert "SELECT 2" not in [text for s in bench.fleet.servers.values() for text in s.texts]
    release[0].transport.send(err(1094, "Unknown thread id"))
    await settle(0.1)
    assert packets(client.take())[0] == b"\x01"


@virtual
async def test_an_answer_with_too_many_rows_ends_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "max_rows": 2})
    for server in bench.fleet.servers.values():
        server.script = lambda connection, payload: rows(b"a", b"b", b"c") if b"three" in payload else None
    client = bench.client()
    found = packets(await client.ask("SELECT three"))
    assert [payload[0] for payload in found[:-1]] == [1, 3, 1, 1]
    assert found[-1][:3] == b"\xff\x50\x04"
    assert b"The rule r allows 2 rows" in found[-1]
    assert await client.where()
    assert counters(bench) == {"matched": 2, "capped": 1}


def asked(bench: Bench, text: str) -> int:
    return sum(server.texts.count(text) for server in bench.fleet.servers.values())


@virtual
async def test_an_answer_is_kept_for_its_time_and_for_those_who_would_get_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sqlproxy.session.ruling.time", LoopTime)
    monkeypatch.setattr("sqlproxy.session.answers.time", LoopTime)
    bench = governed(monkeypatch, {"name": "r", "cache": "10s"})
    first, second, other = bench.client(), bench.client(), bench.client(b"other")
    text = "SELECT a FROM t"
    answers = [await client.ask(text) for client in (first, second, first)]
    assert len(set(answers)) == 1
    assert asked(bench, text) == 1
    await other.ask(text)  # another user
    await second.ask("SET sql_mode = ''")
    await second.ask(text)  # other settings
    await second.ask("USE d")
    await second.ask(text)  # another database
    assert asked(bench, text) == 4
    await settle(11)
    await first.ask(text)
    assert asked(bench, text) == 5
    assert counters(bench)["cached"] == 2


class LoopTime:
    """The virtual clock in place of ``time``."""

    @staticmethod
    def monotonic() -> float:
        import asyncio

        return asyncio.get_running_loop().time()


@virtual
async def test_no_answer_is_taken_or_kept_in_a_transaction_or_after_a_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlproxy.session.ruling.time", LoopTime)
    monkeypatch.setattr("sqlproxy.session.answers.time", LoopTime)
    bench = governed(monkeypatch, {"name": "r", "cache": "10s"})
    text = "SELECT a FROM t"
    client, reader = bench.client(), bench.client()
    await client.ask("BEGIN")
    await client.ask(text)
    await client.ask(text)
    await client.ask("COMMIT")
    await reader.ask(text)
    assert asked(bench, text) == 3
    await client.ask("INSERT INTO t VALUES (1)")
    await client.ask(text)
    assert asked(bench, text) == 4
    await settle(19)
    await reader.ask(text)
    await client.ask(text)  # twice the time is not over yet
    assert asked(bench, text) == 6
    await settle(2)
    await client.ask(text)
    assert asked(bench, text) == 6


@virtual
async def test_an_error_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "cache": "10s"})
    for server in bench.fleet.servers.values():
        server.script = lambda connection, payload: err(1146, "no table") if b"nothing" in payload else None
    client = bench.client()
    assert [error_in(await client.ask("SELECT nothing"))[0] for _ in range(2)] == [1146, 1146]
    assert asked(bench, "SELECT nothing") == 2


@pytest.mark.parametrize(
    ("text", "volatile"),
    [
        ("SELECT a FROM t", False),
        ("SELECT now FROM t", True),
        ("SELECT NOW()", True),
        ("SELECT @@hostname", True),
        ("SELECT 'now()'", False),
        ("SELECT rand() FROM t", True),
        ("SELECT 1 FROM information_schema.tables", True),
    ],
)
def test_what_differs_each_time_is_not_kept(text: str, volatile: bool) -> None:
    assert is_volatile(b"\x03" + text.encode(), 0) is volatile


def test_the_cache_is_bounded_and_the_least_used_go_first() -> None:
    cache = Answers(16_000)
    for number in range(30):
        cache.store((b"%d" % number,), bytes(1000), float("inf"))
        cache.find((b"0",))
    assert cache.size <= 16_000
    assert cache.find((b"0",)) is not None
    assert cache.find((b"1",)) is None
    assert cache.find((b"29",)) is not None
    cache.store((b"long",), bytes(3000), float("inf"))
    assert cache.find((b"long",)) is None


@virtual
async def test_a_read_is_copied_to_a_mirror_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "mirror": "n3"}, causal_reads="none")
    monkeypatch.setattr("sqlproxy.session.mirror.connect", bench.fleet.connect)
    bench.publish(n3=Role.REPLICA)
    client = bench.client(database=b"d")
    await client.ask("SELECT a FROM t")
    await settle(0.1)
    assert asked(bench, "SELECT a FROM t") == 2
    await client.ask("INSERT INTO t VALUES (1)")
    await client.ask("BEGIN")
    await client.ask("SELECT b FROM t")
    await client.ask("COMMIT")
    await settle(0.1)
    assert (asked(bench, "INSERT INTO t VALUES (1)"), asked(bench, "SELECT b FROM t")) == (1, 1)
    assert counters(bench)["mirrored"] == 1
    client.hang_up()
    await settle(0.1)
    assert bench.open_connections() == 0


@virtual
async def test_a_mirror_that_is_down_costs_nobody_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "mirror": "n3"})
    monkeypatch.setattr("sqlproxy.session.mirror.connect", bench.fleet.connect)
    bench.fleet["n3"].kill()
    client = bench.client()
    for _ in range(50):
        await client.ask("SELECT a FROM t")
    await settle(3)
    assert counters(bench)["unmirrored"] >= 1
    bench.publish(n3=Role.DOWN)
    assert await client.where() == "n2"


WRITES = ["INSERT INTO t VALUES (1)", "CREATE TABLE t (a INT)", "CALL p()", "SELECT f()", "garbage", "SET GLOBAL a = 1"]


@virtual
async def test_a_read_only_service_refuses_what_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, read_only=True)
    client = bench.client()
    for text in WRITES:
        code, message = error_in(await client.ask(text))
        assert (code, message) == (
            1290,
            "The service app is running with read_only = true so it cannot execute this statement",
        )
    assert await client.where() in ("n2", "n3")
    for text in ("BEGIN", "SELECT 1", "COMMIT", "SET sql_mode = ''", "USE d"):
        assert packets(await client.ask(text))[0][0] != 0xFF
    assert error_in(await client.run(prepare("INSERT INTO t VALUES (1)")))[0] == 1290
    assert error_in(await client.run(command(c.COM_CREATE_DB, b"d")))[0] == 1290
    assert bench.fleet.committed == []


@virtual
async def test_read_only_comes_and_goes_for_sessions_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client = bench.client()
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (2)")
    bench.service.govern(None, True, None)
    assert error_in(await client.ask("INSERT INTO t VALUES (3)"))[0] == 1290
    assert is_ok(await client.ask("COMMIT"))
    bench.service.govern(None, False, None)
    assert is_ok(await client.ask("INSERT INTO t VALUES (4)"))
    assert bench.fleet.committed == [1, 2, 4]


@virtual
async def test_another_user_has_other_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = governed(monkeypatch, {"name": "r", "user": "report", "reject": "no"})
    client: FakeClient = bench.client()
    session = client.session
    login = session.login
    session.adopt(
        type(login)(**{**_fields(login), "credentials": bench.client(b"report").session.login.credentials}), False
    )
    assert error_in(await client.ask("SELECT 1"))[0] == 1148


def _fields(login: Any) -> dict[str, Any]:
    return {name: getattr(login, name) for name in type(login).__dataclass_fields__}

"""What an allow list does to statements of real sessions in front of scripted servers."""

from __future__ import annotations

import logging

import pytest

from sqlproxy.config import RuleConfig
from sqlproxy.config_rules import AllowListConfig
from sqlproxy.routing.allow_list import AllowList, Entry
from sqlproxy.routing.rules import RuleBook
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, command, error_in, is_ok, packets, query, settle
from tests.support.virtualtime import virtual


def guarded(monkeypatch: pytest.MonkeyPatch, mode: str, *texts: str, rules: RuleBook | None = None) -> Bench:
    bench = Bench(monkeypatch)
    entries: list[Entry] = [(text.encode(), b"app") for text in texts]
    config = AllowListConfig.model_validate({"mode": mode, "file": "f"})
    bench.service.govern(rules, False, None, AllowList("app", config, entries))
    return bench


def prepare(text: str) -> bytes:
    return command(c.COM_STMT_PREPARE, text.encode())


def execute(number: int) -> bytes:
    return command(c.COM_STMT_EXECUTE, number.to_bytes(4, "little") + b"\x00\x01\x00\x00\x00")


def is_error(reply: bytes) -> bool:
    return packets(reply)[0][0] == c.ERR


def reached(bench: Bench, word: str) -> bool:
    return any(word in text for server in bench.fleet.servers.values() for text in server.texts)


@virtual
async def test_what_is_not_on_the_list_reaches_no_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = guarded(monkeypatch, "enforce", "INSERT INTO t VALUES (...)")
    client = bench.client()
    refused = (
        1148,
        "This statement, 2f3ac66b69d54734, is not on the allow list of the service app for the user 'app'",
    )
    assert error_in(await client.ask("DROP TABLE t")) == refused
    assert error_in(await client.run(prepare("DROP TABLE t"))) == refused
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))
    assert not reached(bench, "DROP")
    assert (bench.service.stats.unlisted_refused, bench.service.stats.unlisted_passed) == (2, 0)
    allowed = bench.service.allow_list
    assert allowed is not None
    assert [(row.shape, row.count, row.refused) for row in allowed.unlisted()] == [(b"DROP TABLE t", 2, True)]
    told = [record.message for record in caplog.records if record.name == "sqlproxy.allow"]
    assert told == ["service app: not on the allow list, refused: 2f3ac66b69d54734 DROP TABLE t, user app"]


@virtual
async def test_what_is_on_the_list_takes_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = guarded(monkeypatch, "enforce", "SELECT ?")
    client = bench.client()
    await client.ask("SELECT 1")
    client.send(query("SELECT 2"))
    assert client.session._task is None
    await settle()


@virtual
async def test_what_is_not_understood_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = guarded(monkeypatch, "enforce")
    error = error_in(await bench.client().ask("SELECT 'open"))
    assert error == (1148, "This statement is not understood, so the allow list of the service app cannot have it")


@virtual
async def test_a_list_that_detects_counts_and_lets_pass(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bench = guarded(monkeypatch, "detect")
    client = bench.client()
    for number in (1, 2):
        assert is_ok(await client.ask(f"INSERT INTO t VALUES ({number})"))
    assert (bench.service.stats.unlisted_refused, bench.service.stats.unlisted_passed) == (0, 2)
    told = [record.message for record in caplog.records if record.name == "sqlproxy.allow"]
    assert len(told) == 1
    assert "not refused" in told[0]


@virtual
async def test_a_list_learns_from_statements_of_both_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = guarded(monkeypatch, "learn")
    client = bench.client()
    assert is_ok(await client.ask("INSERT INTO t VALUES (1), (2)"))
    await client.run(prepare("SELECT v FROM t"))
    allowed = bench.service.allow_list
    assert allowed is not None
    assert {shape for shape, _ in allowed.take_learned()} == {b"INSERT INTO t VALUES (...)", b"SELECT v FROM t"}
    assert bench.service.stats.unlisted_passed == 0


@virtual
async def test_a_prepared_statement_ends_with_its_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = guarded(monkeypatch, "learn")
    client = bench.client()
    await client.run(prepare("SELECT v FROM t"))
    assert not is_error(await client.run(execute(1)))
    config = AllowListConfig(mode="enforce", file="f")
    bench.service.govern(None, False, None, AllowList("app", config, ()))
    error = error_in(await client.run(execute(1)))
    assert error is not None
    assert error[0] == 1148


@virtual
async def test_commands_without_a_statement_stand_on_it_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = guarded(monkeypatch, "enforce")
    error = error_in(await bench.client().run(command(c.COM_DROP_DB, b"app")))
    assert error is not None
    assert error[0] == 1148
    assert not any(payload[:1] == bytes((c.COM_DROP_DB,)) for s in bench.fleet.servers.values() for payload in s.log)


@virtual
async def test_what_the_client_wrote_is_looked_at_not_what_a_rule_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = RuleConfig(name="r", pattern="old", match="statement", rewrite="t")
    bench = guarded(monkeypatch, "enforce", "INSERT INTO old VALUES (...)", rules=RuleBook([rule]))
    client = bench.client()
    assert is_ok(await client.ask("INSERT INTO old VALUES (1)"))
    assert reached(bench, "INSERT INTO t VALUES (1)")
    assert error_in(await client.ask("INSERT INTO t VALUES (1)")) is not None


@virtual
async def test_the_proxys_own_statements_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench = guarded(monkeypatch, "enforce", "SET a = ?", "SELECT v FROM t", "INSERT INTO t VALUES (...)")
    client = bench.client()
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))
    assert not is_error(await client.ask("SELECT v FROM t"))  # read elsewhere, after the write
    assert bench.service.stats.unlisted_refused == 0

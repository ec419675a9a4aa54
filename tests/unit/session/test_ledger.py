"""What a session counts of its statements: digests, durations, slow ones, errors by whose fault they are."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlproxy.session.digests import Figures
from sqlproxy.session.statement_log import RATE, Limiter
from sqlproxy.topology.model import Role
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, command, err, error_in, ok, query, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]


def figures(b: Bench) -> dict[tuple[str, str], Figures]:
    return {(row.statement, row.server): row for row in b.service.ledger.digests.figures("app")}


@virtual
async def test_statements_are_counted_by_shape_and_server(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    where = await client.where("SELECT 1")
    await client.ask("SELECT 22")
    await client.ask("INSERT INTO t VALUES (1)")
    found = figures(b)
    read, write = found["SELECT ?", where], found["INSERT INTO t VALUES (...)", "n1"]
    assert (read.times.count, read.rows, read.user, read.errors) == (2, 2, "app", 0)
    assert read.size > 0
    assert (write.times.count, write.server) == (1, "n1")
    stats = b.service.server_stats
    assert stats[where].read_times.count == 2
    assert stats["n1"].write_times.count == 1


@virtual
async def test_affected_rows_count_as_rows(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: ok(affected=300)
    await client.ask("UPDATE t SET a = 1")
    assert figures(b)["UPDATE t SET a = ?", "n1"].rows == 300


@virtual
async def test_an_execution_counts_under_the_text_that_was_prepared(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.run(command(c.COM_STMT_PREPARE, b"INSERT INTO t VALUES (5)"))
    for _ in range(2):
        await client.run(command(c.COM_STMT_EXECUTE, b"\x01\x00\x00\x00\x00\x01\x00\x00\x00"))
    assert {key: row.times.count for key, row in figures(b).items()} == {("INSERT INTO t VALUES (...)", "n1"): 2}


@virtual
async def test_what_is_no_statement_is_not_counted(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.run(command(c.COM_PING))
    await client.run(command(c.COM_INIT_DB, b"app"))
    assert not figures(b)


@virtual
async def test_an_error_of_the_server_is_counted_and_logged_without_its_words(
    bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    b = bench(error_log=True)
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: err(1062, "Duplicate entry 'hunter2'", "23000")
    with caplog.at_level(logging.INFO, "sqlproxy.errors"):
        await client.ask("INSERT INTO t VALUES ('hunter2')")
    assert figures(b)["INSERT INTO t VALUES (...)", "n1"].errors == 1
    [record] = [r for r in caplog.records if r.name == "sqlproxy.errors"]
    assert "error 1062" in record.getMessage()
    assert "hunter2" not in record.getMessage()
    assert vars(record)["fault"] == "server"


@virtual
async def test_an_error_of_the_proxy_is_counted_by_whose_fault_it_is(bench: MakeBench) -> None:
    b = bench(failover_timeout="1s")
    client = b.client()
    b.publish(n1=Role.DOWN, n2=Role.DOWN, n3=Role.DOWN)
    client.send(query("INSERT INTO t VALUES (1)"))
    await settle(2)
    assert error_in(client.take())[0] == 1429
    stats = b.service.stats
    assert (stats.faults_server, stats.faults_client, stats.faults_proxy) == (1, 0, 0)
    row = figures(b)["INSERT INTO t VALUES (...)", ""]
    assert (row.times.count, row.errors) == (1, 1)


@virtual
async def test_a_statement_that_is_not_understood_is_marked(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("FROBNICATE 1")
    assert not figures(b)["FROBNICATE ?", "n1"].known


@virtual
async def test_slow_statements_are_logged_by_digest(bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    b = bench(slow_after=1e-9)
    with caplog.at_level(logging.WARNING, "sqlproxy.slow"):
        await b.client().ask("INSERT INTO t VALUES (77)")
    [record] = [r for r in caplog.records if r.name == "sqlproxy.slow"]
    assert "INSERT INTO t VALUES (...)" in record.getMessage()
    assert "77" not in record.getMessage()


@virtual
async def test_slow_statements_go_to_a_file_with_their_text_when_asked(bench: MakeBench, tmp_path: Path) -> None:
    path = tmp_path / "slow.log"
    b = bench(slow_after=1e-9, slow_log=str(path), slow_log_text=True)
    client = b.client()
    await client.ask("INSERT INTO t VALUES (77)")
    path.rename(tmp_path / "slow.log.1")
    await client.ask("INSERT INTO t VALUES (78)")
    line = json.loads((tmp_path / "slow.log.1").read_text())
    assert line["text"] == "INSERT INTO t VALUES (77)"
    assert (line["statement"], line["server"], line["user"]) == ("INSERT INTO t VALUES (...)", "n1", "app")
    assert line["seconds"] >= 0
    assert json.loads(path.read_text())["text"] == "INSERT INTO t VALUES (78)"


@virtual
async def test_a_slow_log_that_cannot_be_written_is_complained_of_once(
    bench: MakeBench, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    b = bench(slow_after=1e-9, slow_log=str(tmp_path / "none" / "slow.log"))
    client = b.client()
    for _ in range(3):
        await client.ask("SELECT 1")
    assert len([r for r in caplog.records if "slow_log cannot be written" in r.getMessage()]) == 1


def test_only_so_many_a_second_are_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    limiter = Limiter(RATE)
    taken = [limiter.take() for _ in range(RATE + 5)]
    assert taken == [0] * RATE + [-1] * 5
    now = 101.0
    assert limiter.take() == 5
    assert limiter.take() == 0

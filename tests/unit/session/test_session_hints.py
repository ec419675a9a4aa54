"""Hints in whole sessions: blocks over several statements, prepared statements, and what is ignored."""

from __future__ import annotations

from collections.abc import Callable

from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, command, is_ok, packets
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]


@virtual
async def test_a_hint_decides_for_its_statement_only(bench: MakeBench) -> None:
    client = bench().client()
    assert await client.where("SELECT 1 /* sqlproxy: primary */") == "n1"
    assert await client.where("SELECT 1") in ("n2", "n3")
    assert await client.where("SELECT 1 -- maxscale route to server n3") == "n3"


@virtual
async def test_a_block_holds_for_the_statements_after_it(bench: MakeBench) -> None:
    client = bench().client()
    assert await client.where("SELECT 1 -- maxscale begin route to master") == "n1"
    assert await client.where() == "n1"
    assert await client.where("SELECT 1 /* maxscale end */") != "n1"
    assert await client.where() != "n1"


@virtual
async def test_a_reset_ends_all_blocks(bench: MakeBench) -> None:
    client = bench().client()
    await client.ask("SELECT 1 -- maxscale begin route to master")
    assert is_ok(await client.run(command(c.COM_RESET_CONNECTION)))
    assert await client.where() != "n1"


@virtual
async def test_a_prepared_statement_keeps_its_hint(bench: MakeBench) -> None:
    client = bench().client()
    text = b"select 1 -- maxscale route to master"
    number = packets(await client.run(command(c.COM_STMT_PREPARE, text)))[0][1:5]
    for _ in range(2):
        reply = await client.run(command(c.COM_STMT_EXECUTE, number + b"\0\1\0\0\0"))
        assert packets(reply)[2][1:] == b"n1"


@virtual
async def test_a_hint_never_takes_a_write_to_a_replica_and_is_counted_once(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    assert is_ok(await client.ask("INSERT INTO t VALUES (1) -- maxscale route to server n2"))
    assert b.fleet.committed == [1]
    assert b.fleet["n2"].texts == []
    assert b.service.stats.hints_ignored == 1


@virtual
async def test_a_hinted_read_moves_on_when_its_server_is_lost(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    assert await client.where("SELECT 1 -- maxscale begin route to server n2") == "n2"
    b.fleet["n2"].kill()
    assert await client.where() in ("n1", "n3")


@virtual
async def test_a_whole_connection_service_follows_no_hint(bench: MakeBench) -> None:
    client = bench(router="readconn", role="replica").client()
    assert await client.where("SELECT 1 -- maxscale route to master") != "n1"


@virtual
async def test_a_statement_is_explained_instead_of_run(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("BEGIN")
    texts = packets(await client.ask("/* sqlproxy: explain */ DELETE FROM t"))
    assert b.fleet["n1"].texts == ["BEGIN"]
    assert texts[0] == b"\x02"
    assert b"\x06target\x02n1" in texts
    assert any(packet.endswith(b"the open transaction is there") for packet in texts)
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))

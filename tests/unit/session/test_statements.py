"""COM_STMT_*: one id for the client, statements prepared where they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sqlproxy.session.statements import executable_mask
from sqlproxy.sql.bits import SESSION, WRITE
from sqlproxy.sql.classify import classify
from sqlproxy.topology.model import Role
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, Connection, FakeClient, command, err, error_in, is_ok, packets, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]


def number(value: int) -> bytes:
    return value.to_bytes(4, "little")


def execution(statement: int) -> bytes:
    return command(c.COM_STMT_EXECUTE, number(statement) + b"\x00" + number(1))


async def prepare(client: FakeClient, text: str) -> int:
    reply = packets(await client.run(command(c.COM_STMT_PREPARE, text.encode())))[0]
    assert reply[0] == c.OK
    return int.from_bytes(reply[1:5], "little")


@virtual
async def test_clients_see_ids_of_the_sessions_own(bench: MakeBench) -> None:
    client = bench().client()
    assert await prepare(client, "SELECT 1") == 1
    assert await prepare(client, "INSERT INTO t VALUES (1)") == 2


@virtual
async def test_statements_are_prepared_where_they_run(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    write = await prepare(client, "INSERT INTO t VALUES (7)")
    assert is_ok(await client.run(execution(write)))
    assert b.fleet.committed == [7]
    assert b.fleet["n2"].log == []


@virtual
async def test_a_statement_is_prepared_again_on_the_next_server(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    read = await prepare(client, "SELECT a FROM t")
    assert b.fleet["n2"].log == [b"\x16SELECT a FROM t"]
    b.publish(n2=Role.DOWN)
    assert packets(await client.run(execution(read)))[2][1:] == b"n1"
    assert packets(await client.run(execution(read)))[2][1:] == b"n1"
    assert b.fleet["n1"].log.count(b"\x16SELECT a FROM t") == 1


@virtual
@pytest.mark.parametrize("size", [0, 3, 4, 9, 10])
async def test_an_execution_cut_short_is_answered_and_the_session_goes_on(bench: MakeBench, size: int) -> None:
    client = bench("n1").client()
    read = await prepare(client, "SELECT ? FROM t")
    whole = number(read) + b"\0\1\0\0\0\0\1\x03\0\5\0\0\0"
    await client.run(command(c.COM_STMT_EXECUTE, whole))
    code, text = error_in(await client.run(command(c.COM_STMT_EXECUTE, whole[:size])))
    assert code == 1835
    assert "malformed packet" in text
    assert packets(await client.run(command(c.COM_STMT_EXECUTE, whole)))[2][1:] == b"n1"


@virtual
async def test_it_is_prepared_again_in_the_database_it_was_prepared_in(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client(database=b"shop")
    read = await prepare(client, "SELECT a FROM t")
    await client.run(command(c.COM_INIT_DB, b"other"))
    b.publish(n2=Role.DOWN)
    await client.run(execution(read))
    names = [payload for payload in b.fleet["n1"].log if payload[0] in (c.COM_INIT_DB, c.COM_STMT_PREPARE)]
    assert names[-3:] == [b"\x02shop", b"\x16SELECT a FROM t", b"\x02other"]
    assert b.fleet["n1"].live[0].database == b"other"


@virtual
async def test_a_server_lost_under_the_preparation_is_replaced(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    read = await prepare(client, "SELECT a FROM t")
    first = next(name for name in ("n2", "n3") if b.fleet[name].log)
    other = "n3" if first == "n2" else "n2"
    b.fleet[first].kill()

    def die(connection: Connection, payload: bytes) -> bytes:
        asyncio.get_running_loop().call_soon(connection.server.kill)
        return b""

    b.fleet[other].script = die
    assert packets(await client.run(execution(read)))[2][1:] == b"n1"


@virtual
async def test_a_server_lost_under_a_first_preparation_is_replaced(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()

    def die(connection: Connection, payload: bytes) -> bytes:
        asyncio.get_running_loop().call_soon(connection.server.kill)
        return b""

    b.fleet["n2"].script = die
    assert await prepare(client, "SELECT a FROM t") == 1


@virtual
async def test_a_text_that_cannot_be_prepared_is_the_clients_to_read(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    answer = err(1064, "You have an error in your SQL syntax", "42000")
    b.fleet["n1"].script = lambda connection, payload: answer
    assert error_in(await client.run(command(c.COM_STMT_PREPARE, b"no such thing")))[0] == 1064
    assert not client.session.busy


@virtual
async def test_the_statement_prepared_last_is_none_after_a_failure(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    await prepare(client, "INSERT INTO t VALUES (1)")
    assert is_ok(await client.run(execution(0xFFFFFFFF)))
    b.fleet["n1"].script = lambda connection, payload: (
        err(1064, "You have an error in your SQL syntax") if payload[0] == c.COM_STMT_PREPARE else None
    )
    client.send(command(c.COM_STMT_PREPARE, b"INSERT INTO") + execution(0xFFFFFFFF))
    await settle()
    assert [payload[0] for payload in packets(client.take())] == [c.ERR, c.ERR]
    assert b.fleet.committed == [1]


@pytest.mark.parametrize("code", [c.COM_STMT_EXECUTE, c.COM_STMT_FETCH, c.COM_STMT_RESET])
@virtual
async def test_an_unknown_id_is_refused(bench: MakeBench, code: int) -> None:
    client = bench().client()
    number_, text = error_in(await client.run(command(code, number(9) + b"\x00" + number(1))))
    assert number_ == 1243
    assert "Unknown prepared statement handler (9)" in text


@virtual
async def test_a_closed_statement_is_gone_everywhere(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    read = await prepare(client, "SELECT a FROM t")
    assert await client.run(command(c.COM_STMT_CLOSE, number(read))) == b""
    assert b.fleet["n2"].live[0].statements == {}
    assert error_in(await client.run(execution(read)))[0] == 1243


@virtual
async def test_long_data_is_sent_along_with_the_execution(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    write = await prepare(client, "INSERT INTO t VALUES (1)")
    data = command(c.COM_STMT_SEND_LONG_DATA, number(write) + b"\x00\x00" + b"abc")
    assert await client.run(data + data) == b""
    assert is_ok(await client.run(execution(write)))
    assert [payload[0] for payload in b.fleet["n1"].log[-3:]] == [0x18, 0x18, 0x17]
    assert is_ok(await client.run(execution(write)))
    assert [payload[0] for payload in b.fleet["n1"].log[-2:]] == [0x17, 0x17]


@virtual
async def test_a_reset_without_a_cursor_is_answered_here(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    write = await prepare(client, "INSERT INTO t VALUES (1)")
    await client.run(command(c.COM_STMT_SEND_LONG_DATA, number(write) + b"\x00\x00" + b"abc"))
    assert is_ok(await client.run(command(c.COM_STMT_RESET, number(write))))
    assert client.session.state.statements[write].long_data == []


@virtual
async def test_reading_on_from_a_cursor_does_not_end_the_transaction_elsewhere(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    read = await prepare(client, "SELECT a FROM t")
    client.session.state.statements[read].cursor = "n2"
    await client.ask("BEGIN")
    b.fleet["n2"].script = lambda connection, payload: (
        b"\x05\x00\x00\x01\xfe\x00\x00\x02\x00" if payload[0] == c.COM_STMT_FETCH else None
    )
    assert packets(await client.run(command(c.COM_STMT_FETCH, number(read) + number(1))))[0][0] == c.EOF
    assert client.session.state.context.transaction == "n1"


@virtual
async def test_an_execution_with_no_answer_runs_again_when_it_reads(bench: MakeBench) -> None:
    b = bench("n1", "n2")
    client = b.client()
    read = await prepare(client, "SELECT a FROM t")
    b.fleet["n2"].script = lambda connection, payload: b""
    client.send(execution(read))
    await settle()
    b.fleet["n2"].kill()
    await settle()
    assert packets(client.take())[2][1:] == b"n1"


@virtual
async def test_an_execution_with_no_answer_is_of_unknown_outcome_when_it_writes(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    write = await prepare(client, "INSERT INTO t VALUES (1)")
    b.fleet["n1"].script = lambda connection, payload: b""
    client.send(execution(write))
    await settle()
    b.fleet["n1"].lose()
    await settle()
    assert "unknown" in error_in(client.take())[1]


def test_a_prepared_set_runs_on_the_primary_and_pins() -> None:
    mask = executable_mask(classify(b"SET @a = 1"))
    assert mask & WRITE
    assert not mask & SESSION
    assert executable_mask(classify(b"SELECT 1")) == classify(b"SELECT 1")


@virtual
async def test_long_data_of_a_session_is_bounded_over_all_its_statements(bench: MakeBench) -> None:
    b = bench(max_allowed_packet=1000)
    client = b.client()
    numbers = []
    for _ in range(3):
        reply = await client.run(command(c.COM_STMT_PREPARE, b"UPDATE t SET v = ?"))
        numbers.append(packets(reply)[0][1:5])
    for number in numbers:
        client.send(command(c.COM_STMT_SEND_LONG_DATA, number + b"\0\0" + b"x" * 450))
    await settle()
    statements = client.session.state.statements.values()
    assert [len(statement.long_data) for statement in statements] == [1, 1, 0]
    execute = b"\0\1\0\0\0\0\1\xfc\0"
    assert error_in(await client.run(command(c.COM_STMT_EXECUTE, numbers[2] + execute)))[0] == 1153
    for number in numbers[:2]:
        await client.run(command(c.COM_STMT_EXECUTE, number + execute))
    assert not any(statement.long_data_size for statement in statements)
    client.send(command(c.COM_STMT_SEND_LONG_DATA, numbers[2] + b"\0\0" + b"x" * 900))
    await settle()
    assert [len(statement.long_data) for statement in statements] == [0, 0, 1]

"""The client's side of a session: cutting its bytes into commands, holding it back, ending it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from tests.support.fakes import Bench, command, err, error_in, is_ok, ok, packets, query, rows, settle
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]


@pytest.mark.parametrize("cut", [1, 2, 7])
@virtual
async def test_commands_may_come_in_any_pieces(bench: MakeBench, cut: int) -> None:
    b = bench()
    client = b.client()
    stream = query("INSERT INTO t VALUES (1)") + query("INSERT INTO t VALUES (2)") + command(c.COM_PING)
    for start in range(0, len(stream), cut):
        client.send(stream[start : start + cut])
    await settle()
    assert [payload[0] for payload in packets(client.take())] == [c.OK] * 3
    assert b.fleet.committed == [1, 2]


@virtual
async def test_ten_thousand_commands_without_an_answer_in_one_chunk(bench: MakeBench) -> None:
    client = bench().client()
    client.send(command(c.COM_STMT_CLOSE, b"\x01\x00\x00\x00") * 10_000 + query("INSERT INTO t VALUES (1)"))
    await settle()
    assert is_ok(client.take())


@virtual
async def test_a_thousand_failing_commands_in_one_chunk(bench: MakeBench) -> None:
    client = bench().client()
    client.send(command(0x63) * 1000)
    await settle()
    assert len(packets(client.take())) == 1000


@virtual
async def test_a_client_far_ahead_is_not_read_and_what_is_held_stays_bounded(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    await client.ask("SELECT 1")
    b.fleet["n1"].script = lambda connection, payload: b""
    client.send(query("SELECT 0"))
    batch = query("SELECT 1") * 6000
    while client.transport.reading:
        client.send(batch)
    held = len(client.client._backlog) + client.client._reader.buffered
    assert held < 3 * len(batch)
    transport = b.fleet["n1"].live[0].transport
    for _ in range(50):
        transport.protocol.data_received(rows(b"a"))
        if client.transport.reading:
            client.send(batch)
    assert len(client.client._backlog) + client.client._reader.buffered <= held + len(batch)


@virtual
async def test_a_client_far_ahead_is_read_again_when_all_is_done(bench: MakeBench) -> None:
    b = bench("n1")
    client = b.client()
    await client.ask("SELECT 1")
    client.send(query("SELECT 1") + query("SELECT 1") * 6000)
    client.send(query("SELECT 1") * 6000)
    assert not client.transport.reading
    await settle()
    assert client.transport.reading
    assert client.session.statements == 12002


@virtual
async def test_a_client_that_does_not_read_gets_no_answers_of_ours_either(bench: MakeBench) -> None:
    client = bench().client()
    client.client.pause_writing()
    client.send(command(0x63) * 10)
    await settle()
    assert client.take() == b""
    client.client.resume_writing()
    await settle()
    assert len(packets(client.take())) == 10


@pytest.mark.parametrize(
    ("chunk", "code"),
    [
        (b"\x01\x00\x00\x05\x0e", 1156),
        (b"\x00\x00\x00\x00", 1835),
        (codec.packet(0, b"\x03" + bytes(2048)), 1153),
    ],
)
@virtual
async def test_bytes_that_are_no_commands_end_the_connection_with_an_error(
    bench: MakeBench, chunk: bytes, code: int
) -> None:
    b = bench(max_allowed_packet=1024)
    client = b.client()
    client.send(chunk)
    await settle()
    assert error_in(client.take())[0] == code
    assert client.transport.closing
    assert b.service.stats.client_errors == 1
    assert not b.registry.sessions


@virtual
async def test_an_error_in_the_middle_of_pipelined_commands_comes_after_the_answers_before_it(bench: MakeBench) -> None:
    client = bench().client()
    client.send(query("INSERT INTO t VALUES (1)") + b"\x01\x00\x00\x05\x0e")
    await settle()
    assert [payload[0] for payload in packets(client.take())] == [c.OK, c.ERR]
    assert client.transport.closing


@virtual
async def test_answers_of_our_own_carry_on_the_commands_sequence(bench: MakeBench) -> None:
    client = bench().client()
    client.client.send_ok(command(c.COM_PING), 2)
    assert client.take() == ok()
    client.client.send_ok(codec.packet(0, b"\x03" + bytes(c.MAX_PAYLOAD - 1)), 2)
    assert client.take() == ok(seq=2)


@virtual
async def test_reading_goes_on_only_when_all_agree(bench: MakeBench) -> None:
    client = bench().client()
    client.client.pause_reading("server")
    client.client.pause_reading("backlog")
    client.client.resume_reading("server")
    assert not client.transport.reading
    client.client.resume_reading("backlog")
    assert client.transport.reading


@virtual
async def test_a_refused_read_leaves_the_next_command_alone(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: (
        err(1064, "You have an error in your SQL syntax") if b"FROM" in payload else None
    )
    client.send(query("DELETE FROM") + query("INSERT INTO t VALUES (1)"))
    await settle()
    assert [payload[0] for payload in packets(client.take())] == [c.ERR, c.OK]

"""Connections to servers over a fake transport: replies, collected calls, unsolicited bytes, ends and counters."""

from __future__ import annotations

import asyncio

import pytest

from sqlproxy.errors import ServerError, ServerLost
from sqlproxy.session.backend import Backend
from sqlproxy.session.backend import Owner as BackendOwner
from sqlproxy.session.prepared import BackendStatement
from sqlproxy.session.stats import ServerStats
from sqlproxy.wire.response import PREPARE, QUERY, SINGLE
from tests.support.fakes import FakeTransport, err, ok, packets, prepared, query, rows, settle
from tests.support.virtualtime import virtual


class Owner(BackendOwner):
    """Notes what a session would be told."""

    def __init__(self) -> None:
        self.replies: list[tuple[bytes, bool]] = []
        self.losses: list[str] = []
        self.full: list[bool] = []

    def on_reply(self, backend: Backend, chunk: bytes, done: bool) -> None:
        self.replies.append((chunk, done))

    def on_lost(self, backend: Backend, reason: str) -> None:
        self.losses.append(reason)

    def on_backend_full(self) -> None:
        self.full.append(True)

    def on_backend_drained(self) -> None:
        self.full.append(False)


class Rig:
    """A logged-in backend, its counters, its owner and the wire."""

    def __init__(self) -> None:
        self.stats = ServerStats()
        self.backend = Backend("n1", self.stats, True)
        self.transport = FakeTransport(self.backend)
        self.backend.connection_made(self.transport)
        self.backend.logged_in()
        self.owner = Owner()
        self.backend.owner = self.owner

    def balanced(self) -> bool:
        return self.stats.operations == 0 and self.stats.connections == (0 if self.backend.closed else 1)


@virtual
async def test_a_reply_goes_to_the_owner_as_it_comes() -> None:
    rig = Rig()
    rig.backend.send(query("SELECT 1"), QUERY)
    assert bytes(rig.transport.written) == query("SELECT 1")
    assert rig.stats.operations == 1
    rig.backend.data_received(rows(b"a"))
    assert rig.owner.replies == [(rows(b"a"), True)]
    assert rig.balanced()


@virtual
async def test_a_reply_byte_by_byte_is_the_same_reply() -> None:
    rig = Rig()
    rig.backend.send(query("SELECT 1"), QUERY)
    reply = rows(b"a", b"b")
    for byte in reply:
        rig.backend.data_received(bytes((byte,)))
    assert b"".join(chunk for chunk, _ in rig.owner.replies) == reply
    assert [done for _, done in rig.owner.replies].count(True) == 1
    assert rig.owner.replies[-1][1]
    assert rig.balanced()


@virtual
async def test_an_error_is_counted() -> None:
    rig = Rig()
    rig.backend.send(query("SELECT 1"), QUERY)
    rig.backend.data_received(err(1146, "no such table"))
    assert rig.stats.errors == 1
    assert rig.backend.tracker.error == 1146
    assert rig.balanced()


@pytest.mark.parametrize("cut", [1, 5, 1000])
@virtual
async def test_a_call_collects_the_whole_reply(cut: int) -> None:
    rig = Rig()
    call = asyncio.ensure_future(rig.backend.call(b"\x16SELECT ?", PREPARE, 1.0))
    await settle()
    reply = prepared(7, 1, 1)
    for start in range(0, len(reply), cut):
        rig.backend.data_received(reply[start : start + cut])
    assert await call == reply
    assert rig.backend.tracker.statement_id == 7
    assert rig.owner.replies == []
    assert rig.balanced()


@pytest.mark.parametrize(
    "reply", [err(1064, "syntax error", "42000"), rows(b"a")[:-11] + err(1064, "syntax error", "42000", 4)]
)
@virtual
async def test_a_call_raises_the_error_a_reply_ends_in(reply: bytes) -> None:
    rig = Rig()
    call = asyncio.ensure_future(rig.backend.call(b"\x03SELECT 1", QUERY, 1.0))
    await settle()
    rig.backend.data_received(reply)
    with pytest.raises(ServerError, match="syntax error") as caught:
        await call
    assert (caught.value.code, caught.value.sqlstate) == (1064, "42000")
    assert rig.balanced()


@virtual
async def test_a_call_that_takes_too_long_gives_the_connection_up() -> None:
    rig = Rig()
    with pytest.raises(ServerLost, match="no answer within 3s"):
        await rig.backend.call(b"\x0e", SINGLE, 3.0)
    assert rig.transport.aborted
    assert rig.owner.losses == ["no answer within 3s"]
    assert rig.balanced()


@virtual
async def test_a_call_given_up_takes_its_connection_along() -> None:
    rig = Rig()
    call = asyncio.ensure_future(rig.backend.call(b"\x0e", SINGLE, 3.0))
    await settle()
    call.cancel()
    await settle()
    assert rig.backend.closed
    assert rig.balanced()


@virtual
async def test_a_call_ends_with_its_connection() -> None:
    rig = Rig()
    call = asyncio.ensure_future(rig.backend.call(b"\x0e", SINGLE, 3.0))
    await settle()
    rig.backend.connection_lost(ConnectionResetError("reset by peer"))
    with pytest.raises(ServerLost, match="connection lost: reset by peer"):
        await call
    with pytest.raises(ServerLost, match="reset by peer"):
        await rig.backend.call(b"\x0e", SINGLE, 3.0)
    assert rig.balanced()


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (err(1927, "Connection was killed", "70100", 0), "Connection was killed"),
        (ok(), "the server sent bytes that belong to no command"),
        (b"\xff", "the server sent bytes that belong to no command"),
    ],
)
@virtual
async def test_bytes_nobody_asked_for_end_the_connection(chunk: bytes, reason: str) -> None:
    rig = Rig()
    rig.backend.data_received(chunk)
    assert rig.owner.losses == [reason]
    assert rig.stats.losses == 1
    assert rig.balanced()


@virtual
async def test_bytes_after_a_reply_end_the_connection_after_it() -> None:
    rig = Rig()
    rig.backend.send(query("SELECT 1"), QUERY)
    rig.backend.data_received(ok() + err(1053, "Server shutdown in progress", seq=0))
    assert rig.owner.replies == [(ok(), True)]
    assert rig.owner.losses == ["Server shutdown in progress"]
    assert rig.balanced()


@virtual
async def test_bytes_that_are_no_reply_end_the_connection() -> None:
    rig = Rig()
    rig.backend.send(query("SELECT 1"), QUERY)
    rig.backend.data_received(b"\x01\x00\x00\x01\xfe\x00\x00\x00\x00")
    assert len(rig.owner.losses) == 1
    assert rig.balanced()


@pytest.mark.parametrize("fed", [0, 3, 5, 30])
@virtual
async def test_an_abort_at_any_point_of_a_reply_is_told_once(fed: int) -> None:
    rig = Rig()
    rig.backend.send(query("SELECT 1"), QUERY)
    rig.backend.data_received(rows(b"a")[:fed])
    rig.backend.abort("n1 is down")
    rig.backend.abort("again")
    await settle()
    rig.backend.data_received(b"late") if not rig.backend.closed else None
    assert rig.owner.losses == ["n1 is down"]
    assert rig.balanced()


@virtual
async def test_closing_says_goodbye_between_commands_and_not_within_one() -> None:
    idle, busy = Rig(), Rig()
    idle.backend.close()
    assert packets(bytes(idle.transport.written)) == [b"\x01"]
    busy.backend.send(query("SELECT 1"), QUERY)
    busy.backend.close()
    assert busy.transport.aborted
    await settle()
    assert idle.owner.losses == busy.owner.losses == []
    assert idle.balanced()
    assert busy.balanced()


@virtual
async def test_closing_twice_counts_once() -> None:
    rig = Rig()
    rig.backend.close()
    rig.backend.close()
    await settle()
    assert rig.balanced()


@virtual
async def test_logging_in_reads_packet_by_packet_however_they_are_cut() -> None:
    backend = Backend("n1", ServerStats(), True)
    backend.connection_made(FakeTransport(backend))
    stream = ok() + err(1045, "denied") + b"\x00\x00\x00\x03"
    for byte in stream:
        backend.data_received(bytes((byte,)))
    assert [await backend.read_packet() for _ in range(3)] == [*packets(stream)]
    backend.connection_lost(None)
    with pytest.raises(ServerLost, match="closed the connection during login"):
        await backend.read_packet()
    assert backend.stats.connections == 0


@virtual
async def test_a_statement_is_closed_only_where_it_is_known() -> None:
    rig = Rig()
    rig.backend.statements[1] = BackendStatement(77)
    rig.backend.close_statement(1)
    rig.backend.close_statement(1)
    assert packets(bytes(rig.transport.written)) == [b"\x19" + (77).to_bytes(4, "little")]
    assert rig.balanced()


@virtual
async def test_a_full_server_is_told_to_the_owner() -> None:
    rig = Rig()
    rig.backend.pause_writing()
    rig.backend.resume_writing()
    assert rig.owner.full == [True, False]
    rig.backend.pause_reading()
    assert not rig.transport.reading
    rig.backend.resume_reading()
    assert rig.transport.reading


@virtual
async def test_a_repeated_command_gives_the_checksum_of_its_reply() -> None:
    rig = Rig()
    digests = []
    for reply in (rows(b"a"), rows(b"a"), rows(b"b"), err(1146, "no such table")):
        repeat = asyncio.ensure_future(rig.backend.repeat(query("SELECT 1"), QUERY, 1.0, 2))
        await settle()
        rig.backend.data_received(reply)
        digests.append(await repeat)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    assert rig.balanced()


@virtual
async def test_a_connection_that_breaks_right_after_a_collected_reply_is_lost() -> None:
    rig = Rig()
    call = asyncio.ensure_future(rig.backend.call(b"\x0e", SINGLE, 3.0))
    await asyncio.sleep(0)
    rig.backend.data_received(ok())
    rig.backend.connection_lost(None)
    with pytest.raises(ServerLost, match="the server closed the connection"):
        await call
    assert rig.balanced()


@pytest.mark.parametrize("waiting", [0, 5])
@virtual
async def test_the_end_of_the_stream_is_known_at_once_and_what_was_not_sent_whole_is_unread(waiting: int) -> None:
    rig = Rig()
    rig.backend.send(query("SELECT 1"), QUERY)
    rig.transport.waiting = waiting
    rig.backend.eof_received()
    rig.transport.close()
    await settle()
    assert rig.owner.losses == ["the server closed the connection"]
    assert (rig.backend.closed, rig.backend.unread) == (True, waiting > 0)
    assert rig.balanced()


@pytest.mark.parametrize(("error", "unread"), [(BrokenPipeError("p"), True), (ConnectionResetError("r"), False)])
@virtual
async def test_what_the_system_did_not_take_is_unread(error: OSError, unread: bool) -> None:
    rig = Rig()
    rig.backend.send(query("SELECT 1"), QUERY)
    rig.backend.connection_lost(error)
    assert (rig.owner.losses, rig.backend.unread) == ([f"connection lost: {error}"], unread)


@virtual
async def test_a_connection_that_breaks_right_after_its_login_is_lost() -> None:
    backend = Backend("n1", ServerStats(), True)
    backend.connection_made(FakeTransport(backend))
    backend.connection_lost(None)
    with pytest.raises(ServerLost):
        backend.logged_in()
    assert backend.stats.connections == 0

"""What owns a plain socket, ring, lane or transport: the same to its protocol, whatever the peer does."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial, wraps
from typing import Any

import pytest

from sqlproxy.session import attach as module
from sqlproxy.session.attach import attach, receive
from sqlproxy.session.ports import Receiver
from sqlproxy.session.sockets import has_unconfirmed

SOCKETS = [kind for kind in ("ring", "lane", "transports") if module.best(kind)[0] == kind]
MiB = 1 << 20


def on(kinds: list[str]) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Any]:
    """Run a test on some of what serves sockets here."""
    return partial(_on, kinds)


def _on(kinds: list[str], test: Callable[..., Coroutine[Any, Any, None]]) -> Any:
    @pytest.mark.parametrize("kind", kinds)
    @wraps(test)
    def run(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "USED", kind)
        asyncio.run(asyncio.wait_for(test(), 30))

    del run.__wrapped__  # pytest would ask for the test's own arguments
    return run


everywhere = on(SOCKETS)
directly = on([kind for kind in SOCKETS if kind != "transports"])


class Notes(Receiver):
    """A protocol that notes what it is told, and wakes whoever waits for it."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.chunks = 0
        self.ended: list[Exception | None] = []
        self.full: list[bool] = []
        self.transport: Any = None
        self.on_chunk: Callable[[bytes], None] | None = None
        self.on_eof: Callable[[], None] | None = None
        self._changed = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, chunk: bytes) -> None:
        self.received += chunk
        self.chunks += 1
        self._changed.set()
        if self.on_chunk is not None:
            self.on_chunk(chunk)

    def eof_received(self) -> None:
        self._changed.set()
        if self.on_eof is not None:
            self.on_eof()

    def pause_writing(self) -> None:
        self.full.append(True)
        self._changed.set()

    def resume_writing(self) -> None:
        self.full.append(False)
        self._changed.set()

    def connection_lost(self, reason: Exception | None) -> None:
        self.ended.append(reason)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()


@contextlib.asynccontextmanager
async def pair(notes: Notes) -> AsyncIterator[socket.socket]:
    """The peer of an attached TCP socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        peer, _ = server.accept()
    with peer:
        ours.setblocking(False)
        peer.setblocking(False)
        await attach(ours, notes)  # type: ignore[arg-type]
        yield peer
        if not notes.ended:
            notes.transport.abort()
            await notes.until(lambda: bool(notes.ended))
    assert ours.fileno() == -1


async def read(peer: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        part = await asyncio.get_running_loop().sock_recv(peer, size - len(found))
        assert part
        found += part
    return bytes(found)


@everywhere
async def test_bytes_go_both_ways() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        notes.on_chunk = lambda chunk: notes.transport.write(chunk.upper())
        for text in (b"one", b"two" * 1000):
            peer.sendall(text)
            assert await read(peer, len(text)) == text.upper()
    assert notes.ended == [None]


@everywhere
async def test_a_socket_can_be_given_to_another_transport_and_loses_no_byte() -> None:
    notes = Notes()
    given: list[socket.socket] = []
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        peer.setblocking(False)
        stage = receive(ours, notes, 4)  # type: ignore[arg-type]
        notes.on_chunk = lambda chunk: given.append(stage.detach())
        notes.transport.write(b"hello")
        peer.send(b"abcdefgh")
        await notes.until(lambda: bool(given))
        assert (bytes(notes.received), given[0].recv(10)) == (b"abcd", b"efgh")
        assert await read(peer, 5) == b"hello"
        notes.transport.write(b"nobody's")
        notes.transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="closed"):
            stage.detach()
        assert given[0].fileno() == ours.fileno() != -1
        assert notes.ended == []


@everywhere
async def test_before_it_is_given_away_a_socket_ends_as_any_other() -> None:
    notes = Notes()
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        stage = receive(ours, notes, 0)  # type: ignore[arg-type]
        stage.receive_at_most(2)
        notes.transport.pause_reading()
        peer.send(b"abc")
        notes.transport.resume_reading()
        await notes.until(lambda: bytes(notes.received) == b"abc")
        assert notes.chunks == 2
        peer.close()
        await notes.until(lambda: bool(notes.ended))
    assert notes.ended == [None]


@everywhere
async def test_a_peer_that_does_not_read_is_noticed_and_gets_everything_in_the_end() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        notes.transport.set_write_buffer_limits(high=MiB)
        sent = b""
        while not notes.full:
            sent += (part := bytes([len(sent) // 100_000 % 251]) * 100_000)
            notes.transport.write(part)
        assert await read(peer, len(sent)) == sent
        await notes.until(lambda: notes.full == [True, False])
        notes.transport.write(b"after")
        assert await read(peer, 5) == b"after"


@everywhere
async def test_what_was_written_is_sent_before_a_close() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        data = bytes(range(256)) * 40_000
        notes.transport.write(data)
        notes.transport.close()
        assert notes.transport.is_closing()
        assert await read(peer, len(data)) == data
        assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
        await notes.until(lambda: bool(notes.ended))
    assert notes.ended == [None]


@everywhere
async def test_an_abort_drops_what_waits() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        notes.transport.write(bytes(20 * MiB))
        notes.transport.abort()
        await notes.until(lambda: bool(notes.ended))
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.get_running_loop().sock_recv(peer, MiB):
                pass
    assert notes.ended == [None]


@everywhere
async def test_nothing_is_received_while_paused() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        notes.on_chunk = lambda chunk: notes.transport.pause_reading()
        peer.sendall(b"a")
        await notes.until(lambda: notes.received == b"a")
        peer.sendall(b"b")
        for _ in range(20):
            await asyncio.sleep(0)
        assert notes.received == b"a"
        notes.transport.resume_reading()
        await notes.until(lambda: notes.received == b"ab")


@everywhere
async def test_a_peer_that_ends_while_not_read_costs_nothing_until_it_is() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        notes.transport.pause_reading()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        for _ in range(20):
            await asyncio.sleep(0)
        assert notes.ended == []
        notes.transport.resume_reading()
        await notes.until(lambda: bool(notes.ended))


@everywhere
async def test_an_end_of_the_stream_closes_after_the_last_bytes() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        peer.sendall(b"last")
        peer.shutdown(socket.SHUT_WR)
        await notes.until(lambda: bool(notes.ended))
    assert (notes.received, notes.ended) == (b"last", [None])


@everywhere
async def test_a_reset_is_an_error() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await notes.until(lambda: bool(notes.ended))
    assert isinstance(notes.ended[0], ConnectionResetError)


@everywhere
async def test_writing_to_a_peer_that_is_gone_ends_the_connection_once() -> None:
    notes = Notes()
    async with pair(notes) as peer:
        notes.transport.pause_reading()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        while not notes.ended:
            notes.transport.write(b"x" * 1000)
            await asyncio.sleep(0)
        notes.transport.write(b"late")
        notes.transport.close()
        notes.transport.abort()
    assert len(notes.ended) == 1


@everywhere
async def test_at_the_end_of_the_stream_it_is_known_whether_the_peer_has_read_everything() -> None:
    for last in (b"", b"not read"):
        notes, found = Notes(), list[bool]()
        notes.on_eof = partial(_note_unconfirmed, notes, found)
        async with pair(notes) as peer:
            notes.transport.write(b"read")
            assert await read(peer, 4) == b"read"
            notes.transport.pause_reading()
            peer.close()
            notes.transport.write(last)
            notes.transport.resume_reading()
            await notes.until(lambda notes=notes: bool(notes.ended))  # type: ignore[misc]
        assert found == [bool(last)]


def _note_unconfirmed(notes: Notes, found: list[bool]) -> None:
    found.append(has_unconfirmed(notes.transport.get_extra_info("socket")))


@directly
async def test_what_is_written_once_a_reset_was_noticed_is_told_as_not_read() -> None:
    gone, writer = Notes(), Notes()
    async with pair(gone) as lost, pair(writer) as peer:
        writer.on_chunk = lambda chunk: gone.transport.write(b"late")
        lost.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        lost.close()
        peer.sendall(b"?")
        await gone.until(lambda: bool(gone.ended))
    assert isinstance(gone.ended[0], BrokenPipeError)


@everywhere
async def test_another_protocol_may_take_over() -> None:
    notes, other = Notes(), Notes()
    async with pair(notes) as peer:
        notes.on_chunk = lambda chunk: notes.transport.set_protocol(other)
        peer.sendall(b"first")
        await notes.until(lambda: notes.received == b"first")
        peer.sendall(b"second")
        await other.until(lambda: other.received == b"second")
        notes.transport.abort()
        await other.until(lambda: bool(other.ended))
        notes.ended = other.ended


@everywhere
async def test_a_protocol_that_fails_loses_its_connection_and_no_other() -> None:
    failures: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
    notes, other = Notes(), Notes()

    def fail(chunk: bytes) -> None:
        raise RuntimeError("a mistake")

    async with pair(notes) as peer, pair(other) as second:
        notes.on_chunk = fail
        peer.sendall(b"x")
        await notes.until(lambda: bool(notes.ended))
        second.sendall(b"y")
        await other.until(lambda: other.received == b"y")
    assert [str(context["exception"]) for context in failures] == ["a mistake"]


@everywhere
async def test_a_socket_closed_by_another_in_the_same_round_is_left_alone() -> None:
    first, second = Notes(), Notes()
    served = asyncio.Event()

    def close(other: Notes) -> None:
        other.transport.abort()
        served.set()

    async with pair(first) as peer, pair(second) as other:
        first.on_chunk = lambda chunk: close(second)
        second.on_chunk = lambda chunk: close(first)
        peer.sendall(b"x")
        other.sendall(b"y")
        await served.wait()
        for _ in range(20):
            await asyncio.sleep(0)
    assert first.chunks + second.chunks == 1


@everywhere
async def test_many_sockets_are_served() -> None:
    everyone = [Notes() for _ in range(300)]
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(pair(notes)) for notes in everyone]
        for peer in peers:
            peer.sendall(b"hello")
        for notes in everyone:
            await notes.until(lambda notes=notes: notes.received == b"hello")  # type: ignore[misc]


@contextlib.asynccontextmanager
async def ready_together(*everyone: Notes) -> AsyncIterator[list[socket.socket]]:
    """The peers of sockets that all have a byte to receive at once."""
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(pair(notes)) for notes in everyone]
        for peer in peers:
            peer.sendall(b"?")
        yield peers


@everywhere
async def test_what_several_write_at_once_arrives_in_order() -> None:
    everyone = [Notes() for _ in range(5)]
    parts = [b"first", b"second", b"x" * 7000, b"y" * 7000, b"z" * 100_000, b"last"]
    for notes in everyone:
        notes.on_chunk = lambda chunk, notes=notes: [notes.transport.write(part) for part in parts]  # type: ignore[misc]
    async with ready_together(*everyone) as peers:
        for peer in peers:
            assert await read(peer, sum(map(len, parts))) == b"".join(parts)


@everywhere
async def test_last_words_are_sent_before_a_close_and_before_an_abort() -> None:
    closing, aborting, writing = Notes(), Notes(), Notes()

    def end(notes: Notes, how: str) -> None:
        notes.transport.write(b"farewell")
        getattr(notes.transport, how)()
        notes.transport.write(b"too late")

    closing.on_chunk = lambda chunk: end(closing, "close")
    aborting.on_chunk = lambda chunk: end(aborting, "abort")
    writing.on_chunk = lambda chunk: writing.transport.write(b"still here")
    async with ready_together(closing, aborting, writing) as (first, second, third):
        assert await read(first, 8) == await read(second, 8) == b"farewell"
        assert await read(third, 10) == b"still here"
        for peer in (first, second):
            assert await asyncio.get_running_loop().sock_recv(peer, 1) == b""
        for notes in (closing, aborting):
            await notes.until(lambda notes=notes: notes.ended == [None])  # type: ignore[misc]
    assert writing.ended == [None]


@everywhere
async def test_a_peer_that_does_not_read_holds_up_no_other() -> None:
    slow, quick = Notes(), Notes()
    async with pair(slow) as stuck, pair(quick) as peer:
        sent = b""
        while not slow.full:
            sent += (part := bytes([len(sent) // 100_000 % 251]) * 100_000)
            slow.transport.write(part)
        slow.on_chunk = lambda chunk: slow.transport.write(b"behind")
        quick.on_chunk = lambda chunk: quick.transport.write(b"at once")
        stuck.sendall(b"?")
        peer.sendall(b"?")
        assert await read(peer, 7) == b"at once"
        assert await read(stuck, len(sent) + 6) == sent + b"behind"
        await slow.until(lambda: slow.full == [True, False])


@everywhere
async def test_a_peer_that_has_gone_is_noticed_among_others_that_are_written_to() -> None:
    talker, gone, other = Notes(), Notes(), Notes()
    async with pair(talker) as peer, pair(gone) as lost, pair(other) as third:
        gone.transport.pause_reading()
        lost.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        lost.close()
        talker.on_chunk = lambda chunk: (gone.transport.write(b"x"), talker.transport.write(b"y"))
        other.on_chunk = lambda chunk: other.transport.write(b"z")
        while not gone.ended:
            peer.sendall(b"?")
            third.sendall(b"?")
            assert (await read(peer, 1), await read(third, 1)) == (b"y", b"z")
    assert isinstance(gone.ended[0], OSError)


@everywhere
async def test_what_cannot_be_watched_is_refused_and_can_be_ended() -> None:
    notes = Notes()
    with tempfile.TemporaryFile() as unwatchable:  # epoll takes no files

        class File(socket.socket):
            def fileno(self) -> int:
                return unwatchable.fileno()

        file = File()
        with pytest.raises(OSError, match="not permitted"):
            receive(file, notes, 36)  # type: ignore[arg-type]
        notes.transport.abort()
        await notes.until(lambda: bool(notes.ended))


@everywhere
async def test_every_stream_keeps_its_order_whoever_writes_to_it() -> None:
    """Each of many sockets writes to others whenever it receives, a little or much."""
    choice = random.Random(20)
    everyone = [Notes() for _ in range(70)]
    written = [bytearray() for _ in everyone]

    def talk(chunk: bytes) -> None:
        for _ in range(choice.randrange(4)):
            to = choice.randrange(len(everyone))
            data = choice.randbytes(choice.choice((1, 60, 300, 5000, 9000, 40_000)))
            written[to] += data
            everyone[to].transport.write(data)

    async with ready_together(*everyone) as peers:
        for notes in everyone:
            notes.on_chunk = talk
        for _ in range(5):
            for peer in peers:
                peer.sendall(b"?")
            await asyncio.sleep(0)
        for notes in everyone:
            await notes.until(lambda notes=notes: len(notes.received) == 6)  # type: ignore[misc]
        for peer, expected in zip(peers, written, strict=True):
            assert await read(peer, len(expected)) == expected

"""A session changes hands once or not at all, whatever the other process does in the middle of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sqlproxy import handover
from sqlproxy.handover import COMMIT, HELLO, NO, PART, SESSION, YES, Arrival, Departure, Link
from sqlproxy.session import moving
from sqlproxy.session.attach import attach
from sqlproxy.session.backend import Backend
from sqlproxy.session.parcel import FORMAT, Parcel
from sqlproxy.session.session import Session
from tests.support.fakes import Bench, FakeClient, ok, query
from tests.support.waiting import wait_until_async

Far = tuple[socket.socket, socket.socket]  # a client's end and its server's end


async def session_on_sockets(bench: Bench) -> tuple[Session, Far]:
    """A session between two statements, connected to one server, on real sockets."""
    fake = FakeClient(bench, b"app", b"")
    session = fake.session
    backend = Backend("n1", bench.service.server_stats["n1"], True)
    backend.owner = session
    backend.logged_in()
    backend.thread_id = 7
    session.backends["n1"] = backend
    session.state.begin(2, "n1")
    ends = []
    for protocol in (fake.client, backend):
        near, far = socket.socketpair()
        for sock in (near, far):
            sock.setblocking(False)
        await attach(near, protocol)  # type: ignore[arg-type]
        ends.append(far)
    return session, (ends[0], ends[1])


async def talk(far: Far) -> bytes:
    """One statement of the client, answered by the server."""
    loop = asyncio.get_running_loop()
    client, server = far
    async with asyncio.timeout(10):
        await loop.sock_sendall(client, query("INSERT INTO t VALUES (1)"))
        asked = await loop.sock_recv(server, 1000)
        await loop.sock_sendall(server, ok())
        assert await loop.sock_recv(client, 1000) == ok()
    return asked


@asynccontextmanager
async def leaving(bench: Bench) -> AsyncIterator[tuple[Departure, Link, asyncio.Task[None]]]:
    """A process that gives its sessions away, and the other end of its link."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    departure, link = Departure(here, bench.registry), Link(there)
    task = asyncio.create_task(departure.run())
    try:
        yield departure, link, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        link.close()


async def offer(link: Link) -> tuple[Parcel, list[socket.socket]]:
    """The next session that is offered."""
    data = b""
    while True:
        async with asyncio.timeout(10):
            kind, part, sockets = await link.receive()
        assert kind in (PART, SESSION)
        data += part
        if kind == SESSION:
            return Parcel.decode(data), sockets


async def test_sessions_go_on_in_the_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    found = [await session_on_sockets(before) for _ in range(40)]
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    departure = Departure(here, before.registry)
    arrival = Arrival(there, lambda: {"app": after.service})
    tasks = [asyncio.create_task(departure.run()), asyncio.create_task(arrival.run())]
    await wait_until_async(lambda: not before.registry.sessions)
    await wait_until_async(lambda: arrival.taken == len(found))
    assert {session.number for session, _ in found} == set(after.registry.sessions)
    for _, far in found:
        assert b"INSERT" in await talk(far)
    assert (before.counters(), after.counters()) == ((0, 0), (0, 40))
    assert (before.service.stats.sessions, after.service.stats.sessions) == (0, 40)
    assert departure.summary().startswith("40 sessions have moved")
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await end(after, [far for _, far in found])


async def end(bench: Bench, far_ends: list[Far]) -> None:
    for sock in (sock for far in far_ends for sock in far):
        sock.close()
    await wait_until_async(lambda: not bench.registry.sessions)
    await asyncio.sleep(0.01)


async def test_half_a_command_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    session, far = await session_on_sockets(before)
    command = query("INSERT INTO t VALUES (1)")
    far[0].send(command[:9])
    await wait_until_async(lambda: session.client.buffered == 9)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arrival = Arrival(there, lambda: {"app": after.service})
    tasks = [asyncio.create_task(Departure(here, before.registry).run()), asyncio.create_task(arrival.run())]
    await wait_until_async(lambda: arrival.taken)
    far[0].send(command[9:])
    async with asyncio.timeout(10):
        assert await asyncio.get_running_loop().sock_recv(far[1], 1000) == command
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await end(after, [far])


async def test_another_format_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    _, far = await session_on_sockets(bench)
    async with leaving(bench) as (departure, link, task):
        await link.send(HELLO, b"0-00000000")
        await wait_until_async(task.done)
        assert departure.moved == 0
        await talk(far)
    await end(bench, [far])


async def test_a_refused_session_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    session, far = await session_on_sockets(bench)
    async with leaving(bench) as (departure, link, _):
        await link.send(HELLO, FORMAT.encode())
        parcel, sockets = await offer(link)
        handover.close_all(sockets)
        await link.send(NO, f"{parcel.number} no room".encode())
        assert json.loads((await link.receive())[1]) == []
        await talk(far)
        assert bench.registry.sessions == {session.number: session}
        assert "1 go on here (no room: 1)" in departure.summary()
    await end(bench, [far])


async def test_a_session_that_is_killed_meanwhile_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    session, far = await session_on_sockets(bench)
    async with leaving(bench) as (departure, link, _):
        await link.send(HELLO, FORMAT.encode())
        parcel, sockets = await offer(link)
        session.client.close()
        await link.send(YES, str(parcel.number).encode())
        kind, said, _ = await link.receive()
        assert (kind, json.loads(said)) == (COMMIT, [])
        handover.close_all(sockets)
        assert departure.moved == 0
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(far[0], 100) == b""
    await end(bench, [far])


@pytest.mark.parametrize("agrees", [False, True])
async def test_an_end_before_the_commit_changes_nothing(monkeypatch: pytest.MonkeyPatch, agrees: bool) -> None:
    bench = Bench(monkeypatch)
    _, far = await session_on_sockets(bench)
    async with leaving(bench) as (departure, link, task):
        await link.send(HELLO, FORMAT.encode())
        parcel, sockets = await offer(link)
        link.take_no_more()
        if agrees:
            await link.send(YES, str(parcel.number).encode())
        else:
            link.close()
        await wait_until_async(task.done)
        handover.close_all(sockets)
        assert departure.moved == 0
        await talk(far)
    await end(bench, [far])


async def test_silence_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_PATIENCE", 0.05)
    bench = Bench(monkeypatch)
    _, far = await session_on_sockets(bench)
    async with leaving(bench) as (departure, link, task):
        await link.send(HELLO, FORMAT.encode())
        _, sockets = await offer(link)
        await wait_until_async(task.done)
        handover.close_all(sockets)
        assert departure.moved == 0
        await talk(far)
    await end(bench, [far])


@asynccontextmanager
async def arriving(bench: Bench) -> AsyncIterator[tuple[Arrival, Link, asyncio.Task[None]]]:
    """A process that takes sessions in, and the other end of its link."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arrival, link = Arrival(there, lambda: {"app": bench.service}), Link(here)
    task = asyncio.create_task(arrival.run())
    try:
        assert await link.receive() == (HELLO, FORMAT.encode(), [])
        yield arrival, link, task
    finally:
        link.close()
        await asyncio.wait_for(task, 10)


async def offered(bench: Bench, link: Link) -> tuple[Session, Far, bytes]:
    """A session of ``bench`` offered; the answer."""
    session, far = await session_on_sockets(bench)
    moving.hold(session)
    data = moving.pack(session).encode()
    await link.send(SESSION, data, [sock.fileno() for sock in moving.sockets_of(session)])
    kind, _, _ = await link.receive()
    return session, far, kind


@pytest.mark.parametrize("last", ["a commit to nothing", "the end"])
async def test_without_a_commit_the_session_stays(monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    async with arriving(after) as (arrival, link, _):
        session, far, kind = await offered(before, link)
        assert kind == YES
        assert after.registry.sessions == {}
        if last == "a commit to nothing":
            await link.send(COMMIT, b"[]")
    assert arrival.taken == 0
    assert after.counters() == (0, 0)
    moving.resume(session)
    await talk(far)
    await end(before, [far])


async def test_a_process_that_goes_takes_what_was_committed_first(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    async with arriving(after) as (arrival, link, task):
        session, far, _ = await offered(before, link)
        await link.send(COMMIT, json.dumps([session.number]).encode())
        moving.let_go(session)
        arrival.take_no_more()
        await wait_until_async(task.done)
        with pytest.raises(OSError, match="Broken pipe"):
            link.send_now(SESSION, b"{}")
    await talk(far)
    await end(after, [far])


@pytest.mark.parametrize("attached", [0, 1], ids=["no socket", "one of two sockets"])
async def test_a_session_that_cannot_go_on_is_ended_and_not_counted(
    monkeypatch: pytest.MonkeyPatch, attached: int
) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    _, far = await session_on_sockets(before)
    done = []

    async def fail(sock: socket.socket, protocol: asyncio.Protocol) -> None:
        if len(done) == attached:
            raise OSError("no memory")
        done.append(sock)
        await attach(sock, protocol)

    monkeypatch.setattr(moving, "attach", fail)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    arrival = Arrival(there, lambda: {"app": after.service})
    tasks = [asyncio.create_task(Departure(here, before.registry).run()), asyncio.create_task(arrival.run())]
    await wait_until_async(lambda: not before.registry.sessions)
    for sock in far:
        async with asyncio.timeout(10):
            assert await asyncio.get_running_loop().sock_recv(sock, 100) == b""
    assert (arrival.taken, after.registry.sessions, after.service.stats.sessions) == (0, {}, 0)
    assert after.service.server_stats["n1"].connections == 0
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await end(after, [far])


async def test_what_is_no_parcel_ends_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    async with arriving(Bench(monkeypatch)) as (_, link, task):
        await link.send(SESSION, b"{}")
        await wait_until_async(task.done)


async def test_sockets_that_do_not_arrive_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    session, far = await session_on_sockets(before)
    async with arriving(after) as (_, link, _):
        await link.send(SESSION, moving.pack(session).encode(), [moving.sockets_of(session)[0].fileno()])
        kind, said, _ = await link.receive()
        assert (kind, said.decode()) == (NO, f"{session.number} the new process has too many open files")
    await end(before, [far])

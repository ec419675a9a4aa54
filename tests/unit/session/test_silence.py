"""Silent servers: when the monitor is told, and what goes on elsewhere meanwhile."""

from __future__ import annotations

import pytest

from sqlproxy.session.silence import Silence, SilenceWatch
from sqlproxy.topology.model import Role
from tests.support.fakes import Bench, Connection, FakeClient, error_in, is_ok, packets, query, settle
from tests.support.virtualtime import virtual

AFTER = 0.105


def looks(silence: Silence, until: float, *counts: int, start: float = 0.0) -> list[float]:
    """The times at which a silence with these counters is told, looked at every 35 ms."""
    times = [round(start + 0.035 * step, 3) for step in range(int((until - start) / 0.035) + 1)]
    return [now for now in times if silence.look(now, *counts)]


def test_silence_is_told_soon_and_then_at_growing_distances() -> None:
    assert looks(Silence(AFTER), 2.5, 1, 100, 50) == [0.105, 0.21, 0.42, 0.84, 1.365, 1.89, 2.415]


def test_a_server_nobody_waits_for_is_not_silent() -> None:
    assert looks(Silence(AFTER), 5.0, 0, 100, 50) == []


def test_a_byte_ends_the_silence() -> None:
    silence = Silence(AFTER)
    assert looks(silence, 0.1, 1, 100, 50) == []
    assert looks(silence, 0.2, 1, 101, 50, start=0.105) == []
    assert looks(silence, 0.3, 1, 101, 50, start=0.21) == [0.21]


def test_a_statement_sent_into_a_long_silence_is_told_soon() -> None:
    silence = Silence(AFTER)
    looks(silence, 1.4, 1, 100, 50)
    assert looks(silence, 1.8, 2, 100, 60, start=1.435)[0] == 1.54


def test_being_held_up_is_no_silence() -> None:
    silence = Silence(AFTER)
    silence.look(0.0, 1, 100, 50)
    silence.spare(2.0)
    assert not silence.look(2.035, 1, 100, 50)
    assert silence.look(2.14, 1, 100, 50)


def hang(connection: Connection, payload: bytes) -> bytes:
    return b""


async def hanging(bench: Bench, name: str, text: str, *before: str) -> FakeClient:
    """A client whose statement a server has taken and does not answer."""
    client = bench.client()
    for earlier in before:
        await client.ask(earlier)
    bench.fleet[name].script = hang
    client.send(query(text))
    await settle()
    return client


def suspect(bench: Bench, name: str, oldest: int = 0, **roles: Role) -> None:
    bench.publish(**{name: Role.SUSPECT, **roles})
    bench.service.relieve(oldest)


@virtual
async def test_the_watch_tells_the_monitor_of_statements_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    told: list[tuple[str, str]] = []
    watch = SilenceWatch(lambda: [bench.service], 0.35, 1.0, lambda server, why: told.append((server, why)))
    await hanging(bench, "n1", "INSERT 1")
    for step in range(5):
        watch.look(step * watch.period, 0.0)
    assert told == [("n1", "no byte to 1 statement under way")]
    assert bench.service.ticks == 5


@virtual
async def test_a_read_leaves_a_suspect_server_and_idle_connections_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    idle = bench.client()
    await idle.ask("SELECT 1")
    client = await hanging(bench, "n2", "SELECT 1")
    assert client.take() == b""
    suspect(bench, "n2")
    await settle()
    assert packets(client.take())[2][1:] == b"n1"
    assert "n2" in idle.session.backends
    assert bench.service.stats.reads_retried == 1


@virtual
async def test_an_autocommit_write_waits_for_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    client = await hanging(bench, "n1", "INSERT 7")
    suspect(bench, "n1", n2=Role.PRIMARY)
    await settle()
    assert client.take() == b""
    bench.fleet["n1"].script = None
    bench.fleet["n1"].received(bench.fleet["n1"].live[0], b"\x03INSERT 7")
    await settle()
    assert is_ok(client.take())


@virtual
async def test_an_open_transaction_is_replayed_but_not_once_its_commit_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    client = await hanging(bench, "n1", "INSERT 2", "BEGIN", "INSERT 1")
    other = await hanging(bench, "n1", "COMMIT")
    bench.fleet["n1"].script = None
    committing = bench.client()
    await committing.ask("BEGIN")
    await committing.ask("INSERT 9")
    bench.fleet["n1"].script = hang
    committing.send(query("COMMIT"))
    await settle()
    suspect(bench, "n1", n2=Role.PRIMARY)
    await settle()
    assert is_ok(client.take())
    assert is_ok(other.take())  # no transaction was open: nothing to commit
    assert committing.take() == b""
    assert bench.service.stats.transactions_replayed == 1
    assert await client.ask("COMMIT")
    assert bench.fleet.committed == [1, 2]
    bench.publish(n1=Role.DOWN)
    await settle()
    assert "unknown" in error_in(committing.take())[1]


@virtual
async def test_what_has_run_for_long_waits_for_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    client = await hanging(bench, "n2", "SELECT 1")
    bench.service.ticks = 100
    suspect(bench, "n2", oldest=90)
    await settle()
    assert client.take() == b""
    bench.publish(n2=Role.DOWN)
    await settle()
    assert client.take()


@virtual
async def test_nothing_leaves_when_there_is_nowhere_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    client = await hanging(bench, "n2", "SELECT 1")
    suspect(bench, "n2", n1=Role.DOWN)
    await settle()
    assert client.take() == b""


@virtual
async def test_a_partly_forwarded_reply_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    name = "n2"
    client = bench.client()
    await client.ask("SELECT 1")
    bench.fleet[name].script = lambda connection, payload: b"\x01\x00\x00\x01\x01"  # one column, and nothing more
    client.send(query("SELECT 1"))
    await settle()
    assert client.take()
    suspect(bench, name)
    await settle()
    assert not client.transport.closing
    assert name in client.session.backends


@virtual
async def test_a_session_that_catches_up_on_a_suspect_server_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    client = bench.client()
    await client.ask("SELECT 1")
    await client.ask("SET @a = 5")  # which the next read must find there
    await client.ask("INSERT 5")
    bench.fleet["n2"].script = hang
    client.send(query("SELECT @a"))
    await settle()
    assert client.take() == b""
    suspect(bench, "n2")
    await settle()
    assert client.take()

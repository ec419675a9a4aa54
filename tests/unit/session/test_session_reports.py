"""What a session does with the servers' reports of changed state."""

from __future__ import annotations

from collections.abc import Callable

from sqlproxy.session.overview import row
from sqlproxy.session.state import SessionState
from sqlproxy.sql.classify import classify
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from sqlproxy.wire.packets import ok_packet
from sqlproxy.wire.session_track import Change
from tests.support.fakes import Bench, is_ok, ok
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]
AUTOCOMMIT = c.SERVER_STATUS_AUTOCOMMIT


def reporting(report: bytes, status: int = AUTOCOMMIT) -> bytes:
    """An OK packet that reports changed state."""
    payload = ok_packet(status | c.SERVER_SESSION_STATE_CHANGED) + b"\x00" + codec.write_lenenc_string(report)
    return codec.packet(1, payload)


def track(b: Bench, *, asked: bool = False) -> None:
    """Connections as to servers that report; ``asked``: the client sees reports too."""
    make = b.fleet.backend

    def backend(*arguments):  # type: ignore[no-untyped-def]
        made = make(*arguments)
        made.tracker.tracking = made.filters = True
        made.only_state_change = asked
        return made

    b.fleet.backend = backend  # type: ignore[method-assign]


def tracked(sql: str, change: Change) -> bool:
    payload = b"\x03" + sql.encode()
    return SessionState(b"app", 50).tracked(classify(payload, 1), payload, change)


def test_what_the_text_shows_is_explained() -> None:
    changed = Change(state=True)
    for sql in (
        "SET @a = 1",
        "SET NAMES utf8mb4",
        "SET GLOBAL x = 1",
        "CREATE TEMPORARY TABLE t (a INT)",
        "DROP TEMPORARY TABLE t",
        "PREPARE s FROM 'SELECT 1'",
        "DEALLOCATE PREPARE s",
        "SET autocommit = 0",
        "/* a */ SET /* b */ STATEMENT max_statement_time = 1 FOR SELECT 1",
    ):
        assert tracked(sql, changed), sql
    for sql in ("CALL p()", "SELECT f()", "INSERT INTO t VALUES (1)", "SELECT 1", "UNHEARD OF"):
        assert not tracked(sql, changed), sql
        assert tracked(sql, Change()), sql


def test_the_servers_word_on_the_database_counts() -> None:
    state = SessionState(b"app", 50)
    assert state.tracked(classify(b"\x03CALL p()", 1), b"\x03CALL p()", Change(b"other", {}, True))
    assert state.database == b"other"
    assert [entry.payload for entry in state.history.entries] == [b"\x02other"]
    state.tracked(classify(b"\x03DROP DATABASE other", 1), b"\x03DROP DATABASE other", Change(b"", {}, True))
    assert (state.database, len(state.history)) == (b"", 0)


def test_the_servers_word_on_the_character_set_counts() -> None:
    state = SessionState(b"", 50)
    state.tracked(classify(b"\x03CALL p()", 1), b"\x03CALL p()", Change(None, {b"character_set_client": b"gbk"}, True))
    assert state.mode
    state.tracked(classify(b"\x03CALL p()", 1), b"\x03CALL p()", Change(None, {b"character_set_client": b"utf8mb4"}))
    assert not state.mode


@virtual
async def test_an_unexplained_change_on_the_primary_pins(bench: MakeBench) -> None:
    b = bench()
    track(b)
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: reporting(b"\x02\x011")
    assert await client.ask("CALL p()") == ok()
    assert row(client.session)["pins"] == ["session state changed on n1 by a stored procedure"]
    assert b.service.stats.unexplained_changes == 1


@virtual
async def test_an_unexplained_change_on_a_replica_never_leads_writes_there(bench: MakeBench) -> None:
    b = bench()
    track(b)
    client = b.client()
    for name in ("n2", "n3"):
        b.fleet[name].script = lambda connection, payload: reporting(b"\x02\x011")
    assert await client.ask("SELECT a FROM v") == ok()
    assert row(client.session)["pins"] == []
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))
    assert b.fleet.committed == [1]
    assert set(client.session.backends) == {"n1"}


@virtual
async def test_a_client_that_tracks_reads_all_but_what_it_did_not_ask_for(bench: MakeBench) -> None:
    b = bench()
    track(b, asked=True)
    client = b.client()
    b.fleet["n1"].script = lambda connection, payload: reporting(b"\x01\x04\x03app\x02\x011")
    assert await client.ask("CALL p()") == reporting(b"\x01\x04\x03app")
    assert await client.ask("SET @a = 1, session_track_state_change = (SELECT 1)") == reporting(
        b"\x01\x04\x03app\x02\x011"
    )
    assert await client.ask("CALL p()") == reporting(b"\x01\x04\x03app\x02\x011")

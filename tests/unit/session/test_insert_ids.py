"""What is known of LAST_INSERT_ID(), and how a session's other connections come by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sqlproxy.session.insert_ids import UNKNOWN_ID, id_after, reads_earlier_id
from sqlproxy.session.recording import Step
from sqlproxy.sql.classify import classify
from sqlproxy.topology.model import Role
from sqlproxy.wire import codec
from sqlproxy.wire.constants import SERVER_STATUS_AUTOCOMMIT
from sqlproxy.wire.packets import ok_packet
from sqlproxy.wire.response import QUERY
from tests.support.fakes import Bench, Connection, error_in, is_ok, rows
from tests.support.virtualtime import virtual

MakeBench = Callable[..., Bench]


@pytest.mark.parametrize(
    ("text", "reported", "known"),
    [
        ("INSERT INTO t (v) VALUES (1)", 5, 5),
        ("INSERT INTO t (id) VALUES (1)", 0, 0),
        ("UPDATE t SET v = LAST_INSERT_ID(v + 1)", 5, 5),
        ("UPDATE t SET v = LAST_INSERT_ID(v + 1)", 0, UNKNOWN_ID),
        ("SELECT LAST_INSERT_ID()", 0, 0),
        ("SELECT last_insert_id ( )", 0, 0),
        ("SELECT LAST_INSERT_ID(7)", 0, UNKNOWN_ID),
        ("INSERT INTO t (v) VALUES (LAST_INSERT_ID())", 0, 0),
        ("INSERT INTO t (v) VALUES (1) RETURNING id", 0, UNKNOWN_ID),
        ("SET last_insert_id = 7", 0, UNKNOWN_ID),
        ("SET @@identity := 7", 0, UNKNOWN_ID),
        ("SET sql_mode = ''", 0, 0),
        ("CALL p()", 0, UNKNOWN_ID),
        ("CALL p()", 5, 5),
        ("SELECT f(1)", 0, UNKNOWN_ID),
        ("EXECUTE s", 0, UNKNOWN_ID),
        ("INSERT INTO t (v) VALUES (1); SELECT 1", 0, UNKNOWN_ID),
        ("SELECT v FROM t; ROLLBACK", 0, 0),
        ("SELECT LAST_INSERT_ID(7); ROLLBACK", 0, UNKNOWN_ID),
        ("EXECUTE IMMEDIATE 'SELECT v FROM t'", 0, 0),
        ("EXECUTE IMMEDIATE 'INSERT INTO t VALUES (1)'", 0, UNKNOWN_ID),
        ("EXECUTE IMMEDIATE @s", 0, UNKNOWN_ID),
        ("FROBNICATE t", 0, 0),
    ],
)
def test_what_a_statement_leaves_as_insert_id(text: str, reported: int, known: int) -> None:
    payload = b"\x03" + text.encode()
    assert id_after(classify(payload, 1), payload, reported) == known


@pytest.mark.parametrize(
    ("steps", "reads"),
    [
        ([("BEGIN", 0), ("INSERT INTO t VALUES (1)", 5), ("SELECT LAST_INSERT_ID()", 0)], False),
        ([("BEGIN", 0), ("SELECT LAST_INSERT_ID()", 0), ("INSERT INTO t VALUES (1)", 5)], True),
        ([("INSERT INTO t VALUES (LAST_INSERT_ID())", 5)], True),
        ([("BEGIN", 0), ("UPDATE t SET v = 1", 0)], False),
    ],
)
def test_whether_a_transaction_reads_the_id_of_before_it(steps: list[tuple[str, int]], reads: bool) -> None:
    taken = [Step(b"", QUERY, classify(b"\x03" + text.encode(), 1), b"", number) for text, number in steps]
    assert reads_earlier_id(taken) == reads


def answering(insert_id: int) -> Callable[[Connection, bytes], bytes | None]:
    """A server that hands out this id, and knows it."""

    def answer(connection: Connection, payload: bytes) -> bytes | None:
        if payload[1:].startswith(b"INSERT"):
            return codec.packet(1, ok_packet(SERVER_STATUS_AUTOCOMMIT, 1, insert_id))
        return rows(b"%d" % insert_id) if payload[1:] == b"SELECT LAST_INSERT_ID()" else None

    return answer


@virtual
async def test_after_a_switchover_the_old_primary_is_asked(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    b.fleet["n1"].script = answering(42)
    await client.ask("INSERT INTO t VALUES (1)")
    b.publish("", n1=Role.REPLICA, n2=Role.PRIMARY)
    await client.ask("SELECT LAST_INSERT_ID()")
    assert b.fleet["n1"].texts == ["INSERT INTO t VALUES (1)", "SELECT LAST_INSERT_ID()"]
    assert b.fleet["n2"].texts == ["SET last_insert_id=42", "SELECT LAST_INSERT_ID()"]
    await client.ask("SELECT LAST_INSERT_ID()")
    assert b.fleet["n2"].texts[2:] == ["SELECT LAST_INSERT_ID()"]


@virtual
async def test_a_lost_primary_has_told_the_id_with_its_answer(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    b.fleet["n1"].script = answering(42)
    await client.ask("INSERT INTO t VALUES (1)")
    b.publish("", n1=Role.DOWN, n2=Role.PRIMARY)
    await client.ask("SELECT LAST_INSERT_ID()")
    assert b.fleet["n2"].texts == ["SET last_insert_id=42", "SELECT LAST_INSERT_ID()"]


@virtual
async def test_an_id_that_nobody_has_told_is_not_made_up(bench: MakeBench) -> None:
    b = bench()
    client = b.client()
    await client.ask("SELECT LAST_INSERT_ID(7)")
    b.publish("", n1=Role.DOWN, n2=Role.PRIMARY)
    assert "LAST_INSERT_ID() is not known" in error_in(await client.ask("INSERT INTO t VALUES (LAST_INSERT_ID())"))[1]
    assert b.fleet["n2"].texts == []
    assert is_ok(await client.ask("INSERT INTO t VALUES (1)"))

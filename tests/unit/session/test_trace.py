"""What is traced of the statements of real sessions in front of scripted servers, and what of them a trace has."""

from __future__ import annotations

import random

import pytest

from sqlproxy.config import RuleConfig
from sqlproxy.routing.rules import RuleBook
from sqlproxy.session.trace import MOST, Parent, Step, Trace, Tracing, parse
from sqlproxy.topology.model import Role
from sqlproxy.wire import constants as c
from sqlproxy.wire.attributes import value_of
from tests.support import fakes
from tests.support.fakes import Bench, command, error_in, query, settle
from tests.support.virtualtime import virtual

TRACE, SPAN = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
SAMPLED = f"00-{TRACE:032x}-{SPAN:016x}-01"
COMMENT = f"/*traceparent='{SAMPLED}'*/"


def traced(bench: Bench, ratio: float = 0.0) -> list[Trace]:
    """What the bench's service traces from now on."""
    found: list[Trace] = []
    bench.service.trace(Tracing(ratio, lambda service, trace: found.append(trace)))
    return found


def attribute(name: bytes, value: bytes) -> bytes:
    """A block with a number and a text of this name."""
    head = b"\x02\x01\x00\x01\x08\x00\x01i\xfe\x00" + bytes((len(name),)) + name
    return head + b"\x07" * 8 + bytes((len(value),)) + value


@pytest.mark.parametrize(
    ("text", "parent"),
    [
        (SAMPLED, Parent(TRACE, SPAN, True)),
        (SAMPLED.upper()[:-2] + "00", Parent(TRACE, SPAN, False)),
        ("cc" + SAMPLED[2:] + "-what-comes-later", Parent(TRACE, SPAN, True)),
        ("ff" + SAMPLED[2:], None),
        (f"00-{0:032x}-{SPAN:016x}-01", None),
        (f"00-{TRACE:032x}-{0:016x}-01", None),
        (SAMPLED[:-1], None),
        ("", None),
    ],
)
def test_a_traceparent_is_read_as_w3c_says(text: str, parent: Parent | None) -> None:
    assert parse(text) == parent


def test_the_attribute_of_a_name_is_found() -> None:
    block = attribute(b"traceparent", b"abc")
    assert value_of(block, b"traceparent") == b"abc"
    assert value_of(block, b"i") is None  # a number
    assert value_of(block, b"other") is None
    assert value_of(b"\x00\x01", b"traceparent") is None
    assert value_of(b"\x01\x01\x01\x01\xfe\x00\x01x", b"x") is None  # NULL


@virtual
async def test_only_what_asks_for_it_is_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client, found = bench.client(), traced(bench)
    for text in (
        "SELECT 1",
        f"SELECT '{COMMENT}'",
        f"SELECT 1 {COMMENT.replace('-01', '-00')}",
        f"SELECT 1 {COMMENT.replace(f'{SPAN:016x}', 'x' * 16)}",
    ):
        await client.ask(text)
    assert found == []
    await client.ask(f"SELECT 'x' {COMMENT}")
    await client.ask(f"SELECT 1 -- a=1, traceparent={SAMPLED}")
    await client.run(command(c.COM_PING))
    assert [(trace.parent, trace.attributes["db.query.text"]) for trace in found] == [
        (Parent(TRACE, SPAN, True), "SELECT ?"),
        (Parent(TRACE, SPAN, True), "SELECT ?"),
    ]
    assert client.session.trace is None


@virtual
async def test_by_chance_where_the_client_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client, found = bench.client(), traced(bench, 0.5)
    chances = iter([0.4, 0.6, 0.49])
    monkeypatch.setattr(random, "random", lambda: next(chances))
    for _ in range(3):
        await client.ask("SELECT 1")
    await client.ask(f"SELECT 1 {COMMENT.replace('-01', '-00')}")
    assert [trace.parent for trace in found] == [None, None]


@virtual
async def test_a_traced_statement_takes_the_fast_path_and_says_where_it_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client, found = bench.client(database=b"shop"), traced(bench, 1.0)
    where = await client.where()
    client.send(query("SELECT v FROM t WHERE a = 'secret'"))
    assert client.session._task is None
    await settle()
    trace = found[-1]
    expected = {
        "db.namespace": "shop",
        "db.operation.name": "SELECT",
        "db.query.text": "SELECT v FROM t WHERE a = ?",
        "db.response.returned_rows": 1,
        "server.address": "127.0.0.1",
        "server.port": 3306,
        "sqlproxy.target": where,
        "sqlproxy.role": "replica",
        "sqlproxy.reason": "a read: least current operations",
        "sqlproxy.user": "app",
    }
    assert {key: trace.attributes.get(key) for key in expected} == expected
    assert trace.begun <= trace.ended
    assert (trace.code, trace.steps, trace.events) == (0, [], [])


@virtual
async def test_prepared_statements_and_their_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "CAPABILITIES", fakes.CAPABILITIES | c.CLIENT_QUERY_ATTRIBUTES)
    bench = Bench(monkeypatch)
    client, found = bench.client(), traced(bench)
    await client.run(command(c.COM_STMT_PREPARE, f"SELECT v FROM t {COMMENT}".encode()))
    await client.run(command(c.COM_QUERY, attribute(b"traceparent", SAMPLED.encode()) + b"SELECT 2"))
    await client.run(command(c.COM_QUERY, b"\x00\x01SELECT 3"))
    assert [trace.attributes["db.query.text"] for trace in found] == ["SELECT v FROM t", "SELECT ?"]
    assert all(trace.attributes["sqlproxy.target"] for trace in found)


@virtual
async def test_what_a_statement_waited_for_are_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client, found = bench.client(), traced(bench, 1.0)
    await client.ask("INSERT INTO t VALUES (1)")
    assert [(step.name, step.attributes, step.code) for step in found[-1].steps] == [
        ("connect", {"sqlproxy.target": "n1"}, 0)
    ]
    assert found[-1].attributes["sqlproxy.role"] == "primary"
    await client.ask("SELECT v FROM t")
    assert [step.name for step in found[-1].steps][-1:] == ["catch up"]


@virtual
async def test_a_failover_shows_in_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, "n1", "n2")
    client, found = bench.client(), traced(bench, 1.0)
    await client.ask("BEGIN")
    await client.ask("INSERT INTO t VALUES (1)")
    bench.fleet["n1"].kill()
    await settle()
    bench.publish(n1=Role.DOWN)
    client.send(query("INSERT INTO t VALUES (2)"))
    await settle()
    bench.publish(n2=Role.PRIMARY)
    await settle()
    trace = found[-1]
    assert [step.name for step in trace.steps][-1] == "replay"
    assert "connect" in [step.name for step in trace.steps]
    assert trace.attributes["sqlproxy.target"] == "n2"
    assert all(step.begun <= step.ended for step in trace.steps)


@virtual
async def test_a_read_that_is_run_again_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client, found = bench.client(), traced(bench, 1.0)
    first = await client.where()
    bench.fleet[first].script = lambda connection, payload: b"" if payload[1:] == b"SELECT 7" else None
    client.send(query("SELECT 7"))
    await settle()
    bench.fleet[first].kill()
    await settle()
    names = [name for name, _, _ in found[-1].events]
    assert names == ["run again"]
    assert found[-1].events[0][2]["sqlproxy.target"] == first
    assert found[-1].attributes["sqlproxy.target"] != first


@virtual
async def test_errors_have_a_number_and_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.service.govern(RuleBook([RuleConfig(name="r", pattern="^DROP", reject="no 'secret'")]), False, None)
    client, found = bench.client(), traced(bench, 1.0)
    assert error_in(await client.ask("DROP TABLE t")) is not None
    assert (found[-1].code, found[-1].fault) == (1148, "proxy")
    bench.fleet["n1"].script = lambda connection, payload: fakes.err(1062, "Duplicate 'secret'")
    await client.ask("INSERT INTO t VALUES (1)")
    assert (found[-1].code, found[-1].fault, found[-1].attributes["error.type"]) == (1062, "server", "1062")
    assert "secret" not in str(found)


@virtual
async def test_a_client_that_hangs_up_ends_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client, found = bench.client(), traced(bench, 1.0)
    for server in bench.fleet.servers.values():
        server.script = lambda connection, payload: b""
    client.send(query("SELECT 1"))
    await settle()
    client.hang_up()
    await settle()
    assert [name for name, _, _ in found[-1].events] == ["the client is gone"]


@virtual
async def test_off_again_there_are_no_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    client, found = bench.client(), traced(bench, 1.0)
    bench.service.trace(None)
    await client.ask("SELECT 1")
    assert found == []
    assert client.session.tracing is None


def test_steps_that_go_on_are_one_and_not_too_many() -> None:
    trace = Trace(None, 0)
    for begun in (0, 1000, 2000):
        trace.add(Step("wait", begun, begun + 999, {"n": begun}))
    assert [(step.begun, step.ended, step.attributes) for step in trace.steps] == [(0, 2999, {"n": 2000})]
    for number in range(2 * MOST):
        trace.add(Step(f"s{number}", 0, 1, {}))
    assert len(trace.steps) == MOST

"""Hints in comments: how they are read, what stays open, and where they may take a statement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.routing.base import Decision, RouteContext
from sqlproxy.routing.hints import Hint, HintStack, Target, comments, redirect
from sqlproxy.routing.readwritesplit import ReadWriteSplit
from sqlproxy.session.stats import ServerStats
from sqlproxy.sql.bits import HINT
from sqlproxy.sql.classify import classify
from sqlproxy.topology.model import AdminState, Role, ServerView, Snapshot

PRIMARY, REPLICA, LAST = Hint(Target.PRIMARY), Hint(Target.REPLICA), Hint(Target.LAST)


def view(name: str, role: Role = Role.REPLICA, lag: float | None = None) -> ServerView:
    return ServerView(name, role, AdminState.ACTIVE, "a reason", lag=lag)


SNAPSHOT = Snapshot(1, 0.0, (view("n1", Role.PRIMARY), view("n2", lag=9.0), view("n3", lag=1.0)), "n1")
LOADS = {name: ServerStats() for name in ("n1", "n2", "n3")}


def taken(stack: HintStack, number: int, sql: str) -> Hint | None:
    data = sql.encode()
    return stack.take(number, classify(data), data, 0, 0)


def go(sql: str, context: RouteContext | None = None, snapshot: Snapshot = SNAPSHOT) -> tuple[str, str]:
    """Server and why the hint was ignored."""
    data = sql.encode()
    mask = classify(data)
    context = context or RouteContext()
    hint = HintStack().take(0, mask, data, 0, 0)
    assert hint is not None
    decision = ReadWriteSplit().route(mask, context, snapshot, LOADS)
    decision, ignored = redirect(hint, decision, mask, context, snapshot, LOADS)
    return decision.server, ignored


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        ("SELECT 1 -- maxscale route to master", PRIMARY),
        ("SELECT 1 # maxscale route to slave", REPLICA),
        ("/* maxscale route to last */ SELECT 1", LAST),
        ("SELECT /*maxscale route to server n2*/ 1", Hint(Target.SERVER, "n2")),
        ("SELECT 1 -- maxscale max_slave_replication_lag = 5", Hint(Target.LAG, lag=5.0)),
        ("SELECT 1 /* an aside */ -- maxscale route to master", PRIMARY),
        ("SELECT 1 -- maxscale route to master\n", PRIMARY),
        ("/* sqlproxy: primary */ SELECT 1", PRIMARY),
        ("/*SQLPROXY:Replica*/ SELECT 1", REPLICA),
        ("SELECT 1 -- sqlproxy: last", LAST),
        ("SELECT 1 # sqlproxy: server = n3 ", Hint(Target.SERVER, "n3")),
        ("SELECT '-- maxscale route to master', 1 -- maxscale route to slave", REPLICA),
    ],
)
def test_a_comment_names_a_route(sql: str, hint: Hint) -> None:
    assert taken(HintStack(), 0, sql) == hint


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '-- maxscale route to master'",
        "SELECT 1 /* maxscale */",
        "SELECT 1 /* maxscale route */",
        "SELECT 1 /* maxscale route to nowhere */",
        "SELECT 1 /* maxscale route to server */",
        "SELECT 1 /* maxscale route to master at once */",
        "SELECT 1 /* the maxscale route to master */",
        "SELECT 1 /* maxscale colour=blue */",
        "SELECT 1 /* maxscale max_slave_replication_lag=soon */",
        "SELECT 1 /* sqlproxy: nowhere */",
        "SELECT 1 /*! maxscale route to master */",
        "SELECT 1 /* maxscale end */",
        "SELECT 1 /* maxscale unheard begin */",
        "SELECT 1 --maxscale route to master",
        "SELECT 1",
    ],
)
def test_anything_else_is_an_ordinary_comment(sql: str) -> None:
    stack = HintStack()
    assert taken(stack, 0, sql) is None
    assert not stack.active


def test_a_block_lasts_until_its_end_and_blocks_nest() -> None:
    stack = HintStack()
    assert taken(stack, 1, "-- maxscale begin route to slave\nSELECT 1") == REPLICA
    assert taken(stack, 2, "-- maxscale begin route to master\nSELECT 1") == PRIMARY
    assert taken(stack, 3, "SELECT 2") == PRIMARY
    assert taken(stack, 4, "SELECT 2 -- maxscale route to last") == LAST
    assert taken(stack, 5, "/* maxscale end */ SELECT 3") == REPLICA
    assert stack.active
    assert taken(stack, 6, "/* maxscale stop */ SELECT 3") is None
    assert not stack.active


def test_a_named_hint_is_prepared_first_and_begun_later_or_both_at_once() -> None:
    stack = HintStack()
    assert taken(stack, 1, "SELECT 1 -- maxscale mine prepare route to server n2") is None
    assert not stack.active
    assert taken(stack, 2, "SELECT 1 -- maxscale mine begin") == Hint(Target.SERVER, "n2")
    assert taken(stack, 3, "SELECT 1 -- maxscale end") is None
    assert taken(stack, 4, "SELECT 1 -- maxscale other begin route to slave") == REPLICA
    assert taken(stack, 5, "SELECT 1") == REPLICA


def test_a_statement_that_runs_again_opens_its_block_once() -> None:
    stack = HintStack()
    for _ in range(3):
        assert taken(stack, 7, "-- maxscale begin route to slave\nSELECT 1") == REPLICA
    assert taken(stack, 8, "SELECT 1 -- maxscale end") is None


def test_a_session_keeps_a_bounded_number_of_blocks_and_names() -> None:
    stack = HintStack()
    for number in range(1000):
        taken(stack, number, f"SELECT 1 -- maxscale h{number} begin route to slave")
    assert len(stack._blocks) == len(stack._named) == 32


def test_a_new_connection_knows_no_hints() -> None:
    stack = HintStack()
    taken(stack, 1, "SELECT 1 -- maxscale a begin route to slave")
    stack.clear()
    assert taken(stack, 2, "SELECT 1 -- maxscale a begin") is None


@pytest.mark.parametrize(
    ("sql", "server"),
    [
        ("SELECT a FROM t -- maxscale route to master", "n1"),
        ("SELECT a FROM t -- maxscale route to server n3", "n3"),
        ("SELECT a FROM t -- maxscale route to server n1", "n1"),
        ("SELECT a FROM t -- maxscale max_slave_replication_lag=5", "n3"),
        ("SET @a = 1 -- maxscale route to server n3", "n3"),
        ("INSERT INTO t VALUES (1) -- maxscale route to master", "n1"),
        ("INSERT INTO t VALUES (1) -- maxscale route to server n1", "n1"),
    ],
)
def test_a_hint_is_followed(sql: str, server: str) -> None:
    assert go(sql) == (server, "")


def test_a_hint_to_the_last_server_stays_there() -> None:
    assert go("SELECT a FROM t -- maxscale route to last", RouteContext(last="n3")) == ("n3", "")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "SELECT a FROM t FOR UPDATE",
        "SELECT stored(1)",
        "BEGIN",
        "CALL p()",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT 1; DELETE FROM t",
        "gibberish",
    ],
)
@pytest.mark.parametrize("hint", ["route to slave", "route to server n2", "max_slave_replication_lag=5"])
def test_no_hint_takes_what_may_write_from_the_primary(sql: str, hint: str) -> None:
    server, ignored = go(f"{sql} -- maxscale {hint}")
    assert server == "n1"
    assert "writes go to the primary" in ignored


@pytest.mark.parametrize(
    ("context", "server"),
    [
        (RouteContext(transaction="n1"), "n1"),
        (RouteContext(pinned="n2", pin_reason="LOCK TABLES"), "n2"),
        (RouteContext(autocommit=False), "n1"),
        (RouteContext(next_transaction=True), "n1"),
    ],
)
def test_what_is_open_weighs_more_than_a_hint(context: RouteContext, server: str) -> None:
    where, ignored = go("SELECT a FROM t -- maxscale route to server n3", context)
    assert where == server
    assert ignored


def test_a_hint_to_a_server_that_is_not_there_is_ignored() -> None:
    where, ignored = go("SELECT a FROM t -- maxscale route to server n9")
    assert where in ("n2", "n3")
    assert ignored == "there is no usable server for: server n9"


def test_a_hint_to_replicas_is_ignored_while_there_is_none() -> None:
    alone = Snapshot(2, 0.0, (view("n1", Role.PRIMARY),), "n1")
    assert go("SELECT a FROM t -- maxscale route to slave", snapshot=alone)[0] == "n1"


def test_a_read_hinted_to_the_primary_waits_for_one_and_may_run_again() -> None:
    headless = Snapshot(2, 0.0, (view("n2"),), None)
    read = Decision("n2", "a read", True)
    decision, ignored = redirect(PRIMARY, read, classify(b"SELECT 1"), RouteContext(), headless, LOADS)
    assert (decision.server, decision.read, ignored) == ("", True, "")


@given(st.text(alphabet="/*-# \n'\"`;maxscale sqlproxy:begin end route to server=n1!", max_size=80))
def test_any_text_gives_at_most_a_hint(text: str) -> None:
    data = text.encode()
    assert isinstance(list(comments(data, 0, 0)), list)
    stack = HintStack()
    hint = stack.take(0, HINT, data, 0, 0)
    assert hint is None or isinstance(hint, Hint)

"""Routes in words: every server is named, chosen or with the reason why not."""

from __future__ import annotations

from collections.abc import Sequence

from sqlproxy.routing.base import Load, RouteContext
from sqlproxy.routing.explain import as_rows, explained
from sqlproxy.routing.hints import Hint, Target, asks_to_explain
from sqlproxy.routing.readwritesplit import ReadWriteSplit
from sqlproxy.sql.classify import classify
from sqlproxy.topology.model import AdminState, Role, ServerView, Snapshot


def view(name: str, role: Role = Role.REPLICA, state: AdminState = AdminState.ACTIVE, weight: int = 1) -> ServerView:
    return ServerView(name, role, state, f"{role.value}: for a reason", weight)


VIEWS = (
    view("n1", Role.PRIMARY),
    view("n2", weight=2),
    view("n3", Role.DOWN),
    view("n4", state=AdminState.DRAIN),
    view("n5", state=AdminState.MAINTENANCE),
    view("n6", weight=0),
)
SNAPSHOT = Snapshot(1, 0.0, VIEWS, "n1")
LOADS = {name.name: Load(3, 7) for name in VIEWS}


def ask(
    sql: bytes, context: RouteContext | None = None, hint: Hint | None = None, pins: Sequence[str] = ()
) -> dict[str, object]:
    router, mask = ReadWriteSplit(), classify(sql)
    return explained(router, True, mask, sql, 0, context or RouteContext(), SNAPSHOT, LOADS, hint=hint, pins=pins)


def test_of_a_read_every_server_is_chosen_or_told_why_not() -> None:
    answer = ask(b"SELECT 1")
    assert answer["server"] == "n2"
    assert answer["candidates"] == [
        "n1: not considered: the primary takes no reads while there are replicas",
        "n2: chosen, 3 statements under way / weight 2 = 1.5, 7 reads so far",
        "n3: not considered: down: for a reason",
        "n4: not considered: it is drained",
        "n5: not considered: in maintenance",
        "n6: not considered: its weight is 0",
    ]


def test_a_write_has_one_candidate() -> None:
    answer = ask(b"DELETE FROM t")
    candidates = answer["candidates"]
    assert isinstance(candidates, list)
    assert candidates[:2] == ["n1: chosen, the primary", "n2: not considered: it is not the primary"]


def test_a_hint_and_pins_are_told() -> None:
    answer = ask(b"SELECT 1", hint=Hint(Target.SERVER, "n4"))
    assert answer["server"] == "n4"
    assert "the hint (server n4) is followed" in str(answer["rules"])
    pinned = ask(b"SELECT 1", RouteContext(pinned="n1", pin_reason="GET_LOCK on n1"), pins=["GET_LOCK on n1"])
    assert pinned["server"] == "n1"
    assert ("pin", "GET_LOCK on n1") in as_rows(pinned)


def test_rows_say_that_nobody_takes_it() -> None:
    nobody = Snapshot(2, 0.0, (view("n1", Role.DOWN),))
    sql = b"SELECT 1"
    answer = explained(ReadWriteSplit(), True, classify(sql), sql, 0, RouteContext(), nobody, LOADS)
    assert as_rows(answer)[0] == ("target", "no server takes it now: it waits for one")


def test_only_a_comment_of_its_own_asks_to_explain() -> None:
    assert asks_to_explain(b"/* sqlproxy: explain */ SELECT 1", 0, 0)
    assert asks_to_explain(b"SELECT 1 -- SQLPROXY:EXPLAIN", 0, 0)
    assert not asks_to_explain(b"SELECT '/* sqlproxy: explain */'", 0, 0)
    assert not asks_to_explain(b"/* sqlproxy: explained */ SELECT 1", 0, 0)

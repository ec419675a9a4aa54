"""Every rule of the routers and of the balancer, and what must hold for any statement and any state of the servers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.routing.balancer import pick, read_candidates
from sqlproxy.routing.base import Load, RouteContext, Router
from sqlproxy.routing.causal import needs_sync
from sqlproxy.routing.readconn import ReadConn
from sqlproxy.routing.readwritesplit import ReadWriteSplit
from sqlproxy.sql.bits import LAST, READ, SESSION, TARGETS, WRITE
from sqlproxy.sql.classify import classify
from sqlproxy.topology.model import AdminState, Role, ServerView, Snapshot


def view(name: str, role: Role = Role.REPLICA, state: AdminState = AdminState.ACTIVE, weight: int = 1) -> ServerView:
    return ServerView(name, role, state, f"{name} is {role}", weight)


def snapshot(*views: ServerView) -> Snapshot:
    primary = next((one.name for one in views if one.role is Role.PRIMARY), None)
    return Snapshot(1, 1.0, views, primary)


THREE = snapshot(view("n1", Role.PRIMARY), view("n2"), view("n3"))
NO_PRIMARY = snapshot(view("n1", Role.DOWN), view("n2"))
LOADS = {"n1": Load(), "n2": Load(), "n3": Load()}
PRIMARY = "a write, or not known to be a read: the primary"
A_READ = "a read: least current operations"
SESSION_STATE = "session state: the server used last, replayed on others before their use"
ABOUT_LAST = "it asks about the statement before: the server used last"
NOBODY = "no server is primary (n1: n1 is down; n2: n2 is replica)"
FRESH = RouteContext()
OPEN = RouteContext(transaction="n3", last="n3")
PINNED = RouteContext(pinned="n1", pin_reason="GET_LOCK on n1", last="n1")


@pytest.mark.parametrize(
    ("text", "context", "servers", "server", "reason"),
    [
        ("SELECT 1", FRESH, THREE, "n2", A_READ),
        ("SELECT 1", RouteContext(last="n3"), THREE, "n3", A_READ),
        ("SELECT 1", RouteContext(autocommit=False), THREE, "n1", PRIMARY),
        ("SELECT 1", RouteContext(next_transaction=True), THREE, "n1", PRIMARY),
        ("SELECT 1; SELECT 2", FRESH, THREE, "n2", A_READ),
        ("START TRANSACTION READ ONLY", FRESH, THREE, "n2", A_READ),
        ("START TRANSACTION READ ONLY; COMMIT; INSERT INTO t VALUES (1)", FRESH, THREE, "n1", PRIMARY),
        ("START TRANSACTION", FRESH, THREE, "n1", PRIMARY),
        ("SELECT * FROM t FOR UPDATE", FRESH, THREE, "n1", PRIMARY),
        ("INSERT INTO t VALUES (1)", RouteContext(last="n2"), THREE, "n1", PRIMARY),
        ("no such thing", FRESH, THREE, "n1", PRIMARY),
        ("", FRESH, THREE, "n1", PRIMARY),
        ("SELECT 1", OPEN, THREE, "n3", "the open transaction is there"),
        ("INSERT INTO t VALUES (1)", OPEN, THREE, "n3", "the open transaction is there"),
        ("SELECT 1", PINNED, THREE, "n1", "pinned: GET_LOCK on n1"),
        ("SHOW WARNINGS", RouteContext(last="n3"), THREE, "n3", ABOUT_LAST),
        ("SHOW WARNINGS", FRESH, THREE, "n1", PRIMARY),
        ("SHOW WARNINGS", RouteContext(last="n1"), NO_PRIMARY, "", NOBODY),
        ("SET NAMES utf8", RouteContext(last="n3"), THREE, "n3", SESSION_STATE),
        ("SET NAMES utf8", FRESH, THREE, "n2", A_READ),
        ("SET @a = NOW()", RouteContext(last="n3"), THREE, "n1", PRIMARY),
        ("SET NAMES utf8", RouteContext(last="n3", next_transaction=True), THREE, "n1", PRIMARY),
        ("SET NAMES utf8", RouteContext(last="n3", history_full=True), THREE, "n1", PRIMARY),
        ("SET TRANSACTION READ ONLY", RouteContext(last="n3"), THREE, "n1", PRIMARY),
        ("SET GLOBAL a = 1", RouteContext(last="n3"), THREE, "n1", PRIMARY),
        ("INSERT INTO t VALUES (1)", FRESH, NO_PRIMARY, "", NOBODY),
        ("INSERT INTO t VALUES (1)", FRESH, snapshot(), "", "no server has been probed yet"),
    ],
)
def test_readwritesplit_decides_and_says_why(
    text: str, context: RouteContext, servers: Snapshot, server: str, reason: str
) -> None:
    decision = ReadWriteSplit().route(classify(text.encode()), context, servers, LOADS)
    assert (decision.server, decision.reason) == (server, reason)


def test_a_read_without_any_server_says_so() -> None:
    decision = ReadWriteSplit().route(READ, FRESH, snapshot(view("n1", Role.DOWN)), LOADS)
    assert decision.server == ""
    assert decision.read
    assert "n1 is down" in decision.reason


def test_session_statements_leave_a_draining_server_alone() -> None:
    draining = snapshot(view("n1", Role.PRIMARY), view("n2"), view("n3", state=AdminState.DRAIN))
    mask = classify(b"SET NAMES utf8")
    assert ReadWriteSplit().route(mask, RouteContext(last="n3"), draining, LOADS).server == "n2"


def test_a_router_follows_the_newest_snapshot() -> None:
    router = ReadWriteSplit()
    assert router.route(WRITE, FRESH, THREE, LOADS).server == "n1"
    assert router.route(WRITE, FRESH, snapshot(view("n1"), view("n2", Role.PRIMARY)), LOADS).server == "n2"


# -- what must hold whatever comes

views = st.builds(
    view, st.just("x"), st.sampled_from(list(Role)), st.sampled_from(list(AdminState)), st.integers(0, 3)
).map(lambda one: one)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    roles = draw(st.lists(st.sampled_from([role for role in Role if role is not Role.PRIMARY]), max_size=4))
    if roles and draw(st.booleans()):
        roles[draw(st.integers(0, len(roles) - 1))] = Role.PRIMARY
    states = draw(st.lists(st.sampled_from(list(AdminState)), min_size=len(roles), max_size=len(roles)))
    weights = draw(st.lists(st.integers(0, 3), min_size=len(roles), max_size=len(roles)))
    return snapshot(
        *(view(f"n{i}", role, states[i], weights[i]) for i, role in enumerate(roles)),
    )


names = st.sampled_from(["", "n0", "n1", "n2", "n3"])
contexts = st.builds(RouteContext, st.just(""), st.just(""), st.just(""), names, st.booleans(), st.booleans())
masks = st.builds(
    lambda target, facts: (facts & ~TARGETS) | target,
    st.sampled_from([READ, WRITE, LAST, SESSION]),
    st.integers(0, (1 << 45) - 1),
)
routers = st.sampled_from([ReadWriteSplit(), ReadWriteSplit(True), ReadConn("primary")])
loads = st.fixed_dictionaries({f"n{i}": st.builds(Load, st.integers(0, 9), st.integers(0, 99)) for i in range(4)})


@given(routers, masks, contexts, snapshots(), loads)
def test_a_write_goes_to_the_primary_or_nowhere(
    router: Router, mask: int, context: RouteContext, servers: Snapshot, counts: dict[str, Load]
) -> None:
    decision = router.route(mask | WRITE & ~READ if mask & WRITE else WRITE, context, servers, counts)
    assert decision.server == (servers.primary or "")
    assert not decision.read
    assert decision.reason


@given(st.booleans(), names, snapshots(), loads)
def test_the_short_way_for_a_read_leads_where_the_long_one_does(
    accepts: bool, last: str, servers: Snapshot, counts: dict[str, Load]
) -> None:
    router = ReadWriteSplit(accepts)
    decision = router.route(READ, RouteContext(last=last), servers, counts)
    assert router.read_server(last, servers, counts) == decision.server


@given(routers, masks, contexts, snapshots(), loads)
def test_whatever_is_decided_can_be_used_and_is_decided_again_alike(
    router: Router, mask: int, context: RouteContext, servers: Snapshot, counts: dict[str, Load]
) -> None:
    decision = router.route(mask, context, servers, counts)
    assert decision == router.route(mask, context, servers, counts)
    found = servers.server(decision.server)
    if decision.server and decision.server != servers.primary:
        assert found is not None
        assert found.usable


@given(masks, snapshots(), loads)
def test_an_open_transaction_and_a_pin_are_never_left(mask: int, servers: Snapshot, counts: dict[str, Load]) -> None:
    for router in (ReadWriteSplit(), ReadConn("replica")):
        assert router.route(mask, RouteContext(transaction="n9", last="n1"), servers, counts).server == "n9"
        assert router.route(mask, RouteContext(pinned="n8", transaction="n9"), servers, counts).server == "n8"


# -- readconn


@pytest.mark.parametrize(
    ("role", "context", "servers", "server"),
    [
        ("primary", FRESH, THREE, "n1"),
        ("primary", RouteContext(last="n2"), THREE, "n1"),
        ("primary", FRESH, NO_PRIMARY, ""),
        ("replica", FRESH, THREE, "n2"),
        ("replica", RouteContext(last="n3"), THREE, "n3"),
        ("replica", RouteContext(last="n1"), THREE, "n2"),
        ("replica", FRESH, snapshot(view("n1", Role.PRIMARY)), "n1"),
        ("any", RouteContext(last="n1"), THREE, "n1"),
        ("any", FRESH, snapshot(view("n1", Role.DOWN)), ""),
        ("replica", PINNED, THREE, "n1"),
        ("primary", OPEN, THREE, "n3"),
    ],
)
def test_readconn_stays_on_a_server_of_its_role(
    role: str, context: RouteContext, servers: Snapshot, server: str
) -> None:
    for text in (b"SELECT 1", b"INSERT INTO t VALUES (1)"):
        decision = ReadConn(role).route(classify(text), context, servers, LOADS)
        assert decision.server == server
        assert decision.reason


# -- the balancer


@pytest.mark.parametrize(
    ("servers", "primary_reads", "expected"),
    [
        (THREE, False, ["n2", "n3"]),
        (THREE, True, ["n1", "n2", "n3"]),
        (snapshot(view("n1", Role.PRIMARY), view("n2", Role.JOINING)), False, ["n1"]),
        (snapshot(view("n1", Role.PRIMARY), view("n2", state=AdminState.DRAIN)), False, ["n1"]),
        (snapshot(view("n2", state=AdminState.DRAIN)), False, ["n2"]),
        (snapshot(view("n2", state=AdminState.MAINTENANCE)), False, []),
        (snapshot(view("n1", Role.PRIMARY), view("n2", weight=0)), False, ["n1"]),
        (snapshot(view("n1", weight=0), view("n2", weight=0)), False, ["n1", "n2"]),
        (snapshot(view("n1", Role.PRIMARY), view("n2", weight=0), view("n3")), False, ["n3"]),
        (snapshot(view("n1", Role.DOWN)), True, []),
    ],
)
def test_who_may_take_reads(servers: Snapshot, primary_reads: bool, expected: list[str]) -> None:
    found = read_candidates(servers.servers, servers.primary, primary_reads)
    assert [name for name, _ in found] == expected
    assert all(weight > 0 for _, weight in found)


def test_the_server_with_the_fewest_operations_is_picked() -> None:
    loads = {"a": Load(3), "b": Load(1), "c": Load(2)}
    assert pick([("a", 1), ("b", 1), ("c", 1)], loads, "") == "b"
    assert pick([("a", 1), ("b", 1), ("c", 1)], loads, "a") == "b"


def test_a_tie_goes_to_the_server_used_last() -> None:
    assert pick([("a", 1), ("b", 1)], {"a": Load(), "b": Load(0, 50)}, "b") == "b"


def test_another_tie_goes_to_the_smallest_share() -> None:
    assert pick([("a", 1), ("b", 1)], {"a": Load(0, 10), "b": Load(0, 9)}, "") == "b"


def test_nobody_is_picked_from_nobody() -> None:
    assert pick([], {}, "a") == ""


@pytest.mark.parametrize("running", [1, 4, 40])
def test_weights_hold_at_any_load(running: int) -> None:
    loads = {"a": Load(), "b": Load()}
    under_way: list[str] = []
    for _ in range(4000):
        name = pick([("a", 3), ("b", 1)], loads, "")
        loads[name].operations += 1
        loads[name].reads += 1
        under_way.append(name)
        if len(under_way) == running:
            loads[under_way.pop(0)].operations -= 1
    assert loads["a"].reads / loads["b"].reads == pytest.approx(3, rel=0.1)


# -- causal reads


@pytest.mark.parametrize(
    ("mode", "causal", "written", "synced", "is_primary", "expected"),
    [
        ("session", "galera", 1, 0, False, True),
        ("session", "galera", 1, 1, False, False),
        ("session", "galera", 0, 0, False, False),
        ("session", "galera", 1, 0, True, False),
        ("session", "", 1, 0, False, False),
        ("none", "galera", 1, 0, False, False),
    ],
)
def test_who_waits_for_the_sessions_writes(
    mode: str, causal: str, written: int, synced: int, is_primary: bool, expected: bool
) -> None:
    assert needs_sync(mode, causal, written, synced, is_primary) is expected

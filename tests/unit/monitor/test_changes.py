"""Differences between snapshots as sentences."""

from dataclasses import replace

from sqlproxy.monitor.changes import changes, visible
from sqlproxy.topology.model import AdminState, Role, ServerView, Snapshot

N1 = ServerView("n1", Role.PRIMARY, AdminState.ACTIVE, "synced, lowest local index 0 of priority 1")
N2 = ServerView("n2", Role.REPLICA, AdminState.ACTIVE, "synced, local index 1")
BOTH = Snapshot(1, 10.0, (N1, N2), "n1")


def texts(old: Snapshot, new: Snapshot) -> list[str]:
    return [change.text for change in changes(old, new)]


def test_figures_and_times_are_no_news() -> None:
    later = (replace(N1, figures={"last_committed": "9"}, latency=0.2, lag=3.0), N2)
    assert visible(Snapshot(2, 20.0, later, "n1")) == visible(BOTH)
    assert visible(Snapshot(2, 20.0, (replace(N1, weight=2), N2), "n1")) != visible(BOTH)
    assert visible(replace(BOTH, alarms=("fire",))) != visible(BOTH)


def test_equal_snapshots_change_nothing() -> None:
    assert texts(BOTH, replace(BOTH, number=2)) == []


def test_the_first_snapshot_names_every_role() -> None:
    assert texts(Snapshot(0, 0.0), BOTH) == [
        "n1: unknown -> primary: synced, lowest local index 0 of priority 1",
        "n2: unknown -> replica: synced, local index 1",
        "primary none -> n1: n1 is synced, lowest local index 0 of priority 1",
    ]


def test_a_failover_names_what_became_of_the_old_primary() -> None:
    fallen = replace(N1, role=Role.DOWN, reason="down: connection refused")
    new = Snapshot(2, 11.0, (fallen, replace(N2, role=Role.PRIMARY, reason="synced, lowest")), "n2")
    assert texts(BOTH, new)[-1] == "primary n1 -> n2: n1 is down: connection refused"
    lost = Snapshot(2, 11.0, (fallen, N2), None)
    last = list(changes(BOTH, lost))[-1]
    assert (last.text, last.bad) == ("primary n1 -> none: n1 is down: connection refused", True)


def test_a_move_between_healthy_servers_names_why_the_new_one() -> None:
    chosen = replace(N2, role=Role.PRIMARY, reason="synced, preferred by an operator")
    new = Snapshot(2, 11.0, (replace(N1, role=Role.REPLICA, reason="synced"), chosen), "n2")
    assert texts(BOTH, new)[-1] == "primary n1 -> n2: n2 is synced, preferred by an operator"


def test_a_primary_turned_read_only_is_the_cause() -> None:
    fallen = replace(N1, role=Role.REPLICA, reason="synced, never primary: read_only=ON")
    new = Snapshot(2, 11.0, (fallen, replace(N2, role=Role.PRIMARY)), "n2")
    assert texts(BOTH, new)[-1] == "primary n1 -> n2: n1 is synced, never primary: read_only=ON"


def test_a_primary_that_is_no_longer_configured_is_said_so() -> None:
    assert texts(BOTH, Snapshot(2, 11.0, (), None))[-1] == "primary n1 -> none: n1 is no longer configured"


def test_alarms_are_told_when_raised_and_when_over() -> None:
    alarmed = replace(BOTH, alarms=("split brain: …",))
    assert [(c.text, c.bad) for c in changes(BOTH, alarmed)] == [("split brain: …", True)]
    assert texts(alarmed, BOTH) == ["over: split brain: …"]

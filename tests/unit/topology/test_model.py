"""What a view allows, and how addresses read."""

import pytest

from sqlproxy.topology.model import Address, AdminState, Role, ServerView, Snapshot


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("state", list(AdminState))
def test_only_primary_and_replica_take_work_and_only_as_far_as_the_operator_allows(
    role: Role, state: AdminState
) -> None:
    view = ServerView("n1", role, state, "because")
    serving = role in (Role.PRIMARY, Role.REPLICA)
    assert view.usable == (serving and state is not AdminState.MAINTENANCE)
    assert view.readable == (serving and state is AdminState.ACTIVE)


def test_a_snapshot_finds_its_servers_by_name() -> None:
    view = ServerView("n1", Role.REPLICA, AdminState.ACTIVE, "synced")
    snapshot = Snapshot(1, 0.0, (view,))
    assert snapshot.server("n1") is view
    assert snapshot.server("n2") is None


def test_addresses_read_as_they_are_written() -> None:
    assert str(Address("127.0.0.1", 3306)) == "127.0.0.1:3306"
    assert str(Address("::1", 3306)) == "[::1]:3306"
    assert str(Address(path="/run/mysqld.sock")) == "unix:/run/mysqld.sock"


def test_a_verdict_on_some_of_the_servers_has_no_primary_that_is_not_among_them() -> None:
    views = tuple(ServerView(name, Role.REPLICA, AdminState.ACTIVE, "it is fine") for name in ("n1", "n2", "n3"))
    whole = Snapshot(7, 1.0, views, "n1", ("an alarm",), "galera")
    assert whole.only({"n1", "n3"}) == Snapshot(7, 1.0, (views[0], views[2]), "n1", ("an alarm",), "galera")
    assert whole.only({"n2"}) == Snapshot(7, 1.0, (views[1],), None, ("an alarm",), "galera")

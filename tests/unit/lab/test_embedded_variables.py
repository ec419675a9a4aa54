import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab.embedded_variables import DEFAULTS, NodeStatus, Value, Variables, status_rows


@pytest.fixture
def node() -> Variables:
    return Variables(DEFAULTS)


def status(**changes: object) -> NodeStatus:
    values: dict[str, object] = {
        "name": "n1",
        "address": "127.0.0.1:1",
        "state": "Synced",
        "local_state": 4,
        "index": 0,
        "gcomm_uuid": "g",
        "cluster_size": 3,
        "conf_id": 7,
        "state_uuid": "s",
        "last_committed": 9,
        "connections": 2,
        "accepted": 5,
        "questions": 11,
        "uptime": 1,
        "incoming": "a,b",
        **changes,
    }
    return NodeStatus(**values)  # type: ignore[arg-type]


def test_a_session_sees_the_node_until_it_sets_its_own(node: Variables) -> None:
    session = Variables(parent=node)
    node.set("sql_mode", "ANSI")
    assert session.get("SQL_MODE") == "ANSI"
    session.set("sql_mode", "")
    assert (session.get("sql_mode"), node.get("sql_mode")) == ("", "ANSI")
    session.set("sql_mode", None)
    assert session.get("sql_mode") == "ANSI"
    session.set("sql_mode", "x")
    session.reset()
    assert session.get("sql_mode") == "ANSI"


@pytest.mark.parametrize(("given", "kept"), [("on", True), (0, False), (True, True), ("FALSE", False)])
def test_switches_take_every_spelling(node: Variables, given: Value, kept: bool) -> None:
    assert node.set("autocommit", given) is kept


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [("nope", 1, 1193), ("version", "x", 1238), ("autocommit", "maybe", 1231), ("wsrep_sync_wait", "x", 1232)],
)
def test_bad_settings_are_refused(node: Variables, name: str, value: Value, code: int) -> None:
    with pytest.raises(ServerError) as refused:
        node.set(name, value)
    assert refused.value.code == code


def test_a_session_cannot_set_what_belongs_to_the_node(node: Variables) -> None:
    with pytest.raises(ServerError) as refused:
        Variables(parent=node).set("read_only", 1)
    assert refused.value.code == 1229


def test_show_prints_switches_as_words(node: Variables) -> None:
    rows = dict(node.rows())
    assert rows["autocommit"] == "ON"
    assert rows["read_only"] == "OFF"
    assert rows["tx_isolation"] == rows["transaction_isolation"] == "REPEATABLE-READ"


def test_status_of_a_synced_and_of_a_joining_node() -> None:
    rows = dict(status_rows(status()))
    assert (rows["wsrep_ready"], rows["wsrep_local_state"], rows["wsrep_cluster_conf_id"]) == ("ON", "4", "7")
    assert (rows["wsrep_local_recv_queue"], rows["wsrep_flow_control_paused"]) == ("0", "0.000000")
    assert dict(status_rows(status(local_state=1)))["wsrep_ready"] == "OFF"

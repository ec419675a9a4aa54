"""What the screen shows of two looks: rates, orders, what fits."""

import pytest
from rich.console import Console

from sqlproxy import screen
from sqlproxy.top import ORDERS, Look, headline, sections, server_rows, service_rows, session_rows

MONITOR = {"version": "1.2", "topology": "galera", "primary": "n1", "uptime": 7300.0, "alarms": ["split brain"]}
STATEMENT = {"statement": "SELECT ?", "user": "app", "server": "n1", "count": 5, "total_ms": 2.0}


def test_rates_are_what_came_since_the_look_before() -> None:
    before = [{"name": "n1", "reads": 100, "writes": 5, "errors": 0}]
    now = [
        {"name": "n1", "role": "primary", "reads": 300, "writes": 9, "errors": 1, "figures": {"local_recv_queue": "3"}}
    ]
    row = server_rows(now, before, 2.0)[0]
    assert (row["reads/s"], row["writes/s"], row["queue"], row["role"]) == ("100", "2", "3", "primary")
    services = service_rows(
        [{"name": "app", "statements": 50, "sessions": 2}], [{"name": "app", "statements": 10}], 4.0
    )
    assert (services[0]["statements/s"], services[0]["sessions"]) == ("10", 2)


def test_a_server_that_is_new_has_no_rate_yet() -> None:
    assert server_rows([{"name": "n2", "reads": 7}], [], 1.0)[0]["reads/s"] == "0"


def session(number: int, state: str = "idle", pins: tuple[str, ...] = (), **more: object) -> dict[str, object]:
    return {"id": number, "state": state, "pins": list(pins), "statements": number, "idle_seconds": 0.0, **more}


@pytest.mark.parametrize(
    ("order", "numbers"),
    [
        ("busy first", [2, 3, 1, 4]),
        ("pinned first", [4, 2, 1, 3]),
        ("longest idle first", [1, 2, 3, 4]),
        ("most statements first", [4, 3, 2, 1]),
    ],
)
def test_sessions_have_orders(order: str, numbers: list[int]) -> None:
    before = [session(3) | {"statements": 1}, session(2, "active") | {"statements": 0}]
    now = [session(1, idle_seconds=9.0), session(2, "active"), session(3), session(4, pins=("GET_LOCK",))]
    assert order in ORDERS
    assert [row["id"] for row in session_rows(now, before, 1.0, order)] == numbers


def look(sessions: int = 2, at: float = 1.0) -> Look:
    events = [{"time": 1.0, "kind": "primary", "server": "n1", "text": f"event {number}"} for number in range(20)]
    rows = [session(number, user="app", pins=("temporary table t",)) for number in range(sessions)]
    return Look(MONITOR, [{"name": "app", "statements": 7}], [{"name": "n1"}], rows, [STATEMENT], events, at)


def test_there_is_a_table_of_everything_with_the_newest_events() -> None:
    found = {section.name: section for section in sections(look(at=3.0), look(at=1.0))}
    assert list(found) == ["services", "servers", "statements", "sessions", "events"]
    assert found["events"].rows[-1]["text"] == "event 19"
    assert found["sessions"].rows[0]["pins"] == ["temporary table t"]
    assert headline(look()) == "sqlproxy 1.2 · galera, primary n1 · up 2 h 1 min · 2 sessions"


@pytest.mark.parametrize("height", [30, 60])
def test_the_screen_is_as_high_as_the_terminal_whatever_it_shows(height: int) -> None:
    console = Console(width=160, height=height, record=True, quiet=True)
    picture = screen._picture(look(500, at=3.0), look(500), ORDERS[0], "", height)
    lines = console.render_lines(picture)
    text = "\n".join("".join(segment.text for segment in line) for line in lines)
    assert len(lines) <= height
    for shown in ("split brain", "temporary table t", "SELECT ?", "event 19", "busy first"):
        assert shown in text


def test_a_proxy_that_does_not_answer_is_named_above_what_was_seen_last() -> None:
    console = Console(width=160, height=50, record=True, quiet=True)
    lines = console.render_lines(screen._picture(look(), look(), ORDERS[0], "no proxy answers", 50))
    assert "no proxy answers" in "".join(segment.text for line in lines[:3] for segment in line)

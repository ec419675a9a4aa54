"""Samples for the plots."""

from __future__ import annotations

from sqlproxy.admin.history import FIELDS, History
from sqlproxy.admin.view import Row

SERVICES: list[Row] = [{"statements": 7, "sessions": 2}, {"statements": 5, "sessions": 1}]


def server(name: str, **more: object) -> Row:
    counters: Row = {
        field: number for number, field in enumerate(FIELDS) if field not in ("receive_queue", "paused_ns")
    }
    return {
        "name": name,
        "figures": {"local_recv_queue": "3", "flow_control_paused_ns": "123456789012"},
        **counters,
        **more,
    }


def test_a_sample_has_the_totals_and_every_servers_figures() -> None:
    sample = History().add(10.0, [server("n1", lag=None)], SERVICES)
    assert (sample["time"], sample["statements"], sample["sessions"]) == (10.0, 12, 3)
    assert sample["servers"] == {"n1": [0, 1, 2, 3, 4, 5, None, 3.0, 123456789012.0]}


def test_what_a_server_does_not_say_is_left_open() -> None:
    sample = History().add(1.0, [server("n1", figures={"local_recv_queue": "many"})], ())
    assert sample["servers"] == {"n1": [0, 1, 2, 3, 4, 5, 6, None, None]}


def test_only_the_newest_samples_are_kept() -> None:
    history = History(kept=2)
    for now in (1.0, 2.0, 3.0):
        history.add(now, [], ())
    assert [sample["time"] for sample in history.samples()] == [2.0, 3.0]

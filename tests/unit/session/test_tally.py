"""Lines that may come in floods."""

from __future__ import annotations

import logging

import pytest

from sqlproxy.session.tally import Tally


def test_a_flood_is_one_line_now_and_then_with_the_number_left_out(caplog: pytest.LogCaptureFixture) -> None:
    times = [0.0]
    tally = Tally(logging.getLogger("sqlproxy.session"), lambda: times[0])
    with caplog.at_level(logging.INFO, "sqlproxy.session"):
        for step in range(1000):
            times[0] = step / 100
            tally.note(f"transaction {step} was replayed")
        times[0] = 100.0
        tally.note("the last")
        times[0] = 200.0
        tally.note("alone")
    assert [record.getMessage() for record in caplog.records] == [
        "transaction 0 was replayed",
        "transaction 500 was replayed (and 499 more like it before)",
        "the last (and 499 more like it before)",
        "alone",
    ]

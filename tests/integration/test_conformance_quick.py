"""A few minutes of ``make conformance``: tests that others wrote cannot tell the proxy from the server behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.endpoint import Endpoint, endpoints
from tests.conformance.outcome import compare, load_known, passed
from tests.conformance.run import SUITES


@pytest.fixture(scope="module")
def places() -> Iterator[tuple[Endpoint, Endpoint]]:
    """A server of their own, because the suites drop every database, and a proxy in front of it."""
    with endpoints("single") as both:
        yield both


@pytest.mark.timeout(600)  # the first run fetches the suites and makes their environments
@pytest.mark.parametrize(("suite", "at_least"), [("pymysql", 140), ("django", 150), ("sysbench", 2)])
def test_the_suite_has_the_same_outcomes_through_the_proxy(
    suite: str, at_least: int, places: tuple[Endpoint, Endpoint], tmp_path: Path
) -> None:
    outcomes = []
    for place in places:
        work = tmp_path / place.name
        work.mkdir()
        outcomes.append(SUITES[suite](place, work, True))
    direct, proxied = outcomes
    assert passed(direct) >= at_least
    differences = compare(suite, "single", direct, proxied, load_known())
    assert [difference for difference in differences if not difference.reason] == []

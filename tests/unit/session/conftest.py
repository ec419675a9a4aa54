from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.fakes import Bench


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """Makes benches; at the end their counters must agree with what the servers see."""
    made: list[Bench] = []

    def make(*names: str, **config: Any) -> Bench:
        made.append(Bench(monkeypatch, *names, **config))
        return made[-1]

    yield make
    for one in made:
        operations, connections = one.counters()
        assert operations >= 0
        assert connections == one.open_connections()

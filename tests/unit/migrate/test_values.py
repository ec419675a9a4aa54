"""Durations, sizes and addresses as other proxies write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sqlproxy.migrate import values
from sqlproxy.units import parse_duration


@pytest.mark.parametrize(
    ("text", "unit", "ours"),
    [
        *(("5s", "ms", "5s"), ("2000", "ms", "2s"), ("1500", "ms", "1500ms"), ("5", "s", "5s"), ("2min", "s", "120s")),
        *(("1h", "s", "3600s"), ("1d", "s", "86400s"), ("10us", "s", "1ms"), ("0", "s", "0s"), ("3M", "s", "180s")),
    ],
)
def test_durations(text: str, unit: str, ours: str) -> None:
    assert values.duration(text, unit) == ours
    assert parse_duration(ours) >= 0


@pytest.mark.parametrize(("text", "size"), [("1048576", 1 << 20), ("1Mi", 1 << 20), ("1M", 10**6), ("2GiB", 2 << 30)])
def test_sizes(text: str, size: int) -> None:
    assert values.size(text) == size


@pytest.mark.parametrize("convert", [lambda text: values.duration(text, "s"), values.size, values.truth])
def test_what_is_none_is_refused(convert: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match="quick"):
        convert("quick")


@pytest.mark.parametrize(
    ("host", "ours"),
    [("", "0.0.0.0:1"), ("*", "0.0.0.0:1"), ("::", "[::]:1"), ("[fd::1]", "[fd::1]:1"), ("db", "db:1")],
)
def test_addresses(host: str, ours: str) -> None:
    assert values.address(host, "1") == ours

"""Which addresses a changed configuration opens, and which go from one service to another."""

from __future__ import annotations

import pytest

from sqlproxy.config import Settings, validate
from sqlproxy.reload_needs import moved_addresses, new_addresses


def settings(**listen: list[int]) -> Settings:
    """Services by name and ports."""
    return validate(
        {
            "servers": [{"name": "n1", "address": "127.0.0.1:3306"}],
            "services": [
                {"name": name, "listen": [f"127.0.0.1:{port}" for port in ports]} for name, ports in listen.items()
            ],
        },
        "test",
    )


@pytest.mark.parametrize(
    ("after", "new", "moved"),
    [
        ({"a": [1, 2], "b": [3]}, {}, {}),
        ({"a": [1, 2, 4], "b": [3]}, {"a": [4]}, {}),
        ({"a": [1], "b": [3, 2]}, {}, {"b": [2]}),
        ({"a": [3], "b": [2, 1]}, {}, {"a": [3], "b": [2, 1]}),
        ({"c": [1, 2, 4], "b": [3]}, {"c": [4]}, {"c": [1, 2]}),
    ],
    ids=["as before", "another one", "one moves", "exchanged", "another service"],
)
def test_addresses_are_opened_unless_some_service_has_them(
    after: dict[str, list[int]], new: dict[str, list[int]], moved: dict[str, list[int]]
) -> None:
    before, wanted = settings(a=[1, 2], b=[3]), settings(**after)
    for found, expected in ((new_addresses(before, wanted), new), (moved_addresses(before, wanted), moved)):
        assert {name: [address.port for address in addresses] for name, addresses in found.items()} == expected

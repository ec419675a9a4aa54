"""What serves sockets: the best there is, never more than was asked for."""

from __future__ import annotations

import pytest

from sqlproxy.session import attach


@pytest.mark.parametrize(
    ("wanted", "refused", "expected"),
    [
        ("ring", "", ("ring", "")),
        ("ring", "io_uring: Operation not permitted", ("lane", "io_uring: Operation not permitted")),
        ("lane", "", ("lane", "SQLPROXY_SOCKETS=lane")),
        ("transports", "", ("transports", "SQLPROXY_SOCKETS=transports")),
    ],
)
def test_what_may_be_used_where_all_is_compiled(
    monkeypatch: pytest.MonkeyPatch, wanted: str, refused: str, expected: tuple[str, str]
) -> None:
    monkeypatch.setattr(attach, "_COMPILED", True)
    monkeypatch.setattr(attach, "ring_refused", lambda: refused, raising=False)
    assert attach.best(wanted) == expected


def test_nothing_is_used_that_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "_COMPILED", False)
    assert attach.best("ring") == ("transports", "there is no compiled core")

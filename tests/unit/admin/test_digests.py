"""Statement digests as the admin side shows them."""

from __future__ import annotations

from typing import Any

import pytest

from sqlproxy.admin import digests
from sqlproxy.admin.commands import CommandError
from sqlproxy.session.digests import Digests, Figures
from sqlproxy.sql.shape import shape_key

from .conftest import Connect, Runtime


def worker(*statements: tuple[bytes, bytes, str, float]) -> list[Figures]:
    """What one process counted: text, user, server and seconds."""
    table = Digests(100)
    for text, user, server, seconds in statements:
        table.note(shape_key(text, 0, 0), text, 0, 0, user, server, True, seconds, 1, 10, False, 1000.0)
    return list(table.figures("app"))


ROWS = [
    *worker((b"SELECT 1", b"a", "n1", 0.001), (b"SELECT 2", b"b", "n1", 0.002), (b"UPDATE t SET a=1", b"a", "n2", 0.5)),
    *worker((b"SELECT 3", b"a", "n1", 0.004), (b"SELECT 3", b"a", "n1", 0.004)),
]


def shown(**query: str) -> list[dict[str, Any]]:
    return [digests.row(figures) for figures in digests.select(ROWS, **query)]


def test_rows_of_all_workers_are_one() -> None:
    rows = {(row["statement"], row["user"], row["server"]): row for row in shown()}
    assert set(rows) == {("SELECT ?", "a", "n1"), ("SELECT ?", "b", "n1"), ("UPDATE t SET a = ?", "a", "n2")}
    row = rows["SELECT ?", "a", "n1"]
    assert (row["count"], row["rows"], row["bytes"]) == (3, 3, 30)
    assert (row["min_ms"], row["max_ms"], row["avg_ms"], row["total_ms"]) == (1.0, 4.0, 3.0, 9.0)
    assert 3.0 < row["p95_ms"] <= 4.0
    assert len(row["digest"]) == 16


def test_merging_leaves_the_parts_alone() -> None:
    before = [figures.times.count for figures in ROWS]
    shown()
    shown(by="statement")
    assert [figures.times.count for figures in ROWS] == before
    assert ROWS[0].user == "a"


def test_rows_are_ordered_and_cut() -> None:
    assert [row["total_ms"] for row in shown()] == [500.0, 9.0, 2.0]
    assert next(row["count"] for row in shown(order="count")) == 3
    assert len(shown(limit="1")) == 1
    assert [row["max_ms"] for row in shown(order="max", limit="2")] == [500.0, 4.0]


def test_rows_are_added_up() -> None:
    assert {row["statement"]: row["count"] for row in shown(by="statement")} == {"SELECT ?": 4, "UPDATE t SET a = ?": 1}
    assert {row["user"]: row["count"] for row in shown(by="user")} == {"a": 4, "b": 1}
    assert {row["server"]: row["count"] for row in shown(by="server")} == {"n1": 4, "n2": 1}


@pytest.mark.parametrize(
    "query", [{"order": "beauty"}, {"limit": "0"}, {"limit": "x"}, {"limit": "-1"}, {"by": "moon"}]
)
def test_what_cannot_be_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(CommandError):
        shown(**query)


async def test_they_are_served_and_reset(connect: Connect, runtime: Runtime) -> None:
    client = await connect()
    runtime.figures = list(ROWS)
    rows = await (await client.get("/v1/digests?order=count&limit=2")).json()
    assert [row["count"] for row in rows] == [3, 1]
    answer = await client.get("/v1/digests?order=beauty")
    assert answer.status == 400
    assert "count" in (await answer.json())["hint"]
    assert (await (await client.delete("/v1/digests")).json()) == {"reset": True}
    assert await (await client.get("/v1/digests")).json() == []

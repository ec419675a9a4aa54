"""The table of statement digests."""

from __future__ import annotations

from sqlproxy.session.digests import IDLE, OTHERS, SWEEP, Digests, Figures
from sqlproxy.sql.shape import shape_key


def note(
    table: Digests,
    text: bytes,
    *,
    user: bytes = b"app",
    server: str = "n1",
    seconds: float = 0.001,
    rows: int = 1,
    size: int = 100,
    failed: bool = False,
    now: float = 1000.0,
) -> None:
    key = shape_key(text, 0, 0)
    table.note(key, text, 0, 0, user, server, True, seconds, rows, size, failed, now)


def figures(table: Digests) -> dict[str, Figures]:
    return {row.statement: row for row in table.figures("app")}


def test_statements_that_differ_in_literals_only_are_one_row() -> None:
    table = Digests(10)
    note(table, b"select a from t where id = 1", seconds=0.001)
    note(table, b"SELECT a FROM t WHERE id=22", seconds=0.003, rows=5, size=50, failed=True)
    [row] = table.figures("app")
    assert (row.service, row.statement) == ("app", "SELECT a FROM t WHERE id = ?")
    assert (row.times.count, row.rows, row.size, row.errors) == (2, 6, 150, 1)
    assert (row.fastest, row.slowest) == (0.001, 0.003)
    assert row.first <= row.last


def test_users_and_servers_have_rows_of_their_own() -> None:
    table = Digests(10)
    for user, server in ((b"a", "n1"), (b"b", "n1"), (b"a", "n2"), (b"a", "n1")):
        note(table, b"SELECT 1", user=user, server=server)
    assert {(row.user, row.server): row.times.count for row in table.figures("app")} == {
        ("a", "n1"): 2,
        ("b", "n1"): 1,
        ("a", "n2"): 1,
    }


def test_secrets_do_not_get_in() -> None:
    table = Digests(10)
    for text in (b"SET PASSWORD = 'hunter2'", b"SELECT 'hunter2", b"CREATE USER a IDENTIFIED BY 'hunter2'"):
        note(table, text)
    assert not [row for row in table.figures("app") if "hunter2" in row.statement]


def test_a_full_table_adds_up_what_finds_no_place() -> None:
    table = Digests(2)
    for name in (b"a", b"b", b"c", b"d", b"c"):
        note(table, b"SELECT " + name, rows=1)
    found = figures(table)
    assert set(found) == {"SELECT a", "SELECT b", OTHERS}
    assert (found[OTHERS].times.count, found[OTHERS].rows) == (3, 3)


def test_what_was_not_seen_for_long_makes_place() -> None:
    table = Digests(2)
    note(table, b"SELECT a", now=1000.0)
    note(table, b"SELECT b", now=1000.0 + IDLE)
    note(table, b"SELECT c", now=1001.0 + IDLE)
    found = figures(table)
    assert set(found) == {"SELECT b", "SELECT c", OTHERS}
    assert found[OTHERS].times.count == 1
    note(table, b"SELECT a", now=1002.0 + IDLE)
    assert figures(table)[OTHERS].times.count == 2, "the next look is not before its time"
    note(table, b"SELECT d", now=1002.0 + 2 * IDLE + SWEEP)
    assert "SELECT d" in figures(table)
    assert sum(row.times.count for row in table.figures("app")) == 5


def test_shapes_without_end_do_not_fill_the_memory_with_keys() -> None:
    table = Digests(3)
    for number in range(1000):
        note(table, b"SELECT " + b"(1)," * number + b"1")
    assert sum(row.times.count for row in table.figures("app")) == 1000
    assert len(list(table.figures("app"))) <= 4


def test_reset_begins_anew_and_a_limit_of_0_keeps_none() -> None:
    table = Digests(2)
    for name in (b"a", b"b", b"c"):
        note(table, b"SELECT " + name)
    table.clear()
    assert not list(table.figures("app"))
    note(table, b"SELECT a")
    assert figures(table)["SELECT a"].times.count == 1
    none = Digests(0)
    note(none, b"SELECT a")
    assert not list(none.figures("app"))


def test_a_table_can_be_made_larger_or_given_up() -> None:
    table = Digests(1)
    for name in (b"a", b"b"):
        note(table, b"SELECT " + name)
    table.resize(2)
    note(table, b"SELECT b")
    assert set(figures(table)) == {"SELECT a", "SELECT b", OTHERS}
    table.resize(0)
    note(table, b"SELECT a")
    assert not list(table.figures("app"))

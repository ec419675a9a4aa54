"""The statements of the SQL admin side, without sockets."""

from __future__ import annotations

import pytest

from sqlproxy.admin.sql_statements import Done, Statements, count_parameters
from sqlproxy.admin.sql_tables import TABLES, Result
from sqlproxy.errors import SqlproxyError
from sqlproxy.session.digests import Digests
from sqlproxy.sql.shape import shape_key
from sqlproxy.topology.model import AdminState

from .conftest import MONITOR_SECRET, Runtime


async def ask(runtime: Runtime, text: str, *parameters: str | int | float | None) -> Result:
    answer = await Statements(runtime, "tester").execute(text, parameters)
    assert isinstance(answer, Result)
    return answer


async def test_servers_can_be_asked_for_in_any_way(runtime: Runtime) -> None:
    last = await ask(runtime, "SELECT name FROM servers WHERE role = 'replica' ORDER BY name DESC LIMIT 1")
    assert last.rows == [["n3"]]
    quoted = await ask(runtime, "select `name`, `primary` from `sqlproxy`.`servers` where `primary`")
    assert quoted.rows == [["n1", 1]]
    assert (await ask(runtime, "SELECT COUNT(*) AS n FROM servers")).names == ["n"]
    assert (await ask(runtime, "SELECT name FROM servers WHERE name = ?", "n2")).rows == [["n2"]]
    shown = await ask(runtime, "SHOW SERVERS WHERE role = 'primary'")
    assert shown.names[:3] == ["name", "address", "role"]
    assert [row[0] for row in shown.rows] == ["n1"]


@pytest.mark.parametrize("table", sorted(TABLES))
async def test_every_table_can_be_read_and_described(runtime: Runtime, table: str) -> None:
    result = await ask(runtime, f"SELECT * FROM {table}")
    assert result.names == [name for name, _ in TABLES[table]]
    assert [row[0] for row in (await ask(runtime, f"DESCRIBE {table}")).rows] == result.names
    assert await Statements(runtime, "tester").describe(f"SELECT * FROM {table}") == result.names


async def test_what_clients_ask_at_their_start_is_answered(runtime: Runtime) -> None:
    assert (await ask(runtime, "select @@version_comment limit 1")).names == ["@@version_comment"]
    result = await ask(runtime, "/* driver */SELECT @@session.auto_increment_increment AS a, @@no_such AS b")
    assert (result.names, result.rows) == (["a", "b"], [[1, None]])
    assert (await ask(runtime, "SHOW VARIABLES LIKE 'character_set_c%'")).rows[0][1] == "utf8mb4"
    assert ["servers"] in (await ask(runtime, "SHOW TABLES")).rows
    assert ["sqlproxy"] in (await ask(runtime, "SHOW DATABASES")).rows
    assert not (await ask(runtime, "SHOW WARNINGS")).rows
    assert (await ask(runtime, "SELECT CONCAT('a', 1), IF(1, 'y', 'n'), DATABASE()")).rows == [["a1", "y", "sqlproxy"]]
    for text in ("SET NAMES utf8mb4", "SET autocommit=1", "USE sqlproxy", "BEGIN", "COMMIT"):
        assert await Statements(runtime, "tester").execute(text) == Done()
    columns = await ask(runtime, "SELECT column_name FROM information_schema.columns WHERE table_name='pools'")
    assert len(columns.rows) == len(TABLES["pools"])


async def test_digests_are_a_table(runtime: Runtime) -> None:
    table = Digests(10)
    for text in (b"SELECT 1", b"SELECT 2", b"SELECT a FROM t"):
        table.note(shape_key(text, 0, 0), text, 0, 0, b"app", "n1", True, 0.001, 1, 10, False, 1000.0)
    runtime.figures = list(table.figures("app"))
    result = await ask(runtime, "SELECT statement, count FROM digests ORDER BY count DESC LIMIT 1")
    assert result.rows == [["SELECT ?", 2]]
    await Statements(runtime, "tester").execute("RESET DIGESTS")
    assert not runtime.figures


async def test_operators_give_orders(runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "sqlproxy.audit")
    statements = Statements(runtime, "tester")
    await statements.execute("SET SERVER n1 = 'drain';")
    await statements.execute("MAINTENANCE n2")
    assert (await ask(runtime, "SWITCHOVER TO n2")).rows == [["n2"]]
    await statements.execute("KILL 7")
    assert (await ask(runtime, "RELOAD")).rows == [["servers: n3 was added"]]
    assert runtime.asked == [("n1", AdminState.DRAIN), ("n2", AdminState.MAINTENANCE), ("switchover", "n2")]
    assert len(caplog.records) >= 5
    assert all("tester" in record.getMessage() for record in caplog.records)


async def test_a_route_is_explained(runtime: Runtime) -> None:
    statement = "SELECT ';' FROM t WHERE a = 'x'"
    answer = await ask(runtime, f"EXPLAIN ROUTE IN TRANSACTION {statement}")
    assert ["target", "n1"] in [list(row) for row in answer.rows]
    assert runtime.asked == [(statement.encode(), True)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/* nothing */",
        "FROBNICATE",
        "DELETE FROM servers",
        "SELECT * FROM nowhere",
        "SELECT nowhere FROM servers",
        "SELECT 1; DROP TABLE servers",
        "SELECT load_extension('x')",
        "SELECT zeroblob(1000000000)",
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x FROM r) SELECT COUNT(*) FROM r",
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 100001) SELECT * FROM r",
        "WITH RECURSIVE r(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM r LIMIT 20) SELECT hex(zeroblob(1000000)) FROM r",
        "SET SERVER n9 = 'drain'",
        "SET SERVER n1 = 'sideways'",
        "KILL 8",
        "SHOW MOON",
    ],
)
async def test_what_cannot_be_is_refused_in_a_sentence(runtime: Runtime, text: str) -> None:
    with pytest.raises(SqlproxyError) as caught:
        await Statements(runtime, "tester").execute(text)
    assert not 2000 <= caught.value.code < 3000
    assert len(caught.value.message) > 10


async def test_no_secret_is_shown(runtime: Runtime) -> None:
    result = await ask(runtime, "SELECT * FROM config")
    assert result.rows
    assert MONITOR_SECRET not in str(result.rows)


def test_placeholders_are_counted_outside_of_literals() -> None:
    assert count_parameters("SELECT ?, '?', `?` FROM t WHERE a = ? -- ?") == 2

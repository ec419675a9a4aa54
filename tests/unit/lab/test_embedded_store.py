import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab import embedded_store
from sqlproxy.lab.embedded_sql import rewrite
from sqlproxy.lab.embedded_store import Done, Rows, Store, Transaction


class Nobody:
    """The session of a test."""

    database: str | None = "app"
    login = "app@localhost"
    account = "app@%"
    connection_id = 1
    last_insert_id = row_count = found_rows = 0

    def __init__(self) -> None:
        self.user_variables: dict[str, Any] = {}

    def variable(self, name: str, scope: str) -> str | int | None:
        return f"{scope}:{name}"

    def rows(self, what: str) -> Iterable[tuple[Any, ...]]:
        return [(what, "x")]

    def lock(self, verb: str, name: str) -> int | None:
        return 1


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = Store({"app": "it's"})
    yield opened
    opened.close()


@pytest.fixture
async def pair(store: Store) -> AsyncIterator[tuple[Transaction, Transaction]]:
    transactions = Transaction(store, Nobody()), Transaction(store, Nobody())
    yield transactions
    for transaction in transactions:
        transaction.close()


async def run(transaction: Transaction, sql: str, *parameters: Any) -> Rows | Done:
    return await transaction.run(rewrite(sql, "app"), {f"p{i}": value for i, value in enumerate(parameters)})


async def count(transaction: Transaction) -> int:
    result = await run(transaction, "SELECT COUNT(*) FROM greetings")
    assert isinstance(result, Rows)
    return int(result.rows[0][0])


INSERT = "INSERT INTO greetings (language, text) VALUES ('a', 'b')"


async def test_counts_of_rows_and_ids(pair: tuple[Transaction, Transaction]) -> None:
    assert await run(pair[0], f"{INSERT}, ('c', 'd')") == Done(2, 6)
    assert await run(pair[0], "UPDATE greetings SET text = 'z' WHERE id > ?", 5) == Done(2, 0)


async def test_only_committed_changes_count(store: Store, pair: tuple[Transaction, Transaction]) -> None:
    before = store.committed
    await run(pair[0], "SELECT * FROM greetings")
    await run(pair[0], "UPDATE greetings SET text = 'z' WHERE id = 99")
    pair[0].begin()
    await run(pair[0], INSERT)
    pair[0].rollback()
    assert store.committed == before
    await run(pair[0], INSERT)
    assert store.committed == before + 1


async def test_the_second_writer_waits_for_the_first(pair: tuple[Transaction, Transaction]) -> None:
    first, second = pair
    first.begin()
    await run(first, INSERT)
    waiting = asyncio.create_task(run(second, INSERT))
    await asyncio.sleep(0)
    assert not waiting.done()
    first.commit()
    assert await waiting == Done(1, 7)
    assert await count(first) == 7


async def test_a_wait_that_is_given_up_leaves_the_lock_to_others(pair: tuple[Transaction, Transaction]) -> None:
    first, second = pair
    first.begin()
    await run(first, INSERT)
    second.lock_wait = 0.0
    with pytest.raises(ServerError) as refused:
        await run(second, INSERT)
    assert refused.value.code == 1205
    waiting = asyncio.create_task(run(second, INSERT))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    first.rollback()
    assert await run(second, INSERT) == Done(1, 6)


async def test_savepoints_survive_the_first_write(pair: tuple[Transaction, Transaction]) -> None:
    first, second = pair
    first.begin()
    assert await count(first) == 5
    first.savepoint("SAVEPOINT", "one")
    await run(second, INSERT)
    await run(first, INSERT)
    first.savepoint("ROLLBACK TO", "One")
    assert await count(first) == 6
    first.savepoint("RELEASE", "one")
    with pytest.raises(ServerError) as refused:
        first.savepoint("ROLLBACK TO", "one")
    assert refused.value.code == 1305
    first.commit()
    assert await count(second) == 6


async def test_a_failed_statement_keeps_the_transaction(pair: tuple[Transaction, Transaction]) -> None:
    first, second = pair
    first.begin()
    await run(first, INSERT)
    with pytest.raises(ServerError) as refused:
        await run(first, "INSERT INTO greetings VALUES (100, 'a', 'b'), (1, 'c', 'd')")
    assert refused.value.code == 1062
    first.commit()
    assert await count(second) == 6


async def test_a_read_only_transaction_refuses_writes(pair: tuple[Transaction, Transaction]) -> None:
    pair[0].begin(read_only=True)
    with pytest.raises(ServerError) as refused:
        await run(pair[0], INSERT)
    assert refused.value.code == 1792
    assert pair[0].active


async def test_without_autocommit_a_transaction_starts_by_itself(pair: tuple[Transaction, Transaction]) -> None:
    pair[0].autocommit = False
    await run(pair[0], "SELECT 1")
    assert not pair[0].active
    await run(pair[0], INSERT)
    assert pair[0].active
    assert await count(pair[1]) == 5


async def test_a_failed_schema_change_changes_nothing(pair: tuple[Transaction, Transaction]) -> None:
    with pytest.raises(ServerError):
        await run(pair[0], "CREATE TABLE twice (a INT, a INT)")
    with pytest.raises(ServerError):
        await run(pair[0], "ALTER TABLE greetings ADD COLUMN x INT, DROP COLUMN nope")
    assert [name for name, _ in pair[1].columns("app.greetings")] == ["id", "language", "text"]
    assert await run(pair[1], INSERT) == Done(1, 6)


async def test_other_sessions_see_new_columns_with_their_types(pair: tuple[Transaction, Transaction]) -> None:
    await run(pair[1], "SELECT * FROM greetings")
    await run(pair[0], "ALTER TABLE greetings ADD COLUMN at DATETIME")
    result = await run(pair[1], "SELECT *, at AS other FROM greetings LIMIT 1")
    assert isinstance(result, Rows)
    assert result.types == ("integer", "varchar(20)", "varchar(100)", "datetime", "datetime")


async def test_databases_come_and_go_with_their_tables(store: Store, pair: tuple[Transaction, Transaction]) -> None:
    await pair[0].create_database("other", if_missing=False)
    await run(pair[0], "CREATE TABLE other.t (a INT)")
    with pytest.raises(ServerError):
        await pair[0].create_database("OTHER", if_missing=False)
    await pair[0].drop_database("other", if_exists=False)
    assert not store.has_database("other")
    assert pair[1].columns("other.t") == []
    with pytest.raises(ServerError):
        await pair[0].drop_database("other", if_exists=False)
    with pytest.raises(ServerError):
        await pair[0].drop_database("mysql", if_exists=False)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT * FROM nope", 1146),
        ("SELECT nope FROM greetings", 1054),
        ("INSERT INTO greetings (nope) VALUES (1)", 1054),
        ("SELECT nope()", 1305),
        ("CREATE TABLE greetings (a INT)", 1050),
        ("DROP INDEX nope ON greetings", 1091),
        ("INSERT INTO greetings VALUES (1, NULL, 'a')", 1048),
        ("INSERT INTO greetings VALUES (1)", 1136),
        ("SELECT id FROM greetings AS a JOIN greetings AS b", 1052),
        ("SELECT CONNECTION_ID(1)", 1582),
        ("SELECT ZEROBLOB(100000000)", 1301),
        ("SELECT * FROM greetings WHERE REGEXP('(', text)", 1210),
        ("UPDATE greetings SET id = ?", 1264),
    ],
)
async def test_errors_have_server_codes(pair: tuple[Transaction, Transaction], sql: str, code: int) -> None:
    with pytest.raises(ServerError) as refused:
        await run(pair[0], sql, 2**70)
    assert refused.value.code == code
    assert not pair[0].active


async def test_columns_are_told_without_running_the_statement(pair: tuple[Transaction, Transaction]) -> None:
    statement = rewrite("SELECT id, text AS t, COUNT(*) FROM greetings WHERE id = ? LIMIT ?", "app")
    described = pair[0].describe(statement, 2)
    assert described == Rows(("id", "t", "COUNT(*)"), ("integer", "varchar(100)", "bigint"), [])
    with pytest.raises(ServerError) as refused:
        pair[0].describe(rewrite("SELECT * FROM nope", "app"), 0)
    assert refused.value.code == 1146


async def test_a_statement_without_end_is_stopped(
    pair: tuple[Transaction, Transaction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_store, "MAX_SECONDS", 0.01)
    with pytest.raises(ServerError) as refused:
        await run(pair[0], "WITH RECURSIVE x AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM x) SELECT COUNT(*) FROM x")
    assert refused.value.code == 1969


async def test_closing_throws_the_files_away() -> None:
    store = Store({})
    directory = store.path.parent
    assert directory.exists()
    store.close()
    assert not directory.exists()

"""What a session asks about its last statement is answered as without the proxy, wherever that statement ran."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pymysql
import pytest
from pymysql.connections import Connection

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import ask, connected
from tests.support.proxy import Proxy
from tests.support.twice import served_twice

READ = "SELECT COUNT(*) FROM asked"
INSERT = "INSERT INTO asked (v) VALUES ('a'), ('b')"
BAD_READ = "SELECT CAST('x' AS INT), 1 / 0"
CALC = "SELECT SQL_CALC_FOUND_ROWS table_name FROM information_schema.tables LIMIT 2"
PING = "COM_PING"
STORY = [
    # the insert id
    ["SELECT LAST_INSERT_ID()", READ, "SELECT LAST_INSERT_ID()"],
    [INSERT, READ, "SELECT LAST_INSERT_ID()", READ, "SELECT @@last_insert_id, @@identity"],
    [INSERT, READ, "INSERT INTO asked (parent) VALUES (LAST_INSERT_ID())", "SELECT parent FROM asked ORDER BY id"],
    [INSERT, READ, "UPDATE asked SET v = 'c' WHERE id = LAST_INSERT_ID()", "SELECT v FROM asked ORDER BY id"],
    [INSERT, READ, "SET @id = LAST_INSERT_ID()", READ, "SELECT @id", "SELECT v FROM asked WHERE id = @id"],
    ["UPDATE asked SET id = LAST_INSERT_ID(id + 5)", READ, "SELECT LAST_INSERT_ID()"],
    ["SELECT LAST_INSERT_ID(9)", READ, "SELECT LAST_INSERT_ID()"],
    [INSERT, "SELECT * FROM asked WHERE id IS NULL", "SELECT LAST_INSERT_ID()"],
    ["BEGIN", INSERT, READ, "SELECT LAST_INSERT_ID()", "ROLLBACK", READ, "SELECT LAST_INSERT_ID()"],
    # warnings and errors
    [BAD_READ, "SHOW WARNINGS"],
    [BAD_READ, "SHOW COUNT(*) WARNINGS", "SHOW COUNT(*) ERRORS", "SHOW WARNINGS"],
    [BAD_READ, "SELECT @@warning_count, @@error_count", "SHOW WARNINGS"],
    [BAD_READ, "SHOW WARNINGS LIMIT 1", "SHOW WARNINGS LIMIT 1, 5", "SHOW ERRORS"],
    [BAD_READ, READ, "SHOW WARNINGS"],
    ["DROP TABLE IF EXISTS never_was", "SHOW WARNINGS", "SHOW COUNT(*) WARNINGS"],
    ["DROP TABLE IF EXISTS never_was", READ, "SHOW WARNINGS"],
    ["INSERT INTO asked (v) VALUES ('much too long')", "SHOW WARNINGS", "SHOW ERRORS", "SELECT @@error_count"],
    ["SELECT nothing FROM asked", "SHOW ERRORS", "SHOW WARNINGS", "SHOW COUNT(*) ERRORS"],
    ["SELECT 1 FROM", "SELECT @@error_count", "SHOW ERRORS"],
    [INSERT, BAD_READ, "SHOW WARNINGS", INSERT, "SHOW WARNINGS"],
    ["SET sql_mode = ''", "INSERT INTO asked (v) VALUES ('much too long')", "SHOW WARNINGS", READ, "SHOW WARNINGS"],
    ["EXPLAIN EXTENDED SELECT v FROM asked", "SHOW WARNINGS"],
    [BAD_READ, "GET DIAGNOSTICS @n = NUMBER", "SELECT @n"],
    ["SELECT nothing FROM asked", "GET DIAGNOSTICS CONDITION 1 @text = MESSAGE_TEXT", "SELECT @text"],
    # rows changed
    [INSERT, "SELECT ROW_COUNT()", "SELECT ROW_COUNT()"],
    [INSERT, READ, "SELECT ROW_COUNT()"],
    [INSERT, "UPDATE asked SET v = 'c'", "SELECT ROW_COUNT()", "DELETE FROM asked LIMIT 1", "SELECT ROW_COUNT()"],
    ["SELECT nothing FROM asked", "SELECT ROW_COUNT()"],
    [INSERT, "SET @x = ROW_COUNT()", "SELECT @x"],
    [INSERT, "SET @x = 1", "SELECT ROW_COUNT()"],
    ["DO 1", "SELECT ROW_COUNT()"],
    [INSERT, "INSERT INTO asked (parent) VALUES (ROW_COUNT())", "SELECT parent FROM asked ORDER BY id"],
    # rows found
    ["SELECT 1 UNION SELECT 2", "SELECT FOUND_ROWS()", "SELECT FOUND_ROWS()"],
    ["SELECT SQL_CALC_FOUND_ROWS seq FROM seq_1_to_9 LIMIT 2", "SELECT FOUND_ROWS()"],
    ["SELECT SQL_CALC_FOUND_ROWS seq FROM seq_1_to_9 LIMIT 2", "SET @n = FOUND_ROWS()", READ, "SELECT @n"],
    ["SHOW TABLES LIKE 'asked'", "SELECT FOUND_ROWS()"],
    [INSERT, "SELECT v FROM asked", "SELECT FOUND_ROWS(), ROW_COUNT()"],
    ["BEGIN", INSERT, "SELECT v FROM asked", "SELECT FOUND_ROWS()", "COMMIT"],
    [CALC, INSERT, "SELECT FOUND_ROWS()", "SELECT FOUND_ROWS()"],
    [CALC, "UPDATE asked SET v = 'x'", "SHOW WARNINGS", "SELECT FOUND_ROWS()", "SELECT ROW_COUNT()"],
    [CALC, "BEGIN", INSERT, "COMMIT", "SET @x = 1", "SELECT FOUND_ROWS()"],
    [CALC, INSERT, "SELECT id FROM asked FOR UPDATE", "SELECT FOUND_ROWS()", CALC, "SELECT FOUND_ROWS()"],
    [CALC, INSERT, "EXPLAIN SELECT 1", "SELECT FOUND_ROWS()", "SELECT nothing FROM asked", "SELECT FOUND_ROWS()"],
    [CALC, INSERT, "ANALYZE TABLE asked", "SELECT FOUND_ROWS()"],
    [CALC, "SET @n = FOUND_ROWS()", "SELECT ROW_COUNT()", INSERT, "SELECT @n > 5", READ, "SELECT @n > 5 FOR UPDATE"],
    [INSERT, READ, "SET @n = ROW_COUNT(), @m = 7", INSERT, "SELECT @n, @m", "SELECT @n, @m FOR UPDATE"],
    [BAD_READ, "SET @n = @@warning_count", INSERT, "SELECT @n", "SELECT @n FOR UPDATE"],
]
PIECES = [
    READ,
    INSERT,
    f"{BAD_READ}; SHOW WARNINGS",
    CALC,
    "SELECT v FROM asked LIMIT 1",
    "SELECT v FROM asked LIMIT 1 FOR UPDATE",
    "SELECT nothing FROM asked",
    "UPDATE asked SET v = 'c' WHERE id < 3",
    "DELETE FROM asked ORDER BY id LIMIT 1",
    "DROP TABLE IF EXISTS never_was; SHOW COUNT(*) WARNINGS; SELECT @@warning_count",
    "SELECT FOUND_ROWS()",
    "SELECT FOUND_ROWS()",
    "SELECT ROW_COUNT()",
    "SELECT LAST_INSERT_ID()",
    f"{READ}; {PING}; SHOW ERRORS",
    "SHOW TABLES LIKE 'asked'",
    "DESCRIBE asked",
    "EXPLAIN SELECT v FROM asked",
    "SET @x = 5",
    "SET SESSION sort_buffer_size = 100000",
    "USE app",
    "SELECT @x",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "DO 1",
    PING,
]


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One server under two names: reads go to one connection of a session, writes to the other."""
    directory = tmp_path_factory.mktemp("asked")
    with served_twice(directory, mariadb.port) as proxy:
        yield proxy


def told(connection: Connection, sql: str) -> object:
    """All a client hears: rows, or the counts and the error of one statement."""
    with connection.cursor() as cursor:
        if sql == PING:
            connection.ping(reconnect=False)
            return PING
        try:
            changed = cursor.execute(sql)
        except pymysql.err.MySQLError as error:
            return error.args
        return (changed, cursor.lastrowid, cursor.warning_count, cursor.fetchall())


def heard(port: int, story: list[str]) -> list[object]:
    with connected(port) as connection:
        return [told(connection, sql) for sql in story]


@pytest.mark.parametrize("story", STORY, ids="; ".join)
def test_the_last_statement_is_asked_about_as_without_the_proxy(
    mariadb: SingleServer, proxy: Proxy, story: list[str]
) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        create = "(id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(3), parent INT)"
        ask(mariadb.port, f"CREATE OR REPLACE TABLE asked {create}")
        answers.append(heard(port, story))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("seed", range(12))
def test_any_sequence_is_asked_about_as_without_the_proxy(mariadb: SingleServer, proxy: Proxy, seed: int) -> None:
    story = [READ, *"; ".join(random.Random(seed).choices(PIECES, k=24)).split("; ")]
    answers = []
    for port in (mariadb.port, proxy.port):
        ask(mariadb.port, "CREATE OR REPLACE TABLE asked (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(3), parent INT)")
        answers.append(heard(port, story))
    for number in range(len(story)):
        assert answers[0][number] == answers[1][number], story[max(0, number - 8) : number + 1]


def test_these_reads_and_writes_use_two_connections(mariadb: SingleServer, proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        for sql in (INSERT, READ):
            told(connection, sql)
        (row,) = proxy.get("/v1/sessions")
        assert {row["primary"], row["replica"]} == {"n1", "n2"}


def test_statements_not_understood_are_shown_by_shape_without_literals(proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        for value in ("'secret'", "5"):
            told(connection, f"FROBNICATE asked SET v = {value}")
    (service,) = proxy.get("/v1/services")
    assert {"statement": "FROBNICATE asked SET v = ?", "count": 2} in service["unknown"]
    assert service["unknown_statements"] == sum(row["count"] for row in service["unknown"])

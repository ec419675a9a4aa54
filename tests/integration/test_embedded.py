"""Real clients against the embedded cluster: mysql, PyMySQL, aiomysql and MySQL Connector/Python."""

from __future__ import annotations

import asyncio
import shutil
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiomysql
import mysql.connector
import pymysql
import pytest

from sqlproxy.lab.embedded import EmbeddedCluster
from tests.support.embedded import (
    IN_TRANSACTION,
    ask,
    client,
    embedded_cluster,
    error_code,
    greets,
    in_thread,
    port_of,
    status,
)
from tests.support.waiting import wait_until_async


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with embedded_cluster() as embedded:
        yield embedded


async def test_the_mysql_client_selects_inserts_and_lists(cluster: EmbeddedCluster) -> None:
    program = shutil.which("mysql") or shutil.which("mariadb")
    assert program is not None, "the mysql client is missing: apt-get install mariadb-client"

    async def run(sql: str, name: str = "n1", *arguments: str) -> str:
        where = (
            "--no-defaults",
            "-h127.0.0.1",
            f"-P{port_of(cluster, name)}",
            *(arguments or ("-uapp", "-papp")),
            "-N",
        )
        process = await asyncio.create_subprocess_exec(
            program, *where, "app", "-e", sql, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await asyncio.wait_for(process.communicate(), 20)
        return output.decode()

    assert await run("select @@hostname") == "n1\n"
    assert await run("show tables", "n2") == "greetings\n"
    assert (
        await run("insert into greetings (language, text) values ('Latin', 'Salve'); select last_insert_id()") == "6\n"
    )
    assert await run("select text from greetings where id = 6", "n3") == "Salve\n"
    assert "ERROR 1045" in await run("select 1", "n1", "-uapp", "-pwrong")
    assert "ERROR 1146 (42S02)" in await run("select * from nope")
    await run("shutdown", "n1", "-uroot")
    await wait_until_async(lambda: cluster.status()[0].state == "Down")


async def test_connector_python_uses_the_binary_protocol(cluster: EmbeddedCluster) -> None:
    moment = datetime(2024, 2, 29, 12, 30, 45)
    row = ("it's ?", -7, 2**40, 1.5, b"\x00\xff", moment, date(2024, 2, 29), timedelta(hours=30), None)

    def work() -> Any:
        options = {"host": "127.0.0.1", "port": port_of(cluster, "n1"), "user": "app", "password": "app"}
        with closing(mysql.connector.connect(**options, database="app", use_pure=True)) as connection:
            cursor = connection.cursor()
            cursor.execute(
                "CREATE TABLE typed (s VARCHAR(20), i INT, b BIGINT, d DOUBLE, x VARBINARY(9), t DATETIME, "
                "y DATE, m TIME, n INT)"
            )
            prepared = connection.cursor(prepared=True)
            insert = "INSERT INTO typed VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            prepared.execute(insert, row)
            prepared.execute(insert, ("again", 1, 2, 0.25, b"b", moment, date(2024, 1, 1), timedelta(0), 5))
            prepared.execute("SELECT * FROM typed WHERE s = ? AND i = ?", (row[0], row[1]))
            found = prepared.fetchall()
            prepared.execute("SELECT COUNT(*) FROM typed LIMIT ?, ?", (0, 1))
            return found, prepared.fetchall()

    found, count = await in_thread(work)
    assert tuple(bytes(v) if isinstance(v, bytearray) else v for v in found[0]) == row
    assert count == [(2,)]


async def test_the_connector_resets_and_changes_its_user(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        options = {"host": "127.0.0.1", "port": port_of(cluster, "n1"), "user": "app", "password": "app"}
        with closing(mysql.connector.connect(**options, database="app", use_pure=True)) as connection:
            cursor = connection.cursor()
            cursor.execute("SET @a = 5")
            cursor.execute("SELECT @a")
            before = cursor.fetchall()
            connection.cmd_reset_connection()
            cursor.execute("SELECT @a, USER()")
            reset = cursor.fetchall()
            connection.cmd_change_user(username="root", password="", database="app")
            cursor = connection.cursor()
            cursor.execute("SELECT USER(), CURRENT_USER(), DATABASE()")
            return before, reset, cursor.fetchall()

    before, reset, changed = await in_thread(work)
    assert before == [(5,)]
    assert reset == [(None, "app@localhost")]
    assert changed == [("root@localhost", "root@%", "app")]


async def test_a_refused_change_of_user_ends_the_connection(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        options = {"host": "127.0.0.1", "port": port_of(cluster, "n1"), "user": "app", "password": "app"}
        connection = mysql.connector.connect(**options, use_pure=True)
        with pytest.raises(mysql.connector.Error) as refused:
            connection.cmd_change_user(username="monitor", password="wrong")
        with pytest.raises(mysql.connector.Error):
            connection.cmd_query("SELECT 1")
        connection.close()
        return refused.value.errno

    assert await in_thread(work) == 1045


async def test_aiomysql_works_in_the_same_event_loop(cluster: EmbeddedCluster) -> None:
    connection = await aiomysql.connect(
        host="127.0.0.1", port=port_of(cluster, "n2"), user="monitor", password="monitor", autocommit=True
    )
    async with connection.cursor() as cursor:
        names = "'wsrep_ready','wsrep_local_state','wsrep_cluster_status','wsrep_local_index','wsrep_cluster_size'"
        await cursor.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({names})")
        assert dict(await cursor.fetchall()) == {
            "wsrep_ready": "ON",
            "wsrep_local_state": "4",
            "wsrep_cluster_status": "Primary",
            "wsrep_local_index": "1",
            "wsrep_cluster_size": "3",
        }
        await cursor.execute("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only','wsrep_desync','wsrep_on')")
        assert dict(await cursor.fetchall()) == {"read_only": "OFF", "wsrep_desync": "OFF", "wsrep_on": "ON"}
    await connection.ensure_closed()


async def test_a_write_on_one_node_is_seen_on_all(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster, "n1", autocommit=True) as first, client(cluster, "n2") as second:
            before = status(second)["wsrep_last_committed"]
            with first.cursor() as cursor:
                cursor.execute("INSERT INTO greetings (language, text) VALUES (%s, %s)", ("a", "b"))
                inserted = cursor.lastrowid, cursor.rowcount
            return (
                inserted,
                ask(second, "SELECT language, @@hostname FROM greetings WHERE id = 6"),
                before,
                status(second),
            )

    inserted, rows, before, after = await in_thread(work)
    assert inserted == (6, 1)
    assert rows == [("a", "n2")]
    assert int(after["wsrep_last_committed"]) == int(before) + 1


async def test_rollback_undoes_and_commit_keeps(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        counts: list[list[tuple[Any, ...]]] = []
        with client(cluster, "n1") as writer, client(cluster, "n2", autocommit=True) as reader:
            for end in (writer.rollback, writer.commit):
                writer.begin()
                ask(writer, "INSERT INTO greetings (language, text) VALUES ('x', 'y')")
                counts.append(
                    (ask(writer, "SELECT COUNT(*) FROM greetings"), ask(reader, "SELECT COUNT(*) FROM greetings"))
                )
                end()
                counts.append(ask(reader, "SELECT COUNT(*) FROM greetings"))
        return counts

    assert await in_thread(work) == [([(6,)], [(5,)]), [(5,)], ([(6,)], [(5,)]), [(6,)]]


async def test_a_transaction_reads_one_snapshot_until_it_writes(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster, "n1") as one, client(cluster, "n2", autocommit=True) as two:
            one.begin()
            seen = [ask(one, "SELECT COUNT(*) FROM greetings")]
            ask(two, "DELETE FROM greetings WHERE id = 1")
            seen.append(ask(one, "SELECT COUNT(*) FROM greetings"))
            ask(one, "UPDATE greetings SET text = 'new' WHERE id = 2")
            one.commit()
            return [*seen, ask(two, "SELECT COUNT(*), MAX(text = 'new') FROM greetings")]

    assert await in_thread(work) == [[(5,)], [(5,)], [(4, 1)]]


async def test_a_writer_that_waits_too_long_gets_1205_and_reads_never_wait(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster, "n1") as holder, client(cluster, "n2", autocommit=True) as other:
            holder.begin()
            ask(holder, "UPDATE greetings SET text = 'held' WHERE id = 1")
            ask(other, "SET innodb_lock_wait_timeout = 0")
            code = error_code(lambda: ask(other, "UPDATE greetings SET text = 'other' WHERE id = 2"))
            read = ask(other, "SELECT text FROM greetings WHERE id = 1")
            holder.commit()
            ask(other, "UPDATE greetings SET text = 'other' WHERE id = 2")
            return code, read, ask(other, "SELECT text FROM greetings WHERE id < 3 ORDER BY id")

    assert await in_thread(work) == (1205, [("Hello, world",)], [("held",), ("other",)])


async def test_a_vanished_client_releases_its_lock_and_rolls_back(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster, "n1") as gone, client(cluster, "n1", autocommit=True) as other:
            gone.begin()
            ask(gone, "DELETE FROM greetings")
            gone._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone._force_close()
            return ask(other, "UPDATE greetings SET text = 'kept' WHERE id = 1"), ask(
                other, "SELECT COUNT(*) FROM greetings"
            )

    assert (await in_thread(work))[1] == [(5,)]


async def test_status_flags_tell_autocommit_and_transactions(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        flags = []
        with client(cluster) as connection:
            for sql in (
                "SELECT 1",
                "BEGIN",
                "SELECT * FROM greetings",
                "COMMIT",
                "SET autocommit = 0",
                "SELECT * FROM greetings",
                "ROLLBACK",
                "SET autocommit = 1",
                "START TRANSACTION READ ONLY",
                "ROLLBACK",
            ):
                ask(connection, sql)
                ask(connection, "DO 0")  # PyMySQL takes the flags from OK packets only
                flags.append(connection.server_status & 0x2003)
        return flags

    assert await in_thread(work) == [2, 3, 3, 2, 0, 1, 0, 2, 0x2003, 2]


async def test_savepoints_and_schema_changes_end_as_in_mysql(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster) as connection:
            ask(connection, "START TRANSACTION")
            ask(connection, "DELETE FROM greetings WHERE id = 1")
            ask(connection, "SAVEPOINT here")
            ask(connection, "DELETE FROM greetings WHERE id = 2")
            ask(connection, "ROLLBACK TO SAVEPOINT here")
            ask(connection, "CREATE TABLE other (id INT PRIMARY KEY)")
            in_transaction = connection.server_status & IN_TRANSACTION
            ask(connection, "ROLLBACK")
            return in_transaction, ask(connection, "SELECT COUNT(*) FROM greetings")

    assert await in_thread(work) == (0, [(4,)])


async def test_errors_carry_the_codes_of_a_server(cluster: EmbeddedCluster) -> None:
    statements = {
        "SELECT * FROM nope": 1146,
        "INSERT INTO greetings (id, language, text) VALUES (1, 'a', 'b')": 1062,
        "SELEC 1": 1064,
        "SELECT 'open": 1064,
        "SELECT nope FROM greetings": 1054,
        "SELECT nope()": 1305,
        "INSERT INTO greetings (language, text) VALUES (NULL, 'b')": 1048,
        "INSERT INTO greetings VALUES (1)": 1136,
        "CREATE TABLE greetings (id INT)": 1050,
        "CREATE DATABASE app": 1007,
        "CREATE TABLE nodb.t (id INT)": 1049,
        "USE nodb": 1049,
        "SELECT @@nope": 1193,
        "SET nope = 1": 1193,
        "SET GLOBAL version = 'x'": 1238,
        "SET read_only = 1": 1229,
        "SELECT 1; SELECT 2": 1064,
        "CALL p()": 1235,
        "KILL 99999": 1094,
        "EXECUTE nope": 1243,
        "DROP TABLE nope": 1146,
        "DELETE FROM information_schema.TABLES": 1044,
        "SELECT CAST(99999999999999999999999 AS SIGNED) + %s": 1064,
    }

    def work() -> Any:
        with client(cluster) as connection:
            codes = {sql: error_code(lambda sql=sql: ask(connection, sql)) for sql in statements}  # type: ignore[misc]
            unselected = error_code(lambda: _without_database(cluster))
            return codes, unselected, ask(connection, "SELECT 1")

    codes, unselected, alive = await in_thread(work)
    assert codes == statements
    assert unselected == 1046
    assert alive == [(1,)]


def _without_database(cluster: EmbeddedCluster) -> None:
    with client(cluster, database=None) as connection:
        ask(connection, "SELECT * FROM greetings")


async def test_sleep_does_not_stop_other_sessions_and_can_be_killed(cluster: EmbeddedCluster) -> None:
    def sleeper(number: list[int]) -> Any:
        with client(cluster) as connection:
            number.append(connection.thread_id())
            return error_code(lambda: ask(connection, "SELECT SLEEP(20)")), ask(connection, "SELECT 1")

    def killer(number: list[int]) -> Any:
        with client(cluster) as connection:
            while not any(row[7] == "SELECT SLEEP(20)" for row in ask(connection, "SHOW PROCESSLIST")):
                pass
            ask(connection, f"KILL QUERY {number[0]}")

    number: list[int] = []
    slept = asyncio.create_task(in_thread(lambda: sleeper(number)))
    await wait_until_async(lambda: bool(number))
    await in_thread(lambda: killer(number))
    assert await slept == (1317, [(1,)])


async def test_kill_ends_another_connection(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster) as victim, client(cluster) as killer:
            ask(killer, f"KILL {victim.thread_id()}")
            return error_code(lambda: ask(victim, "SELECT 1"))

    assert await in_thread(work) == 2013


async def test_session_state_is_per_session(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster) as one, client(cluster) as two:
            ask(one, "SET @a = 1, sql_mode = 'ANSI', time_zone = '+00:00'")
            ask(one, "CREATE TEMPORARY TABLE private (id INT)")
            ask(one, "INSERT INTO private VALUES (3)")
            query = "SELECT @a, @@sql_mode = 'ANSI', @@time_zone"
            code = error_code(lambda: ask(two, "SELECT * FROM private"))
            return ask(one, query), ask(two, query), ask(one, "SELECT * FROM private"), code

    assert await in_thread(work) == ([(1, 1, "+00:00")], [(None, 0, "SYSTEM")], [(3,)], 1146)


async def test_large_packets_pass_and_too_large_ones_are_refused(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster, max_allowed_packet=64 << 20) as connection:
            ask(connection, "CREATE TABLE big (id INT PRIMARY KEY, data LONGTEXT)")
            ask(connection, "INSERT INTO big VALUES (1, %s)", ("x" * (10 << 20),))
            size = ask(connection, "SELECT LENGTH(data) FROM big")
            doubled = ask(connection, "SELECT LENGTH(data), CONCAT(data, data) FROM big")
            with pytest.raises(pymysql.MySQLError):
                ask(connection, "SELECT %s", ("x" * (17 << 20),))
            return size, doubled[0][0], len(doubled[0][1])

    assert await in_thread(work) == ([(10 << 20,)], 10 << 20, 20 << 20)
    assert await in_thread(lambda: greets(cluster)) == [(1,)]


STATEMENTS: dict[str, list[tuple[Any, ...]]] = {
    "SELECT DATABASE(), @@hostname, VERSION() LIKE '%MariaDB%', CONNECTION_ID() > 0": [("app", "n1", 1, 1)],
    "/* hello */ -- there\n SELECT 1": [(1,)],
    "/*!40101 SET NAMES latin1 */": [],
    "SHOW VARIABLES LIKE 'character_set_client'": [("character_set_client", "latin1")],
    "SET NAMES utf8mb4 COLLATE utf8mb4_general_ci, @a := 4, @b = @a * 2 + 1, SESSION sql_mode = DEFAULT": [],
    "SELECT @a, @b": [(4, 9)],
    "SET STATEMENT wsrep_sync_wait = 1, max_statement_time = 5 FOR SELECT 5": [(5,)],
    "SHOW DATABASES": [("app",), ("information_schema",), ("mysql",)],
    "SHOW TABLES LIKE 'g%'": [("greetings",)],
    "SHOW COUNT(*) WARNINGS": [(0,)],
    "SHOW WARNINGS": [],
    "SHOW ENGINES": [("InnoDB", "DEFAULT")],
    "PREPARE s FROM 'SELECT text FROM greetings WHERE id = ?'": [],
    "EXECUTE s USING @a": [("Bonjour, le monde",)],
    "DEALLOCATE PREPARE s": [],
    "SELECT GET_LOCK('a', 1), IS_FREE_LOCK('a'), RELEASE_LOCK('a'), RELEASE_LOCK('a')": [(1, 0, 1, None)],
    "DO SLEEP(0)": [],
    "FLUSH TABLES": [],
    "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n DECIMAL(9,2), b VARCHAR(9) NOT NULL DEFAULT 'x')": [],
    "CREATE INDEX k ON t (n)": [],
    "SHOW COLUMNS FROM t LIKE 'n'": [("n", "decimal(9,2)", "YES", "", None, "")],
    "DESCRIBE t": [
        ("id", "bigint(20)", "NO", "PRI", None, "auto_increment"),
        ("n", "decimal(9,2)", "YES", "", None, ""),
        ("b", "varchar(9)", "NO", "", "'x'", ""),
    ],
    "SHOW CREATE TABLE t": [
        (
            "t",
            "CREATE TABLE `t` (\n  `id` bigint(20) NOT NULL AUTO_INCREMENT,\n  `n` decimal(9,2),\n"
            "  `b` varchar(9) NOT NULL DEFAULT 'x',\n  PRIMARY KEY (`id`),\n  KEY `k` (`n`)\n"
            ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        )
    ],
    "INSERT INTO t (n) VALUES (1.5), (2) RETURNING id": [(1,), (2,)],
    "SELECT n, b FROM t ORDER BY id": [(Decimal("1.50"), "x"), (Decimal("2.00"), "x")],
    "REPLACE INTO t VALUES (1, 3, 'y')": [],
    "INSERT INTO t VALUES (1, 9, 'z') ON DUPLICATE KEY UPDATE n = VALUES(n)": [],
    "SELECT n, b FROM t WHERE id = 1": [(Decimal("9.00"), "y")],
    "EXPLAIN SELECT * FROM t": [(1, "SIMPLE", "t", "ALL", None, None, None, None, None, None)],
    "SELECT COUNT(*) FROM t WHERE b = 'X'": [(1,)],
    "TRUNCATE TABLE t": [],
    "INSERT INTO t () VALUES ()": [],
    "SELECT LAST_INSERT_ID(), ROW_COUNT()": [(1, 1)],
    "CREATE DATABASE other": [],
    "CREATE TABLE other.u AS SELECT * FROM t": [],
    "SELECT COUNT(*) FROM other.u AS a JOIN t AS b ON a.id = b.id": [(1,)],
    "SHOW TABLES FROM other": [("u",)],
    "USE other": [],
    "DROP DATABASE other": [],
    "SELECT DATABASE()": [(None,)],
    "SHOW GRANTS": [("GRANT ALL PRIVILEGES ON *.* TO `app`@`%`",)],
    "SELECT USER, DB FROM information_schema.PROCESSLIST": [("app", None)],
}


async def test_statements_of_everyday_clients(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster, autocommit=True) as connection:
            return {sql: ask(connection, sql) for sql in STATEMENTS}

    assert await in_thread(work) == STATEMENTS


async def test_an_error_is_shown_as_a_warning_afterwards(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster) as connection:
            error_code(lambda: ask(connection, "SELECT * FROM nope"))
            return ask(connection, "SHOW WARNINGS"), ask(connection, "SELECT 1"), ask(connection, "SHOW WARNINGS")

    assert await in_thread(work) == ([("Error", 1146, "Table 'app.nope' doesn't exist")], [(1,)], [])

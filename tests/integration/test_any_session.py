"""Whatever a session does, its packets are those of a session without the proxy; reads and writes on two connections.

Stories that once told the two apart, and random ones. Left out is what the protocol itself does not tell: which
warnings are left from an earlier statement (docs/conformance.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from sqlproxy.lab.single import SingleServer
from tests.support.proxy import Proxy
from tests.support.rawclient import BASE, DEPRECATE_EOF
from tests.support.stories import Step, heard, random_story
from tests.support.twice import served_twice

STORIES = [
    # several statements in one text, of which a later one fails
    ["SET @a = 1; SELECT nothing FROM f", "SELECT @a"],
    ["SET sql_mode = 'ANSI_QUOTES'; SELECT nothing FROM f", 'SELECT "v" FROM f LIMIT 1'],
    ["USE other; SELECT nothing FROM f", "SELECT DATABASE()"],
    ["CREATE TEMPORARY TABLE t (a INT); SELECT nothing FROM f", "SELECT COUNT(*) FROM t"],
    ["LOCK TABLES f WRITE; SELECT nothing FROM f", "SELECT COUNT(*) FROM f", "UNLOCK TABLES", "SELECT COUNT(*) FROM f"],
    ["LOCK TABLES f WRITE", "SELECT nothing FROM f; UNLOCK TABLES", "SELECT COUNT(*) FROM f", "UNLOCK TABLES"],
    ["BEGIN; SELECT nothing FROM f", "SELECT COUNT(*) FROM f", "INSERT INTO f (v) VALUES (1)", "ROLLBACK"],
    ["SET autocommit = 0; SELECT nothing FROM f", "INSERT INTO f (v) VALUES (1)", "SELECT COUNT(*) FROM f", "ROLLBACK"],
    # a READ ONLY transaction, which is on the replica
    ["START TRANSACTION READ ONLY", "SELECT v FROM f", "COMMIT AND CHAIN", "INSERT INTO f (v) VALUES (1)", "COMMIT"],
    ["START TRANSACTION READ ONLY", "SELECT 1; SELECT 2", "ROLLBACK AND CHAIN", "SELECT v FROM f", "COMMIT"],
    [
        "START TRANSACTION READ ONLY",
        "SELECT GET_LOCK('l', 0)",
        "COMMIT",
        "INSERT INTO f (v) VALUES (1)",
        "SELECT v FROM f",
    ],
    [
        "START TRANSACTION READ ONLY",
        "SELECT @a := MAX(v) FROM f",
        "COMMIT",
        "INSERT INTO f (v) VALUES (@a)",
        "SELECT @a",
    ],
    ["START TRANSACTION READ ONLY", "SET @a = (SELECT MAX(v) FROM f)", "COMMIT", "UPDATE f SET v = @a", "SELECT @a"],
    ["START TRANSACTION READ ONLY", "SET @a = 1; SELECT @a", "COMMIT", "INSERT INTO f (v) VALUES (@a)", "SELECT @a"],
    ["START TRANSACTION READ ONLY", "SELECT v FROM f", "XA START 'x'", "SELECT v FROM f", "COMMIT", "SELECT v FROM f"],
    [
        "START TRANSACTION READ ONLY",
        "SELECT v FROM f",
        "SET @n = FOUND_ROWS()",
        "COMMIT",
        "UPDATE f SET v = @n",
        "SELECT @n",
    ],
    # what the newest statement has left behind, kept in variables
    [
        "SELECT nothing FROM f",
        "GET DIAGNOSTICS @n = NUMBER, @r_c = ROW_COUNT",
        "INSERT INTO f (v) VALUES (@n)",
        "SELECT @n, @r_c",
    ],
    [
        "SELECT nothing FROM f",
        "GET DIAGNOSTICS CONDITION 1 @t = MESSAGE_TEXT, @s = RETURNED_SQLSTATE, @e = MYSQL_ERRNO",
        "INSERT INTO f (v, s) VALUES (@e, LEFT(@s, 3))",
        "SELECT @t, @s, @e, CHARSET(@t), COLLATION(@s)",
    ],
    ["SELECT v FROM f", "SET @t = CONCAT(FOUND_ROWS(), ' it''s')", "INSERT INTO f (v) VALUES (1)", "SELECT @t"],
    ["GET DIAGNOSTICS CONDITION 1 @t = MESSAGE_TEXT", "INSERT INTO f (v) VALUES (1)", "SELECT @t"],
    # a statement that does something and fails
    ["CALL opens_and_fails()", "SELECT COUNT(*) FROM f", "INSERT INTO f (v) VALUES (9)", "ROLLBACK", "SELECT v FROM f"],
    ["CALL opens_and_fails()", "SELECT ROW_COUNT()", "SHOW WARNINGS", "SHOW COUNT(*) ERRORS"],
    ["INSERT INTO f (v) VALUES (1)", "CALL opens_and_fails()", "SELECT LAST_INSERT_ID()", "COMMIT"],
]
PIECES = """
SELECT COUNT(*), SUM(v) FROM f
SELECT id, v, s FROM f ORDER BY id LIMIT 3
SELECT v FROM f WHERE id = 2 FOR UPDATE
INSERT INTO f (v, s) VALUES (7, 'x')
REPLACE INTO f (id, v) VALUES (2, 9)
UPDATE f SET v = v + 1 WHERE id < 3
BEGIN
START TRANSACTION READ ONLY
COMMIT
ROLLBACK
COMMIT AND CHAIN
SAVEPOINT a
ROLLBACK TO a
SET autocommit = 0
SET autocommit = 1
SET @a = 5
SET @a = @a + 1, @b = 'q"x'
SELECT @a, @b
SELECT @a := COUNT(*) FROM f
SELECT v INTO @a FROM f ORDER BY id LIMIT 1
SET sql_mode = 'ANSI_QUOTES'
SET sql_mode = 'NO_BACKSLASH_ESCAPES'
SET sql_mode = DEFAULT
SELECT 'a' || 'b', "f", 'it''s', 'c\\'d'
SET NAMES latin1
SET NAMES utf8mb4 COLLATE utf8mb4_bin
SELECT @@character_set_client, @@collation_connection, @@sql_mode
SET time_zone = '+03:00'
SELECT @@time_zone, FROM_UNIXTIME(0)
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
SELECT @@tx_isolation, @@tx_read_only
CREATE TEMPORARY TABLE t (a INT)
INSERT INTO t VALUES (1)
SELECT COUNT(*) FROM t
DROP TEMPORARY TABLE IF EXISTS t
PREPARE p FROM 'SELECT ? + COUNT(*) FROM f'
PREPARE p FROM 'INSERT INTO f (v) VALUES (?)'
EXECUTE p USING @a
EXECUTE IMMEDIATE 'SELECT COUNT(*) FROM f'
EXECUTE IMMEDIATE 'SET @b = 9'
DEALLOCATE PREPARE p
CALL adds(3)
CALL sets()
CALL opens()
CALL opens_and_fails()
SELECT fn(3)
SELECT GET_LOCK('l', 0), IS_USED_LOCK('l') IS NULL
SELECT RELEASE_LOCK('l')
LOCK TABLES f WRITE
UNLOCK TABLES
USE app
USE other
USE nowhere
SELECT DATABASE()
SELECT LAST_INSERT_ID()
SELECT 1; SELECT 2
INSERT INTO f (v) VALUES (1); SELECT COUNT(*) FROM f
BEGIN; INSERT INTO f (v) VALUES (1)
SET @a = 1; SELECT @a
USE app; SELECT nothing FROM f
SET @a = 2; SELECT nothing FROM f
COMMIT; SELECT nothing FROM f
SELECT nothing FROM f; GET DIAGNOSTICS @b = NUMBER
SET STATEMENT sql_mode = 'ANSI_QUOTES' FOR SELECT "v" FROM f LIMIT 1
/*! SELECT COUNT(*) FROM f */
INSERT INTO f (v) VALUES (8) RETURNING v
SELECT NEXTVAL(q) > 0
ALTER TABLE f ADD COLUMN IF NOT EXISTS z INT
TRUNCATE TABLE f
HANDLER f OPEN
HANDLER f READ FIRST
HANDLER f CLOSE
SET SESSION group_concat_max_len = 10
SELECT GROUP_CONCAT(v ORDER BY v) FROM f
SET last_insert_id = 77
SET timestamp = 1000
SELECT NOW() < '1971-01-01'
SET nonsense = 1
XA START 'x'
XA END 'x'
XA ROLLBACK 'x'
""".strip().splitlines()
OFTEN = {"query": 72, "prepare": 8, "execute": 14, "reset": 3, "database": 3}
PREPARED = [
    "SELECT ? + COUNT(*) FROM f",
    "INSERT INTO f (v) VALUES (?)",
    "SELECT v FROM f WHERE id < ?",
    "SET @a = ?",
    "CALL adds(?)",
    "SELECT v FROM f WHERE id = ? FOR UPDATE",
    'SELECT "v", ? FROM f LIMIT 1',
]
ONCE = [
    "CREATE DATABASE IF NOT EXISTS other",
    "GRANT ALL ON other.* TO app@'%'",
    "CREATE OR REPLACE SEQUENCE app.q",
    "CREATE OR REPLACE PROCEDURE app.adds(n INT) INSERT INTO f (v) VALUES (n)",
    "CREATE OR REPLACE PROCEDURE app.sets() SET @a = 99, SESSION group_concat_max_len = 20",
    "CREATE OR REPLACE PROCEDURE app.opens() START TRANSACTION",
    "CREATE OR REPLACE PROCEDURE app.opens_and_fails() BEGIN START TRANSACTION; SIGNAL SQLSTATE '45000'; END",
    "CREATE OR REPLACE FUNCTION app.fn(n INT) RETURNS INT BEGIN SET @b = 6; INSERT f (v) VALUES (n); RETURN n; END",
]
FRESH = [
    "CREATE OR REPLACE TABLE app.f (id INT AUTO_INCREMENT PRIMARY KEY, v INT, s VARCHAR(3))",
    "INSERT INTO app.f (v) VALUES (1), (2), (3), (4)",
]


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    for statement in ONCE:
        mariadb.query(statement)
    with served_twice(tmp_path_factory.mktemp("any"), mariadb.port) as proxy:
        yield proxy


def assert_alike(server: SingleServer, proxy: Proxy, story: Sequence[Step], capabilities: int) -> None:
    direct, proxied = (told_afresh(server, port, story, capabilities) for port in (server.port, proxy.port))
    for number, answers in enumerate(zip(direct, proxied, strict=True)):
        assert answers[0] == answers[1], story[max(0, number - 8) : number + 1]


def told_afresh(server: SingleServer, port: int, story: Sequence[Step], capabilities: int) -> list[object]:
    """What is heard of a story that begins with a fresh table."""
    for statement in FRESH:
        server.query(statement)
    return heard(port, story, PREPARED, capabilities)


@pytest.mark.parametrize("story", STORIES, ids="; ".join)
def test_a_story_is_answered_as_without_the_proxy(mariadb: SingleServer, proxy: Proxy, story: list[str]) -> None:
    assert_alike(mariadb, proxy, [("query", text) for text in story], BASE)


@pytest.mark.parametrize("back", ["app", "other"])
def test_after_a_reset_every_server_is_in_the_database_of_the_session(
    mariadb: SingleServer, proxy: Proxy, back: str
) -> None:
    read, write = ("query", "SELECT DATABASE(), COUNT(*) FROM app.f"), ("query", "INSERT INTO app.f (v) VALUES (1)")
    for change in ([("database", "other")], [("query", "USE other; SELECT 1")]):
        story: list[Step] = [read, write, *change, write, ("reset", ""), read, write, ("database", back), read]
        assert_alike(mariadb, proxy, [*story, ("query", "SELECT DATABASE() FOR UPDATE")], BASE)


@pytest.mark.parametrize("seed", range(12))
def test_any_story_is_answered_as_without_the_proxy(mariadb: SingleServer, proxy: Proxy, seed: int) -> None:
    assert_alike(mariadb, proxy, random_story(seed, PIECES, len(PREPARED), OFTEN), BASE | DEPRECATE_EOF * (seed % 2))

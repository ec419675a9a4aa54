"""Sessions that have to go elsewhere between two statements: answered as if they had not, or told what is lost.

Once because their connections to servers are killed, once because another server has become primary. Told is what
nothing can bring back: of a transaction that cannot be repeated, of state that only one connection had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sqlproxy.errors import ServerLost
from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.constants import ER_CONNECTION_KILLED, ER_LOCK_DEADLOCK, ERR
from tests.support.proxy import Proxy
from tests.support.rawclient import BASE
from tests.support.stories import Step, heard, random_story
from tests.support.twice import served_twice
from tests.support.waiting import wait_until

CUT = "✂"  # the session has to go elsewhere
FRESH = [
    "CREATE OR REPLACE TABLE app.l (id INT AUTO_INCREMENT PRIMARY KEY, v INT, s VARCHAR(9) DEFAULT 'o''é')",
    "INSERT INTO app.l (v) VALUES (1), (2), (3), (4)",
    "CREATE OR REPLACE PROCEDURE app.adds(n INT) INSERT INTO l (v) VALUES (n)",
    "CREATE OR REPLACE PROCEDURE app.reads() SELECT COUNT(*) FROM l",
]
INSERT = "INSERT INTO l (v) VALUES (5)"
CHILD = "INSERT INTO l (v) VALUES (LAST_INSERT_ID())"
ROWS = "SELECT id, v, s FROM l ORDER BY id"
STORIES = [
    [INSERT, CUT, "SELECT LAST_INSERT_ID()"],
    ["INSERT INTO l (v) VALUES (5), (6)", CUT, "SELECT v FROM l WHERE id = LAST_INSERT_ID()", CUT, "SELECT @@identity"],
    ["UPDATE l SET v = LAST_INSERT_ID(v + 70) WHERE id = 1", CUT, "SELECT LAST_INSERT_ID()"],
    [INSERT, "BEGIN", CHILD, CUT, "COMMIT", ROWS],
    ["BEGIN", INSERT, CUT, CHILD, CUT, "COMMIT", ROWS],
    ["BEGIN", INSERT, "COMMIT", CUT, "SELECT LAST_INSERT_ID()"],
    [INSERT, "BEGIN", "SELECT COUNT(*) FROM l", CUT, "SELECT LAST_INSERT_ID()", CUT, CHILD, "COMMIT", ROWS],
    ["SET last_insert_id = 70", "SELECT v FROM l LIMIT 1", "SELECT LAST_INSERT_ID()", CHILD, ROWS],
    ["SET insert_id = 50", INSERT, CUT, INSERT, "SET insert_id = 70", "SELECT v FROM l LIMIT 1", INSERT, ROWS],
    ["SET TRANSACTION READ ONLY", CUT, INSERT, INSERT],
    ["SET @a = 5, sql_mode = 'ANSI_QUOTES', time_zone = '+03:00'", CUT, "SELECT @a, @@sql_mode, @@time_zone"],
    ["SET autocommit = 0", INSERT, CUT, "SELECT COUNT(*) FROM l", "ROLLBACK", "SELECT COUNT(*) FROM l"],
    [INSERT, CUT, "CALL reads()", "SELECT LAST_INSERT_ID()"],
    ["START TRANSACTION READ ONLY", CUT, "COMMIT AND CHAIN", INSERT, "COMMIT"],
    ["START TRANSACTION READ ONLY", ROWS, CUT, ROWS, INSERT, "COMMIT", INSERT],
    ["BEGIN", INSERT, CUT, "ROLLBACK AND CHAIN", ROWS, CUT, INSERT, "COMMIT", ROWS],
    ["BEGIN", INSERT, CUT, "COMMIT AND CHAIN", ROWS, CUT, INSERT, "ROLLBACK", ROWS],
    ["BEGIN", INSERT, CUT, "XA COMMIT 'x' ONE PHASE", "ROLLBACK", ROWS],
    ["PREPARE p FROM 'SELECT 1'", "PREPARE p FROM 'SELECT'", CUT, "EXECUTE p"],
    ["PREPARE p FROM 'SELECT COUNT(*) + ? FROM l'", CUT, "SET @a = 5", "EXECUTE p USING @a"],
]
CHAINED = ["BEGIN", "SET SESSION TRANSACTION READ ONLY", CUT, "ROLLBACK AND CHAIN", CUT, INSERT, "COMMIT", INSERT]
REFUSED = [
    (["UPDATE l SET v = 9", CUT, "SELECT ROW_COUNT()"], "has left behind is not known"),
    (["SELECT SQL_CALC_FOUND_ROWS v FROM l LIMIT 1", CUT, "SELECT FOUND_ROWS()"], "FOUND_ROWS() is not known"),
    (["SELECT nothing FROM l", CUT, "GET DIAGNOSTICS @n = NUMBER"], "has left behind is not known"),
    (["CALL adds(5)", CUT, "SELECT LAST_INSERT_ID()"], "LAST_INSERT_ID() is not known"),
    (["SELECT LAST_INSERT_ID(70)", CUT, CHILD], "LAST_INSERT_ID() is not known"),
    (["INSERT INTO l (v) VALUES (5) RETURNING v", CUT, CHILD], "LAST_INSERT_ID() is not known"),
    (["SELECT LAST_INSERT_ID(70)", "BEGIN", CHILD, CUT, ROWS], "LAST_INSERT_ID() is not known"),
]
PINNED = [  # to their connection
    ["SET rand_seed1 = 1, rand_seed2 = 2", "SELECT RAND()", CUT, "SELECT RAND()"],
    ["SELECT v, s INTO @a, @b FROM l WHERE id = 2", CUT, "INSERT INTO l (v) VALUES (@a)", "SELECT @a, @b", ROWS],
    ["SELECT @n := @n + v FROM l, (SELECT @n := 0) x", CUT, "UPDATE l SET v = @n", CUT, "SELECT @n", ROWS],
    ["SET @a = (SELECT MAX(v) FROM l), @b = USER()", CUT, "INSERT INTO l (v) VALUES (@a)", "SELECT @a, @b = USER()"],
]
PIECES = """
SELECT COUNT(*), SUM(v) FROM l
SELECT id, v FROM l ORDER BY id LIMIT 3
SELECT v FROM l WHERE id = 2 FOR UPDATE
INSERT INTO l (v) VALUES (7)
INSERT INTO l (v) VALUES (LAST_INSERT_ID())
REPLACE INTO l (id, v) VALUES (2, 9)
UPDATE l SET v = v + 1 WHERE id < 3
DELETE FROM l ORDER BY id DESC LIMIT 1
SELECT LAST_INSERT_ID()
BEGIN
START TRANSACTION READ ONLY
COMMIT
ROLLBACK
SAVEPOINT a
ROLLBACK TO a
SET autocommit = 0
SET autocommit = 1
SET @a = 5
SET @a = @a + 1, @b = 'q"x'
SELECT @a, @b
SET sql_mode = 'ANSI_QUOTES'
SET sql_mode = 'NO_BACKSLASH_ESCAPES'
SET sql_mode = DEFAULT
SELECT 'a' || 'b', "v", 'it''s', 'c\\'d' FROM l LIMIT 1
SET NAMES latin1
SET NAMES utf8mb4 COLLATE utf8mb4_bin
SELECT @@character_set_client, @@collation_connection, @@sql_mode, @@autocommit
SET time_zone = '+03:00'
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
SELECT @@tx_isolation, @@time_zone, FROM_UNIXTIME(0)
PREPARE p FROM 'SELECT ? + COUNT(*) FROM l'
PREPARE p FROM 'INSERT INTO l (v) VALUES (?)'
EXECUTE p USING @a
DEALLOCATE PREPARE p
USE app
USE nowhere
SELECT DATABASE()
SET sql_select_limit = 2
SET sql_select_limit = DEFAULT
SET timestamp = 1000
SELECT NOW() < '1971-01-01'
INSERT INTO l (v) VALUES (8) RETURNING id
SET STATEMENT sql_mode = 'ANSI_QUOTES' FOR SELECT "v" FROM l LIMIT 1
SELECT nothing FROM l
""".strip().splitlines()
OFTEN = {"query": 70, "prepare": 6, "execute": 12, "cut": 12}
PREPARED = [
    "SELECT ? + COUNT(*) FROM l",
    "INSERT INTO l (v) VALUES (?)",
    "SELECT v FROM l WHERE id < ?",
    "SELECT LAST_INSERT_ID() + ?",
    'SELECT "v", ? FROM l LIMIT 1',
]
UNUSED = ["BEGIN", "CREATE TABLE app.nothing (a INT)", "SELECT FOUND_ROWS()"]  # prepared and never executed


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with served_twice(tmp_path_factory.mktemp("lost"), mariadb.port) as proxy:
        yield proxy


def kill(server: SingleServer) -> None:
    """Kill all connections of the application, and wait until the server has closed them."""
    question = "SELECT id FROM information_schema.processlist WHERE user = 'app'"
    ids = server.query(question)
    for (number,) in ids:
        try:
            server.query(f"KILL CONNECTION {number}")
        except ServerLost:  # it has just ended by itself
            continue
    wait_until(lambda: not set(ids) & set(server.query(question)), 10, "the connections are closed")


def switch_over(proxy: Proxy) -> None:
    """The replica becomes the primary."""
    target = "n2" if proxy.primary == "n1" else "n1"
    proxy.post("/v1/switchover", {"server": target})
    proxy.wait_roles(**{target: "primary"})


def heard_afresh(
    server: SingleServer, port: int, story: list[Step], cut: Callable[[], None] | None = None
) -> list[object]:
    for statement in FRESH:
        server.query(statement)
    return heard(port, story, [*PREPARED, *UNUSED], BASE, cut)


def as_steps(story: list[str]) -> list[Step]:
    return [("cut", "") if text is CUT else ("query", text) for text in story]


def refusal(answer: object) -> tuple[int, str]:
    """Code and text of an answer that is an ERR packet, (0, "") for any other."""
    packet = answer[0] if isinstance(answer, list) and answer else b""
    if packet[:1] != bytes((ERR,)):
        return 0, ""
    return int.from_bytes(packet[1:3], "little"), packet[9:].decode()


@pytest.mark.parametrize("story", [*STORIES, CHAINED], ids="; ".join)
def test_a_session_goes_on_when_its_connections_are_killed(
    mariadb: SingleServer, proxy: Proxy, story: list[str]
) -> None:
    direct = heard_afresh(mariadb, mariadb.port, as_steps(story))
    assert heard_afresh(mariadb, proxy.port, as_steps(story), lambda: kill(mariadb)) == direct


@pytest.mark.parametrize("story", [*STORIES, *(story for story, _ in REFUSED), *PINNED], ids="; ".join)
def test_a_session_goes_on_after_a_switchover(mariadb: SingleServer, proxy: Proxy, story: list[str]) -> None:
    direct = heard_afresh(mariadb, mariadb.port, as_steps(story))
    assert heard_afresh(mariadb, proxy.port, as_steps(story), lambda: switch_over(proxy)) == direct


@pytest.mark.parametrize("which", range(len(UNUSED)))
@pytest.mark.parametrize("event", ["kill", "switchover"])
def test_preparing_a_statement_does_not_run_it(mariadb: SingleServer, proxy: Proxy, event: str, which: int) -> None:
    begin, end = as_steps(["SELECT v FROM l", "BEGIN", INSERT, CUT]), as_steps(["ROLLBACK", ROWS])
    story: list[Step] = [*begin, ("prepare", len(PREPARED) + which), *end]
    cut = (lambda: kill(mariadb)) if event == "kill" else (lambda: switch_over(proxy))
    assert heard_afresh(mariadb, proxy.port, story, cut) == heard_afresh(mariadb, mariadb.port, story)


@pytest.mark.parametrize(("story", "words"), [*REFUSED, *((story, "nothing else has its state") for story in PINNED)])
def test_what_is_lost_is_not_made_up(mariadb: SingleServer, proxy: Proxy, story: list[str], words: str) -> None:
    answers = heard_afresh(mariadb, proxy.port, as_steps(story[: story.index(CUT) + 2]), lambda: kill(mariadb))
    assert words in refusal(answers[-1])[1]


def test_warnings_of_a_lost_connection_are_none(mariadb: SingleServer, proxy: Proxy) -> None:
    story = as_steps(["SELECT nothing FROM l", CUT, "SHOW WARNINGS", "SELECT ROW_COUNT()"])
    answers = heard_afresh(mariadb, proxy.port, story, lambda: kill(mariadb))
    assert not refusal(answers[1])[0]
    assert not refusal(answers[2])[0]


@pytest.mark.parametrize("event", ["kill", "switchover"])
@pytest.mark.parametrize("seed", range(12))
def test_any_session_goes_on_or_is_told_what_is_lost(
    mariadb: SingleServer, proxy: Proxy, seed: int, event: str
) -> None:
    story = random_story(seed, PIECES, len(PREPARED), OFTEN)
    direct = heard_afresh(mariadb, mariadb.port, story)
    cut = (lambda: kill(mariadb)) if event == "kill" else (lambda: switch_over(proxy))
    proxied = heard_afresh(mariadb, proxy.port, story, cut)
    for number, (wanted, found) in enumerate(zip(direct, proxied, strict=True)):
        if refusal(found)[0] in (ER_LOCK_DEADLOCK, ER_CONNECTION_KILLED) or "is not known" in refusal(found)[1]:
            return
        assert found == wanted, (number, story)

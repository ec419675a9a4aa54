"""The classification, judged by servers: what is called a read changes nothing and runs where nothing may be written.

``tests/data/statements``: reads.sql and calls.txt, all of which some server must take, and writers.sql. The tables of
the unit tests join in with whatever they call a read, also if no server likes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pymysql
import pytest
from pymysql.connections import Connection
from pymysql.constants.CLIENT import MULTI_STATEMENTS
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_IN_TRANS

from sqlproxy.lab.single import SingleServer
from sqlproxy.sql.bits import LAST, READ, USERVAR_WRITE, WRITE
from sqlproxy.sql.classify import classify, describe
from sqlproxy.sql.functions import BARE, READ_ONLY
from sqlproxy.sql.generations import LACKED_BY, generation_of
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import connected, rows
from tests.unit.sql.test_body import OTHERS, PLAIN_READS
from tests.unit.sql.test_statement import ALL
from tests.unit.sql.test_statement_table import STATEMENTS

DATA = Path(__file__).parent.parent / "data" / "statements"
SCHEMA = """
CREATE DATABASE judged
CREATE TABLE judged.t (a INT PRIMARY KEY, b VARCHAR(20), j JSON, g POINT, l LINESTRING, p POLYGON) CHARACTER SET utf8mb4
CREATE TABLE judged.u (a INT PRIMARY KEY, b VARCHAR(20), FULLTEXT (b)) CHARACTER SET utf8mb4
CREATE TABLE judged.parts (a INT PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 2
CREATE TABLE judged.called (id INT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
INSERT INTO judged.t VALUES (1, 'x', '{"k": 1, "l": [1]}', POINT(1, 2), LINESTRING(POINT(0, 0), POINT(1, 1)), \
POLYGON(LINESTRING(POINT(0, 0), POINT(4, 0), POINT(4, 4), POINT(0, 0))))
INSERT INTO judged.t SELECT a + 1, 'y', j, g, l, p FROM judged.t
INSERT INTO judged.u VALUES (1, 'x'), (5, 'z')
CREATE VIEW judged.v AS SELECT a FROM judged.t
CREATE PROCEDURE judged.writer() SQL SECURITY INVOKER INSERT INTO judged.called VALUES ()
CREATE FUNCTION judged.writes(a INT) RETURNS INT DETERMINISTIC SQL SECURITY INVOKER \
BEGIN INSERT INTO judged.called VALUES (); RETURN a; END
CREATE TRIGGER judged.tr BEFORE INSERT ON judged.u FOR EACH ROW SET NEW.b = 'x'
CREATE EVENT judged.ev ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM judged.t
CREATE USER judged@'%' IDENTIFIED BY 'judged'
GRANT ALL ON judged.* TO judged@'%'
GRANT PROCESS, REPLICATION CLIENT ON *.* TO judged@'%'
"""
TABLES = "judged.t, judged.u, judged.called"
VARIABLES = "SET @x = 'x', @y = 'y', @id = 'i', @n = 1, @a = 'a', @b = 'b'"
# Refused because nothing may be written: 1290 read_only, 1792 and 1836 read-only transaction, 3100 replication hook.
READ_ONLY_ERRORS = frozenset({1290, 1792, 1836, 3100})
NO_FUNCTION = frozenset({1305, 1630})
# Functions of later MariaDB, of servers with a binary log or with duality views.
ELSEWHERE = re.compile("vec_|json_array_intersect|json_object_filter_keys|binlog_gtid_pos|json_duality_object")


@dataclass
class Judge:
    """A server; ``query`` asks it as root."""

    port: int
    query: Callable[[str], list[tuple[object, ...]]]
    read_only: str
    generation: int

    @contextmanager
    def refusing_writes(self) -> Iterator[None]:
        self.query(f"SET GLOBAL {self.read_only} = 1")
        try:
            yield
        finally:
            self.query(f"SET GLOBAL {self.read_only} = 0")
            self.query("SET GLOBAL read_only = 0")

    def connected(self) -> AbstractContextManager[Connection]:
        return connected(self.port, user="judged", password="judged", database="judged", client_flag=MULTI_STATEMENTS)


def judge(server: SingleServer | MySQLServer, read_only: str) -> Iterator[Judge]:
    version = str(server.query("SELECT VERSION()")[0][0])
    for statement in SCHEMA.strip().replace("\\\n", "").splitlines():
        server.query(statement)
    if "MariaDB" in version:
        server.query("CREATE SEQUENCE judged.s")
        server.query("GRANT SLAVE MONITOR ON *.* TO judged@'%'")
    yield Judge(server.port, server.query, read_only, generation_of(version))
    server.query("DROP DATABASE judged")
    server.query("DROP USER judged@'%'")


@pytest.fixture(scope="module")
def mariadb_judge(mariadb: SingleServer) -> Iterator[Judge]:
    yield from judge(mariadb, "read_only")


@pytest.fixture(scope="module")
def mysql_judge(mysql97: MySQLServer) -> Iterator[Judge]:
    yield from judge(mysql97, "super_read_only")


@pytest.fixture(params=["mariadb_judge", "mysql_judge"])
def server(request: pytest.FixtureRequest) -> Judge:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Judge)
    return found


def lines(name: str) -> list[str]:
    return [line for line in (DATA / name).read_text().splitlines() if not line.startswith("#")]


def own() -> list[str]:
    return lines("reads.sql") + [f"SELECT {call}" for call in lines("calls.txt")]


def corpus(generation: int) -> list[str]:
    """Everything that may go to a replica when the servers are of these generations."""
    texts = [
        *own(),
        *PLAIN_READS.strip().splitlines(),
        *(sql for sql, _ in OTHERS),
        *(sql for sql, _ in ALL),
        *STATEMENTS,
    ]
    return [sql for sql in dict.fromkeys(texts) if classify(sql.encode(), 0, generation) & (READ | LAST)]


def outcome(connection: Connection, sql: str) -> int:
    """Run a text with all its results; the number of the error, 0 if there was none."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            while cursor.nextset():
                pass
    except pymysql.err.Error as error:
        return int(error.args[0])
    return 0


def outcomes(server: Judge, texts: list[str]) -> dict[str, int]:
    """What became of each; none may leave anything in the session or in the tables."""
    found = {}
    with server.connected() as connection:
        checksums = rows(connection, f"CHECKSUM TABLE {TABLES}")
        rows(connection, VARIABLES)
        rows(connection, "SELECT LAST_INSERT_ID(77)")
        for sql in texts:
            found[sql] = outcome(connection, sql)
            opened = bool(connection.server_status & SERVER_STATUS_IN_TRANS)
            assert opened == sql.startswith("START TRANSACTION"), sql
            if opened:
                connection.rollback()
            if classify(sql.encode()) & USERVAR_WRITE:
                rows(connection, VARIABLES)
            left = rows(connection, "SELECT @x, @y, @id, @n, @a, @b, LAST_INSERT_ID(), RELEASE_ALL_LOCKS(), DATABASE()")
            assert left == [("x", "y", "i", 1, "a", "b", 77, 0, "judged")], sql
        assert rows(connection, f"CHECKSUM TABLE {TABLES}") == checksums
    return found


def test_reads_change_nothing_and_run_the_same_where_nothing_may_be_written(server: Judge) -> None:
    texts = corpus(server.generation)
    free = outcomes(server, texts)
    with server.refusing_writes():
        assert outcomes(server, texts) == free
    assert not [sql for sql, error in free.items() if error in READ_ONLY_ERRORS]


def test_every_statement_of_the_corpus_is_taken_by_a_server(mariadb_judge: Judge, mysql_judge: Judge) -> None:
    """Else it would prove nothing that it changed nothing."""
    refused: dict[str, list[int]] = {}
    for server in (mariadb_judge, mysql_judge):
        with server.connected() as connection:
            for sql in own():
                refused.setdefault(sql, []).append(outcome(connection, sql))
                connection.rollback()
    assert [(sql, codes) for sql, codes in refused.items() if all(codes) and not ELSEWHERE.search(sql)] == []


def test_the_corpus_calls_every_function_that_may_run_on_a_replica() -> None:
    called = set(re.findall(r"([a-z_0-9]+)\(", " ".join(lines("calls.txt"))))
    assert READ_ONLY - BARE - called == set()


def test_a_known_function_is_never_looked_up_among_stored_ones(server: Judge) -> None:
    """The error of a missing stored function means that an existing one would have been called."""
    looked_up = set()
    with server.connected() as connection:
        for name in sorted(READ_ONLY):
            for call in (f"SELECT {name}('1')", f"SELECT {name} ('1')", f"SELECT {name}('1', '2')"):
                if classify(call.encode(), 0, server.generation) & READ and outcome(connection, call) in NO_FUNCTION:
                    looked_up.add(call)
    assert looked_up <= {"SELECT point('1')", "SELECT point ('1')"}


def test_a_function_that_the_server_lacks_is_one_that_can_be_stored(server: Judge) -> None:
    """The other way round: no name is kept from the replicas that the server would never look up."""
    with server.connected() as connection:
        for name in sorted(name for name, lacking in LACKED_BY.items() if lacking & server.generation):
            assert outcome(connection, f"SELECT {name}('1')") in NO_FUNCTION, name


def test_nothing_that_writes_is_called_a_read() -> None:
    assert [sql for sql in lines("writers.sql") if not classify(sql.encode()) & WRITE] == []


def test_a_server_that_refuses_writes_refuses_what_writes_to_tables(server: Judge) -> None:
    """Holds the corpus of writers to be what it says."""
    changing = re.compile("INSERT INTO|UPDATE t SET|DELETE|writes|writer|CREATE TABLE|ALTER")
    with server.refusing_writes(), server.connected() as connection:
        found = {sql: outcome(connection, sql) for sql in lines("writers.sql") if changing.search(sql)}
    assert [sql for sql, error in found.items() if not error] == []
    assert sum(error in READ_ONLY_ERRORS for error in found.values()) > len(found) / 2


def test_a_stored_function_named_like_another_servers_function_writes_on_the_primary(mariadb_judge: Judge) -> None:
    create = "CREATE FUNCTION judged.uuid_to_bin(a INT) RETURNS INT BEGIN INSERT INTO called VALUES (); RETURN a; END"
    mariadb_judge.query(create)
    with mariadb_judge.connected() as connection:
        rows(connection, "SELECT UUID_TO_BIN(1)")
        assert rows(connection, "SELECT COUNT(*) FROM called")[0][0] > 0
    assert describe(classify(b"SELECT UUID_TO_BIN(1)", 0, mariadb_judge.generation)) == "WRITE UNSAFE_FUNCTION"

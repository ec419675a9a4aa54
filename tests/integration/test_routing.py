"""Where statements go on a real cluster; ``@@port`` tells who answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pymysql
import pytest
from pymysql.connections import Connection
from pymysql.constants import CLIENT

from sqlproxy.lab.galera import GaleraLab
from sqlproxy.wire.constants import COM_RESET_CONNECTION
from tests.support.cluster import servers_of, wait_settled
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, free_port, running_proxy

READ_ONLY_TRANSACTION = 1792
SETUP = (
    "DROP TABLE IF EXISTS one, many",
    "CREATE TABLE one (id INT PRIMARY KEY)",
    "CREATE TABLE many (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(5))",
    "INSERT INTO one VALUES (1)",
    "CREATE OR REPLACE PROCEDURE whoami() SELECT @@port",
    "CREATE OR REPLACE SEQUENCE numbers NOCACHE INCREMENT BY 0",
)


@dataclass(frozen=True)
class Cluster:
    """The proxy, its services' ports and the servers behind; the roles hold for the whole module."""

    proxy: Proxy
    lab: GaleraLab
    services: dict[str, int]
    primary: int
    replicas: frozenset[int]


@pytest.fixture(scope="module")
def cluster(galera: GaleraLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    galera.up()
    for statement in SETUP:
        ask(galera.ports[0], statement)
    services = {name: free_port() for name in ("writer", "reader", "uncausal", "short")}
    settings = {
        "writer": 'router = "readconn"\nrole = "primary"',
        "reader": 'router = "readconn"\nrole = "replica"',
        "uncausal": 'causal_reads = "none"',
        "short": "max_session_history = 3",
    }
    extra = "".join(
        f'[[services]]\nname = "{name}"\nlisten = "127.0.0.1:{port}"\n{settings[name]}\n'
        for name, port in services.items()
    )
    servers = servers_of(galera)
    with running_proxy(tmp_path_factory.mktemp("proxy"), servers, extra=extra) as proxy:
        wait_settled(proxy)
        primary = servers[proxy.primary or ""]
        yield Cluster(proxy, galera, services, primary, frozenset(galera.ports) - {primary})


@pytest.fixture
def session(cluster: Cluster) -> Iterator[Connection]:
    with connected(cluster.proxy.port) as connection:
        yield connection


def server(connection: Connection, sql: str = "SELECT @@port") -> int:
    """Who answered a statement whose first column is ``@@port``."""
    return int(rows(connection, sql)[0][0])


def pins(cluster: Cluster) -> list[str]:
    """Of the only session that is pinned."""
    return [pin for row in cluster.proxy.get("/v1/sessions") for pin in row["pins"]]


# -- reads and writes


def test_reads_of_many_sessions_are_spread_over_the_replicas(cluster: Cluster) -> None:
    taken = Counter(server(connection) for connection in sessions(cluster, 20))
    assert taken.keys() == cluster.replicas
    assert min(taken.values()) >= 6


def sessions(cluster: Cluster, count: int) -> Iterator[Connection]:
    for _ in range(count):
        with connected(cluster.proxy.port) as connection:
            yield connection


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT @@port FROM one",
        "SELECT @@port, COUNT(*), NOW(), CONCAT('a', 'FOR UPDATE') FROM one GROUP BY 1",
        "(SELECT @@port FROM one) UNION (SELECT @@port)",
        "WITH c AS (SELECT @@port AS p) SELECT p FROM c",
        "/* FOR UPDATE */ SELECT @@port -- insert",
        "SHOW VARIABLES WHERE Variable_name = 'port' AND Value = @@port",
    ],
)
def test_reads_go_to_a_replica(cluster: Cluster, session: Connection, sql: str) -> None:
    assert int(rows(session, sql)[0][-1 if sql.startswith("SHOW") else 0]) in cluster.replicas


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO many (note) VALUES ('x') RETURNING @@port",
        "DELETE FROM one WHERE id = 1 AND @@port = 0 OR id = 7 RETURNING @@port",
        "SELECT @@port FROM one FOR UPDATE",
        "SELECT @@port FROM one LOCK IN SHARE MODE",
        "CALL whoami()",
        "SELECT @@port, NEXTVAL(numbers)",
        "SELECT @@port, LAST_INSERT_ID()",
    ],
)
def test_writes_locking_reads_and_what_is_not_understood_go_to_the_primary(
    cluster: Cluster, session: Connection, sql: str
) -> None:
    if sql.startswith("DELETE"):
        rows(session, "REPLACE INTO one VALUES (7)")
    assert server(session, sql) == cluster.primary
    assert server(session) in cluster.replicas


# -- transactions


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_transaction_stays_on_the_primary_until_its_end(cluster: Cluster, session: Connection, end: str) -> None:
    rows(session, "BEGIN")
    assert {server(session) for _ in range(5)} == {cluster.primary}
    rows(session, end)
    assert server(session) in cluster.replicas


def test_a_read_only_transaction_stays_on_one_replica(cluster: Cluster, session: Connection) -> None:
    rows(session, "START TRANSACTION READ ONLY")
    taken = {server(session) for _ in range(5)} | {server(session, "SELECT @@port FROM one")}
    assert len(taken) == 1
    assert taken <= cluster.replicas
    with pytest.raises(pymysql.MySQLError) as raised:
        rows(session, "INSERT INTO many (note) VALUES ('no')")
    assert raised.value.args[0] == READ_ONLY_TRANSACTION
    rows(session, "COMMIT")
    assert server(session, "INSERT INTO many (note) VALUES ('yes') RETURNING @@port") == cluster.primary


def test_without_autocommit_everything_goes_to_the_primary(cluster: Cluster, session: Connection) -> None:
    rows(session, "SET autocommit = 0")
    assert {server(session), server(session, "SELECT @@port FROM one")} == {cluster.primary}
    rows(session, "COMMIT")
    assert server(session) == cluster.primary
    rows(session, "SET autocommit = 1")
    assert server(session) in cluster.replicas


def test_set_transaction_holds_for_the_next_transaction_only(cluster: Cluster, session: Connection) -> None:
    rows(session, "SET TRANSACTION READ ONLY")
    rows(session, "BEGIN")
    with pytest.raises(pymysql.MySQLError) as raised:
        rows(session, "INSERT INTO many (note) VALUES ('no')")
    assert raised.value.args[0] == READ_ONLY_TRANSACTION
    rows(session, "COMMIT")
    rows(session, "BEGIN")
    rows(session, "INSERT INTO many (note) VALUES ('yes')")
    rows(session, "COMMIT")


def test_an_implicit_commit_ends_a_transaction(cluster: Cluster, session: Connection) -> None:
    rows(session, "BEGIN")
    rows(session, "INSERT INTO many (note) VALUES ('ddl')")
    rows(session, "CREATE OR REPLACE TABLE made (id INT)")
    assert server(session) in cluster.replicas


# -- pins


def test_a_temporary_table_pins_the_session(cluster: Cluster, session: Connection) -> None:
    rows(session, "CREATE TEMPORARY TABLE scratch (id INT)")
    rows(session, "INSERT INTO scratch VALUES (1), (2)")
    assert rows(session, "SELECT @@port, COUNT(*) FROM scratch") == [(cluster.primary, 2)]
    assert pins(cluster) == [f"a temporary table on {cluster.proxy.primary}"]
    assert server(session) == cluster.primary


def test_get_lock_pins_the_session(cluster: Cluster, session: Connection) -> None:
    assert rows(session, "SELECT GET_LOCK('routing', 5), @@port") == [(1, cluster.primary)]
    assert rows(session, "SELECT IS_FREE_LOCK('routing'), @@port") == [(0, cluster.primary)]
    assert pins(cluster) == [f"GET_LOCK on {cluster.proxy.primary}"]


def test_lock_tables_pins_until_they_are_unlocked(cluster: Cluster, session: Connection) -> None:
    rows(session, "LOCK TABLES one READ")
    assert server(session, "SELECT @@port FROM one") == cluster.primary
    rows(session, "UNLOCK TABLES")
    assert server(session) in cluster.replicas


def test_history_beyond_its_cap_pins_with_a_reason(cluster: Cluster) -> None:
    with connected(cluster.services["short"]) as connection:
        for number in range(2):  # PyMySQL's SET NAMES is the first statement
            rows(connection, f"SET @v{number} = {number}")
            assert server(connection) in cluster.replicas
        rows(connection, "SET @v2 = 2")
        assert [pin.startswith("more than 3 session statements, all on n") for pin in pins(cluster)] == [True]
        assert rows(connection, "SELECT @v0, @v2, @@port") == [(0, 2, cluster.primary)]


def test_changing_the_user_or_resetting_the_connection_ends_a_pin(cluster: Cluster, session: Connection) -> None:
    rows(session, "CREATE TEMPORARY TABLE scratch (id INT)")
    session._execute_command(0x1F, b"")
    session._read_ok_packet()
    assert pins(cluster) == []
    assert server(session) in cluster.replicas


# -- session state


@pytest.mark.parametrize(
    ("statement", "question", "expected"),
    [
        ("SET @a = 5, @b = 'x'", "@a, @b", (5, "x")),
        ("SET @a = CONCAT('a', 'b')", "@a", ("ab",)),
        ("USE sbtest", "DATABASE()", ("sbtest",)),
        ("SET NAMES latin1", "@@character_set_client, @@collation_connection", ("latin1", "latin1_swedish_ci")),
        ("SET SESSION sql_mode = 'ANSI_QUOTES'", "@@sql_mode", ("ANSI_QUOTES",)),
        ("SET time_zone = '+02:00'", "@@time_zone", ("+02:00",)),
    ],
)
def test_session_state_is_the_same_on_replica_and_primary(
    cluster: Cluster, session: Connection, statement: str, question: str, expected: tuple[Any, ...]
) -> None:
    rows(session, statement)
    assert rows(session, f"SELECT {question}, @@port")[0][:-1] == expected
    assert rows(session, f"SELECT {question}, @@port FROM app.one FOR UPDATE")[0] == (*expected, cluster.primary)
    (last,) = rows(session, f"SELECT {question}, @@port")
    assert last[:-1] == expected
    assert last[-1] in cluster.replicas


def test_select_db_changes_the_database_everywhere(cluster: Cluster, session: Connection) -> None:
    session.select_db("sbtest")
    assert rows(session, "SELECT DATABASE()") == [("sbtest",)]
    assert rows(session, "SELECT DATABASE() FROM app.one FOR UPDATE") == [("sbtest",)]


def test_a_variable_assigned_by_a_query_is_there_in_the_next(cluster: Cluster, session: Connection) -> None:
    rows(session, "SELECT @n := 7")
    assert rows(session, "SELECT @n, @@port") == [(7, cluster.primary)]
    rows(session, "SELECT 8 INTO @n")
    assert rows(session, "SELECT @n") == [(8,)]


def test_what_a_statement_left_behind_is_asked_where_it_ran(cluster: Cluster, session: Connection) -> None:
    rows(session, "INSERT INTO many (note) VALUES ('a'), ('b')")
    assert rows(session, "SELECT ROW_COUNT()") == [(2,)]
    rows(session, "DROP TABLE IF EXISTS never_was")
    assert "never_was" in rows(session, "SHOW WARNINGS")[0][2]
    assert rows(session, "SELECT CAST('x' AS INT), @@port")[0][1] in cluster.replicas
    assert rows(session, "SELECT @@warning_count") == [(1,)]
    rows(session, "SELECT CAST('x' AS INT)")
    assert "Truncated incorrect INTEGER value" in rows(session, "SHOW WARNINGS")[0][2]
    rows(session, "SELECT SQL_CALC_FOUND_ROWS seq FROM seq_1_to_9 LIMIT 2")
    assert rows(session, "SELECT FOUND_ROWS()") == [(9,)]


def test_last_insert_id_is_the_writes_also_after_reads_elsewhere(cluster: Cluster, session: Connection) -> None:
    with session.cursor() as cursor:
        cursor.execute("INSERT INTO many (note) VALUES ('id')")
        number = cursor.lastrowid
    assert server(session) in cluster.replicas
    assert rows(session, "SELECT LAST_INSERT_ID()") == [(number,)]


def test_text_prepared_statements_run_where_their_text_belongs(cluster: Cluster, session: Connection) -> None:
    rows(session, "PREPARE reading FROM 'SELECT @@port, ?'")
    rows(session, "PREPARE writing FROM 'INSERT INTO many (note) VALUES (?) RETURNING @@port'")
    rows(session, "SET @a = 'x'")
    for _ in range(2):
        assert server(session, "EXECUTE reading USING @a") in cluster.replicas
        assert server(session, "EXECUTE writing USING @a") == cluster.primary
    rows(session, "DEALLOCATE PREPARE reading")
    with pytest.raises(pymysql.MySQLError):
        rows(session, "EXECUTE reading USING @a")


# -- several statements, global settings


def test_several_statements_go_to_a_replica_only_if_all_read(cluster: Cluster) -> None:
    with connected(cluster.proxy.port, client_flag=CLIENT.MULTI_STATEMENTS) as connection:
        assert all_rows(connection, "SELECT @@port; SELECT @@port")[0][0] in cluster.replicas
        answers = all_rows(connection, "SELECT @@port; INSERT INTO many (note) VALUES ('m') RETURNING @@port")
        assert answers == [(cluster.primary,), (cluster.primary,)]


def all_rows(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        found = list(cursor.fetchall())
        while cursor.nextset():
            found += cursor.fetchall()
        return found


def test_set_global_goes_to_the_primary(cluster: Cluster) -> None:
    lab = cluster.lab
    nodes = {node.port: node for node in lab.nodes.values()}
    primary = nodes[cluster.primary]
    primary.query("CREATE OR REPLACE USER boss@'%' IDENTIFIED BY 'boss'")
    primary.query("GRANT ALL ON *.* TO boss@'%'")
    try:
        with connected(cluster.proxy.port, user="boss", password="boss") as connection:
            assert server(connection) in cluster.replicas
            rows(connection, "SET GLOBAL slow_launch_time = 77")
        values = {port: node.query("SELECT @@global.slow_launch_time")[0][0] for port, node in nodes.items()}
        assert values == {cluster.primary: 77} | dict.fromkeys(cluster.replicas, 2)
    finally:
        primary.query("SET GLOBAL slow_launch_time = 2")
        primary.query("DROP USER boss@'%'")


# -- causal reads


def causal_waits(cluster: Cluster) -> int:
    """How often the replicas were asked to catch up."""
    query = "SHOW GLOBAL STATUS LIKE 'wsrep_causal_reads'"
    return sum(int(n.query(query)[0][1]) for n in cluster.lab.nodes.values() if n.port in cluster.replicas)


def test_a_session_always_reads_its_own_writes_on_a_replica(cluster: Cluster, session: Connection) -> None:
    for number in range(200):
        with session.cursor() as cursor:
            cursor.execute("INSERT INTO many (note) VALUES (%s)", (number,))
            key = cursor.lastrowid
        found = rows(session, "SELECT note, @@port FROM many WHERE id = %s", key)
        assert found, f"write {number} was not visible"
        assert found[0][0] == str(number)
        assert found[0][1] in cluster.replicas


@pytest.mark.parametrize(("service", "waits"), [("app", 1), ("uncausal", 0)])
def test_a_replica_is_made_to_catch_up_once_per_write_if_reads_are_causal(
    cluster: Cluster, service: str, waits: int
) -> None:
    port = cluster.services.get(service, cluster.proxy.port)
    with connected(port) as connection:
        before = causal_waits(cluster)
        rows(connection, "INSERT INTO many (note) VALUES ('c')")
        for _ in range(3):
            assert server(connection) in cluster.replicas
        assert causal_waits(cluster) == before + waits


def test_a_connection_that_was_reset_or_used_before_catches_up_too(cluster: Cluster) -> None:
    for _ in range(3):  # later connections may find those of earlier ones
        with connected(cluster.proxy.port) as connection:
            rows(connection, "SELECT 1 FROM one")
            connection._execute_command(COM_RESET_CONNECTION, b"")
            connection._read_ok_packet()
            before = causal_waits(cluster)
            rows(connection, "INSERT INTO many (note) VALUES ('r')")
            assert server(connection) in cluster.replicas
            assert causal_waits(cluster) == before + 1


# -- services


def test_a_readconn_service_keeps_the_whole_session_on_a_server_of_its_role(cluster: Cluster) -> None:
    statements = ("SELECT @@port", "SELECT @@port FROM one FOR UPDATE", "SELECT @@port FROM one")
    with connected(cluster.services["writer"]) as connection:
        assert {server(connection, sql) for sql in statements} == {cluster.primary}
    seen = set()
    for _ in range(6):
        with connected(cluster.services["reader"]) as connection:
            taken = {server(connection, sql) for sql in statements}
            assert len(taken) == 1
            seen |= taken
    assert seen == cluster.replicas


def test_read_shares_follow_the_weights(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    lab = cluster.lab
    heavy = next(number for number, port in enumerate(lab.ports) if port in cluster.replicas)
    env = {f"SQLPROXY_SERVERS__{heavy}__WEIGHT": "3"}
    with running_proxy(tmp_path_factory.mktemp("weights"), servers_of(lab), env=env) as proxy:
        taken: Counter[int] = Counter()
        for _ in range(40):
            with connected(proxy.port) as connection:
                taken[server(connection)] += 1
    assert taken.keys() == cluster.replicas
    assert 25 <= taken[lab.ports[heavy]] <= 35

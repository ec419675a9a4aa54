"""Session state that a text does not show is reported by the server, and reports reach only clients that asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.constants import CLIENT_SESSION_TRACK, COM_QUERY
from tests.support.mysql_server import MySQLServer
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.rawclient import BASE, DEPRECATE_EOF, TRACKING, logged_in

WAYS = pytest.mark.parametrize(
    "capabilities",
    [BASE, DEPRECATE_EOF, BASE | CLIENT_SESSION_TRACK, TRACKING],
    ids=["eof", "deprecate eof", "tracking", "tracking, deprecate eof"],
)
PROGRAMS = (
    "DROP PROCEDURE IF EXISTS quiet",
    "DROP PROCEDURE IF EXISTS loud",
    "DROP FUNCTION IF EXISTS loudly",
    "CREATE PROCEDURE quiet() BEGIN DECLARE x INT; SET x = 1; SELECT x; END",
    "CREATE PROCEDURE loud() SET @z = 5",
    "CREATE FUNCTION loudly() RETURNS INT DETERMINISTIC BEGIN SET @y = 7; RETURN 1; END",
)
STATEMENTS = (
    "SET @a = 1",
    "SET NAMES latin1",
    "USE app",
    "SELECT loudly()",
    "CALL loud()",
    "CALL quiet()",
    "CREATE TEMPORARY TABLE tt (a INT)",
    "UPDATE tt SET a = 1",
    "PREPARE s FROM 'SELECT 1'",
    "SET autocommit = 0",
    "SELECT 1; SET @b = 2; SELECT @b",
    "SET autocommit = 1",
)
ASKING = (  # each client decides what it is told
    "SET session_track_system_variables = 'sort_buffer_size,lock_wait_timeout,session_track_state_change'",
    "SET sort_buffer_size = 100000, @a = 2",
    "SET session_track_state_change = ON",
    "SET @a = 3",
    "SET SESSION lock_wait_timeout = 77",
    "SET session_track_transaction_info = 'CHARACTERISTICS'",
    "START TRANSACTION READ ONLY",
    "SELECT 1",
    "COMMIT",
    "SET session_track_schema = OFF",
    "USE app",
    "SET session_track_schema = ON",
    "USE app",
    "SET session_track_system_variables = 'time_zone', time_zone = '+02:00'",
    "SET session_track_state_change = OFF",
    "SET @a = 4",
    "SELECT 1; SET time_zone = SYSTEM; SELECT 2",
)


@dataclass
class Server:
    """A server's port, and the proxy in front of it."""

    port: int
    proxy: Proxy


@pytest.fixture(scope="module", params=["mariadb", "mysql97"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found: SingleServer | MySQLServer = request.getfixturevalue(request.param)
    for statement in ("SET GLOBAL log_bin_trust_function_creators = ON", "GRANT ALL ON brief.* TO app@'%'"):
        found.query(statement)
    with connected(found.port) as connection:
        for program in PROGRAMS:
            rows(connection, program)
    with running_proxy(tmp_path_factory.mktemp("track"), {"n1": found.port}) as proxy:
        yield Server(found.port, proxy)


def pins(proxy: Proxy) -> list[str]:
    return [pin for row in proxy.get("/v1/sessions") for pin in row["pins"]]


@WAYS
def test_every_client_reads_what_the_server_would_have_told_it(server: Server, capabilities: int) -> None:
    with logged_in(server.port, capabilities) as direct, logged_in(server.proxy.port, capabilities) as through:
        for statement in STATEMENTS:
            assert through.query(statement) == direct.query(statement), statement


@pytest.mark.parametrize("capabilities", [BASE | CLIENT_SESSION_TRACK, TRACKING], ids=["eof", "deprecate eof"])
def test_a_client_is_told_what_it_asks_for_and_no_other(server: Server, capabilities: int) -> None:
    with logged_in(server.port, capabilities) as direct, logged_in(server.proxy.port, capabilities) as through:
        for statement in ASKING:
            assert through.query(statement) == direct.query(statement), statement


def test_a_procedure_that_changes_session_state_pins_with_a_reason(server: Server) -> None:
    with connected(server.proxy.port) as connection:
        rows(connection, "CALL quiet()")
        rows(connection, "SET @a = 1")
        rows(connection, "USE app")
        assert pins(server.proxy) == []
        rows(connection, "CALL loud()")
        assert pins(server.proxy) == ["session state changed on n1 by a stored procedure"]
        assert rows(connection, "SELECT @z") == [(5,)]


def test_a_function_that_changes_session_state_pins_with_a_reason(server: Server) -> None:
    with logged_in(server.proxy.port, DEPRECATE_EOF) as client:
        client.query("SELECT loudly()")
        assert pins(server.proxy) == ["session state changed on n1 by a statement whose text does not show it"]


def test_statements_of_the_text_protocol_explain_themselves(server: Server) -> None:
    with connected(server.proxy.port) as connection:
        for statement in (
            "SET SESSION group_concat_max_len = 2000",
            "SET autocommit = 0",
            "SET autocommit = 1",
            "BEGIN",
        ):
            rows(connection, statement)
        rows(connection, "COMMIT")
        rows(connection, "PREPARE s FROM 'SELECT 1'")
        rows(connection, "EXECUTE s")
        rows(connection, "DEALLOCATE PREPARE s")
        assert pins(server.proxy) == []


def test_a_database_dropped_under_the_session_is_no_longer_its_database(server: Server) -> None:
    with connected(server.proxy.port) as connection:
        rows(connection, "CREATE DATABASE brief")
        rows(connection, "USE brief")
        assert [row["database"] for row in server.proxy.get("/v1/sessions")] == ["brief"]
        rows(connection, "DROP DATABASE brief")
        assert [row["database"] for row in server.proxy.get("/v1/sessions")] == [""]
        assert pins(server.proxy) == []


def test_reports_are_on_again_after_a_reset(server: Server) -> None:
    with logged_in(server.proxy.port, DEPRECATE_EOF) as client:
        client.ok(b"\x1f")
        client.ok(bytes((COM_QUERY,)) + b"CALL loud()")
        assert len(pins(server.proxy)) == 1

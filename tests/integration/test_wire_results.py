"""Replies through the proxy are, byte for byte, what the server says to a client without it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.session.service import RELAYED
from sqlproxy.wire.constants import (
    CLIENT_COMPRESS,
    CLIENT_SSL,
    SERVER_MORE_RESULTS_EXISTS,
    SERVER_SESSION_STATE_CHANGED,
)
from sqlproxy.wire.packets import parse_ok
from tests.support.mysqlclient import ask
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import (
    BASE,
    DEPRECATE_EOF,
    FOUND_ROWS,
    TRACKING,
    as_ok,
    logged_in,
    on_both,
    raw,
    said,
)

WAYS = pytest.mark.parametrize("capabilities", [BASE, DEPRECATE_EOF, TRACKING], ids=["eof", "deprecate eof", "track"])
TABLES = (
    "CREATE OR REPLACE TABLE kinds (id INT PRIMARY KEY, t TINYINT UNSIGNED, b BIGINT, d DECIMAL(20,6), f DOUBLE,"
    " s VARCHAR(50) CHARACTER SET utf8mb4, x BLOB, e ENUM('a','b'), day DATE, at DATETIME(6), j JSON, y YEAR,"
    " bits BIT(9), n INT)",
    "INSERT INTO kinds VALUES (1, 255, -9223372036854775808, 1.5, 1e300, 'naïve 🐬', x'00ff', 'b', '2026-02-28',"
    " '2026-02-28 23:59:59.999999', '{\"a\": [1]}', 2026, b'101010101', NULL),"
    " (2, 0, 0, 0, 0, '', '', 'a', '0000-00-00', '0000-00-00', 'null', 1901, 0, 7)",
    "CREATE OR REPLACE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, v INT)",
    "CREATE OR REPLACE PROCEDURE three() BEGIN SELECT 1; SELECT 'two', NULL; SELECT * FROM kinds; END",
    "CREATE OR REPLACE PROCEDURE breaks() BEGIN SELECT 1; SIGNAL SQLSTATE '45001' SET MYSQL_ERRNO = 5001,"
    " MESSAGE_TEXT = 'broken by hand'; END",
)
STATEMENTS = (
    "SELECT 1",
    "SELECT NULL, '', 'é', 18446744073709551615, -1.5, x'00'",
    "SELECT * FROM kinds ORDER BY id",
    "SELECT * FROM kinds WHERE id = 0",
    "SELECT REPEAT('x', 250), REPEAT('x', 251), REPEAT('x', 65535), REPEAT('x', 65536)",
    "SELECT seq, REPEAT(seq, 50) FROM seq_1_to_2000",
    "SELECT 1; SELECT 2; SELECT 3 WHERE FALSE",
    "SELECT 1; SELECT missing FROM kinds; SELECT 3",
    "SELECT 1; DO 1; SELECT 2",
    "CALL three()",
    "CALL three(); CALL three()",
    "CALL breaks()",
    "SELECT 1 FROM",
    "SELECT * FROM no_such_table",
    "SELECT 1/0",
    "INSERT INTO kinds (id) VALUES (1)",
    "SELECT (SELECT id FROM kinds)",
    "SET SESSION sort_buffer_size = 1",
    "SET NAMES latin1",
    "SET SESSION no_such_variable = 1",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "USE app",
    "USE no_such_database",
    "DO 1",
    "SIGNAL SQLSTATE '02000'",
    "SIGNAL SQLSTATE 'HY123' SET MESSAGE_TEXT = 'ünïcode ✓'",
    "EXPLAIN SELECT 1",
    "SHOW TABLES LIKE 'kind%'",
    "",
    ";",
    "/* nothing */",
    "\x00",
    "SELECT '\xff\xfe'",
    "XA RECOVER",
    "CHECK TABLE kinds",
)


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    for statement in TABLES:
        ask(mariadb.port, statement)
    with running_proxy(tmp_path_factory.mktemp("results"), {"n1": mariadb.port}) as proxy:
        yield proxy
        assert_no_internal_error(proxy)


@WAYS
@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_reply_is_the_servers_own(mariadb: SingleServer, proxy: Proxy, capabilities: int, sql: str) -> None:
    direct, relayed = on_both((mariadb.port, proxy.port), sql, capabilities)
    assert relayed == direct


@WAYS
def test_several_results_come_as_several_results(proxy: Proxy, capabilities: int) -> None:
    with logged_in(proxy.port, capabilities) as client:
        packets = client.query("CALL three()")
        final = parse_ok(packets[-1], capabilities)
        assert len(packets) > 3 * 3
        assert not final.status & SERVER_MORE_RESULTS_EXISTS
        assert client.value("SELECT 'next'") == b"next"


def test_a_procedures_error_after_its_first_result_is_the_last_packet(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        packets = client.query("CALL breaks()")
        assert said(packets[-1]) == (5001, "45001", "broken by hand")
        assert client.value("SELECT 'next'") == b"next"


def test_counts_ids_and_info_of_writes_are_the_servers(mariadb: SingleServer, proxy: Proxy) -> None:
    writes = (
        "TRUNCATE counted",
        "INSERT INTO counted (v) VALUES (1), (2), (3)",
        "UPDATE counted SET v = v + 1 WHERE id > 1",
        "UPDATE counted SET v = v",
        "INSERT INTO counted VALUES (2, 0) ON DUPLICATE KEY UPDATE v = 9, id = LAST_INSERT_ID(id)",
        "REPLACE INTO counted VALUES (3, 5)",
        "INSERT IGNORE INTO counted VALUES (3, 'x')",
        "DELETE FROM counted WHERE id = 1",
        "ALTER TABLE counted COMMENT = 'same'",
    )
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            answers.append([client.query(sql) for sql in writes])
    assert answers[0] == answers[1]
    assert (parse_ok(answers[1][1][0]).affected, parse_ok(answers[1][1][0]).insert_id) == (3, 1)


@pytest.mark.parametrize(("capabilities", "count"), [(BASE, 0), (FOUND_ROWS, 1)])
def test_found_rows_counts_rows_that_did_not_change(proxy: Proxy, capabilities: int, count: int) -> None:
    ask(proxy.port, "REPLACE INTO counted VALUES (77, 1)")
    with logged_in(proxy.port, capabilities) as client:
        assert as_ok(client.query("UPDATE counted SET v = 1 WHERE id = 77")[0]).affected == count


def test_warnings_are_those_of_the_statement_before(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.query("SELECT 1/0, 2/0")
        assert client.rows("SHOW COUNT(*) WARNINGS") == [[b"2"]]
        assert [row[1] for row in client.rows("SHOW WARNINGS")] == [b"1365", b"1365"]
        client.query("SELECT * FROM no_such_table")
        assert [row[1] for row in client.rows("SHOW ERRORS")] == [b"1146"]


def test_tracked_changes_of_the_session_reach_the_client(mariadb: SingleServer, proxy: Proxy) -> None:
    for port in (mariadb.port, proxy.port):
        with logged_in(port, TRACKING) as client:
            ok = as_ok(client.query("USE app")[0], TRACKING)
            assert ok.status & SERVER_SESSION_STATE_CHANGED
            assert b"app" in ok.session_state
            ok = as_ok(client.query("SET NAMES latin1")[0], TRACKING)
            assert b"latin1" in ok.session_state


def test_the_greeting_is_the_servers_without_what_is_not_relayed(mariadb: SingleServer, proxy: Proxy) -> None:
    with raw(mariadb.port) as direct, raw(proxy.port) as client:
        theirs, ours = direct.greeting, client.greeting
    assert ours.server_version == theirs.server_version
    assert ours.collation == theirs.collation
    assert ours.auth_plugin == theirs.auth_plugin
    assert ours.scramble != theirs.scramble
    assert ours.capabilities & RELAYED == theirs.capabilities & RELAYED
    assert ours.capabilities & CLIENT_COMPRESS  # by the proxy itself, whatever the server does
    assert ours.mariadb_capabilities << 32 == theirs.mariadb_capabilities << 32 & RELAYED
    assert ours.capabilities & CLIENT_SSL


def test_the_id_in_the_greeting_is_nobody_elses(proxy: Proxy) -> None:
    with raw(proxy.port) as one, raw(proxy.port) as two:
        assert one.greeting.connection_id != two.greeting.connection_id


def test_a_long_reply_is_the_same(mariadb: SingleServer, proxy: Proxy) -> None:
    sql = "SELECT seq, REPEAT(CHAR(65 + seq MOD 26), seq MOD 3000) FROM seq_1_to_5000"
    direct, relayed = on_both((mariadb.port, proxy.port), sql, DEPRECATE_EOF)
    assert relayed == direct

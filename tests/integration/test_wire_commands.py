"""Every command of the protocol through the proxy, sent as raw packets, against the server's own answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from sqlproxy.wire.packets import parse_ok
from tests.support.mysqlclient import ask
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import BASE, DEPRECATE_EOF, RawClient, as_ok, logged_in, raw, said, values
from tests.support.waiting import wait_until

WAYS = pytest.mark.parametrize("capabilities", [BASE, DEPRECATE_EOF], ids=["eof", "deprecate eof"])


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    ask(mariadb.port, "CREATE OR REPLACE TABLE fields (id INT PRIMARY KEY, name VARCHAR(20) DEFAULT 'x')")
    mariadb.query("CREATE DATABASE IF NOT EXISTS other")
    mariadb.query("CREATE OR REPLACE USER second@'%' IDENTIFIED BY 'two'")
    mariadb.query("GRANT ALL ON other.* TO second@'%'")
    with running_proxy(tmp_path_factory.mktemp("commands"), {"n1": mariadb.port}) as proxy:
        yield proxy
        assert_no_internal_error(proxy)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RawClient]:
    with logged_in(proxy.port) as client:
        yield client


def command(code: int, rest: bytes = b"") -> bytes:
    return bytes((code,)) + rest


def test_ping_is_answered(client: RawClient) -> None:
    assert client.ok(command(c.COM_PING)).affected == 0


def test_init_db_changes_the_database(client: RawClient) -> None:
    client.ok(command(c.COM_INIT_DB, b"sbtest"))
    assert client.value("SELECT DATABASE()") == b"sbtest"


@pytest.mark.parametrize("name", [b"no_such_database", b"mysql", b""])
def test_init_db_is_refused_in_the_servers_words(mariadb: SingleServer, client: RawClient, name: bytes) -> None:
    with logged_in(mariadb.port) as direct:
        expected = said(direct.command(command(c.COM_INIT_DB, name)))
    assert said(client.command(command(c.COM_INIT_DB, name))) == expected
    assert client.value("SELECT DATABASE()") == b"app"


@WAYS
@pytest.mark.parametrize("pattern", [b"%", b"name", b"nothing"])
def test_field_list_is_the_servers(mariadb: SingleServer, proxy: Proxy, capabilities: int, pattern: bytes) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port, capabilities) as client:
            client.send(command(c.COM_FIELD_LIST, b"fields\0" + pattern))
            answers.append(client.read_rows())
            assert client.value("SELECT 1") == b"1"
    assert answers[0] == answers[1]


def test_field_list_of_a_missing_table_is_the_servers_error(mariadb: SingleServer, proxy: Proxy) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            answers.append(said(client.command(command(c.COM_FIELD_LIST, b"missing\0"))))
    assert answers[0] == answers[1]


def test_statistics_are_a_line_of_text(client: RawClient) -> None:
    assert client.command(command(c.COM_STATISTICS)).startswith(b"Uptime: ")
    assert client.value("SELECT 1") == b"1"


def test_process_info_lists_processes(client: RawClient) -> None:
    client.send(command(c.COM_PROCESS_INFO))
    assert any(b"app" in packet for packet in client.read_reply())


def test_multi_statements_can_be_switched_off_and_on(client: RawClient) -> None:
    eof = client.command(command(c.COM_SET_OPTION, b"\1\0"))
    assert eof[0] == c.EOF
    assert said(client.query("SELECT 1; SELECT 2")[0])[0] == 1064
    assert client.command(command(c.COM_SET_OPTION, b"\0\0"))[0] == c.EOF
    assert len(client.query("SELECT 1; SELECT 2")) == 10


def test_quit_closes_the_connection(proxy: Proxy, client: RawClient) -> None:
    client.send(command(c.COM_QUIT))
    assert client.is_closed()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (c.COM_BINLOG_DUMP, "COM_BINLOG_DUMP"),
        (c.COM_BINLOG_DUMP_GTID, "COM_BINLOG_DUMP_GTID"),
        (c.COM_REGISTER_SLAVE, "COM_REGISTER_SLAVE"),
        (c.COM_TABLE_DUMP, "COM_TABLE_DUMP"),
        (c.COM_SHUTDOWN, "COM_SHUTDOWN"),
    ],
)
def test_commands_that_are_not_relayed_are_refused_by_name(client: RawClient, code: int, name: str) -> None:
    number, sqlstate, text = said(client.command(command(code, b"\0" * 10)))
    assert (number, sqlstate) == (c.ER_NOT_SUPPORTED_YET, "42000")
    assert text.startswith(f"{name} is not relayed: ")
    assert client.value("SELECT 'still here'") == b"still here"


@pytest.mark.parametrize("code", [0x00, 0x0B, 0x0F, 0x10, 0x1D, 0x21, 0x77, 0xFB, 0xFF])
def test_an_unknown_command_is_refused_and_the_session_lives(client: RawClient, code: int) -> None:
    assert said(client.command(command(code, b"rest"))) == (1047, "08S01", "Unknown command")
    assert client.value("SELECT 'still here'") == b"still here"


def test_several_commands_in_one_segment_are_answered_in_order(client: RawClient) -> None:
    ping, query = b"\1\0\0\0\x0e", b"\x09\0\0\0\3SELECT 7"
    client.socket.sendall(ping + query + ping)
    assert as_ok(client.read())
    assert values(client.read_reply()[-2]) == [b"7"]
    assert as_ok(client.read())


# -- the session


def test_reset_connection_forgets_variables_and_statements_but_not_the_database(client: RawClient) -> None:
    client.ok(command(c.COM_INIT_DB, b"sbtest"))
    client.query("SET @x = 5, SESSION sort_buffer_size = 100000")
    number, _ = client.prepare("SELECT 1")
    client.query("BEGIN")
    client.query("CREATE TEMPORARY TABLE t (i INT)")
    assert not client.ok(command(c.COM_RESET_CONNECTION)).status & c.SERVER_STATUS_IN_TRANS
    assert client.rows("SELECT @x, DATABASE(), @@sort_buffer_size <> 100000") == [[None, b"sbtest", b"1"]]
    assert said(client.execute(number)[0])[0] == c.ER_UNKNOWN_STMT_HANDLER
    assert said(client.query("SELECT * FROM t")[0])[0] == 1146


def test_change_user_begins_anew_as_another_user(client: RawClient) -> None:
    client.query("SET @x = 5")
    client.query("BEGIN")
    number, _ = client.prepare("SELECT 1")
    assert not client.change_user("second", "two", "other").status & c.SERVER_STATUS_IN_TRANS
    assert client.rows("SELECT SUBSTRING_INDEX(USER(), '@', 1), DATABASE(), @x") == [[b"second", b"other", None]]
    assert said(client.execute(number)[0])[0] == c.ER_UNKNOWN_STMT_HANDLER
    assert client.change_user("app", "app").status & c.SERVER_STATUS_AUTOCOMMIT
    assert client.rows("SELECT SUBSTRING_INDEX(USER(), '@', 1), DATABASE()") == [[b"app", None]]


@pytest.mark.parametrize(
    ("user", "password", "database"),
    [("app", "wrong", ""), ("nobody", "x", ""), ("second", "two", "no_such_database"), ("second", "two", "app")],
)
def test_change_user_is_refused_in_the_servers_words(
    mariadb: SingleServer, proxy: Proxy, user: str, password: str, database: str
) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            with pytest.raises(ServerError) as raised:
                client.change_user(user, password, database)
            answers.append((raised.value.code, raised.value.sqlstate, raised.value.message))
    assert answers[0] == answers[1]


def test_after_a_refused_change_of_user_the_one_before_begins_anew(mariadb: SingleServer, proxy: Proxy) -> None:
    found = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            client.query("SET @x = 5, sql_mode = ''")
            client.query("CREATE TEMPORARY TABLE t (i INT)")
            client.query("BEGIN")
            number, _ = client.prepare("SELECT 1")
            for user, password, database in (("app", "wrong", "mysql"), ("second", "two", "no_such_database")):
                with pytest.raises(ServerError):
                    client.change_user(user, password, database)
                found.append(
                    (
                        client.rows("SELECT CURRENT_USER(), DATABASE(), @x, @@sql_mode <> '', @@character_set_client"),
                        said(client.query("SELECT * FROM t")[0]),
                        said(client.execute(number)[0])[0],
                        client.ok(command(c.COM_QUERY, b"DO 1")).status,
                    )
                )
    assert found[:2] == found[2:]


def test_a_user_who_fails_to_change_may_not_try_for_ever(mariadb: SingleServer, proxy: Proxy) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            answers.append(client.command(command(c.COM_CHANGE_USER, b"app")))
            for user in ("app", "nobody", "app", "app"):
                with pytest.raises(ServerError) as raised:
                    client.change_user(user, "app", "app" if user == "nobody" else "no_such_database")
                answers.append(raised.value.message.encode())
            answers.append(client.rows("SELECT CURRENT_USER()")[0][0] or b"")
    assert answers[: len(answers) // 2] == answers[len(answers) // 2 :]


def test_commands_right_behind_the_login_are_run(proxy: Proxy, mariadb: SingleServer) -> None:
    query = bytes((c.COM_QUERY,)) + b"SELECT 1" + b" " * 200_000
    for port in (mariadb.port, proxy.port):
        for size in (0, 1, 100_000):
            with raw(port) as client:
                login = codec.packet(1, client.response("app", "app", "app").encode())
                rest = codec.packet(0, query) + codec.packet(0, bytes((c.COM_PING,)))
                client.socket.sendall(login + rest[:size])
                client.socket.sendall(rest[size:])
                assert client.read()[0] == 0
                assert client.seq == 2
                assert client.read_reply()[-2] == b"\x011"
                assert client.read()[0] == 0


# -- KILL


def test_a_running_query_is_killed_by_the_id_shown_at_login(proxy: Proxy, client: RawClient) -> None:
    with logged_in(proxy.port) as other:
        replies: list[list[bytes]] = []
        sleeper = threading.Thread(target=lambda: replies.append(client.query("SELECT SLEEP(60) FROM fields_one")))
        other.query("CREATE OR REPLACE TABLE fields_one AS SELECT 1 AS one")
        sleeper.start()
        wait_until(lambda: sleeping(other), 30, "the query runs")
        as_ok(other.query(f"KILL QUERY {client.greeting.connection_id}")[0])
        sleeper.join(10)
        assert said(replies[0][-1])[0] == c.ER_QUERY_INTERRUPTED
        assert client.value("SELECT 'alive'") == b"alive"


def sleeping(client: RawClient) -> bool:
    sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(60)%'"
    return client.value(sql) != b"0"


@pytest.mark.parametrize("how", ["KILL", "KILL CONNECTION", "COM_PROCESS_KILL"])
def test_an_idle_connection_is_killed_by_the_id_shown_at_login(proxy: Proxy, client: RawClient, how: str) -> None:
    with logged_in(proxy.port) as other:
        number = client.greeting.connection_id
        kill = f"{how} {number}".encode()
        packet = (
            command(c.COM_QUERY, kill)
            if how.startswith("KILL")
            else command(c.COM_PROCESS_KILL, number.to_bytes(4, "little"))
        )
        other.ok(packet)
        assert client.is_closed()
        assert other.value("SELECT 'alive'") == b"alive"


@pytest.mark.parametrize("code", [c.COM_QUERY, c.COM_PROCESS_KILL])
def test_somebody_elses_connection_is_not_killed(proxy: Proxy, client: RawClient, code: int) -> None:
    with logged_in(proxy.port, user="second", password="two", database="other") as other:
        number = client.greeting.connection_id
        rest = b"KILL %d" % number if code == c.COM_QUERY else number.to_bytes(4, "little")
        assert said(other.command(command(code, rest)))[0] == 1095
        assert client.value("SELECT 'alive'") == b"alive"


def test_an_id_that_nobody_has_is_the_servers_error(mariadb: SingleServer, client: RawClient) -> None:
    with logged_in(mariadb.port) as direct:
        expected = said(direct.query("KILL 2000000000")[0])
    assert said(client.query("KILL 2000000000")[0]) == expected


def test_a_session_can_kill_itself(client: RawClient) -> None:
    reply = client.query(f"KILL {client.greeting.connection_id}")[0]
    assert reply[0] in (c.OK, c.ERR)
    assert client.is_closed()


def test_status_flags_follow_the_transaction(client: RawClient) -> None:
    assert parse_ok(client.query("BEGIN")[0]).status & c.SERVER_STATUS_IN_TRANS
    assert client.ok(command(c.COM_PING)).status & c.SERVER_STATUS_IN_TRANS
    assert not parse_ok(client.query("COMMIT")[0]).status & c.SERVER_STATUS_IN_TRANS


# -- packets out of order


@pytest.mark.parametrize("seq", [1, 2, 77, 255])
def test_a_command_out_of_order_is_refused_and_ends_the_connection_as_on_the_server(
    mariadb: SingleServer, proxy: Proxy, seq: int
) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            client.socket.sendall(codec.packet(seq, b"\3SELECT 1"))
            answers.append((client.read(), client.seq, client.is_closed()))
    assert answers[0] == answers[1]
    assert said(answers[1][0]) == (1156, "08S01", "Got packets out of order")


def test_a_continuation_out_of_order_is_refused_as_on_the_server(mariadb: SingleServer, proxy: Proxy) -> None:
    first = codec.packet(0, b"\3SELECT '" + b"x" * (c.MAX_PAYLOAD - 9))[: c.HEADER + c.MAX_PAYLOAD]
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            client.socket.sendall(first + codec.packet(3, b"'"))
            answers.append((client.read(), client.seq))
    assert answers[0] == answers[1]
    assert said(answers[1][0])[0] == 1156


def test_a_packet_out_of_order_while_a_statement_runs_ends_the_connection_after_its_reply(proxy: Proxy) -> None:
    with logged_in(proxy.port) as client:
        client.socket.sendall(codec.packet(0, b"\3SELECT SLEEP(0.2)") + codec.packet(9, b"\3SELECT 1"))
        assert values(client.read_reply()[-2]) == [b"0"]
        assert said(client.read())[0] == 1156
        assert client.is_closed()

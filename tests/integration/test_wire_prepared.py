"""Prepared statements of the binary protocol by raw packets: ids, types, cursors, and two servers behind them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from tests.support.mysqlclient import ask
from tests.support.proxy import Proxy
from tests.support.rawclient import BASE, CURSOR_READ_ONLY, DEPRECATE_EOF, TRACKING, RawClient, as_ok, logged_in, said
from tests.support.twice import served_twice

WAYS = pytest.mark.parametrize("capabilities", [BASE, DEPRECATE_EOF, TRACKING], ids=["eof", "deprecate eof", "track"])
LONG, STRING = b"\x03\0", b"\xfd\0"


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """One server under two names: reads go to the one, writes to the other, so that sessions have two backends."""
    ask(mariadb.port, "CREATE OR REPLACE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))")
    ask(mariadb.port, "CREATE OR REPLACE PROCEDURE outs(IN a INT, OUT b INT) BEGIN SELECT a; SET b = a + 1; END")
    directory = tmp_path_factory.mktemp("prepared")
    with served_twice(directory, mariadb.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RawClient]:
    with logged_in(proxy.port) as client:
        yield client


def number(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


def without_ids(packets: list[bytes]) -> list[bytes]:
    """A reply to COM_STMT_PREPARE, whose ids differ."""
    return [packets[0][:1] + packets[0][5:], *packets[1:]]


@WAYS
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT ? + 1, ?",
        "INSERT INTO prepared (v) VALUES (?)",
        "DO 1",
        "SELECT * FROM prepared WHERE id = ?",
        "SHOW TABLES",
        "CALL outs(?, ?)",
    ],
)
def test_a_prepared_statement_is_described_as_the_server_does(
    mariadb: SingleServer, proxy: Proxy, capabilities: int, sql: str
) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port, capabilities) as client:
            answers.append(without_ids(client.prepare(sql)[1]))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("code", "size"),
    [(code, size) for code in (c.COM_STMT_EXECUTE, c.COM_STMT_BULK_EXECUTE) for size in range(14)]
    + [(code, size) for code in (c.COM_STMT_RESET, c.COM_STMT_FETCH) for size in range(4, 14)],
)
def test_a_command_cut_short_leaves_the_session_in_order(
    mariadb: SingleServer, proxy: Proxy, code: int, size: int
) -> None:
    """An error wherever the server has one; which one is told by the proxy where it can say more."""
    failed = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            statement, _ = client.prepare("SELECT ?")
            client.execute(statement, b"\0\1" + LONG + number(5))
            whole = bytes((code,)) + number(statement) + b"\0\1\0\0\0\0\1" + LONG
            failed.append(client.command(whole[: 1 + size])[0] == c.ERR)
            assert client.value("SELECT 1") == b"1"
    assert failed[0] == failed[1]


@pytest.mark.parametrize("sql", ["SELECT 1 FROM", "SELECT * FROM missing", "", "SELECT 1; SELECT 2", "LOCK TABLES x"])
def test_what_cannot_be_prepared_is_refused_in_the_servers_words(mariadb: SingleServer, proxy: Proxy, sql: str) -> None:
    payload = bytes((c.COM_STMT_PREPARE,)) + sql.encode()
    with logged_in(mariadb.port) as direct, logged_in(proxy.port) as client:
        expected = direct.command(payload)
        if expected[0] == c.OK:  # what it can after all is not the point here
            return
        assert said(client.command(payload)) == said(expected)
        assert client.value("SELECT 1") == b"1"


@WAYS
def test_executions_return_what_the_server_returns(mariadb: SingleServer, proxy: Proxy, capabilities: int) -> None:
    arguments = b"\0\1" + LONG + STRING + number(41) + codec.write_lenenc_string("é".encode())
    null = b"\2\1" + LONG + b"\x06\0" + number(-1)
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port, capabilities) as client:
            client.query("SET NAMES utf8mb4")
            statement, _ = client.prepare("SELECT ? + 1, ?, NULL, CAST(1.5 AS DECIMAL(5,2)), DATE '2026-01-02'")
            replies = [client.execute(statement, arguments), client.execute(statement, null)]
            replies.append(client.execute(client.prepare("SELECT ?, ?")[0], arguments))
            replies.append(client.execute(client.prepare("SELECT 1/0")[0]))
            replies.append(client.execute(client.prepare("SELECT seq FROM seq_1_to_500")[0]))
            answers.append(replies)
    assert answers[0] == answers[1]


@WAYS
def test_a_call_returns_its_results_and_out_parameters(mariadb: SingleServer, proxy: Proxy, capabilities: int) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port, capabilities) as client:
            statement, _ = client.prepare("CALL outs(?, ?)")
            answers.append(client.execute(statement, b"\0\1" + LONG + LONG + number(41) + number(0)))
            assert client.value("SELECT 1") == b"1"
    assert answers[0] == answers[1]


def test_types_sent_once_are_known_on_another_backend_too(mariadb: SingleServer, client: RawClient) -> None:
    """A transaction moves the session from the replica it prepared on to the primary, which was told no types."""

    def prepared() -> int:
        return int(mariadb.query("SHOW GLOBAL STATUS LIKE 'Com_stmt_prepare'")[0][1])

    before = prepared()
    statement, _ = client.prepare("SELECT ? + 0, CONCAT(?, '!') FROM prepared_one")
    first = b"\0\1" + LONG + STRING + number(1) + codec.write_lenenc_string(b"a")
    again = b"\0\0" + number(2) + codec.write_lenenc_string(b"b")
    on_replica = client.execute(statement, first)
    assert prepared() == before + 1
    client.query("BEGIN")
    on_primary = client.execute(statement, again)
    assert prepared() == before + 2
    client.query("COMMIT")
    back = client.execute(statement, again)
    assert prepared() == before + 2
    assert [reply[-2][2:] for reply in (on_replica, on_primary, back)] == [
        number(1) + bytes(4) + b"\x02a!",
        number(2) + bytes(4) + b"\x02b!",
        number(2) + bytes(4) + b"\x02b!",
    ]


@pytest.fixture(autouse=True)
def one_row(mariadb: SingleServer) -> None:
    ask(mariadb.port, "CREATE TABLE IF NOT EXISTS prepared_one AS SELECT 1 AS one")


def test_ids_grow_and_are_the_clients_own(client: RawClient) -> None:
    ids = [client.prepare("SELECT ?")[0] for _ in range(3)]
    assert ids == [1, 2, 3]
    arguments = b"\0\1" + STRING + codec.write_lenenc_string(b"x")
    for statement in reversed(ids):
        assert client.execute(statement, arguments)[-2].endswith(b"\x01x")


def test_a_write_and_a_read_are_prepared_where_they_belong(client: RawClient) -> None:
    write, _ = client.prepare("INSERT INTO prepared (v) VALUES (?)")
    read, _ = client.prepare("SELECT v FROM prepared WHERE v = ? LIMIT 1")
    value = b"\0\1" + STRING + codec.write_lenenc_string(b"written")
    assert as_ok(client.execute(write, value)[0]).affected == 1
    assert client.execute(read, value)[-2].endswith(b"\x07written")


def test_a_closed_statement_is_unknown_and_close_is_not_answered(client: RawClient) -> None:
    statement, _ = client.prepare("SELECT 1")
    client.send(bytes((c.COM_STMT_CLOSE,)) + number(statement))
    assert said(client.execute(statement)[0])[:2] == (c.ER_UNKNOWN_STMT_HANDLER, "HY000")
    client.send(bytes((c.COM_STMT_CLOSE,)) + number(4711))
    assert client.value("SELECT 'next'") == b"next"


@pytest.mark.parametrize("code", [c.COM_STMT_EXECUTE, c.COM_STMT_FETCH, c.COM_STMT_RESET])
def test_an_unknown_statement_is_the_servers_error(mariadb: SingleServer, client: RawClient, code: int) -> None:
    payload = bytes((code,)) + number(4711) + b"\0\1\0\0\0"
    with logged_in(mariadb.port) as direct:
        expected = said(direct.command(payload))
    assert said(client.command(payload)) == expected


# -- cursors


def fetch(client: RawClient, statement: int, rows: int) -> list[bytes]:
    client.send(bytes((c.COM_STMT_FETCH,)) + number(statement) + number(rows))
    return client.read_rows()


@WAYS
def test_a_cursor_gives_its_rows_in_pieces(mariadb: SingleServer, proxy: Proxy, capabilities: int) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port, capabilities) as client:
            statement, _ = client.prepare("SELECT seq FROM seq_1_to_25")
            opened = client.execute(statement, cursor=CURSOR_READ_ONLY)
            pieces = [fetch(client, statement, 10) for _ in range(3)]
            assert [len(piece) for piece in pieces] == [11, 11, 6]
            answers.append((opened, pieces, said(fetch(client, statement, 10)[0])[:2]))
    assert answers[0] == answers[1]


def test_a_cursor_survives_other_statements(client: RawClient) -> None:
    statement, _ = client.prepare("SELECT seq FROM seq_1_to_25")
    client.execute(statement, cursor=CURSOR_READ_ONLY)
    fetch(client, statement, 10)
    as_ok(client.query("INSERT INTO prepared (v) VALUES ('between')")[0])
    assert len(fetch(client, statement, 10)) == 11


def test_a_reset_closes_the_cursor(mariadb: SingleServer, proxy: Proxy) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port) as client:
            statement, _ = client.prepare("SELECT seq FROM seq_1_to_25")
            client.execute(statement, cursor=CURSOR_READ_ONLY)
            client.ok(bytes((c.COM_STMT_RESET,)) + number(statement))
            code, _, _ = said(fetch(client, statement, 10)[0])
            answers.append(code)
            assert len(client.execute(statement)) == 25 + 4
    assert answers[0] == answers[1]


def test_a_cursor_over_no_rows_ends_at_once(client: RawClient) -> None:
    statement, _ = client.prepare("SELECT seq FROM seq_1_to_25 WHERE seq > 100")
    client.execute(statement, cursor=CURSOR_READ_ONLY)
    assert client.value("SELECT 'next'") == b"next"


def test_the_last_prepared_statement_has_an_id_of_its_own(client: RawClient) -> None:
    client.prepare("SELECT 'first'")
    client.prepare("SELECT 'last'")
    head = bytes((c.COM_STMT_EXECUTE,)) + b"\xff\xff\xff\xff" + b"\0\1\0\0\0"
    client.send(head)
    assert client.read_reply()[-2].endswith(b"last")

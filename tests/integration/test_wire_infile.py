"""LOAD DATA LOCAL INFILE through the proxy: the server asks, the client's file goes through, the server answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import constants as c
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.rawclient import BASE, LOCAL_FILES, RawClient, as_ok, logged_in, said

LOAD = "LOAD DATA LOCAL INFILE 'any' INTO TABLE loaded"
MAX = (1 << 24) - 1


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy(tmp_path_factory.mktemp("infile"), {"n1": mariadb.port}) as proxy:
        yield proxy
        assert_no_internal_error(proxy)


@pytest.fixture(autouse=True)
def table(mariadb: SingleServer) -> None:
    ask(mariadb.port, "CREATE OR REPLACE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(20)) ENGINE=MyISAM")


@pytest.fixture
def client(proxy: Proxy) -> Iterator[RawClient]:
    with logged_in(proxy.port, LOCAL_FILES) as client:
        yield client


def lines(first: int, last: int) -> bytes:
    return b"".join(b"%d\tvalue %d\n" % (i, i) for i in range(first, last + 1))


def begin(client: RawClient, sql: str = LOAD) -> None:
    assert client.query(sql) == [bytes((c.LOCAL_INFILE,)) + b"any"]


def counted(client: RawClient) -> int:
    return int(client.value("SELECT COUNT(*) FROM loaded") or -1)


def test_a_driver_loads_ten_megabytes(proxy: Proxy, tmp_path: Path) -> None:
    file = tmp_path / "rows.tsv"
    file.write_bytes(lines(1, 600_000))
    assert file.stat().st_size > 10_000_000
    with connected(proxy.port, local_infile=True) as connection:
        rows(connection, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE loaded")
        assert rows(connection, "SELECT COUNT(*), MAX(id) FROM loaded") == [(600_000, 600_000)]


def test_an_empty_file_loads_nothing(client: RawClient) -> None:
    begin(client)
    client.send_next(b"")
    assert as_ok(client.read()).affected == 0
    assert counted(client) == 0


def test_a_file_in_many_packets_is_joined(client: RawClient) -> None:
    data = lines(1, 300)
    begin(client)
    for pos in range(0, len(data), 7):
        client.send_next(data[pos : pos + 7])
    client.send_next(b"")
    assert as_ok(client.read()).affected == 300
    assert counted(client) == 300


def test_a_file_byte_by_byte_is_joined(client: RawClient) -> None:
    begin(client)
    for payload in (lines(1, 2), b""):
        client.seq += 1
        packet = len(payload).to_bytes(3, "little") + bytes((client.seq,)) + payload
        for i in range(len(packet)):
            client.socket.sendall(packet[i : i + 1])
    assert as_ok(client.read()).affected == 2


def test_a_packet_of_the_largest_size_does_not_end_the_file(client: RawClient) -> None:
    begin(client)
    data = b"1\tfull packet\n" + b"#" * (MAX - 14)
    client.send_next(data)  # followed by an empty packet, which only ends this payload
    client.send_next(b"\n2\tafter\n")
    client.send_next(b"")
    reply = client.read()
    assert reply[0] in (c.OK, c.ERR)
    assert client.value("SELECT v FROM loaded WHERE id = 1") == b"full packet"


def test_the_next_command_right_behind_the_file_is_run(client: RawClient) -> None:
    begin(client)
    data = lines(1, 3)
    upload = len(data).to_bytes(3, "little") + bytes((client.seq + 1,)) + data + b"\0\0\0" + bytes((client.seq + 2,))
    client.socket.sendall(upload + b"\1\0\0\0\x0e")
    assert as_ok(client.read()).affected == 3
    as_ok(client.read())
    assert counted(client) == 3


def test_two_loads_in_one_command_ask_twice(client: RawClient) -> None:
    client.query(f"{LOAD}; {LOAD}")
    client.send_next(lines(1, 2))
    client.send_next(b"")
    assert as_ok(client.read()).affected == 2
    assert client.read()[0] == c.LOCAL_INFILE
    client.send_next(lines(3, 5))
    client.send_next(b"")
    assert as_ok(client.read()).affected == 3
    assert counted(client) == 5


def test_an_error_in_the_middle_is_told_after_the_file(mariadb: SingleServer, proxy: Proxy) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port, LOCAL_FILES) as client:
            client.query(
                "CREATE OR REPLACE TRIGGER stops BEFORE INSERT ON loaded FOR EACH ROW"
                " IF NEW.id = 50 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'fifty'; END IF"
            )
            begin(client)
            client.send_next(lines(1, 100_000))
            client.send_next(b"")
            answers.append(said(client.read()))
            assert client.value("SELECT 'next'") == b"next"
    assert answers[0] == answers[1]


def test_a_server_without_local_infile_refuses_in_its_own_words(mariadb: SingleServer, proxy: Proxy) -> None:
    mariadb.query("SET GLOBAL local_infile = OFF")
    try:
        answers = []
        for port in (mariadb.port, proxy.port):
            with logged_in(port, LOCAL_FILES) as client:
                answers.append(said(client.query(LOAD)[0]))
                assert client.value("SELECT 'next'") == b"next"
        assert answers[0] == answers[1]
    finally:
        mariadb.query("SET GLOBAL local_infile = ON")


def test_a_client_that_did_not_offer_files_is_not_asked_for_one(mariadb: SingleServer, proxy: Proxy) -> None:
    answers = []
    for port in (mariadb.port, proxy.port):
        with logged_in(port, BASE) as client:
            answers.append(said(client.query(LOAD)[0]))
    assert answers[0] == answers[1]


def test_a_missing_table_is_refused_before_the_file(client: RawClient) -> None:
    assert said(client.query(LOAD.replace("loaded", "missing"))[0])[0] == 1146
    assert client.value("SELECT 'next'") == b"next"


def test_a_driver_that_cannot_read_its_file_goes_on(proxy: Proxy, tmp_path: Path) -> None:
    with connected(proxy.port, local_infile=True) as connection:
        with pytest.raises(pymysql.OperationalError, match="Can't open file"):
            rows(connection, f"LOAD DATA LOCAL INFILE '{tmp_path}/missing' INTO TABLE loaded")
        assert rows(connection, "SELECT 'next'") == [("next",)]


def test_a_client_that_leaves_in_the_middle_loads_nothing(mariadb: SingleServer, proxy: Proxy) -> None:
    ask(mariadb.port, "ALTER TABLE loaded ENGINE=InnoDB")
    with logged_in(proxy.port, LOCAL_FILES) as client:
        begin(client)
        client.send_next(lines(1, 1000))
    with logged_in(proxy.port) as other:
        other.query("LOCK TABLES loaded WRITE")  # waits for the load to be rolled back
        assert counted(other) == 0

"""Whoever does not read costs the proxy no memory: the other side is made to wait, and nothing is lost."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire import constants as c
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy
from tests.support.rawclient import DEPRECATE_EOF, LOCAL_FILES, as_ok, logged_in, values
from tests.support.twice import served_twice
from tests.support.waiting import wait_until

MIB = 1 << 20
ALLOWED = 20 * MIB


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    ask(mariadb.port, "CREATE OR REPLACE TABLE one (id INT PRIMARY KEY)")
    ask(mariadb.port, "INSERT INTO one VALUES (1)")
    directory = tmp_path_factory.mktemp("backpressure")
    with served_twice(directory, mariadb.port) as proxy:
        ask(proxy.port, "SELECT REPEAT('x', 1000000) FROM seq_1_to_20")  # what is allocated once is not counted
        yield proxy


def memory(proxy: Proxy) -> int:
    """Resident bytes of the proxy process."""
    status = Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def wait_until_stalled(proxy: Proxy) -> None:
    """Until nothing has moved for a while in the sockets of the proxy (their queues are full and stay as they are)."""
    ports = {f"{proxy.port:04X}"}
    seen: list[str] = []

    def stalled() -> bool:
        lines = Path("/proc/net/tcp").read_text().splitlines()
        queues = [line.split()[1:5] for line in lines if any(f":{port}" in line for port in ports)]
        seen.append(f"{queues} {memory(proxy)}")
        return len(seen) > 25 and len(set(seen[-25:])) == 1

    wait_until(stalled, 60, "the transfer stalls")


def test_a_client_that_does_not_read_its_result_costs_no_memory(proxy: Proxy) -> None:
    with logged_in(proxy.port, DEPRECATE_EOF) as client:
        before = memory(proxy)
        client.send(bytes((c.COM_QUERY,)) + b"SELECT seq, REPEAT(CHAR(65 + seq MOD 26), 1000000) FROM seq_1_to_300")
        wait_until_stalled(proxy)
        assert memory(proxy) - before < ALLOWED
        with connected(proxy.port) as other:  # the others are served meanwhile
            assert rows(other, "SELECT id FROM one") == [(1,)]
        assert client.read() == b"\x02"
        assert [client.read()[:4] for _ in range(2)] == [b"\x03def"] * 2
        for i in range(1, 301):
            assert values(client.read()) == [b"%d" % i, bytes((65 + i % 26,)) * 1_000_000]
        assert client.read()[0] == c.EOF
        assert memory(proxy) - before < ALLOWED
        assert client.value("SELECT 'next'") == b"next"


@pytest.mark.parametrize(
    ("command", "count", "allowed"),
    [
        (b"\x03SELECT REPEAT('r', 100000) FROM one", 1000, 8 * MIB),
        (b"\x03SELECT REPEAT('w', 100000) FROM one FOR UPDATE", 1000, 8 * MIB),
        (bytes((c.COM_SHUTDOWN,)), 40_000, 3 * MIB),
    ],
    ids=["replica", "primary", "refused by the proxy"],
)
def test_a_client_that_sends_commands_and_never_reads_costs_no_memory(
    proxy: Proxy, command: bytes, count: int, allowed: int
) -> None:
    packet = len(command).to_bytes(3, "little") + b"\0" + command
    with logged_in(proxy.port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        before = memory(proxy)
        sender = threading.Thread(target=client.socket.sendall, args=(packet * count,), daemon=True)
        sender.start()
        wait_until_stalled(proxy)
        assert memory(proxy) - before < allowed
        heads = {client.read_reply()[0][0] for _ in range(count)}
        sender.join(10)
        assert len(heads) == 1
        assert memory(proxy) - before < allowed


def test_a_server_that_does_not_read_an_upload_costs_no_memory(mariadb: SingleServer, proxy: Proxy) -> None:
    ask(mariadb.port, "CREATE OR REPLACE TABLE slow (id INT PRIMARY KEY, v LONGTEXT) ENGINE=MyISAM")
    gate = "FOR EACH ROW BEGIN IF NEW.id = 1 THEN DO GET_LOCK('gate', 60); DO RELEASE_LOCK('gate'); END IF; END"
    ask(mariadb.port, f"CREATE TRIGGER waits BEFORE INSERT ON slow {gate}")
    count, size = 150, MIB
    with connected(mariadb.port) as keeper, logged_in(proxy.port, LOCAL_FILES) as client:
        rows(keeper, "SELECT GET_LOCK('gate', 10)")
        client.query("LOAD DATA LOCAL INFILE 'x' INTO TABLE slow")
        before = memory(proxy)

        def upload() -> None:
            for i in range(1, count + 1):
                client.send_next(b"%d\t%s\n" % (i, bytes((65 + i % 26,)) * size))
            client.send_next(b"")

        sender = threading.Thread(target=upload, daemon=True)
        sender.start()
        wait_until_stalled(proxy)
        assert sender.is_alive()
        assert memory(proxy) - before < ALLOWED
        rows(keeper, "DO RELEASE_LOCK('gate')")
        sender.join(60)
        assert as_ok(client.read()).affected == count
        assert memory(proxy) - before < ALLOWED
        check = f"SELECT COUNT(*) FROM slow WHERE v = REPEAT(CHAR(65 + id MOD 26), {size})"
        assert client.value(check) == str(count).encode()
    ask(mariadb.port, "DROP TABLE slow")

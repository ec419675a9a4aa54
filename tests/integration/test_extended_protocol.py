"""MariaDB's extended capabilities through the proxy: bulk execution, progress reports, extended metadata."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.constants import (
    CLIENT_LONG_PASSWORD,
    COM_QUERY,
    COM_STMT_BULK_EXECUTE,
    MARIADB_CLIENT_CACHE_METADATA,
    MARIADB_CLIENT_EXTENDED_METADATA,
    MARIADB_CLIENT_PROGRESS,
    MARIADB_CLIENT_STMT_BULK_OPERATIONS,
)
from sqlproxy.wire.handshake import HandshakeResponse
from tests.support.mysqlclient import ask
from tests.support.proxy import Proxy, running_proxy
from tests.support.rawclient import DEPRECATE_EOF, RawClient, as_error, as_ok

BULK = MARIADB_CLIENT_STMT_BULK_OPERATIONS
INT, SEND_TYPES = 3, 128


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    ask(mariadb.port, "CREATE OR REPLACE TABLE bulk (id INT PRIMARY KEY, v INT)")
    with running_proxy(tmp_path_factory.mktemp("extended"), {"n1": mariadb.port}) as proxy:
        yield proxy


class ExtendedClient(RawClient):
    """A client without CLIENT_LONG_PASSWORD, as MariaDB's are, that has some of the extended capabilities."""

    def __init__(self, port: int, extended: int) -> None:
        super().__init__(port, DEPRECATE_EOF & ~CLIENT_LONG_PASSWORD)
        self._extended = extended

    def response(self, *arguments: Any, **options: Any) -> HandshakeResponse:
        plain = super().response(*arguments, **options)
        return replace(plain, mariadb_capabilities=self._extended >> 32)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[ExtendedClient]:
    made = ExtendedClient(proxy.port, BULK | MARIADB_CLIENT_PROGRESS)
    made.log_in(database="app")
    yield made
    made.close()


def bulk(statement: int, rows: list[tuple[int, int]], *, types: bool = True) -> bytes:
    head = bytes((COM_STMT_BULK_EXECUTE,)) + struct.pack("<IH", statement, SEND_TYPES if types else 0)
    values = b"".join(b"\0" + struct.pack("<i", value) for row in rows for value in row)
    return head + (bytes((INT, 0)) * 2 if types else b"") + values


def test_the_greeting_offers_what_the_server_does(proxy: Proxy, mariadb: SingleServer) -> None:
    direct, through = RawClient(mariadb.port), RawClient(proxy.port)
    offered = MARIADB_CLIENT_PROGRESS | BULK | MARIADB_CLIENT_EXTENDED_METADATA | MARIADB_CLIENT_CACHE_METADATA
    assert through.greeting.mariadb_capabilities << 32 == direct.greeting.mariadb_capabilities << 32 & offered
    assert not through.greeting.capabilities & CLIENT_LONG_PASSWORD
    direct.close()
    through.close()


def test_many_rows_are_executed_by_one_command(client: ExtendedClient) -> None:
    client.query("DELETE FROM bulk")
    statement, _ = client.prepare("INSERT INTO bulk VALUES (?, ?)")
    assert as_ok(client.command(bulk(statement, [(1, 10), (2, 20), (3, 30)]))).affected == 3
    assert as_ok(client.command(bulk(statement, [(4, 40)], types=False))).affected == 1
    assert client.rows("SELECT COUNT(*), SUM(v) FROM bulk") == [[b"4", b"100"]]


def test_a_bulk_command_is_refused_in_the_servers_words(client: ExtendedClient) -> None:
    client.query("REPLACE INTO bulk VALUES (9, 9)")
    statement, _ = client.prepare("INSERT INTO bulk VALUES (?, ?)")
    assert as_error(client.command(bulk(statement, [(9, 1)]))).code == 1062
    assert as_error(client.command(bulk(0xFFFF, [(9, 1)]))).code == 1243
    assert "malformed packet" in as_error(client.command(bulk(statement, [])[:9])).message


def test_progress_is_reported_while_a_statement_runs(client: ExtendedClient) -> None:
    client.query("CREATE OR REPLACE TABLE slow (id INT PRIMARY KEY, v CHAR(200)) ENGINE=Aria")
    client.query("INSERT INTO slow SELECT seq, 'x' FROM seq_1_to_100000")
    client.query("SET progress_report_time = 1")
    client.send(
        bytes((COM_QUERY,))
        + b"ALTER TABLE slow ADD COLUMN w CHAR(128) DEFAULT (SHA2(REPEAT('x', 10000), 512)), ALGORITHM=COPY"
    )
    seen = []
    while (packet := client.read())[:3] == b"\xff\xff\xff":
        seen.append(packet)
    assert as_ok(packet).affected == 100_000
    assert seen


def test_extended_metadata_names_types(mariadb: SingleServer, proxy: Proxy) -> None:
    found = []
    for port in (mariadb.port, proxy.port):
        client = ExtendedClient(port, MARIADB_CLIENT_EXTENDED_METADATA)
        client.log_in(database="app")
        found.append(client.query("SELECT CAST('::1' AS INET6) AS a, 1 AS b"))
        client.close()
    assert b"inet6" in found[0][1]
    assert found[0] == found[1]


def test_mariadbs_client_works_with_all_of_it(proxy: Proxy) -> None:
    login = ["-h127.0.0.1", f"-P{proxy.port}", "-uapp", "-papp", "--skip-ssl", "app"]
    done = subprocess.run(
        ["mariadb", "--no-defaults", *login, "-e", "SELECT CAST('::1' AS INET6), UUID() IS NOT NULL"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[1] == "::1\t1"

"""The proxy on the standard event loop, without its own sockets, and uncompiled: slower, and otherwise the same."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, running_proxy

VARIANTS = (
    {"SQLPROXY_LOOP": "asyncio"},
    {"SQLPROXY_SOCKETS": "transports"},
    {"SQLPROXY_SOCKETS": "lane"},
    {"SQLPROXY_PURE": "1"},
    {"SQLPROXY_LOOP": "asyncio", "SQLPROXY_PURE": "1"},
)


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda variant: " ".join(variant))
def proxy(
    mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Proxy]:
    with running_proxy(tmp_path_factory.mktemp("loops"), {"n1": mariadb.port}, env=request.param) as proxy:
        yield proxy


def any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("tls", [False, True])
def test_statements_large_results_and_uploads(proxy: Proxy, tmp_path: Path, tls: bool) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("".join(f"{number},{'x' * 50}\n" for number in range(20_000)))
    options = {"ssl": any_certificate()} if tls else {}
    with connected(proxy.port, local_infile=True, **options) as connection:
        rows(connection, "CREATE OR REPLACE TEMPORARY TABLE loaded (id INT PRIMARY KEY, v VARCHAR(60))")
        rows(connection, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE loaded FIELDS TERMINATED BY ','")
        assert rows(connection, "SELECT COUNT(*), MAX(LENGTH(v)) FROM loaded") == [(20_000, 50)]
        assert len(rows(connection, "SELECT * FROM loaded")) == 20_000
        ((value,),) = rows(connection, "SELECT REPEAT('y', 10000000)")
        assert len(value) == 10_000_000


def test_a_transaction_and_its_end(proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        rows(connection, "CREATE OR REPLACE TABLE loops (id INT PRIMARY KEY)")
        rows(connection, "BEGIN")
        rows(connection, "INSERT INTO loops VALUES (1)")
        rows(connection, "ROLLBACK")
        assert rows(connection, "SELECT COUNT(*) FROM loops") == [(0,)]
        rows(connection, "DROP TABLE loops")

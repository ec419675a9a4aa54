"""Balancers announce their clients to the proxy, and the proxy announces its clients to servers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from sqlproxy.errors import ServerError
from sqlproxy.lab.single import SingleServer
from sqlproxy.wire.proxy_protocol import encode
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.rawclient import RawClient, logged_in, raw
from tests.support.waiting import wait_until

V1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 50123 4006\r\n"
V2 = encode(("192.0.2.8", 50124), ("127.0.0.1", 4006))


class Announcing(NamedTuple):
    """A proxy whose first service takes headers; ``deaf`` is the port of one that does not."""

    proxy: Proxy
    deaf: int


@pytest.fixture(scope="module")
def server(mariadb: SingleServer) -> Iterator[SingleServer]:
    mariadb.query("SET GLOBAL proxy_protocol_networks = '127.0.0.0/8'")
    mariadb.query("CREATE OR REPLACE USER near@'192.0.2.%' IDENTIFIED BY 'near'")
    yield mariadb
    mariadb.query("SET GLOBAL proxy_protocol_networks = ''")


@pytest.fixture(scope="module")
def both(server: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Announcing]:
    deaf = free_port()
    with running_proxy(
        tmp_path_factory.mktemp("announced"),
        {"n1": server.port},
        service='proxy_protocol_networks = ["127.0.0.0/8"]',
        extra=f'[[services]]\nname = "deaf"\nlisten = "127.0.0.1:{deaf}"\n',
        env={"SQLPROXY_SERVERS__0__PROXY_PROTOCOL": "true"},
    ) as running:
        yield Announcing(running, deaf)


@pytest.fixture
def proxy(both: Announcing) -> Proxy:
    return both.proxy


def announced(port: int, header: bytes, user: str = "app") -> RawClient:
    client = RawClient(port)
    client.socket.sendall(header)
    client.log_in(user, user)
    return client


def host_of(client: RawClient) -> str:
    host = client.value("SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()")
    assert host is not None
    return host.decode()


@pytest.mark.parametrize(("header", "address"), [(V1, "192.0.2.7:50123"), (V2, "192.0.2.8:50124")])
def test_the_announced_address_is_the_clients_everywhere(proxy: Proxy, header: bytes, address: str) -> None:
    client = announced(proxy.port, header)
    try:
        assert [row["host"] for row in proxy.get("/v1/sessions")] == [address.split(":")[0]]
        assert host_of(client) == address
    finally:
        client.close()
    wait_until(lambda: not proxy.get("/v1/sessions"), 30, "the session is gone")


def test_accounts_go_by_the_announced_address(proxy: Proxy) -> None:
    announced(proxy.port, V1, "near").close()
    with (
        pytest.raises(ServerError, match=r"'near'@'127\.0\.0\.1'"),
        logged_in(proxy.port, user="near", password="near"),
    ):
        pass


def test_the_header_is_optional(proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        assert rows(connection, "SELECT 1") == [(1,)]


def test_failures_are_counted_for_the_announced_address(proxy: Proxy) -> None:
    def refusal() -> str:
        with raw(proxy.port) as client:
            client.socket.sendall(b"PROXY TCP4 198.51.100.1 127.0.0.1 1 2\r\n")
            with pytest.raises(ServerError) as refused:
                client.log_in("app", "wrong")
            return refused.value.message

    for _ in range(10):
        assert "Access denied" in refusal()
    assert "blocked" in refusal()
    announced(proxy.port, V1).close()


def test_a_header_from_elsewhere_is_refused(both: Announcing) -> None:
    with raw(both.deaf) as client:
        client.socket.sendall(V1)
        with pytest.raises(ServerError, match="which proxy_protocol_networks does not list"):
            client.log_in()


@pytest.mark.parametrize("header", [b"PROXY TCP4 nonsense\r\n", V2[:12] + b"\x99\x11\x00\x00"])
def test_a_malformed_header_ends_the_connection(proxy: Proxy, header: bytes) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as sock:
        sock.sendall(header)
        received = b""
        while chunk := sock.recv(4096):
            received += chunk
    assert b"malformed PROXY protocol header" in received

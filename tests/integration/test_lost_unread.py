"""A server dies while the proxy stands still, which then learns of the death and of the next statement at once.

The statement is run where it can be: no server has read it, whether the proxy hears first of the one or of the other.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlproxy.lab.single import SingleServer
from sqlproxy.session import attach
from sqlproxy.wire.constants import COM_QUERY
from tests.support.proxy import STATIC, Proxy, running_proxy
from tests.support.rawclient import RawClient, logged_in
from tests.support.waiting import wait_until

SOCKETS = [kind for kind in ("ring", "lane", "transports") if attach.best(kind)[0] == kind]
SERVERS = [*((kind, "") for kind in SOCKETS), ("ring", 'compression = "zlib"')]


@pytest.fixture(params=SERVERS, ids=lambda param: " ".join(param).strip())
def proxy(request: pytest.FixtureRequest, mariadb: SingleServer, tmp_path: Path) -> Iterator[Proxy]:
    sockets, server = request.param
    mariadb.query("CREATE OR REPLACE TABLE app.unread (id INT)")
    env = {"SQLPROXY_SOCKETS": sockets}
    with running_proxy(tmp_path, {"n1": mariadb.port}, extra=STATIC, server=server, env=env) as proxy:
        yield proxy


def stand_still(proxy: Proxy) -> None:
    proxy.process.send_signal(signal.SIGSTOP)
    stat = Path(f"/proc/{proxy.process.pid}/stat")
    wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 10, "the proxy stands still")


def die_before(proxy: Proxy, server: SingleServer, clients: list[RawClient], statement: bytes) -> list[bytes]:
    """The clients' replies to a statement that they send while the server is dead and the proxy has not noticed."""
    stand_still(proxy)
    try:
        for client in clients[:2]:  # of these the proxy hears first of the statement, of the others of the death
            client.send(bytes((COM_QUERY,)) + statement)
        server.kill()
        for client in clients[2:]:
            client.send(bytes((COM_QUERY,)) + statement)
    finally:
        proxy.process.send_signal(signal.SIGCONT)
    server.up()
    return [client.read() for client in clients]


@pytest.mark.parametrize("before", ["", "BEGIN"], ids=["write", "commit"])
def test_a_statement_that_no_server_has_read_is_run(proxy: Proxy, mariadb: SingleServer, before: str) -> None:
    with logged_in(proxy.port) as first, logged_in(proxy.port) as second, logged_in(proxy.port) as third:
        clients = [first, second, third]
        for client in clients:
            client.socket.settimeout(30)
            client.query("INSERT INTO app.unread VALUES (0)")
            if before:
                client.query(before)
                client.query("INSERT INTO app.unread VALUES (1)")
        replies = die_before(proxy, mariadb, clients, b"COMMIT" if before else b"INSERT INTO app.unread VALUES (1)")
        assert [reply[0] for reply in replies] == [0, 0, 0], replies
    assert mariadb.query("SELECT id, COUNT(*) FROM app.unread GROUP BY id ORDER BY id") == [(0, 3), (1, 3)]
    (service,) = proxy.get("/v1/services")
    assert service["outcomes_unknown"] == 0

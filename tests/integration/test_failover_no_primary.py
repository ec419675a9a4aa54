"""Nobody to write to: reads go on, writes wait their time and then learn why, from one clear error."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator

import pymysql
import pytest

from sqlproxy.lab.galera import GaleraLab
from tests.support.cluster import servers_of
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until

PATIENCE = 2.0  # failover_timeout of the service
SLACK = 15.0  # seconds a loaded machine may add
NO_SERVER = 1429


@pytest.fixture(scope="module")
def module_proxy(galera: GaleraLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy that lets only n1 be primary."""
    galera.up()
    ask(galera.ports[0], "CREATE TABLE IF NOT EXISTS orphan (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(50))")
    env = {"SQLPROXY_SERVERS__1__PRIORITY": "0", "SQLPROXY_SERVERS__2__PRIORITY": "0"}
    service = f'failover_timeout = "{PATIENCE:g}s"'
    with running_proxy(tmp_path_factory.mktemp("proxy"), servers_of(galera), service=service, env=env) as proxy:
        yield proxy


@pytest.fixture
def proxy(module_proxy: Proxy, healthy_galera: GaleraLab) -> Iterator[Proxy]:
    module_proxy.wait_roles(n1="primary", n2="replica", n3="replica")
    yield module_proxy
    put_state(module_proxy, "n1", "active")


def put_state(proxy: Proxy, server: str, state: str) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{proxy.admin_port}/v1/servers/{server}/state",
        json.dumps({"state": state}).encode(),
        {"Content-Type": "application/json"},
        method="PUT",
    )
    with urllib.request.urlopen(request, timeout=5):
        pass


def take_primary_away(proxy: Proxy) -> None:
    put_state(proxy, "n1", "maintenance")
    wait_until(lambda: proxy.primary is None, 30, "there is no primary")


def wait_waiting(proxy: Proxy) -> None:
    wait_until(lambda: any(row["state"] == "waiting" for row in proxy.get("/v1/sessions")), 30, "a session waits")


def activate_once_somebody_waits(proxy: Proxy) -> None:
    wait_waiting(proxy)
    put_state(proxy, "n1", "active")


def refused(connection: pymysql.connections.Connection, sql: str) -> tuple[int, str, float]:
    """Code and text of a statement's error, and the seconds it took."""
    started = time.monotonic()
    with pytest.raises(pymysql.MySQLError) as raised:
        rows(connection, sql)
    return raised.value.args[0], raised.value.args[1], time.monotonic() - started


def test_reads_go_on_and_a_write_is_refused_with_every_reason(proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        take_primary_away(proxy)
        assert rows(connection, "SELECT COUNT(*) FROM orphan")
        code, text, seconds = refused(connection, "INSERT INTO orphan (note) VALUES ('refused')")
        assert code == NO_SERVER
        assert PATIENCE - 0.1 < seconds < PATIENCE + SLACK
        assert "within 2s" in text
        assert "n1: in maintenance; synced" in text
        assert text.count("never primary: priority=0") == 2
        assert rows(connection, "SELECT COUNT(*) FROM orphan WHERE note = 'refused'") == [(0,)]


def test_new_clients_can_log_in_and_read(proxy: Proxy) -> None:
    take_primary_away(proxy)
    with connected(proxy.port) as connection:
        assert rows(connection, "SELECT 1") == [(1,)]


def test_a_waiting_write_goes_through_when_a_primary_appears(proxy: Proxy) -> None:
    with connected(proxy.port) as connection:
        take_primary_away(proxy)
        activate = threading.Thread(target=activate_once_somebody_waits, args=(proxy,))
        activate.start()
        rows(connection, "INSERT INTO orphan (note) VALUES ('waited')")
        activate.join()
    assert ask(proxy.port, "SELECT COUNT(*) FROM orphan WHERE note = 'waited'") == [(1,)]


def test_a_write_waits_for_a_primary_that_is_read_only_and_learns_that_it_stays_so(
    proxy: Proxy, galera: GaleraLab
) -> None:
    """Also the write that is under way when the primary turns read-only, which only the server's error tells."""
    with connected(proxy.port) as connection:
        rows(connection, "DELETE FROM orphan WHERE note = 'read-only'")
        galera.node("n1").query("SET GLOBAL read_only = ON")
        try:
            code, text, seconds = refused(connection, "INSERT INTO orphan (note) VALUES ('read-only')")
        finally:
            galera.node("n1").query("SET GLOBAL read_only = OFF")
        assert code == NO_SERVER
        assert seconds > PATIENCE - 0.1
        assert "read_only=ON" in text or "--read-only" in text
        proxy.wait_roles(n1="primary")
        rows(connection, "INSERT INTO orphan (note) VALUES ('read-only')")
        assert rows(connection, "SELECT COUNT(*) FROM orphan WHERE note = 'read-only'") == [(1,)]


def test_a_client_that_leaves_while_waiting_is_forgotten(proxy: Proxy) -> None:
    before = len(proxy.get("/v1/sessions"))
    connection = pymysql.connect(host="127.0.0.1", port=proxy.port, user="app", password="app", database="app")
    take_primary_away(proxy)
    connection._execute_command(3, "INSERT INTO orphan (note) VALUES ('left')")
    wait_waiting(proxy)
    connection._force_close()
    wait_until(lambda: len(proxy.get("/v1/sessions")) == before, PATIENCE / 2, "the session is gone")
    put_state(proxy, "n1", "active")
    proxy.wait_roles(n1="primary")
    assert ask(proxy.port, "SELECT COUNT(*) FROM orphan WHERE note = 'left'") == [(0,)]


def test_a_node_cut_off_from_the_majority_serves_nobody(proxy: Proxy, galera: GaleraLab) -> None:
    with connected(proxy.port) as reader, connected(proxy.port) as writer:
        galera.kill("n1")
        galera.kill("n2")
        proxy.wait_roles(n3="non-primary")
        for connection, sql in ((reader, "SELECT COUNT(*) FROM orphan"), (writer, "DELETE FROM orphan")):
            code, text, seconds = refused(connection, sql)
            assert code == NO_SERVER
            assert seconds < PATIENCE + SLACK
            assert "cut off from the majority: wsrep_cluster_status=non-Primary" in text
            assert "connection refused" in text
        galera.up()
        proxy.wait_roles(n1="primary", n2="replica", n3="replica")
        assert rows(reader, "SELECT 1") == [(1,)]
        rows(writer, "INSERT INTO orphan (note) VALUES ('after')")

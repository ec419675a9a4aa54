"""A changed configuration takes effect in a running proxy: sessions are kept, a load notices nothing."""

from __future__ import annotations

import re
import signal
import threading
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest
from pymysql.connections import Connection

from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.single import SingleServer
from tests.support import workload
from tests.support.cluster import wait_settled
from tests.support.mysqlclient import rows
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.waiting import wait_until


def edit(proxy: Proxy, old: str, new: str, count: int = 1) -> None:
    """Change the proxy's file."""
    text = proxy.path.read_text()
    assert old in text, text
    proxy.path.write_text(text.replace(old, new, count))


def reload(proxy: Proxy) -> list[str]:
    changes: list[str] = proxy.post("/v1/reload", {})["changes"]
    return changes


def table(name: str, port: int) -> str:
    return f'[[servers]]\nname = "{name}"\naddress = "127.0.0.1:{port}"\n'


def connect(port: int) -> Connection:
    return pymysql.connect(
        host="127.0.0.1", port=port, user="app", password="app", database="app", autocommit=True, read_timeout=30
    )


def texts(proxy: Proxy) -> list[str]:
    return [event["text"] for event in proxy.get("/v1/events") if event["kind"] == "reload"]


@contextmanager
def proxied(directory: Path, servers: dict[str, int], workers: int) -> Iterator[Proxy]:
    with running_proxy(directory, servers, env={"SQLPROXY_WORKERS": str(workers)}) as proxy:
        yield proxy


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "two workers"])
def shared(
    request: pytest.FixtureRequest, mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    with proxied(tmp_path_factory.mktemp("shared"), {"n1": mariadb.port}, request.param) as proxy:
        yield proxy


@pytest.fixture
def proxy(shared: Proxy) -> Iterator[Proxy]:
    """A proxy on one server that other tests use, too; its configuration is put back."""
    text = shared.path.read_text()
    yield shared
    shared.path.write_text(text)
    reload(shared)


@pytest.mark.parametrize("workers", [0, 2])
def test_servers_come_and_go_under_load_without_an_error(
    healthy_galera: GaleraLab, tmp_path: Path, workers: int
) -> None:
    ports = dict(zip(("n1", "n2", "n3"), healthy_galera.ports, strict=True))
    with proxied(tmp_path, ports, workers) as proxy:
        wait_settled(proxy)
        roles = {name: row["role"] for name, row in proxy.servers().items()}
        (primary,) = (name for name, role in roles.items() if role == "primary")
        stays, goes = (name for name, role in roles.items() if role == "replica")
        session = connect(proxy.port)
        rows(session, "SET @kept = 42")
        with workload.running(proxy.port, None) as load:
            edit(proxy, table(goes, ports[goes]), "")
            assert reload(proxy) == [f"servers.{goes}: removed, drained first", *reload_of_accounts(proxy)]
            wait_until(lambda: set(proxy.servers()) == {primary, stays}, 30, f"{goes} is gone")
            load.progress()
            edit(proxy, table(primary, ports[primary]), "")
            reload(proxy)
            wait_until(lambda: set(proxy.servers()) == {stays}, 30, f"{primary} is gone")
            load.progress()
            edit(proxy, "[monitor]", table(goes, ports[goes]) + table(primary, ports[primary]) + "[monitor]")
            edit(proxy, "200ms", "300ms")
            reload(proxy)
            wait_until(lambda: proxy.servers()[goes]["role"] == "replica", 30, f"{goes} is back")
            load.progress()
            load.stop()
            assert load.failures() == []
            assert load.outcome(ports[stays]).kept
        assert rows(session, "SELECT @kept") == [(42,)]
        assert proxy.get("/v1/monitor")["interval"] == 0.3
        assert any("drained and gone" in text for text in texts(proxy))


def reload_of_accounts(proxy: Proxy) -> list[str]:
    return [f"accounts: {len(proxy.get('/v1/accounts'))} read again"]


def test_a_server_moves_to_another_address_once_it_is_drained(mariadb: SingleServer, tmp_path: Path) -> None:
    with proxied(tmp_path, {"n1": mariadb.port}, 0) as proxy:
        session = connect(proxy.port)
        rows(session, "SET @kept = 1")
        edit(proxy, f"127.0.0.1:{mariadb.port}", f"localhost:{mariadb.port}")
        assert f"127.0.0.1:{mariadb.port} -> localhost:{mariadb.port}, once it is drained" in reload(proxy)[0]
        wait_until(lambda: proxy.servers()["n1"]["address"] == f"localhost:{mariadb.port}", 30, "n1 has moved")
        wait_until(lambda: proxy.servers()["n1"]["role"] == "primary", 30, "n1 serves")
        assert proxy.servers()["n1"]["state"] == "active"
        assert rows(session, "SELECT @kept") == [(1,)]


def test_ports_and_services_come_and_go(proxy: Proxy) -> None:
    session = connect(proxy.port)
    second, third = free_port(), free_port()
    edit(proxy, f'listen = "127.0.0.1:{proxy.port}"', f'listen = ["127.0.0.1:{proxy.port}", "127.0.0.1:{second}"]')
    edit(proxy, "[admin]", f'[[services]]\nname = "more"\nlisten = "127.0.0.1:{third}"\n[admin]')
    changes = reload(proxy)
    assert "services.more: added" in changes
    for port in (second, third):
        other = connect(port)
        assert rows(other, "SELECT 1") == [(1,)]
    assert [service["name"] for service in proxy.get("/v1/services")] == ["app", "more"]
    edit(proxy, f', "127.0.0.1:{second}"', "")
    edit(proxy, f'[[services]]\nname = "more"\nlisten = "127.0.0.1:{third}"\n', "")
    assert "services.more: removed, its sessions end" in reload(proxy)
    for port in (second, third):
        wait_until(lambda port=port: refuses(port), 30, f"nobody listens on {port}")  # type: ignore[misc]
    with pytest.raises(pymysql.MySQLError):
        rows(other, "SELECT 1")
    assert rows(session, "SELECT 2") == [(2,)]


def test_an_address_goes_from_one_service_to_another_without_refusing_a_client(proxy: Proxy) -> None:
    second = free_port()
    alone, both = f'listen = "127.0.0.1:{proxy.port}"', f'listen = ["127.0.0.1:{proxy.port}", "127.0.0.1:{second}"]'
    edit(proxy, alone, both)
    edit(proxy, "[admin]", f'[[services]]\nname = "more"\nlisten = "127.0.0.1:{free_port()}"\n[admin]')
    reload(proxy)
    session = connect(second)
    with connecting(second) as failures:
        for name in ("more", "app"):
            text = proxy.path.read_text()
            head, tail = text.split('name = "more"\n')
            if name == "more":
                head, tail = (
                    head.replace(both, alone),
                    tail.replace('listen = "', f'listen = ["127.0.0.1:{second}", "', 1),
                )
                tail = tail.replace('"\n[admin]', '"]\n[admin]', 1)
            else:
                head, tail = head.replace(alone, both), tail.replace(f'"127.0.0.1:{second}", ', "", 1)
            proxy.path.write_text(f'{head}name = "more"\n{tail}')
            assert any(change.startswith("services.more.listen: ") for change in reload(proxy))
            with connect(second) as other:
                number = other.thread_id()
                assert {row["id"]: row["service"] for row in proxy.get("/v1/sessions")}[number] == name
    assert failures == []
    # The service is another one, its ports are the same.
    edit(proxy, f'name = "app"\n{both}', f'name = "other"\n{both}')
    reload(proxy)
    assert rows(connect(proxy.port), "SELECT 1") == [(1,)]
    wait_until(lambda: {row["service"] for row in proxy.get("/v1/sessions")} <= {"other"}, 30, "its sessions end")
    with pytest.raises(pymysql.MySQLError):
        rows(session, "SELECT 1")


@contextmanager
def connecting(port: int) -> Iterator[list[str]]:
    """Clients come, ask and go all the time; yields what went wrong."""
    failures: list[str] = []
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            try:
                with connect(port) as connection:
                    rows(connection, "SELECT 1")
            except pymysql.MySQLError as error:
                failures.append(str(error))

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        yield failures
    finally:
        done.set()
        thread.join(30)


def refuses(port: int) -> bool:
    try:
        connect(port).close()
    except pymysql.MySQLError:
        return True
    return False


def test_a_file_that_cannot_be_used_changes_nothing_and_says_why(proxy: Proxy, mariadb: SingleServer) -> None:
    before = proxy.get("/v1/config")
    good = proxy.path.read_text()
    session = connect(proxy.port)
    for bad, why in [
        (good + "\n[monitors]\n", "monitors: unknown key"),
        (good.replace('interval = "200ms"', 'interval = "soon"'), "'soon' is not a duration"),
        (good + f'[[services]]\nname = "x"\nlisten = "127.0.0.1:{mariadb.port}"\n', "it is in use"),
        (good + "[log]\nlevel = 'debug'\n[services.tls]\ncert = '/nowhere.pem'\n", "/nowhere.pem cannot be used"),
    ]:
        proxy.path.write_text(bad)
        with pytest.raises(urllib.error.HTTPError) as refused:
            reload(proxy)
        assert refused.value.code == 422
        answer = refused.value.read().decode()
        assert why in answer, answer
        assert "nothing was changed" in answer
        assert why in texts(proxy)[-1]
        assert proxy.get("/v1/config") == before
    assert rows(session, "SELECT 1") == [(1,)]


def test_a_signal_reloads_too_and_what_needs_a_restart_is_named(mariadb: SingleServer, tmp_path: Path) -> None:
    with proxied(tmp_path, {"n1": mariadb.port}, 0) as proxy:
        edit(proxy, "[admin]", '[log]\nlevel = "debug"\n[admin]')
        edit(proxy, f'listen = "127.0.0.1:{proxy.admin_port}"', 'listen = "127.0.0.1:1"')
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "log.level: info -> debug" in proxy.log, 30, "the reload is logged")
        assert re.search(r"admin.listen needs a restart: 127.0.0.1:\d+ -> 127.0.0.1:1", proxy.log)
        proxy.post("/v1/notify", {"status": "Synced"})
        wait_until(lambda: " DEBUG " in proxy.log, 30, "debug events are logged")
        assert proxy.get("/v1/config")["admin"]["listen"] == f"127.0.0.1:{proxy.admin_port}"


def test_an_account_and_its_password_change(mariadb: SingleServer, tmp_path: Path) -> None:
    static = '[accounts]\nsource = "static"\n[[accounts.users]]\nname = "app"\npassword = "app"\n'
    with running_proxy(tmp_path, {"n1": mariadb.port}, extra=static) as proxy:
        session = connect(proxy.port)
        edit(proxy, 'name = "app"\npassword = "app"', 'name = "other"\npassword = "app"')
        assert reload(proxy) == ["accounts.users: changed"]
        with pytest.raises(pymysql.OperationalError, match="Access denied"):
            connect(proxy.port)
        assert rows(session, "SELECT 1") == [(1,)]

"""What reaches the admin ports from outside: TLS as operators use it, and abuse that no application notices."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pymysql
import pytest

from sqlproxy.lab.certificates import make_certificates
from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.quiet import assert_no_internal_error
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def sql_port() -> int:
    return free_port()


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "two workers"])
def proxy(
    request: pytest.FixtureRequest,
    mariadb: SingleServer,
    sql_port: int,
    lab_directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    make_certificates(lab_directory / "admin-tls")
    files = f'cert = "{lab_directory}/admin-tls/cert.pem"\nkey = "{lab_directory}/admin-tls/key.pem"'
    extra = f'sql_listen = "127.0.0.1:{sql_port}"\n[admin.tls]\nmode = "preferred"\n{files}\n'
    env = {"SQLPROXY_WORKERS": str(request.param)}
    with running_proxy(tmp_path_factory.mktemp("admin"), {"n1": mariadb.port}, extra=extra, env=env) as running:
        yield running
        assert_no_internal_error(running)


def mysql(port: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["mysql", "-h127.0.0.1", f"-P{port}", "-uroot", *arguments, "-e", "SHOW SERVERS"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def cli(proxy: Proxy, authority: Path) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "SQLPROXY_ADMIN_URL": f"https://127.0.0.1:{proxy.admin_port}",
        "SQLPROXY_ADMIN_CA": str(authority),
    }
    command = [sys.executable, "-m", "sqlproxy", "servers"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_operators_use_tls_and_a_reload_can_demand_it(proxy: Proxy, sql_port: int, lab_directory: Path) -> None:
    authority = lab_directory / "admin-tls/ca.pem"
    verified = ("--ssl", f"--ssl-ca={authority}", "--ssl-verify-server-cert")
    assert "n1" in mysql(sql_port, *verified).stdout
    assert "n1" in mysql(sql_port, "--skip-ssl").stdout
    context = ssl.create_default_context(cafile=str(authority))
    with pymysql.connect(host="127.0.0.1", port=sql_port, user="x", ssl=context) as admin:
        assert rows(admin, "SELECT name FROM servers") == [("n1",)]
    done = cli(proxy, authority)
    assert (done.returncode, "n1" in done.stdout) == (0, True), done.stderr
    text = proxy.path.read_text()
    try:
        proxy.path.write_text(text.replace('"preferred"', '"required"'))
        assert "admin.tls.mode: preferred -> required" in proxy.post("/v1/reload", {})["changes"]
        assert "n1" in mysql(sql_port, *verified).stdout
        refused = mysql(sql_port, "--skip-ssl")
        assert (refused.returncode, "requires TLS" in refused.stderr) == (1, True)
        assert cli(proxy, authority).returncode == 0
        assert cli(proxy, Path("/nowhere")).returncode == 2
    finally:
        proxy.path.write_text(text)
        proxy.process.send_signal(1)
        wait_until(lambda: "reload: admin.tls.mode: required -> preferred" in proxy.log, 30, "it is put back")


def test_a_certificate_that_cannot_be_used_refuses_the_reload(proxy: Proxy) -> None:
    text = proxy.path.read_text()
    try:
        proxy.path.write_text(text.replace("cert.pem", "nothing.pem"))
        with suppress(OSError):  # 422
            proxy.post("/v1/reload", {})
        (newest,) = [event["text"] for event in proxy.get("/v1/events") if event["kind"] == "reload"][-1:]
        assert "nothing was changed: admin.tls: " in newest
        assert "nothing.pem cannot be used" in newest
    finally:
        proxy.path.write_text(text)


@contextmanager
def witness(port: int) -> Iterator[list[str]]:
    """A session that goes on asking; yields what went wrong."""
    failures: list[str] = []
    done = threading.Event()

    def ask() -> None:
        try:
            with connected(port) as connection:
                rows(connection, "SET @kept = 7")
                while not done.is_set():
                    assert rows(connection, "SELECT @kept") == [(7,)]
        except Exception as error:
            failures.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield failures
    finally:
        done.set()
        thread.join(30)


JUNK = [b"\xff" * 5000, b"GET /" + b"x" * 20_000, b"\x16\x03\x01\x02\x00\x01" + b"\0" * 50, b"\0" * 4, b"\5\0\0\1hello"]


def test_abuse_of_both_ports_is_nothing_to_a_session_of_an_application(proxy: Proxy, sql_port: int) -> None:
    """Idle connections beyond the limits, junk, and connections that are dropped half way."""
    with witness(proxy.port) as failures, ExitStack() as idle:
        full = (proxy.admin_port, 300, b"HTTP/1.1 503 "), (sql_port, 80, b"Too many connections")
        for port, many, words in full:
            for _ in range(many):
                idle.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            with socket.create_connection(("127.0.0.1", port), timeout=20) as further:
                assert words in further.recv(4096)
        idle.close()
        wait_until(lambda: admin_answers(proxy), 30, "there is room again")
        for port in (proxy.admin_port, sql_port):
            for junk in JUNK:
                with socket.create_connection(("127.0.0.1", port), timeout=20) as sock, suppress(OSError):
                    sock.sendall(junk)
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65536):
                        pass
        assert [row["name"] for row in proxy.get("/v1/servers")] == ["n1"]
    assert failures == []


def admin_answers(proxy: Proxy) -> bool:
    try:
        return bool(proxy.get("/v1/servers"))
    except OSError:
        return False

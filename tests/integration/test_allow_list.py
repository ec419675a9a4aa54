"""An allow list from learning to enforcing, on a real server and with workers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest
from pymysql.connections import Connection

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until


@pytest.fixture(scope="module", params=["0", "2"], ids=["one process", "workers"])
def proxy(
    request: pytest.FixtureRequest, mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("allow")
    text = f'[services.allow_list]\nmode = "learn"\nfile = "{directory / "app.allow"}"\n'
    ask(mariadb.port, "CREATE OR REPLACE TABLE allow_t (a INT)")
    with running_proxy(
        directory, {"n1": mariadb.port}, service=text, env={"SQLPROXY_WORKERS": request.param}
    ) as running:
        yield running


def listed(path: Path) -> dict[str, str]:
    """Statement to user, of a list's file."""
    entries = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return {entry["statement"]: entry["user"] for entry in entries}


def switch(proxy: Proxy, mode: str) -> None:
    """Reload with another mode of the list."""
    config = proxy.path
    before = next(mode for mode in ("learn", "detect", "enforce") if f'mode = "{mode}"' in config.read_text())
    config.write_text(config.read_text().replace(f'mode = "{before}"', f'mode = "{mode}"'))
    assert f"services.app.allow_list.mode: {before} -> {mode}" in proxy.post("/v1/reload", {})["changes"]


def refused(session: Connection, sql: str) -> str:
    with pytest.raises(pymysql.MySQLError) as error:
        rows(session, sql)
    assert error.value.args[0] == 1148
    return str(error.value.args[1])


def on_all_workers(proxy: Proxy, check: Callable[[Connection], None]) -> None:
    """Try with as many connections as reach every worker, whichever the kernel chooses."""
    for _ in range(6):
        with connected(proxy.port) as session:
            check(session)


def test_from_learning_to_enforcing(proxy: Proxy) -> None:
    path = proxy.path.parent / "app.allow"
    with connected(proxy.port) as session:
        rows(session, "INSERT INTO allow_t VALUES (1), (2)")
        rows(session, "SELECT a FROM allow_t WHERE a = 1")
        rows(session, "DELETE FROM allow_t WHERE a = 2")
    wait_until(lambda: len(listed(path).keys() & {"SELECT a FROM allow_t WHERE a = ?"}) == 1, 30, "it is learned")
    wait_until(lambda: "DELETE FROM allow_t WHERE a = ?" in listed(path), 30, "the last one is")
    text = path.read_text()
    path.write_text("# reviewed\n" + "".join(line for line in text.splitlines(True) if "DELETE" not in line))

    switch(proxy, "detect")
    with connected(proxy.port) as session:
        rows(session, "DELETE FROM allow_t WHERE a = 3")
    wait_until(lambda: any(row["state"] == "detected" for row in proxy.get("/v1/allow_list")), 30, "it is detected")

    switch(proxy, "enforce")

    def known_passes_and_unknown_does_not(session: Connection) -> None:
        rows(session, "SELECT a FROM allow_t WHERE a = 77")
        assert "is not on the allow list of the service app for the user 'app'" in refused(
            session, "SELECT a FROM allow_t WHERE a = 77 OR 1 = 1"
        )
        rows(session, "SELECT a FROM allow_t WHERE a = 78")  # the session goes on

    on_all_workers(proxy, known_passes_and_unknown_does_not)
    with connected(proxy.port) as session:
        message = refused(session, "DELETE FROM allow_t WHERE a = 3")
    digest = message.split(", ")[1]
    command = [sys.executable, "-m", "sqlproxy", "allow", digest, "--admin", f"http://127.0.0.1:{proxy.admin_port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "DELETE FROM allow_t WHERE a = ?" in done.stdout
    assert "DELETE FROM allow_t WHERE a = ?" in listed(path)
    wait_until(lambda: all(passes(proxy, "DELETE FROM allow_t WHERE a = 3") for _ in range(6)), 30, "all know it")
    wait_until(lambda: int(proxy.get("/v1/services")[0]["unlisted_refused"]) >= 7, 30, "they are counted")
    switch(proxy, "learn")


def passes(proxy: Proxy, sql: str) -> bool:
    with connected(proxy.port) as session:
        try:
            rows(session, sql)
        except pymysql.MySQLError as error:
            return bool(error.args[0] != 1148)
    return True

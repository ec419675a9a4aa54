"""SIGUSR2: another process takes over under load, and no client notices."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import mysql.connector
import pymysql
import pytest

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until


class Upgraded:
    """A proxy that writes its process id, and the processes that followed it."""

    def __init__(self, proxy: Proxy, pid_file: Path, generations: int) -> None:
        self.proxy = proxy
        self.generations = generations  # to go through
        self._pid_file = pid_file

    @property
    def pid(self) -> int:
        return int(self._pid_file.read_text())

    def upgrade(self) -> None:
        before = self.pid
        os.kill(before, signal.SIGUSR2)
        wait_until(lambda: self.pid != before, 30, "another process is in charge")
        wait_until(lambda: f"process {self.pid} serves new clients" in self.proxy.log, 30, "the old one knows")


@pytest.fixture(params=["0", "2"], ids=["one process", "two workers"])
def running(request: pytest.FixtureRequest, mariadb: SingleServer, tmp_path: Path) -> Iterator[Upgraded]:
    pid_file = tmp_path / "sqlproxy.pid"
    env = {"SQLPROXY_WORKERS": request.param, "SQLPROXY_PID_FILE": str(pid_file)}
    with running_proxy(tmp_path, {"n1": mariadb.port}, env=env) as proxy:
        wait_until(pid_file.exists, 30, "all of it has started")
        found = Upgraded(proxy, pid_file, 1 if request.param == "2" else 2)
        try:
            yield found
        finally:
            if pid_file.exists() and found.pid != proxy.process.pid:
                os.kill(found.pid, signal.SIGTERM)
                wait_until(lambda: not pid_file.exists(), 60, "the last process has ended")


class Load(threading.Thread):
    """Connects, asks and quits again and again; one connection stays. ``failures`` must stay empty."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.done = self._seen = 0
        self.failures: list[str] = []
        self._port = port
        self._stopping = threading.Event()

    def run(self) -> None:
        with connected(self._port) as kept:
            while not self._stopping.is_set():
                try:
                    assert ask(self._port, "SELECT 1") == [(1,)]
                    assert rows(kept, "SELECT 2") == [(2,)]
                except (pymysql.MySQLError, OSError) as error:
                    self.failures.append(str(error))
                self.done += 1

    def takes(self) -> bool:
        """Whether it got further since the last look."""
        seen, self._seen = self._seen, self.done
        return seen < self.done

    def stop(self) -> None:
        self._stopping.set()
        self.join(30)


def test_no_client_notices(running: Upgraded) -> None:
    load = [Load(running.proxy.port) for _ in range(3)]
    for one in load:
        one.start()
    try:
        for _ in range(running.generations):
            wait_until(lambda: all(one.takes() for one in load), 30, "there is load")
            running.upgrade()
        wait_until(lambda: all(one.takes() for one in load), 30, "there is load afterwards")
    finally:
        for one in load:
            one.stop()
    assert [one.failures for one in load] == [[], [], []]
    wait_until(lambda: running.proxy.process.poll() is not None, 60, "the first process ends with its sessions")
    assert running.proxy.process.returncode == 0


def test_sessions_go_on_where_they_began(running: Upgraded) -> None:
    with connected(running.proxy.port) as old:
        rows(old, "SET @a = 7")
        rows(old, "CREATE TEMPORARY TABLE stays (a INT)")
        rows(old, "BEGIN")
        running.upgrade()
        with connected(running.proxy.port) as new:
            assert old.thread_id() not in {new.thread_id(), *(row["id"] for row in running.proxy.get("/v1/sessions"))}
            assert [row["id"] for row in running.proxy.get("/v1/sessions")] == [new.thread_id()]
        assert rows(old, "SELECT @a, (SELECT COUNT(*) FROM stays)") == [(7, 0)]
        rows(old, "COMMIT")
        assert running.proxy.process.poll() is None
    wait_until(lambda: running.proxy.process.poll() is not None, 60, "the first process ends with its session")


class Stateful:
    """A session with all kinds of state, and what it must answer as long as it lives."""

    def __init__(self, port: int, number: int) -> None:
        self.connection = mysql.connector.connect(
            host="127.0.0.1",
            port=port,
            user="app",
            password="app",
            database="app",
            use_pure=True,
            autocommit=True,
            ssl_disabled=True,
        )
        self.number = number
        self.id: int = self.connection.connection_id
        for text in (
            "USE information_schema",
            f"SET @mine = 'mine {number}', sql_mode = 'ANSI_QUOTES'",
            "SET NAMES latin1",
            f"PREPARE kept FROM 'SELECT {number} + ?'",
            "/* maxscale begin route to master */ SELECT 1",
        ):
            self.ask(text)
        self.prepared = self.connection.cursor(prepared=True)
        self.run_prepared(1)
        self.ask(f"INSERT INTO app.moves (session) VALUES ({number})")
        self.last_id = self.ask("SELECT LAST_INSERT_ID()")

    def ask(self, text: str) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(text)
            return list(cursor.fetchall()) if cursor.with_rows else []

    def run_prepared(self, value: int) -> None:
        self.prepared.execute("SELECT ? + 1, @mine", (value,))
        assert self.prepared.fetchall() == [(value + 1, f"mine {self.number}")]

    def check(self) -> None:
        """Everything is as it was."""
        assert self.ask("SELECT LAST_INSERT_ID()") == self.last_id
        assert self.ask('SELECT @mine, DATABASE(), @@sql_mode AS "s", @@character_set_client') == [
            (f"mine {self.number}", "information_schema", "ANSI_QUOTES", "latin1")
        ]
        self.ask("SET @plus = 10")
        assert self.ask("EXECUTE kept USING @plus") == [(self.number + 10,)]
        self.run_prepared(41)  # by the number and the types that the client knows


def test_idle_sessions_move_with_their_state(running: Upgraded) -> None:
    port = running.proxy.port
    ask(port, "CREATE OR REPLACE TABLE app.moves (id INT AUTO_INCREMENT PRIMARY KEY, session INT)")
    with ExitStack() as stack:
        sessions = [Stateful(port, number) for number in range(8)]
        for session in sessions:
            stack.callback(session.connection.close)
        go_on_elsewhere(running, sessions)


def go_on_elsewhere(running: Upgraded, sessions: list[Stateful]) -> None:
    port = running.proxy.port
    ids = {session.id for session in sessions}
    for _ in range(running.generations):
        before = running.pid
        running.upgrade()
        wait_until(lambda pid=before: not running_as(pid), 30, "the process before has ended")
        assert {row["id"] for row in running.proxy.get("/v1/sessions")} == ids
        for session in sessions:
            session.check()
        with connected(port) as new:
            assert new.thread_id() not in ids
    assert ask(port, f"KILL {sessions[0].id}") == []
    with pytest.raises(mysql.connector.Error):
        sessions[0].ask("SELECT 1")
    sessions[1].check()


def running_as(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_one_that_cannot_start_changes_nothing(running: Upgraded, tmp_path: Path) -> None:
    config = tmp_path / "sqlproxy.toml"
    text = config.read_text()
    config.write_text(text + "\nnonsense = 1\n")
    before = running.pid
    os.kill(before, signal.SIGUSR2)
    wait_until(lambda: "upgrade: this process goes on" in running.proxy.log, 30, "the failure is told")
    assert "nonsense" in running.proxy.log.split("upgrade: this process goes on")[1]
    assert running.pid == before
    assert ask(running.proxy.port, "SELECT 1") == [(1,)]
    config.write_text(text)
    running.upgrade()
    assert ask(running.proxy.port, "SELECT 1") == [(1,)]

"""SIGUSR2: another process takes over under load, and no client notices."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

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
        wait_until(lambda: f"process {self.pid} serves new clients" in self.proxy.log, 10, "the old one knows")


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
                wait_until(lambda: not pid_file.exists(), 15, "the last process has ended")


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
    wait_until(lambda: running.proxy.process.poll() is not None, 15, "the first process ends with its sessions")
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
    wait_until(lambda: running.proxy.process.poll() is not None, 15, "the first process ends with its session")


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

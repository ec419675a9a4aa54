"""Several processes on one port: one monitor, one admin side, sessions anywhere."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest
from pymysql.connections import Connection

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until

IDS_PER_WORKER = 1 << 22


@pytest.fixture(scope="module")
def proxy(mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy(
        tmp_path_factory.mktemp("workers"), {"n1": mariadb.port}, env={"SQLPROXY_WORKERS": "2"}
    ) as proxy:
        yield proxy


def worker_of(connection: Connection) -> int:
    return connection.thread_id() // IDS_PER_WORKER


def two_workers(proxy: Proxy) -> tuple[Connection, Connection]:
    """Connections that two different workers accepted; the kernel spreads them."""
    first = pymysql.connect(host="127.0.0.1", port=proxy.port, user="app", password="app", autocommit=True)
    others = []
    for _ in range(100):
        other = pymysql.connect(host="127.0.0.1", port=proxy.port, user="app", password="app", autocommit=True)
        if worker_of(other) != worker_of(first):
            for unused in others:
                unused.close()
            return first, other
        others.append(other)
    raise AssertionError("100 connections went to one worker")


def worker_pids(proxy: Proxy) -> list[int]:
    children = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children").read_text().split()
    return [int(child) for child in children]


def test_sessions_of_all_workers_are_listed_and_counted(proxy: Proxy) -> None:
    first, second = two_workers(proxy)
    listed = {row["id"] for row in proxy.get("/v1/sessions")}
    assert {first.thread_id(), second.thread_id()} <= listed
    before = proxy.get("/v1/services")[0]["statements"]
    for connection in (first, second):
        rows(connection, "SELECT 1")
    wait_until(lambda: proxy.get("/v1/services")[0]["statements"] >= before + 2, 30, "both workers have reported")
    first.close()
    second.close()


def test_kill_query_reaches_a_session_of_another_worker(proxy: Proxy) -> None:
    killer, victim = two_workers(proxy)
    errors = []

    def sleep() -> None:
        try:
            rows(victim, "SELECT SLEEP(30)")
        except pymysql.MySQLError as error:
            errors.append(error.args[0])

    thread = threading.Thread(target=sleep)
    thread.start()
    wait_until(
        lambda: any(r["id"] == victim.thread_id() and r["state"] == "active" for r in proxy.get("/v1/sessions")),
        5,
        "the victim runs",
    )
    rows(killer, f"KILL QUERY {victim.thread_id()}")
    thread.join(10)
    assert errors == [1317] or not errors  # MariaDB ends SLEEP with an error, some versions with a result
    assert not thread.is_alive()
    assert rows(victim, "SELECT 2") == [(2,)]
    rows(killer, f"KILL {victim.thread_id()}")
    with pytest.raises(pymysql.MySQLError):
        rows(victim, "SELECT 3")
    killer.close()


def test_a_session_of_any_worker_is_closed_over_http(proxy: Proxy) -> None:
    first, second = two_workers(proxy)
    for connection in (first, second):
        proxy.delete(f"/v1/sessions/{connection.thread_id()}")
        with pytest.raises(pymysql.MySQLError):
            rows(connection, "SELECT 1")


def test_a_dead_worker_is_replaced_and_costs_only_its_own_sessions(proxy: Proxy) -> None:
    first, second = two_workers(proxy)
    pids = worker_pids(proxy)
    os.kill(pids[0], signal.SIGKILL)
    assert ask(proxy.port, "SELECT 1") == [(1,)]  # waits in the dead worker's queue at worst
    outcomes = []
    for connection in (first, second):
        try:
            outcomes.append(rows(connection, "SELECT 1"))
        except pymysql.MySQLError as error:
            outcomes.append(error.args)
    assert outcomes.count([(1,)]) == 1, (outcomes, proxy.log)
    wait_until(lambda: len(set(worker_pids(proxy)) - set(pids)) == 1, 30, "a new worker runs")
    assert any(event["kind"] == "worker" for event in proxy.get("/v1/events"))
    two_workers(proxy)


def test_the_workers_end_with_the_supervisor(mariadb: SingleServer, tmp_path: Path) -> None:
    with running_proxy(tmp_path, {"n1": mariadb.port}, env={"SQLPROXY_WORKERS": "2"}) as proxy:
        pids = worker_pids(proxy)
        with connected(proxy.port):
            proxy.process.kill()
            proxy.process.wait()
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30, "the workers have ended")

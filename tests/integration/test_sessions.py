"""One session across servers: the same state wherever it goes, and a lost server costs what it must and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mysql.connector
import pymysql
import pytest
from pymysql.connections import Connection
from pymysql.cursors import SSCursor

from sqlproxy.lab.galera import GaleraLab
from tests.support.cluster import name_of, servers_of, wait_new_primary, wait_settled
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.waiting import wait_until

DEADLOCK, LOST, CUT = 1213, 1927, 2013
ON_PRIMARY = "FROM one FOR UPDATE"
INSERT = "INSERT INTO kept (note) VALUES (%s)"


@pytest.fixture(scope="module")
def plain() -> int:
    """The port of a service that replays no transactions."""
    return free_port()


@pytest.fixture(scope="module")
def module_proxy(galera: GaleraLab, plain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    galera.up()
    port = galera.ports[0]
    ask(port, "CREATE TABLE IF NOT EXISTS one (id INT PRIMARY KEY)")
    ask(port, "REPLACE INTO one VALUES (1)")
    ask(port, "CREATE TABLE IF NOT EXISTS kept (id INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(50))")
    extra = f'[[services]]\nname = "plain"\nlisten = "127.0.0.1:{plain}"\ntransaction_replay = false'
    with running_proxy(tmp_path_factory.mktemp("proxy"), servers_of(galera), extra=extra) as proxy:
        yield proxy


@pytest.fixture
def proxy(module_proxy: Proxy, healthy_galera: GaleraLab) -> Proxy:
    wait_settled(module_proxy)
    return module_proxy


@pytest.fixture
def session(proxy: Proxy) -> Iterator[Connection]:
    with connected(proxy.port) as connection:
        yield connection


def lose_primary(proxy: Proxy, galera: GaleraLab) -> str:
    """Kill it and wait until another is; the name of the dead one."""
    victim = proxy.primary
    assert victim is not None
    galera.kill(victim)
    wait_new_primary(proxy, victim)
    return victim


def error_of(work: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(pymysql.MySQLError) as raised:
        work()
    return raised.value.args[0], str(raised.value.args[1])


STATE = "SELECT DATABASE(), @number, @text, @@character_set_client, @@sql_mode, @@time_zone"


def set_state(session: Connection) -> tuple[Any, ...]:
    for statement in (
        "USE sbtest",
        "SET @number = 17, @text = 'täxt'",
        "SET NAMES latin1",
        "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES'",
        "SET time_zone = '+05:00'",
        "PREPARE doubled FROM 'SELECT 2 * ?'",
    ):
        rows(session, statement)
    return ("sbtest", 17, "täxt", "latin1", "ANSI_QUOTES,STRICT_ALL_TABLES", "+05:00")


def test_an_idle_session_keeps_its_state_when_any_server_dies(proxy: Proxy, galera: GaleraLab) -> None:
    with connected(proxy.port, charset="latin1") as session:
        expected = set_state(session)
        assert rows(session, STATE) == [expected]
        assert rows(session, STATE + " FROM app.one FOR UPDATE") == [expected]
        reader = name_of(galera, rows(session, "SELECT @@port")[0][0])
        lose_primary(proxy, galera)
        for sql in (STATE, STATE + " FROM app.one FOR UPDATE"):
            assert rows(session, sql) == [expected]
        assert rows(session, "EXECUTE doubled USING @number") == [(34,)]
        galera.up()
        galera.kill(reader)
        proxy.wait_roles(**{reader: "down"})
        assert rows(session, STATE) == [expected]
        assert rows(session, "EXECUTE doubled USING @number") == [(34,)]


def test_binary_prepared_statements_survive_the_loss_of_the_primary(proxy: Proxy, galera: GaleraLab) -> None:
    client = mysql.connector.connect(
        host="127.0.0.1", port=proxy.port, user="app", password="app", database="app", autocommit=True, use_pure=True
    )
    read, write = client.cursor(prepared=True), client.cursor(prepared=True)
    try:
        for note in ("before", "after"):
            if note == "after":
                lose_primary(proxy, galera)
            write.execute("INSERT INTO kept (note) VALUES (?)", (note,))
            read.execute("SELECT COUNT(*), ? FROM kept WHERE note = ?", (7, note))
            assert read.fetchall() == [(1, 7)]
    finally:
        client.close()


def begin(session: Connection, note: str) -> None:
    rows(session, "BEGIN")
    rows(session, INSERT, note)


def count(session: Connection, note: str) -> int:
    return int(rows(session, "SELECT COUNT(*) FROM kept WHERE note = %s", note)[0][0])


def test_what_was_open_when_the_primary_died_goes_on_or_ends_with_the_reason(
    proxy: Proxy, galera: GaleraLab, plain: int
) -> None:
    """Four sessions and one kill: a node's return takes longest here."""
    with (
        connected(proxy.port) as replayed,
        connected(plain) as lost,
        connected(plain) as rolled_back,
        connected(proxy.port) as pinned,
    ):
        begin(replayed, "replayed")
        begin(lost, "lost")
        begin(rolled_back, "rolled back")
        rows(pinned, "CREATE TEMPORARY TABLE scratch (id INT)")
        lose_primary(proxy, galera)

        rows(replayed, INSERT, "replayed")
        rows(replayed, "COMMIT")
        assert count(replayed, "replayed") == 2

        code, text = error_of(lambda: rows(lost, INSERT, "lost"))
        assert code == DEADLOCK
        assert "try restarting transaction" in text
        begin(lost, "lost")
        rows(lost, "COMMIT")
        assert count(lost, "lost") == 1

        rows(rolled_back, "ROLLBACK")
        assert count(rolled_back, "rolled back") == 0

        code, text = error_of(lambda: rows(pinned, "SELECT COUNT(*) FROM scratch"))
        assert code == LOST
        assert "a temporary table" in text
        assert error_of(lambda: rows(pinned, "SELECT 1"))[0] in (0, 2006, CUT, LOST)


def test_writes_and_commits_under_way_on_a_frozen_primary_are_reported_as_unknown(
    proxy: Proxy, galera: GaleraLab
) -> None:
    with connected(proxy.port) as writer, connected(proxy.port) as committer:
        rows(writer, f"SELECT 1 {ON_PRIMARY}")
        begin(committer, "frozen")
        assert proxy.primary is not None
        galera.stop(proxy.primary)
        with ThreadPoolExecutor(2) as threads:
            told = [
                threads.submit(error_of, lambda: rows(writer, INSERT, "frozen")),
                threads.submit(error_of, lambda: rows(committer, "COMMIT")),
            ]
            for code, text in (future.result() for future in told):
                assert code == LOST
                assert "outcome of this statement is unknown" in text
        for session in (writer, committer):
            assert rows(session, "SELECT 1") == [(1,)]
            rows(session, INSERT, "thawed")


def test_a_read_under_way_is_run_again_elsewhere(proxy: Proxy, galera: GaleraLab, session: Connection) -> None:
    victim = name_of(galera, rows(session, "SELECT @@port")[0][0])
    retried = proxy.get("/v1/services")[0]["reads_retried"]
    answers: list[Any] = []
    reader = threading.Thread(target=lambda: answers.extend(rows(session, "SELECT SLEEP(1), @@port")))
    reader.start()
    wait_until(lambda: proxy.servers()[victim]["operations"], 30, "the read is under way")
    galera.kill(victim)
    reader.join(30)
    assert len(answers) == 1
    assert answers[0][0] == 0
    assert name_of(galera, answers[0][1]) != victim
    assert proxy.get("/v1/services")[0]["reads_retried"] == retried + 1


def test_a_reply_cut_short_ends_the_connection(proxy: Proxy, galera: GaleraLab, session: Connection) -> None:
    victim = name_of(galera, rows(session, "SELECT @@port")[0][0])
    cursor = session.cursor(SSCursor)
    cursor.execute("SELECT REPEAT('x', 10000) FROM seq_1_to_20000")
    assert cursor.fetchone()
    galera.kill(victim)
    assert error_of(lambda: list(cursor))[0] == CUT
    session._result.unbuffered_active = False  # the driver would read on when it forgets the result

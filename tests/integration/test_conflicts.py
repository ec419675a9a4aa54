"""Conflicts of all kinds on a real cluster: none reaches the application, and each is counted as what it was."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pymysql
import pytest

from sqlproxy.lab.galera import GaleraLab
from tests.support.cluster import servers_of
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until

DEADLOCK = 1213
KINDS = ("certification", "brute_force", "deadlock", "snapshot")
Counted = Callable[[], dict[str, int]]


@pytest.fixture(scope="module")
def module_proxy(galera: GaleraLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    galera.up()
    with running_proxy(tmp_path_factory.mktemp("proxy"), servers_of(galera)) as proxy:
        yield proxy


@pytest.fixture
def proxy(module_proxy: Proxy, healthy_galera: GaleraLab) -> Proxy:
    wait_until(lambda: module_proxy.primary, 30, "there is a primary")
    ask(module_proxy.port, "CREATE OR REPLACE TABLE conflicts (id INT PRIMARY KEY, v INT)")
    ask(module_proxy.port, "INSERT INTO conflicts VALUES (1, 0), (2, 0)")
    return module_proxy


@pytest.fixture
def counted(proxy: Proxy) -> Callable[[], dict[str, int]]:
    """Tells the conflicts of this test by kind; their sum must be all of them."""

    def totals() -> Counter[str]:
        row = proxy.get("/v1/services")[0]
        found = Counter({kind: row[f"conflicts_{kind}"] for kind in KINDS})
        assert found.total() == row["conflicts_retried"]
        return found

    before = totals()
    return lambda: dict(totals() - before)


def other_port(proxy: Proxy, galera: GaleraLab) -> int:
    """A server that is not the primary."""
    return next(port for name, port in servers_of(galera).items() if name != proxy.primary)


def aborts(proxy: Proxy, galera: GaleraLab) -> int:
    """Brute-force aborts on the primary so far."""
    ((_, value),) = galera.node(proxy.primary or "").query("SHOW STATUS LIKE 'wsrep_local_bf_aborts'")
    return int(value)


def values(proxy: Proxy) -> list[int]:
    return [value for (value,) in ask(proxy.port, "SELECT v FROM conflicts ORDER BY id FOR UPDATE")]


@pytest.mark.parametrize("ending", ["UPDATE conflicts SET v = v + 1 WHERE id = 2", "COMMIT"])
def test_an_open_transaction_loses_its_locks_to_another_server_s(
    proxy: Proxy, healthy_galera: GaleraLab, counted: Counted, ending: str
) -> None:
    before = aborts(proxy, healthy_galera)
    with connected(proxy.port) as connection:
        rows(connection, "BEGIN")
        rows(connection, "UPDATE conflicts SET v = v + 1 WHERE id = 1")
        ask(other_port(proxy, healthy_galera), "UPDATE conflicts SET v = 100 WHERE id = 1")
        wait_until(lambda: aborts(proxy, healthy_galera) > before, 30, "the transaction was aborted")
        rows(connection, ending)
        rows(connection, "COMMIT")
    assert values(proxy) == [101, 0 if ending == "COMMIT" else 1]
    assert counted() == {"brute_force": 1}


def test_two_sessions_of_one_server_in_each_other_s_way(proxy: Proxy, counted: Counted) -> None:
    both_hold = threading.Barrier(2, timeout=20)

    def transaction(first: int, second: int) -> None:
        with connected(proxy.port) as connection:
            rows(connection, "BEGIN")
            rows(connection, "UPDATE conflicts SET v = v + 1 WHERE id = %s", first)
            both_hold.wait()
            rows(connection, "UPDATE conflicts SET v = v + 1 WHERE id = %s", second)
            rows(connection, "COMMIT")

    with ThreadPoolExecutor(2) as executor:
        for done in [executor.submit(transaction, 1, 2), executor.submit(transaction, 2, 1)]:
            done.result(60)
    assert values(proxy) == [2, 2]
    assert counted() == {"deadlock": 1}


def test_writers_on_two_servers_race_for_certification(
    proxy: Proxy, healthy_galera: GaleraLab, counted: Counted
) -> None:
    """Both increment one row until certification has failed here; every increment acknowledged is there once."""
    over = threading.Event()

    def increments(port: int, statements: tuple[str, ...]) -> int:
        done = 0
        with connected(port) as connection:
            while not over.is_set():
                try:
                    for statement in statements:
                        rows(connection, statement)
                except pymysql.OperationalError as error:
                    if error.args[0] != DEADLOCK:  # which the proxy answers too when its tries are used up
                        raise
                    rows(connection, "ROLLBACK")
                else:
                    done += 1
        return done

    increment = "UPDATE conflicts SET v = v + 1 WHERE id = 1"
    with ThreadPoolExecutor(3) as executor:
        direct = executor.submit(increments, other_port(proxy, healthy_galera), (increment,))
        alone = executor.submit(increments, proxy.port, (increment,))
        within = executor.submit(increments, proxy.port, ("BEGIN", increment, "COMMIT"))
        try:
            wait_until(lambda: "certification" in counted(), 60, "a certification failed")
        finally:
            over.set()
        assert values(proxy)[0] == direct.result(60) + alone.result(60) + within.result(60)


def test_a_row_that_was_read_has_changed(proxy: Proxy, counted: Counted) -> None:
    """As servers do from MariaDB 11.6.2 on; older ones when they are told to."""
    with connected(proxy.port) as connection:
        rows(connection, "SET SESSION innodb_snapshot_isolation = ON")
        rows(connection, "BEGIN")
        rows(connection, "SELECT id FROM conflicts WHERE id = 1 FOR UPDATE")
        assert rows(connection, "SELECT id FROM conflicts WHERE id = 2") == [(2,)]  # from now on a snapshot
        ask(proxy.port, "UPDATE conflicts SET v = 100 WHERE id = 2")
        rows(connection, "UPDATE conflicts SET v = v + 1")
        rows(connection, "COMMIT")
    assert values(proxy) == [1, 101]
    assert counted() == {"snapshot": 1}

"""Rules on real servers, as their users see them."""

from __future__ import annotations

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

RULES = r"""
[[rules]]
name = "exempt"
pattern = "leave alone"
match = "statement"
[[rules]]
name = "slow"
pattern = "SLEEP"
timeout = "300ms"
[[rules]]
name = "short"
pattern = "FROM seq_1_to_1000"
max_rows = 10
[[rules]]
name = "refused"
pattern = "secrets"
reject = "secrets stay here"
[[rules]]
name = "renamed"
pattern = '\brules_old\b'
match = "statement"
rewrite = "rules_new"
[[rules]]
name = "kept"
pattern = "FROM rules_kept"
cache = "1h"
[[rules]]
name = "copied"
pattern = "FROM rules_copied"
mirror = "MIRROR"
[[rules]]
name = "misled"
pattern = "rules_misled"
route = "replica"
"""


@pytest.fixture(scope="module", params=[2], ids=["workers"])
def proxy(
    request: pytest.FixtureRequest, mariadb: SingleServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    text = RULES.replace("MIRROR", f"127.0.0.1:{mariadb.port}")
    env = {"SQLPROXY_WORKERS": str(request.param)}
    with running_proxy(tmp_path_factory.mktemp("rules"), {"n1": mariadb.port}, extra=text, env=env) as proxy:
        for name in ("new", "kept", "copied", "misled"):
            ask(mariadb.port, f"CREATE OR REPLACE TABLE rules_{name} (a INT)")
            ask(mariadb.port, f"INSERT INTO rules_{name} VALUES (1)")
        yield proxy


@pytest.fixture
def session(proxy: Proxy) -> Iterator[Connection]:
    with connected(proxy.port) as connection:
        yield connection


def counted(proxy: Proxy, name: str, effect: str) -> int:
    return next(int(row[effect]) for row in proxy.get("/v1/rules") if row["name"] == name)


def refused(session: Connection, sql: str) -> tuple[int, str]:
    with pytest.raises(pymysql.MySQLError) as error:
        rows(session, sql)
    return error.value.args[0], error.value.args[1]


def test_a_slow_statement_is_ended_on_the_server(proxy: Proxy, session: Connection, mariadb: SingleServer) -> None:
    rows(session, "SET @kept = 5")
    error = refused(session, "SELECT a, SLEEP(30) FROM rules_new WHERE SLEEP(30) = 0")
    assert error == (3024, "Query execution was interrupted: the rule slow allows it 300ms".replace("300ms", "0.3s"))
    running = ask(mariadb.port, "SELECT info FROM information_schema.processlist WHERE info LIKE %s", "%SLEEP(30)%")
    assert [text for (text,) in running if "processlist" not in text] == []
    assert rows(session, "SELECT @kept") == [(5,)]
    wait_until(lambda: counted(proxy, "slow", "timed_out") >= 1, 30, "it is counted")


def test_too_many_rows_are_an_error_and_the_session_goes_on(session: Connection) -> None:
    rows(session, "BEGIN")
    rows(session, "INSERT INTO rules_new VALUES (2)")
    error = refused(session, "SELECT * FROM seq_1_to_1000000")
    assert error == (1104, "The rule short allows 10 rows, and this answer has more")
    assert rows(session, "SELECT COUNT(*) FROM rules_new") == [(2,)]  # still in the transaction
    rows(session, "ROLLBACK")
    assert rows(session, "SELECT COUNT(*) FROM rules_new") == [(1,)]
    assert len(rows(session, "SELECT * FROM seq_1_to_1000000 LIMIT 10")) == 10


def test_statements_are_refused_and_exempted(session: Connection) -> None:
    assert refused(session, "SELECT 'x' FROM secrets") == (1148, "secrets stay here")
    assert rows(session, "SELECT 1 AS secrets /* leave alone */") == [(1,)]


def test_a_statement_is_rewritten(session: Connection) -> None:
    assert rows(session, "SELECT COUNT(*) FROM rules_old") == [(1,)]
    rows(session, "INSERT INTO rules_old VALUES (3)")
    assert rows(session, "SELECT COUNT(*) FROM rules_new") == [(2,)]
    rows(session, "DELETE FROM rules_old WHERE a = 3")


def test_an_answer_is_kept_but_not_from_its_own_writer(
    proxy: Proxy, session: Connection, mariadb: SingleServer
) -> None:
    def known() -> bool:  # the kernel chooses the worker
        with connected(proxy.port) as other:
            rows(other, "SELECT a FROM rules_kept")
        return counted(proxy, "kept", "cached") > 0

    wait_until(known, 30, "an answer came from the cache")
    rows(session, "UPDATE rules_kept SET a = a + 1")
    value = ask(mariadb.port, "SELECT a FROM rules_kept")
    assert rows(session, "SELECT a FROM rules_kept") == value


def test_a_read_is_copied(proxy: Proxy, session: Connection) -> None:
    rows(session, "SELECT a FROM rules_copied")
    wait_until(lambda: counted(proxy, "copied", "mirrored") >= 1, 30, "the copy has run")
    rows(session, "INSERT INTO rules_copied SELECT 5 FROM rules_copied LIMIT 1")
    assert rows(session, "SELECT COUNT(*) FROM rules_copied WHERE a = 5") == [(1,)]


def test_a_rule_never_takes_a_write_to_a_replica(session: Connection) -> None:
    code, text = refused(session, "INSERT INTO rules_misled VALUES (2)")
    assert code == 1148
    assert "The rule misled sends this statement to replica, but the statement may write" in text
    assert rows(session, "SELECT COUNT(*) FROM rules_misled") == [(1,)]


def test_prepared_statements_follow_rules_too(proxy: Proxy) -> None:
    import mysql.connector

    with (
        mysql.connector.connect(host="127.0.0.1", port=proxy.port, user="app", password="app", database="app") as own,
        own.cursor(prepared=True) as cursor,
    ):
        cursor.execute("SELECT COUNT(*) FROM rules_old WHERE a < %s", (100,))
        assert cursor.fetchall() == [(1,)]
        with pytest.raises(mysql.connector.Error, match="secrets stay here"):
            cursor.execute("SELECT %s FROM secrets", (1,))


def test_rules_and_read_only_change_while_sessions_run(mariadb: SingleServer, tmp_path: Path) -> None:
    with (
        running_proxy(tmp_path, {"n1": mariadb.port}, service="read_only = false") as proxy,
        connected(proxy.port) as session,
    ):
        rows(session, "DO 0")
        text = proxy.path.read_text()
        proxy.path.write_text(text.replace("read_only = false", "read_only = true"))
        assert "services.app.read_only: false -> true" in proxy.post("/v1/reload", {})["changes"]
        code, message = refused(session, "CREATE TABLE never (a INT)")
        assert (code, "read_only = true" in message) == (1290, True)
        assert rows(session, "SELECT 1") == [(1,)]
        proxy.path.write_text(text + '[[rules]]\nname = "no"\npattern = "TABLE never"\nreject = "no"\n')
        assert "rules.no: added" in proxy.post("/v1/reload", {})["changes"]
        assert refused(session, "CREATE TABLE never (a INT)") == (1148, "no")
        found = proxy.get("/v1/explain?sql=CREATE+TABLE+never+(a+INT)")
        assert found["rules"][0] == "the rule no matches: rejects it"
        assert len(found["digest"]) == 16


def test_a_limit_of_statements_at_a_time_holds(mariadb: SingleServer, tmp_path: Path) -> None:
    rule = '[[rules]]\nname = "few"\npattern = "GET_LOCK"\nmax_concurrent = 1\n'
    with (
        running_proxy(tmp_path, {"n1": mariadb.port}, extra=rule) as proxy,
        connected(mariadb.port) as holder,
        connected(proxy.port) as first,
        connected(proxy.port) as second,
    ):
        rows(holder, "SELECT GET_LOCK('few', 10)")
        waiting = threading.Thread(target=lambda: rows(first, "SELECT GET_LOCK('few', 20)"))
        waiting.start()
        wait_until(lambda: proxy.get("/v1/rules")[0]["matched"] == 1, 30, "the first one runs")
        assert refused(second, "SELECT GET_LOCK('other', 0)")[0] == 1637
        rows(holder, "SELECT RELEASE_LOCK('few')")
        waiting.join(20)
        assert rows(second, "SELECT GET_LOCK('other', 5)") == [(1,)]

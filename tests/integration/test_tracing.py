"""Traces of statements on a real server, as a collector gets them by OTLP."""

from __future__ import annotations

from collections.abc import Iterator

import mysql.connector
import pymysql
import pytest

from sqlproxy.lab.single import SingleServer
from tests.support.collector import Collector, Span, collecting
from tests.support.mysqlclient import ask, connected, rows
from tests.support.proxy import Proxy, free_port, running_proxy
from tests.support.waiting import wait_until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
NOT_SAMPLED = f"00-{TRACE}-{PARENT}-00"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting(free_port()) as running:
        yield running


@pytest.fixture(scope="module", params=["0", "2"], ids=["one process", "workers"])
def proxy(
    request: pytest.FixtureRequest,
    mariadb: SingleServer,
    collector: Collector,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Proxy]:
    text = f'[tracing]\nendpoint = "http://127.0.0.1:{collector.port}"\nservice_name = "proxy {request.param}"\n'
    ask(mariadb.port, "CREATE OR REPLACE TABLE traced (a INT PRIMARY KEY)")
    ask(mariadb.port, "INSERT INTO traced VALUES (1), (2)")
    directory = tmp_path_factory.mktemp("tracing")
    env = {"SQLPROXY_WORKERS": request.param, "NO_PROXY": "127.0.0.1"}
    with running_proxy(directory, {"n1": mariadb.port}, extra=text, env=env) as running:
        yield running


def span_of(collector: Collector, proxy: Proxy, text: str) -> Span:
    """The newest span with this digest from this proxy, once it has come."""
    name = proxy.get("/v1/config")["tracing"]["service_name"]

    def found() -> list[Span]:
        return [span for span in collector.statements(text) if span.service == name]

    wait_until(lambda: bool(found()), 60, f"a span of {text}")
    return found()[-1]


def test_a_statement_with_a_parent_in_a_comment(proxy: Proxy, collector: Collector, mariadb: SingleServer) -> None:
    with connected(proxy.port) as session:
        rows(session, f"SELECT a FROM traced WHERE a IN (1, 2) /*traceparent='{SAMPLED}',controller='index'*/")
    span = span_of(collector, proxy, "SELECT a FROM traced WHERE a IN (...)")
    assert (span.trace, span.parent, span.name, span.failed) == (TRACE, PARENT, "SELECT", False)
    assert collector.paths == {"/v1/traces"}
    wanted = {
        "db.system": "mariadb",
        "db.namespace": "app",
        "db.operation.name": "SELECT",
        "db.response.returned_rows": 2,
        "server.address": "127.0.0.1",
        "server.port": mariadb.port,
        "sqlproxy.service": "app",
        "sqlproxy.target": "n1",
        "sqlproxy.user": "app",
    }
    assert {key: span.attributes.get(key) for key in wanted} == wanted
    assert span.attributes["sqlproxy.role"]
    assert span.attributes["sqlproxy.reason"]
    assert 0 < span.seconds < 60


def test_only_what_is_to_be_sampled_is(proxy: Proxy, collector: Collector) -> None:
    with connected(proxy.port) as session:
        rows(session, "SELECT a AS without FROM traced")
        rows(session, f"SELECT a AS unsampled FROM traced /*traceparent='{NOT_SAMPLED}'*/")
        rows(session, f"SELECT a AS line FROM traced -- traceparent={SAMPLED}")
    assert span_of(collector, proxy, "SELECT a AS line FROM traced").parent == PARENT
    texts = {span.attributes.get("db.query.text") for span in collector.spans}
    assert not texts & {"SELECT a AS without FROM traced", "SELECT a AS unsampled FROM traced"}


def test_an_error_has_its_number_and_no_literal_gets_out(proxy: Proxy, collector: Collector) -> None:
    with connected(proxy.port) as session:
        with pytest.raises(pymysql.MySQLError):
            rows(session, f"INSERT INTO traced VALUES (1) /*traceparent='{SAMPLED}'*/")
        with pytest.raises(pymysql.MySQLError):
            rows(session, f"SELECT 'secret' FROM traced WHERE nothing = 'secret' /*traceparent='{SAMPLED}'*/")
    span = span_of(collector, proxy, "INSERT INTO traced VALUES (...)")
    assert span.failed
    assert span.attributes["error.type"] == "1062"
    assert span.attributes["sqlproxy.fault"] == "server"
    span_of(collector, proxy, "SELECT ? FROM traced WHERE nothing = ?")
    assert not any("secret" in str(span) for span in collector.spans)


def test_a_prepared_statement_has_the_parent_it_was_prepared_with(proxy: Proxy, collector: Collector) -> None:
    connection = mysql.connector.connect(
        host="127.0.0.1", port=proxy.port, user="app", password="app", database="app", use_pure=True, ssl_disabled=True
    )
    try:
        with connection.cursor(prepared=True) as cursor:
            cursor.execute(f"SELECT a FROM traced WHERE a = %s /*traceparent='{SAMPLED}'*/", (2,))
            assert cursor.fetchall() == [(2,)]
    finally:
        connection.close()
    assert span_of(collector, proxy, "SELECT a FROM traced WHERE a = ?").parent == PARENT


def test_a_collector_that_is_gone_costs_counters_and_a_line(proxy: Proxy, collector: Collector) -> None:
    def failed() -> int:
        return int(proxy.get("/v1/services")[0]["spans_failed"])

    collector.refusing = True
    try:
        with connected(proxy.port) as session:
            for number in range(20):
                rows(session, f"SELECT {number} AS lost /*traceparent='{SAMPLED}'*/")
        wait_until(lambda: failed() >= 20, 60, "the spans are counted as lost")
    finally:
        collector.refusing = False
    assert "does not take spans; what it does not take is lost" in proxy.log
    assert "Traceback" not in proxy.log
    with connected(proxy.port) as session:
        rows(session, f"SELECT 1 AS again /*traceparent='{SAMPLED}'*/")
    assert span_of(collector, proxy, "SELECT ? AS again").trace == TRACE


def test_by_chance_and_by_reload(proxy: Proxy, collector: Collector) -> None:
    proxy.path.write_text(proxy.path.read_text().replace("[tracing]\n", "[tracing]\nratio = 1.0\n"))
    assert "tracing.ratio: 0 -> 1" in proxy.post("/v1/reload", {})["changes"]
    with connected(proxy.port) as session:
        rows(session, "SELECT a AS chance FROM traced")
    span = span_of(collector, proxy, "SELECT a AS chance FROM traced")
    assert (span.parent, span.trace != TRACE) == ("", True)

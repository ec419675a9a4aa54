"""The probe with a connection that behaves as the test says: no sockets here."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Callable
from typing import Any

import aiomysql
import pytest
from pydantic import SecretStr

from sqlproxy.config import MonitorConfig
from sqlproxy.monitor import probe as module
from sqlproxy.monitor.galera import Galera
from sqlproxy.monitor.probe import REOPEN_SHARE, Probe, ProbeError, tls_context
from sqlproxy.topology.model import Address, NodeReport, Server, ServerTLS
from tests.support.virtualtime import virtual

from .cases import rows

CONFIG = MonitorConfig(user="watcher", password=SecretStr("geheim"), timeout=0.05)


class FakeConnection:
    """Stands in for an aiomysql connection; ``on_rows`` and ``on_open`` raise or wait as a test wants."""

    made: list[FakeConnection]
    on_open: Callable[[FakeConnection], Any]
    on_rows: Callable[[FakeConnection], Any]

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.statements: list[str] = []
        self.asked = 0
        self.dropped = False
        self.server_version = "5.5.5-10.11.19-MariaDB"
        self.server_capabilities = 0x82FFF7FE
        self.server_language = 45
        self.made.append(self)

    async def open(self) -> None:
        if (waiting := self.on_open()) is not None:
            await waiting

    async def query(self, statement: str) -> None:
        self.statements.append(statement)
        if "dirty" in statement:
            raise aiomysql.OperationalError(1193, "Unknown system variable 'wsrep_dirty_reads'")

    async def rows(self, sql: str) -> dict[str, str]:
        self.asked += 1
        if (waiting := self.on_rows()) is not None:
            await waiting
        return rows()

    def drop(self) -> None:
        self.dropped = True


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> type[FakeConnection]:
    kind = type("Fake", (FakeConnection,), {"made": [], "on_open": lambda self: None, "on_rows": lambda self: None})
    monkeypatch.setattr(module, "_Connection", kind)
    return kind


def probe(tls: ServerTLS | None = None, address: Address | None = None) -> Probe:
    server = Server("n1", address or Address("db1", 3306), tls=tls or ServerTLS("disabled"))
    return Probe(server, CONFIG, Galera())


def failing(error: Exception, times: int = 99) -> Callable[[FakeConnection], None]:
    left = [times]

    def fail(self: FakeConnection) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise error

    return fail


async def test_the_report_carries_the_facts_and_the_greeting(connections: type[FakeConnection]) -> None:
    report = await probe().report()
    assert report.error == ""
    assert report.facts == rows()
    assert report.version == "5.5.5-10.11.19-MariaDB"
    assert (report.capabilities, report.collation) == (0x82FFF7FE, 45)


async def test_the_connection_is_kept_and_prepared_once_ignoring_unknown_variables(
    connections: type[FakeConnection],
) -> None:
    one = probe()
    for _ in range(3):
        assert (await one.report()).error == ""
    assert len(connections.made) == 1
    assert connections.made[0].statements == list(Galera.SETUP)
    assert connections.made[0].options["autocommit"] is True


async def test_a_kept_connection_that_died_is_replaced_within_the_same_report(
    connections: type[FakeConnection],
) -> None:
    one = probe()
    await one.report()
    connections.on_rows = failing(aiomysql.OperationalError(2013, "Lost connection"), 1)  # type: ignore[method-assign]
    assert (await one.report()).error == ""
    first, second = connections.made
    assert (first.dropped, second.dropped) == (True, False)


async def test_a_server_that_drops_the_connection_and_greets_no_new_one_is_not_waited_for(
    connections: type[FakeConnection],
) -> None:
    one = probe()
    await one.report()
    connections.on_rows = failing(aiomysql.OperationalError(2013, "Lost connection"))  # type: ignore[method-assign]
    connections.on_open = lambda self: asyncio.Event().wait()  # type: ignore[method-assign, assignment]
    assert (await one.report()).error == "it dropped the connection and greets no new one"
    assert [c.dropped for c in connections.made] == [True, True]


@virtual
async def test_a_new_connection_that_is_greeted_in_time_may_take_as_long_as_any(
    connections: type[FakeConnection],
) -> None:
    one = probe()
    await one.report()
    connections.on_rows = failing(aiomysql.OperationalError(2013, "Lost connection"), 1)  # type: ignore[method-assign]

    async def slowly(self: FakeConnection) -> None:
        self.options["on_greeting"]()
        await asyncio.sleep(CONFIG.timeout * 2 * REOPEN_SHARE)

    connections.on_open = slowly  # type: ignore[method-assign]
    assert (await one.report()).error == ""


async def test_a_fresh_connection_is_not_tried_twice(connections: type[FakeConnection]) -> None:
    connections.on_rows = failing(aiomysql.OperationalError(2013, "Lost connection"))  # type: ignore[method-assign]
    report = await probe().report()
    assert report.error == "connection lost"
    assert [c.dropped for c in connections.made] == [True]


async def test_a_server_that_never_answers_costs_one_timeout_and_no_second_connection(
    connections: type[FakeConnection],
) -> None:
    one = probe()
    await one.report()
    connections.on_rows = lambda self: asyncio.Event().wait()  # type: ignore[method-assign]
    report = await one.report()
    assert report.error == "no answer within 0.05s"
    assert [c.dropped for c in connections.made] == [True]


async def test_a_probe_cut_short_drops_its_connection(connections: type[FakeConnection]) -> None:
    connections.on_open = lambda self: asyncio.Event().wait()  # type: ignore[method-assign]
    task = asyncio.ensure_future(probe().report())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert connections.made[0].dropped


async def test_a_process_that_was_itself_stopped_asks_again_before_it_blames_the_server(
    connections: type[FakeConnection],
) -> None:
    connections.on_rows = failing(TimeoutError(), 1)  # type: ignore[method-assign]
    times = iter([0.0, 60.0])
    one = Probe(Server("n1", Address("db1", 3306)), CONFIG, Galera(), now=lambda: next(times, 60.0))
    assert (await one.report()).error == ""
    connections.on_rows = failing(TimeoutError())  # type: ignore[method-assign]
    times = iter([100.0, 160.0])
    assert (await one.report()).error == "no answer within 0.05s"


async def test_close_drops_the_kept_connection(connections: type[FakeConnection]) -> None:
    one = probe()
    await one.report()
    one.close()
    one.close()
    assert connections.made[0].dropped


def wrapped(cause: OSError) -> aiomysql.OperationalError:
    error = aiomysql.OperationalError(2003, "Can't connect to MySQL server on 'db1'")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (wrapped(ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")), "connection refused"),
        (wrapped(ConnectionResetError(errno.ECONNRESET, "x")), "connection reset by peer"),
        (wrapped(OSError("Multiple exceptions: …")), "Multiple exceptions: …"),
        (aiomysql.OperationalError(2013, "Lost connection to MySQL server"), "connection lost"),
        (
            aiomysql.OperationalError(1053, "Server shutdown in progress"),
            "n1 answers the monitor user 'watcher' with error 1053: Server shutdown in progress",
        ),
        (ProbeError("the server offers no TLS"), "the server offers no TLS"),
        (IndexError("index out of range"), "the answer could not be understood: IndexError: index out of range"),
    ],
)
async def test_failures_become_sentences_without_the_password(
    connections: type[FakeConnection], failure: Exception, sentence: str
) -> None:
    connections.on_open = failing(failure)  # type: ignore[method-assign]
    report = await probe().report()
    assert isinstance(report, NodeReport)
    assert (report.error, report.refusal) == (sentence, "")
    assert "geheim" not in repr(report)


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (
            aiomysql.OperationalError(1045, "Access denied for user 'watcher'@'localhost'"),
            "n1 refuses the monitor user 'watcher': Access denied for user 'watcher'@'localhost'",
        ),
        (
            aiomysql.OperationalError(1227, "Access denied; you need PROCESS"),
            "n1 answers the monitor user 'watcher' with error 1227: Access denied; you need PROCESS",
        ),
        (
            aiomysql.OperationalError(1040, "Too many connections"),
            "n1 answers the monitor user 'watcher' with error 1040: Too many connections",
        ),
    ],
)
async def test_a_server_that_does_not_let_the_monitor_look_is_alive(
    connections: type[FakeConnection], failure: Exception, sentence: str
) -> None:
    connections.on_open = failing(failure)  # type: ignore[method-assign]
    report = await probe().report()
    assert (report.error, report.refusal) == ("", sentence)
    assert "geheim" not in repr(report)


@pytest.mark.parametrize(
    ("mode", "required", "context"),
    [("disabled", False, False), ("preferred", False, True), ("required", True, True), ("verify_ca", True, True)],
)
async def test_the_tls_mode_decides_what_is_offered_and_what_is_required(
    connections: type[FakeConnection], mode: str, required: bool, context: bool
) -> None:
    await probe(ServerTLS(mode)).report()
    options = connections.made[0].options
    assert options["tls_required"] is required
    assert (options["ssl"] is not None) is context


async def test_a_unix_socket_is_encrypted_only_on_demand(connections: type[FakeConnection]) -> None:
    path = Address(path="/run/mysqld.sock")
    await probe(ServerTLS("preferred"), path).report()
    await probe(ServerTLS("required"), path).report()
    assert [c.options["ssl"] is not None for c in connections.made] == [False, True]
    assert connections.made[0].options["unix_socket"] == "/run/mysqld.sock"


async def test_a_missing_certificate_is_an_error_of_the_report(connections: type[FakeConnection]) -> None:
    report = await probe(ServerTLS("verify_ca", ca="/nowhere/ca.pem")).report()
    assert report.error == "its tls files /nowhere/ca.pem cannot be used: No such file or directory"


def test_each_mode_verifies_what_it_says() -> None:
    assert tls_context(ServerTLS("required")).verify_mode is ssl.CERT_NONE
    verify_ca = tls_context(ServerTLS("verify_ca"))
    assert (verify_ca.verify_mode, verify_ca.check_hostname) == (ssl.CERT_REQUIRED, False)
    assert tls_context(ServerTLS("verify_identity")).check_hostname is True

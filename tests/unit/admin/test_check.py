"""What `sqlproxy check` finds; servers answer as scripted, no server is connected to."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from sqlproxy.accounts import loader
from sqlproxy.accounts.model import Account, Accounts
from sqlproxy.admin import check as module
from sqlproxy.admin.check import check, passed, port
from sqlproxy.admin.finding import Finding, Level
from sqlproxy.config import MonitorConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.monitor import tokens
from sqlproxy.monitor.base import Flavour
from sqlproxy.topology.model import Address, NodeReport, Server
from sqlproxy.wire.auth import Method

from .conftest import settings

GALERA = {
    "wsrep_on": "ON",
    "wsrep_cluster_status": "Primary",
    "wsrep_ready": "ON",
    "wsrep_connected": "ON",
    "wsrep_local_state": "4",
    "wsrep_local_state_comment": "Synced",
    "wsrep_cluster_conf_id": "3",
    "wsrep_cluster_size": "3",
    "wsrep_cluster_state_uuid": "0c5f0e1c-0000-11ee-8000-000000000001",
    "wsrep_desync": "OFF",
    "wsrep_reject_queries": "NONE",
    "read_only": "OFF",
    "innodb_flush_log_at_trx_commit": "1",
}
Answers = dict[str, dict[str, str] | str]


class ScriptedProbe:
    """Takes the place of monitor.probe.Probe; a text instead of facts is the error."""

    answers: Answers

    def __init__(self, server: Server, settings: MonitorConfig, flavour: Flavour) -> None:
        self._server = server

    async def report(self) -> NodeReport:
        answer = self.answers[self._server.name]
        if isinstance(answer, str):
            return NodeReport(self._server.name, time.monotonic(), answer)
        facts = {"sqlproxy_now": str(time.time()), **answer}
        return NodeReport(self._server.name, time.monotonic(), version="5.5.5-10.11.19-MariaDB", facts=facts)

    def close(self) -> None:
        pass


NATIVE = (Method("mysql_native_password", b"*0123"),)
FEW = Accounts((Account("a", "%", NATIVE), Account("b", "%", NATIVE)))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    answers: Answers = {f"n{i + 1}": {**GALERA, "wsrep_local_index": str(i)} for i in range(3)}
    monkeypatch.setattr(ScriptedProbe, "answers", answers, raising=False)
    monkeypatch.setattr(module, "Probe", ScriptedProbe)
    monkeypatch.setattr(tokens, "Probe", ScriptedProbe)

    async def load(server: Server, user: str, password: str, seconds: float) -> Any:
        return FEW

    monkeypatch.setattr(loader, "load", load)
    monkeypatch.setattr(module, "port", lambda subject, address: Finding(Level.OK, subject, f"{address} is free"))
    return answers


async def findings() -> list[tuple[str, str, str]]:
    return [(f.level.value, f.subject, f.text) for f in await check(settings())]


async def test_a_healthy_cluster_passes(answers: Answers) -> None:
    found = await check(settings())
    assert passed(found)
    assert {finding.level for finding in found} == {Level.OK}
    texts = [finding.text for finding in found]
    assert "n1 would be the primary" in texts
    assert "n2: 'monitor' reads 2 accounts" in texts
    assert any(finding.subject == "n1" and "(version 10.11.19-MariaDB)" in finding.text for finding in found)


async def test_a_server_that_is_down_fails_with_its_reason(answers: Answers) -> None:
    answers["n2"] = "connection refused"
    found = await check(settings())
    assert not passed(found)
    assert Finding(Level.FAIL, "n2", "down: connection refused") in found
    assert not [f for f in found if f.text.startswith("n2: 'monitor' reads")]


async def test_no_primary_fails(answers: Answers) -> None:
    for name in answers:
        answers[name] = "no answer within 1s"
    assert ("fail", "galera", "no server can be the primary, so nothing could be written") in await findings()


async def test_missing_grants_fail_in_the_loaders_words(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(server: Server, user: str, password: str, seconds: float) -> Any:
        raise SqlproxyError(f"{server.name}: m@% may not read the grant tables: GRANT SELECT ON mysql.* TO 'm'@'%'")

    monkeypatch.setattr(loader, "load", load)
    found = await findings()
    assert ("fail", "accounts", "n1: m@% may not read the grant tables: GRANT SELECT ON mysql.* TO 'm'@'%'") in found


async def test_static_accounts_need_no_grants_but_users(answers: Answers) -> None:
    found = await check(settings(accounts={"source": "static"}))
    assert Finding(Level.FAIL, "accounts", "0 static accounts") in found


async def test_a_clock_that_is_off_is_told(answers: Answers) -> None:
    assert isinstance(answers["n3"], dict)
    answers["n3"]["sqlproxy_now"] = str(time.time() - 3600)
    (text,) = [text for level, subject, text in await findings() if (level, subject) == ("warn", "n3")]
    assert text.startswith("its clock is 3600.")
    assert text.endswith(" s behind this machine's")


async def test_what_several_servers_have_in_common_is_one_line(answers: Answers) -> None:
    for facts in answers.values():
        assert isinstance(facts, dict)
        facts["innodb_flush_log_at_trx_commit"] = "2"
    found = [text for level, subject, text in await findings() if (level, subject) == ("warn", "n1, n2, n3")]
    assert [text.partition(":")[0] for text in found] == ["innodb_flush_log_at_trx_commit=2"]


async def test_a_server_that_is_down_is_not_linted(answers: Answers) -> None:
    answers["n2"] = "connection refused"
    assert [text for _, subject, text in await findings() if subject == "n2"] == ["down: connection refused"]


def test_a_port_is_free_or_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address(host="127.0.0.1", port=taken.getsockname()[1])
        assert port("app", address).level is Level.WARN
    assert port("app", address) == Finding(Level.OK, "app", f"{address} is free")


def test_an_address_of_another_machine_cannot_be_listened_at() -> None:
    finding = port("app", Address(host="192.0.2.1", port=4006))
    assert finding == Finding(
        Level.FAIL, "app", "192.0.2.1:4006 cannot be listened at: Cannot assign requested address"
    )


def test_unix_sockets_are_free_stale_in_use_or_impossible(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    address = Address(path=str(path))
    assert port("app", address).level is Level.OK
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert port("app", address).level is Level.WARN
    assert port("app", address).level is Level.OK  # the file is left, nobody listens
    assert port("app", Address(path=str(tmp_path / "none" / "x"))).text.endswith("No such file or directory")

"""The table that exactly_once needs, as `sqlproxy check` sees it; no server is connected to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sqlproxy.admin import check as check_module
from sqlproxy.admin import tables
from sqlproxy.admin.check import Finding, Level
from sqlproxy.config import MonitorConfig, Settings
from sqlproxy.topology.model import NodeReport, Server

from .conftest import settings

NAME = "sqlproxy.commit_token"
SERVICES = [{"name": "app", "listen": "127.0.0.1:4006", "exactly_once": True}]
Asked = list[tuple[str, str, str]]  # server, user, statement
REFUSED: set[str] = set()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the servers are asked; they refuse the users in ``REFUSED``, "" is the monitor."""
    found: Asked = []

    async def execute(
        server: Server,
        config: MonitorConfig,
        statements: Sequence[str],
        seconds: float,
        user: str = "",
        password: str = "",
    ) -> NodeReport:
        found.extend((server.name, user, statement) for statement in statements)
        return NodeReport(server.name, 0.0, "n1 answers: denied" if user in REFUSED else "")

    REFUSED.clear()
    monkeypatch.setattr(tables, "execute", execute)
    return found


async def findings(settings: Settings, creator: tuple[str, str] | None = None) -> list[Finding]:
    servers = [config.server() for config in settings.servers]
    return [finding async for finding in check_module._tables(settings, servers[:1], creator)]


async def test_without_exactly_once_nobody_is_asked(asked: Asked) -> None:
    assert await findings(settings(), ("", "")) == []
    assert asked == []


async def test_a_table_that_is_there_is_fine_and_nothing_is_made(asked: Asked) -> None:
    found = await findings(settings(services=SERVICES))
    assert found == [Finding(Level.OK, NAME, "is there, and the monitor may clean it up")]
    assert not [statement for _, _, statement in asked if statement.startswith("CREATE")]


async def test_the_table_is_made_as_the_user_given(asked: Asked) -> None:
    await findings(settings(services=SERVICES), ("operator", "secret"))
    made = [(server, user) for server, user, statement in asked if statement.startswith("CREATE")]
    assert made == [("n1", "operator")] * 2


async def test_who_may_not_make_it_is_told_what_to_run(asked: Asked) -> None:
    REFUSED.add("operator")
    (found,) = await findings(settings(services=SERVICES), ("operator", "secret"))
    assert found.level is Level.FAIL
    assert found.text.startswith("cannot be made: n1 answers: denied; make it yourself: CREATE DATABASE IF NOT EXISTS")
    assert f"CREATE TABLE IF NOT EXISTS {NAME} (id BINARY(16)" in found.text


async def test_a_missing_table_names_the_command_and_the_grants(asked: Asked) -> None:
    REFUSED.add("")
    (found,) = await findings(settings(services=SERVICES))
    assert found.level is Level.FAIL
    assert "sqlproxy check --create-tables makes the table" in found.text
    assert f"GRANT INSERT ON {NAME}" in found.text
    assert f"GRANT SELECT, DELETE ON {NAME} TO 'monitor'@'%'" in found.text

"""Purging commit tokens; no server is connected to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from sqlproxy.config import MonitorConfig
from sqlproxy.monitor import tokens
from sqlproxy.monitor.tokens import TokenPurge, purge_before
from sqlproxy.topology.model import Address, NodeReport, Server, Snapshot
from sqlproxy.topology.publisher import Publisher

SERVERS = [Server("n1", Address("127.0.0.1", 1)), Server("n2", Address("127.0.0.1", 2))]


class Servers:
    """Answers in order; what was asked of whom is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: NodeReport) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        monkeypatch.setattr(tokens, "execute", self.execute)

    async def execute(
        self, server: Server, config: MonitorConfig, statements: Sequence[str], seconds: float
    ) -> NodeReport:
        self.asked.append(server.name)
        assert statements[0].startswith("DELETE FROM sqlproxy.commit_token WHERE id < x'")
        return self.answers.pop(0)


def purge_on(primary: str | None) -> TokenPurge:
    publisher = Publisher()
    publisher.publish(Snapshot(1, 0.0, primary=primary))
    return TokenPurge(SERVERS, MonitorConfig(), publisher)


async def test_the_primary_is_asked_batch_after_batch_until_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [NodeReport("n2", 0.0, facts={"more": more}) for more in ("1", "1", "0")]
    servers = Servers(monkeypatch, *left)
    await purge_on("n2").purge()
    assert servers.asked == ["n2"] * 3


async def test_without_a_primary_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = Servers(monkeypatch)
    await purge_on(None).purge()
    assert servers.asked == []


async def test_a_refusal_is_logged_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    servers = Servers(monkeypatch, *[NodeReport("n1", 0.0, "DELETE command denied")] * 2)
    purge = purge_on("n1")
    await purge.purge()
    await purge.purge()
    assert servers.asked == ["n1", "n1"]
    assert [record.getMessage() for record in caplog.records] == [
        "old commit tokens cannot be deleted: DELETE command denied"
    ]


def test_the_bound_is_a_token_of_that_moment() -> None:
    delete, ask = purge_before(1_700_000_000.5)
    bound = (1_700_000_000_500).to_bytes(6).hex()
    assert f"x'{bound}'" in delete
    assert f"x'{bound}'" in ask
    assert delete.endswith("LIMIT 1000")

"""Keeps the table of commit tokens small: what is older than any doubt goes, a little at a time, on the primary."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final

from sqlproxy.config import COMMIT_TOKENS, MonitorConfig
from sqlproxy.monitor.base import Situation, Verdict
from sqlproxy.monitor.probe import Probe
from sqlproxy.topology.model import NodeReport, Server
from sqlproxy.topology.publisher import Publisher

log = logging.getLogger("sqlproxy.monitor")

KEPT: Final = 3600.0  # seconds, far more than any failover_timeout and any clock is off
PERIOD: Final = 60.0  # seconds between two purges
BATCH: Final = 1000  # rows of one transaction: what replication takes in its stride
_SECONDS: Final = 10.0  # for one batch


class Statements:
    """A probe's questions that are there for what they do."""

    causal = ""
    SETUP: tuple[str, ...] = ()

    def __init__(self, statements: Sequence[str]) -> None:
        self.QUERIES = tuple(statements)

    def parse(self, rows: Mapping[str, str]) -> object:
        return rows

    def assess(self, situation: Situation) -> Verdict:
        return Verdict((), None)


async def execute(
    server: Server, config: MonitorConfig, statements: Sequence[str], seconds: float, user: str = "", password: str = ""
) -> NodeReport:
    """Run statements on a server as a user, or else as the monitor; ``facts`` are their (name, value) rows.

    All of them, and the login, within ``seconds``; ``error`` says which of it failed and why.
    """
    changes = {"timeout": seconds, "stale_after": 3 * seconds + config.interval}
    account = {"user": user, "password": password} if user else {}
    probe = Probe(server, MonitorConfig.model_validate({**dict(config), **changes, **account}), Statements(statements))
    try:
        return await probe.report()
    finally:
        probe.close()


def purge_before(at: float) -> tuple[str, str]:
    """Delete a batch of the tokens made before ``at`` (seconds since the epoch) and ask whether there are more.

    A token begins with its milliseconds since the epoch in six bytes, see ``session.exactly_once``.
    """
    bound = f"x'{int(at * 1000).to_bytes(6).hex()}'"
    return (
        f"DELETE FROM {COMMIT_TOKENS} WHERE id < {bound} LIMIT {BATCH}",
        f"SELECT 'more', COUNT(*) FROM (SELECT 1 FROM {COMMIT_TOKENS} WHERE id < {bound} LIMIT 1) AS found",
    )


class TokenPurge:
    """``run`` until cancelled. Several proxies may purge at the same time."""

    def __init__(self, servers: Sequence[Server], config: MonitorConfig, publisher: Publisher) -> None:
        self._servers = {server.name: server for server in servers}
        self._config = config
        self._publisher = publisher
        self._refused = ""

    async def run(self) -> None:
        """A purge every minute."""
        while True:
            await asyncio.sleep(PERIOD)
            await self.purge()

    async def purge(self) -> None:
        """Batch after batch while there is a primary; a refusal is logged once."""
        statements = purge_before(time.time() - KEPT)
        while (primary := self._publisher.snapshot.primary) is not None:
            report = await execute(self._servers[primary], self._config, statements, _SECONDS)
            if report.error and report.error != self._refused:
                log.warning("old commit tokens cannot be deleted: %s", report.error)
            self._refused = report.error
            if report.error or report.facts.get("more") != "1":
                return

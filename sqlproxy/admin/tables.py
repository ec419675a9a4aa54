"""The tables that the proxy needs in the servers: are they there, and making them (``check --create-tables``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlproxy.config import COMMIT_TOKENS, Settings
from sqlproxy.monitor.tokens import execute, purge_before
from sqlproxy.topology.model import Server

_SECONDS: Final = 30.0  # for a statement that the whole cluster has to agree upon
COMMIT_TOKEN: Final = (
    f"CREATE DATABASE IF NOT EXISTS {COMMIT_TOKENS.split('.')[0]}",
    f"CREATE TABLE IF NOT EXISTS {COMMIT_TOKENS} (id BINARY(16) NOT NULL PRIMARY KEY) ENGINE=InnoDB"
    " COMMENT='a row for each recent transaction through sqlproxy with exactly_once'",
)


def grants(monitor: str) -> Sequence[str]:
    """What the monitor must be allowed for cleaning up, and every user of the application."""
    return (
        f"GRANT SELECT, DELETE ON {COMMIT_TOKENS} TO '{monitor}'@'%'",
        f"GRANT INSERT ON {COMMIT_TOKENS} TO …, every user of the application",
    )


async def create(settings: Settings, server: Server, user: str = "", password: str = "") -> str:
    """Make on a server (the cluster replicates it) what the settings need, as a user or else as the monitor.

    The result is the reason why it cannot be done, "" when all is there.
    """
    if not settings.exactly_once:
        return ""
    return (await execute(server, settings.monitor, COMMIT_TOKEN, _SECONDS, user, password)).error


async def missing(settings: Settings, server: Server) -> str:
    """Why the proxy cannot work with its tables on a server, "" when it can."""
    if not settings.exactly_once:
        return ""
    return (await execute(server, settings.monitor, purge_before(0.0), _SECONDS)).error

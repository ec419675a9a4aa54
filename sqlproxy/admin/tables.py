"""The tables that the proxy needs in the servers, and making them: ``sqlproxy check --create-tables``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlproxy.config import Settings
from sqlproxy.session.exactly_once import TABLE

_DATABASE: Final = TABLE.split(".")[0]
COMMIT_TOKEN: Final = (
    f"CREATE DATABASE IF NOT EXISTS {_DATABASE}",
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id BINARY(16) NOT NULL PRIMARY KEY) ENGINE=InnoDB"
    " COMMENT='one row for each recent transaction through sqlproxy with exactly_once'",
)


def needed(settings: Settings) -> Sequence[str]:
    """The statements that make what these settings need; none when they need nothing."""
    return COMMIT_TOKEN if any(service.exactly_once for service in settings.services) else ()


def grants(settings: Settings, user: str) -> Sequence[str]:
    """What a user of a service with ``exactly_once`` must be allowed, and the monitor to clean up."""
    monitor = settings.monitor.user
    return (
        f"GRANT INSERT ON {TABLE} TO '{user}'@'%'",
        f"GRANT SELECT, DELETE ON {TABLE} TO '{monitor}'@'%'",
    )

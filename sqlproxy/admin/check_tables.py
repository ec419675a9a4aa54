"""Tables of the application that a cluster cannot keep safe: without a primary key, or not InnoDB."""

from __future__ import annotations

from typing import Final

from sqlproxy.admin.finding import Finding, Level
from sqlproxy.config import Settings
from sqlproxy.monitor.tokens import execute
from sqlproxy.topology.model import Server

_SECONDS: Final = 10.0
_SHOWN: Final = 5  # tables of one finding
_COUNT: Final = "sqlproxy_tables"
_NO_KEY: Final = "no primary key"
_OF_APPLICATIONS: Final = (
    "t.TABLE_TYPE = 'BASE TABLE' AND t.TABLE_SCHEMA NOT IN"
    " ('mysql', 'sys', 'information_schema', 'performance_schema', 'sqlproxy')"
)
_QUERIES: Final = (
    f"SELECT '{_COUNT}', COUNT(*) FROM information_schema.TABLES t WHERE {_OF_APPLICATIONS}",
    f"SELECT CONCAT(t.TABLE_SCHEMA, '.', t.TABLE_NAME), IF(t.ENGINE = 'InnoDB', '{_NO_KEY}', t.ENGINE)"
    " FROM information_schema.TABLES t LEFT JOIN information_schema.TABLE_CONSTRAINTS c"
    " ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME AND c.CONSTRAINT_TYPE = 'PRIMARY KEY'"
    f" WHERE {_OF_APPLICATIONS} AND (c.CONSTRAINT_NAME IS NULL OR t.ENGINE <> 'InnoDB')"
    " ORDER BY 1 LIMIT 1000",
)


async def look(server: Server, settings: Settings, user: str = "", password: str = "") -> list[Finding]:
    """What one server's tables say, as far as the user (else the monitor) may see them; Galera only."""
    if settings.monitor.topology != "galera":
        return []
    report = await execute(server, settings.monitor, _QUERIES, _SECONDS, user, password)
    if report.error:
        return [Finding(Level.WARN, "tables", f"cannot be looked at: {report.error}")]
    facts = dict(report.facts)
    count = facts.pop(_COUNT, "0")
    if count == "0":
        who = user or settings.monitor.user
        return [Finding(Level.OK, "tables", f"{who!r} sees none: --user looks as somebody else")]
    keyless = [name for name, reason in facts.items() if reason == _NO_KEY]
    engines = [f"{name} ({engine})" for name, engine in facts.items() if engine != _NO_KEY]
    found = []
    if keyless:
        text = f"{_named(keyless)}: without a primary key rows are slow to apply, and DELETE is not supported"
        found.append(Finding(Level.WARN, "tables", text, "ALTER TABLE … ADD PRIMARY KEY"))
    if engines:
        text = f"{_named(engines)}: only InnoDB is replicated safely"
        found.append(Finding(Level.WARN, "tables", text, "ALTER TABLE … ENGINE = InnoDB"))
    return found or [Finding(Level.OK, "tables", f"{count} tables, all InnoDB with a primary key")]


def _named(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")

"""MaxScale's filters that become ``[[rules]]``: namedserverfilter, regexfilter, maxrows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from sqlproxy.migrate import ini
from sqlproxy.migrate.draft import Draft, Table, plain, said

_ROLES: Final = {"->master": "primary", "->slave": "replica"}
Servers = Mapping[str, str]  # MaxScale's name to ours


def _table(section: ini.Section, services: list[str], number: str = "") -> Table:
    """A rule of the filter's name, for the services that use it and the users it is for."""
    table: Table = {"name": plain(f"{section.name}{number}", "rule"), "service": services, "stop": False}
    user, source = section.text("user"), section.text("source")
    if user:
        table["user"] = [user]
    if source and "%" not in source:
        table["client"] = [source]
    return table


def _named_servers(draft: Draft, section: ini.Section, services: list[str], servers: Servers) -> None:
    """``match``/``server``, or ``match01``/``target01`` and on: the first that matches decides."""
    for suffix in ("", *(f"{number:02}" for number in range(1, 26))):
        match, target = section.take(f"match{suffix}"), section.take(f"target{suffix}", f"server{suffix}")
        if match is None or target is None:
            continue
        name = target.value.split(",")[0].strip()
        route = _ROLES.get(name.lower()) or (f"server={servers[name]}" if name in servers else "")
        if not route:
            draft.lost(target.line, said(target.key, target.value), "is no server or role that a rule could name")
            continue
        table = _table(section, services, f"-{suffix}" if suffix else "")
        draft.add_rule({**table, "pattern": match.value, "match": "statement", "route": route}, match.line, match.value)


def _rewritten(draft: Draft, section: ini.Section, services: list[str], _: Servers) -> None:
    match, replace = section.take("match"), section.take("replace")
    if match is not None and replace is not None:
        table = _table(section, services)
        table |= {"pattern": match.value, "match": "statement", "rewrite": replace.value}
        draft.add_rule(table, match.line, said(match.key, match.value))


def _limited(draft: Draft, section: ini.Section, services: list[str], _: Servers) -> None:
    rows = section.take("max_resultset_rows")
    if rows is not None and rows.value.isdigit() and int(rows.value):
        draft.add_rule(
            {**_table(section, services), "max_rows": int(rows.value)}, rows.line, said(rows.key, rows.value)
        )
    action = section.take("max_resultset_return")
    if action is not None and action.value.lower() != "error":
        draft.lost(action.line, said(action.key, action.value), "a longer answer ends with error 1104")


RULE_FILTERS: Final[Mapping[str, Callable[[Draft, ini.Section, list[str], Servers], None]]] = {
    "namedserverfilter": _named_servers,
    "regexfilter": _rewritten,
    "maxrows": _limited,
}

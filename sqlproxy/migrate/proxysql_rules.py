"""ProxySQL's query rules: those that split reads from writes are not needed, others become ``[[rules]]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlproxy.migrate import values
from sqlproxy.migrate.draft import Draft, Table
from sqlproxy.migrate.tables import Row

_SPLIT: Final = re.compile(r"(\(\?i\))?\^?\s*\(?(SELECT|SHOW|INSERT|UPDATE|DELETE|\.\*?)", re.IGNORECASE)
_NARROWED: Final = (
    "username",
    "schemaname",
    "client_addr",
    "proxy_addr",
    "proxy_port",
    "digest",
    "negate_match_pattern",
)
_DONE: Final = (
    "replace_pattern",
    "error_msg",
    "ok_msg",
    "cache_ttl",
    "mirror_hostgroup",
    "timeout",
    "delay",
    "flagout",
)
_SPLIT_TEXT: Final = "readwritesplit reads every statement: reads go to replicas, all else to the primary"
# What keeps a rule from becoming one of ours: column, whether it does, why.
_OBSTACLES: Final = (
    ("digest", "digests are computed differently: `sqlproxy explain` shows ours, for a [[rules]] table"),
    ("negate_match_pattern", "patterns cannot be negated: put a rule that asks for nothing before the others"),
    ("proxy_port", 'write a [[services]] table for the port, with router = "readconn" and a role'),
    ("proxy_addr", 'write a [[services]] table for the address, with router = "readconn" and a role'),
    ("flagin", "rules are not chained: join their patterns"),
    ("flagout", "rules are not chained: join their patterns"),
    ("ok_msg", "statements are not answered by the proxy; `reject` answers with an error"),
    ("delay", "statements are not slowed down; max_concurrent of a [[rules]] table limits them"),
)


@dataclass(frozen=True, slots=True)
class Hostgroups:
    """``names``: the servers of each hostgroup as ours are called."""

    writers: frozenset[str]
    readers: frozenset[str]
    names: Mapping[str, list[str]]

    def route(self, hostgroup: str) -> str:
        """Where a hostgroup's statements go; "" when there is no telling."""
        if hostgroup in self.writers:
            return "primary"
        if hostgroup in self.readers:
            return "replica"
        servers = self.names.get(hostgroup, [])
        return f"server={servers[0]}" if len(servers) == 1 else ""


def take(draft: Draft, row: Row, hostgroups: Hostgroups) -> None:
    """Account for one row of ``mysql_query_rules``: a rule, or a note."""
    pattern = row.get("match_digest", "match_pattern", "digest")
    what = f"mysql_query_rules {row.get('rule_id')}: {pattern}"
    if row.get("active", default="0") == "0":
        draft.needless(row.line, what, "was not active")
    elif not _is_set(row, *_NARROWED, *_DONE) and _SPLIT.match(pattern):
        draft.needless(row.line, what, _SPLIT_TEXT)
    else:
        obstacle = next((text for column, text in _OBSTACLES if _is_set(row, column)), "")
        if obstacle:
            draft.lost(row.line, what, obstacle)
        else:
            _rule(draft, row, hostgroups, what)


def _is_set(row: Row, *columns: str) -> bool:
    return any(row.get(column) not in ("", "0", "false") for column in columns)


def _rule(draft: Draft, row: Row, hostgroups: Hostgroups, what: str) -> None:
    table: Table = {"name": f"rule-{row.get('rule_id') or row.line}"}
    for theirs, ours in (("username", "user"), ("schemaname", "database"), ("client_addr", "client")):
        if row.get(theirs):
            table[ours] = [row.get(theirs)]
    if row.get("match_digest", "match_pattern"):
        table["pattern"] = row.get("match_digest", "match_pattern")
    if "match_digest" not in row.values and "pattern" in table:
        table["match"] = "statement"
    _effects(draft, row, hostgroups, table, what)
    if row.get("apply", default="0") == "0":
        table["stop"] = False
    draft.add_rule(table, row.line, what)


def _effects(draft: Draft, row: Row, hostgroups: Hostgroups, table: Table, what: str) -> None:
    if row.get("error_msg"):
        table["reject"] = row.get("error_msg")
    if row.get("replace_pattern"):
        table["rewrite"] = row.get("replace_pattern")
    for theirs, ours in (("cache_ttl", "cache"), ("timeout", "timeout")):
        if row.get(theirs).isdigit() and row.get(theirs) != "0":
            table[ours] = values.duration(row.get(theirs), "ms")
    copies = hostgroups.names.get(row.get("mirror_hostgroup"), [])
    if copies:
        table["mirror"] = copies[0]
    destination = row.get("destination_hostgroup")
    route = hostgroups.route(destination)
    if route:
        table["route"] = route
    elif destination:
        text = "the hostgroup is neither of writers nor of readers: name a server or zone as route"
        draft.lost(row.line, f"{what} destination_hostgroup={destination}", text)

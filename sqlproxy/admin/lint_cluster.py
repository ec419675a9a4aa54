"""What the servers say against each other, and the configuration against them. Pure: facts in, findings out."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlproxy.admin.finding import Finding, Level
from sqlproxy.admin.lint_server import provider_options
from sqlproxy.config import Settings
from sqlproxy.topology.model import Address, NodeReport

# What a session sees of a server: it must be the same wherever the session goes.
_ALIKE: Final = (
    *("autocommit", "character_set_server", "collation_server", "default_storage_engine", "lower_case_table_names"),
    *("max_allowed_packet", "sql_mode", "time_zone", "transaction_isolation", "tx_isolation", "version"),
)
_ALIKE_OPTIONS: Final = ("gcs.fc_limit", "evs.suspect_timeout", "evs.inactive_timeout", "pc.weight")
_SHOWN: Final = 40  # characters of a value


def cluster(reports: Sequence[NodeReport], settings: Settings) -> Iterator[Finding]:
    """Differences between the servers that answered, and what their number means."""
    answered = [report for report in reports if report.facts and not report.error]
    for variable in _ALIKE:
        yield from _differences(variable, {r.server: r.facts[variable] for r in answered if variable in r.facts})
    if settings.monitor.topology == "galera":
        options = {report.server: provider_options(report.facts) for report in answered}
        for option in _ALIKE_OPTIONS:
            yield from _differences(option, {name: own[option] for name, own in options.items() if option in own})
        yield from _sizes(answered, settings)
    yield from _alone(settings)


def _differences(variable: str, values: Mapping[str, str]) -> Iterator[Finding]:
    if len(set(values.values())) < 2:
        return
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault(value, []).append(name)
    shown = "; ".join(f"{_cut(value)} on {', '.join(names)}" for value, names in by_value.items())
    text = f"{variable} differs: {shown}"
    fix = "finish the upgrade" if variable == "version" else "set it alike in the files of all servers"
    yield Finding(Level.WARN, "servers", text, fix)


def _cut(value: str) -> str:
    return (value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…") or "''"


def _sizes(answered: Sequence[NodeReport], settings: Settings) -> Iterator[Finding]:
    sizes = {int(text) for report in answered if (text := report.facts.get("wsrep_cluster_size", "")).isdigit()}
    if len(sizes) != 1:
        return
    size = sizes.pop()
    if size <= 2:
        text = f"wsrep_cluster_size={size}: a node that dies leaves no majority, and the rest stops writing"
        yield Finding(
            Level.WARN,
            "galera",
            text if size == 2 else f"wsrep_cluster_size={size}: there is no second node",
            "three nodes, or an arbitrator (garbd)",
        )
    elif size % 2 == 0:
        text = f"wsrep_cluster_size={size}: cut into halves, neither has a majority"
        yield Finding(Level.WARN, "galera", text, "an odd number of nodes, or an arbitrator (garbd)")
    if size > len(settings.servers):
        text = f"wsrep_cluster_size={size}: the configuration names {len(settings.servers)} of its members"
        yield Finding(Level.WARN, "galera", text, "add the others as [[servers]] (an arbitrator is a member, too)")


def _alone(settings: Settings) -> Iterator[Finding]:
    if len(settings.servers) == 1:
        text = "there is one server, so nothing can fail over"
        yield Finding(Level.WARN, "servers", text, "name every server of the cluster")
    elif sum(server.priority > 0 for server in settings.servers) == 1:
        text = "one server alone may be the primary (priority above 0): when it dies nothing can be written"
        yield Finding(Level.WARN, "servers", text, "give another one a priority")
    for service in settings.services:
        if service.servers and settings.monitor.topology == "galera" and len(service.servers) == 1:
            text = "has one server, so nothing can fail over"
            yield Finding(Level.WARN, f"service {service.name}", text, "leave `servers` out")


def privacy(settings: Settings) -> Iterator[Finding]:
    """What crosses networks in clear."""
    for server in settings.servers:
        if server.tls.mode == "disabled" and _is_public(server.address):
            text = f"{server.address} is reached without TLS over an address that is not private"
            yield Finding(Level.WARN, server.name, text, 'tls = { mode = "verify_ca", ca = … }')
    for service in settings.services:
        if service.tls.mode == "disabled" and any(_is_public(address) for address in service.listen):
            text = "listens without TLS at an address that is not private"
            yield Finding(Level.WARN, f"service {service.name}", text, 'mode = "required" in [services.tls]')


def _is_public(address: Address) -> bool:
    try:
        return bool(address.host) and ipaddress.ip_address(address.host).is_global
    except ValueError:  # a name says nothing
        return False

"""What the variables of one server say against it. Pure: facts in, findings out; an unknown variable says nothing.

Sources: the Galera documentation of system variables and wsrep_provider_options, the servers' documentation of theirs,
and Jepsen's analysis of MariaDB Galera Cluster 12.1.2 (2026) for what a crash or a concurrent update can lose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final

from sqlproxy.admin.finding import Finding, Level
from sqlproxy.config import Settings
from sqlproxy.topology.model import NodeReport

CLOCK_TOLERANCE: Final = 2.0  # seconds between a server's clock and ours, above what the probe took
NOW: Final = "sqlproxy_now"  # the fact: seconds the server's clock is ahead of ours
SEEN_FROM: Final = "sqlproxy_seen_from"  # the fact: the proxy's address as the server sees it
PRIVILEGE: Final = "sqlproxy_privilege "  # before the name of a global privilege that the monitor has
VARIABLES: Final = (
    *("autocommit", "binlog_format", "character_set_server", "collation_server", "default_storage_engine", "hostname"),
    *("init_connect", "innodb_autoinc_lock_mode", "innodb_flush_log_at_trx_commit", "innodb_snapshot_isolation"),
    *("log_bin", "lower_case_table_names", "max_allowed_packet", "max_connections", "max_user_connections"),
    *("proxy_protocol_networks", "require_secure_transport", "sql_mode", "sync_binlog", "time_zone", "tx_isolation"),
    *("transaction_isolation", "version", "wait_timeout", "wsrep_certify_nonpk", "wsrep_cluster_name"),
    *(
        "wsrep_node_incoming_address",
        "wsrep_osu_method",
        "wsrep_provider_options",
        "wsrep_sst_method",
        "wsrep_sync_wait",
    ),
)
_BROAD: Final = ("SUPER", "FILE", "SHUTDOWN", "CREATE USER", "INSERT", "UPDATE", "DELETE", "DROP", "GRANT OPTION")
_OPTION: Final = re.compile(r"\s*([\w.]+)\s*=\s*([^;]*?)\s*(?:;|$)")
_PERIOD: Final = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d*)?)S)?")
_ON: Final = ("1", "ON", "YES", "TRUE")

Facts = Mapping[str, str]
Row = tuple[str, Callable[[str], bool], Level, str, str]  # variable, when, severity, text, fix


def _is(*values: str) -> Callable[[str], bool]:
    return lambda value: value.upper() in values


def _is_not(*values: str) -> Callable[[str], bool]:
    return lambda value: value.upper() not in values


_EVERYWHERE: Final[tuple[Row, ...]] = (
    (
        "innodb_flush_log_at_trx_commit",
        _is_not("1"),
        Level.WARN,
        "a crash of the whole cluster can lose acknowledged writes",
        "SET GLOBAL innodb_flush_log_at_trx_commit = 1",
    ),
    (
        "innodb_snapshot_isolation",
        _is("OFF", "0"),
        Level.WARN,
        "REPEATABLE READ can lose an update to a row that another transaction has changed since it was read",
        "SET GLOBAL innodb_snapshot_isolation = ON",
    ),
    (
        "autocommit",
        _is("OFF", "0"),
        Level.WARN,
        "every statement is in a transaction, so reads go to the primary",
        "SET GLOBAL autocommit = ON",
    ),
    (
        "init_connect",
        _is_not(""),
        Level.WARN,
        "what it sets is no part of a session's history, and differs where servers differ",
        "SET GLOBAL init_connect = ''",
    ),
    (
        "default_storage_engine",
        _is_not("INNODB", "XTRADB", "ROCKSDB"),
        Level.WARN,
        "tables of this engine are not transactional, so nothing can be rolled back or replayed",
        "SET GLOBAL default_storage_engine = InnoDB",
    ),
)
_IN_GALERA: Final[tuple[Row, ...]] = (
    (
        "wsrep_sync_wait",
        _is_not("0"),
        Level.WARN,
        "every statement waits for the cluster; causal_reads waits only where a session has written",
        "SET GLOBAL wsrep_sync_wait = 0",
    ),
    ("binlog_format", _is_not("ROW"), Level.FAIL, "Galera replicates rows only", "SET GLOBAL binlog_format = ROW"),
    (
        "innodb_autoinc_lock_mode",
        _is_not("2"),
        Level.WARN,
        "appliers can deadlock on AUTO_INCREMENT",
        "innodb_autoinc_lock_mode = 2 in the server's file, and a restart",
    ),
    (
        "wsrep_certify_nonpk",
        _is("OFF", "0"),
        Level.FAIL,
        "changes to tables without a primary key are not certified, and nodes can come to differ",
        "SET GLOBAL wsrep_certify_nonPK = ON",
    ),
    (
        "wsrep_osu_method",
        _is_not("TOI"),
        Level.WARN,
        "schema changes are not replicated, so sessions find other tables after a failover",
        "SET GLOBAL wsrep_OSU_method = TOI",
    ),
    (
        "wsrep_node_incoming_address",
        _is("AUTO", ""),
        Level.WARN,
        "the cluster does not know the node's SQL address, by which views of it are compared",
        "wsrep_node_incoming_address = ADDRESS:PORT in the server's file, and a restart",
    ),
)
_REPLICATED: Final[tuple[Row, ...]] = (
    (
        "sync_binlog",
        _is_not("1"),
        Level.WARN,
        "after a crash replicas can have writes that the primary has lost",
        "SET GLOBAL sync_binlog = 1",
    ),
)


def server(report: NodeReport, settings: Settings) -> Iterator[Finding]:
    """Everything about one server; nothing for a server that did not answer."""
    facts, name = report.facts, report.server
    yield from _clock(facts, name, settings)
    rows = list(_EVERYWHERE)
    if settings.monitor.topology == "galera":
        rows += _IN_GALERA
        yield from _provider(facts, name, settings)
    elif facts.get("log_bin", "").upper() in _ON:
        rows += _REPLICATED
    for variable, when, level, text, fix in rows:
        if variable in facts and when(facts[variable]):
            value = facts[variable] if len(facts[variable]) <= 40 else f"{facts[variable][:40]}…"
            yield Finding(level, name, f"{variable}={value}: {text}", fix)
    yield from _limits(facts, name, settings)
    yield from _door(facts, name, settings)
    yield from _privileges(facts, settings.monitor.user, name)


def _clock(facts: Facts, name: str, settings: Settings) -> Iterator[Finding]:
    with suppress(ValueError, KeyError):
        skew = float(facts[NOW])
        if abs(skew) > CLOCK_TOLERANCE + settings.monitor.timeout:
            text = f"its clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
            yield Finding(Level.WARN, name, text, "run a time service (chrony, systemd-timesyncd) on all machines")


def provider_options(facts: Facts) -> dict[str, str]:
    """``wsrep_provider_options``, taken apart."""
    return dict(_OPTION.findall(facts.get("wsrep_provider_options", "")))


def seconds(period: str) -> float:
    """Seconds of an ISO 8601 period such as PT5S or PT1M30S. Raises ValueError."""
    match = _PERIOD.fullmatch(period)
    if match is None or period == "PT":
        raise ValueError(f"{period!r} is no period")
    hours, minutes, rest = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + rest


def _provider(facts: Facts, name: str, settings: Settings) -> Iterator[Finding]:
    options = provider_options(facts)
    for option in ("pc.ignore_sb", "pc.ignore_quorum"):
        if options.get(option, "").upper() in _ON:
            text = f"{option}={options[option]}: two halves of the cluster go on writing when they lose each other"
            yield Finding(Level.FAIL, name, text, f"SET GLOBAL wsrep_provider_options = '{option}=false'")
    with suppress(ValueError):
        suspect = seconds(options.get("evs.suspect_timeout", "PT0S"))
        short = [s for s in settings.services if 0 < s.failover_timeout <= suspect + settings.monitor.interval]
        for service in short:
            text = (
                f"evs.suspect_timeout={options['evs.suspect_timeout']}: the cluster takes longer to give up a dead node"
                f" than service {service.name} lets statements wait (failover_timeout {service.failover_timeout:g}s)"
            )
            yield Finding(Level.WARN, name, text, f"failover_timeout of at least {suspect * 2:g}s")
    method = facts.get("wsrep_sst_method", "")
    if settings.monitor.available_when_donor and method in ("rsync", "rsync_wan", "mysqldump"):
        text = f"wsrep_sst_method={method}: blocks the donor, so available_when_donor has no effect"
        yield Finding(Level.WARN, name, text, "SET GLOBAL wsrep_sst_method = mariabackup")


def _limits(facts: Facts, name: str, settings: Settings) -> Iterator[Finding]:
    for service in settings.services:
        if service.servers and name not in service.servers:
            continue
        with suppress(ValueError, KeyError):
            wait, keepalive = float(facts["wait_timeout"]), service.connection_keepalive
            if not keepalive or keepalive >= wait:
                shown = f"{keepalive:g}s" if keepalive else "never"
                text = f"wait_timeout={wait:g}: idle connections end before service {service.name} pings them ({shown})"
                yield Finding(
                    Level.WARN, name, text, f'connection_keepalive = "{max(1, int(wait / 2))}s" in the service'
                )
        with suppress(ValueError, KeyError):
            packet = int(facts["max_allowed_packet"])
            if "max_allowed_packet" in service.model_fields_set and service.max_allowed_packet > packet:
                text = f"max_allowed_packet={packet}: smaller than that of service {service.name}"
                fix = f"SET GLOBAL max_allowed_packet = {service.max_allowed_packet}, or less in the service"
                yield Finding(Level.WARN, name, text, fix)
        with suppress(ValueError, KeyError):
            limit = int(facts["max_connections"])
            if service.max_connections > limit:
                text = f"max_connections={limit}: service {service.name} takes {service.max_connections} sessions"
                yield Finding(Level.WARN, name, text, f"SET GLOBAL max_connections = {service.max_connections + 50}")
    if facts.get("max_user_connections", "0") not in ("0", ""):
        text = (
            f"max_user_connections={facts['max_user_connections']}: also limits the monitor and each application's user"
        )
        yield Finding(Level.WARN, name, text, "limit single accounts instead: ALTER USER … WITH MAX_USER_CONNECTIONS")


def _door(facts: Facts, name: str, settings: Settings) -> Iterator[Finding]:
    """Whether the proxy comes in the way the server expects."""
    config = next(server for server in settings.servers if server.name == name)
    networks = facts.get("proxy_protocol_networks", "")
    if config.proxy_protocol and "proxy_protocol_networks" in facts and not networks:
        text = "proxy_protocol is on for it, and its proxy_protocol_networks is empty: it will refuse every session"
        yield Finding(Level.FAIL, name, text, f"SET GLOBAL proxy_protocol_networks = '{facts.get(SEEN_FROM, '…')}'")
    if networks == "*":
        text = "proxy_protocol_networks=*: every client can claim to come from any address"
        yield Finding(Level.WARN, name, text, "list the proxies' addresses")
    if facts.get("require_secure_transport", "").upper() in _ON and config.tls.mode == "disabled":
        text = "require_secure_transport=ON, and its tls mode is disabled: it will refuse every session"
        yield Finding(Level.FAIL, name, text, 'tls = { mode = "required" } for this server')


def _privileges(facts: Facts, user: str, name: str) -> Iterator[Finding]:
    held = {fact.removeprefix(PRIVILEGE).upper() for fact in facts if fact.startswith(PRIVILEGE)}
    broad = [privilege for privilege in _BROAD if privilege in held]
    if broad:
        text = f"the monitor user {user!r} may {', '.join(broad)} everywhere, and needs to read one table"
        yield Finding(Level.WARN, name, text, f"REVOKE ALL ON *.* FROM {user}, then the grant of docs/quickstart.md")

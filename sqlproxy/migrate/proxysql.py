"""ProxySQL: its tables to servers, roles, one service, and notes on the rules and users that are not needed here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sqlproxy.config import MonitorConfig, ServerConfig, ServiceConfig
from sqlproxy.migrate import tables, values
from sqlproxy.migrate.draft import Draft, Scalar, Section, Table, said
from sqlproxy.migrate.proxysql_rules import Hostgroups, take
from sqlproxy.migrate.proxysql_words import LOST_TABLES, LOST_VARIABLES, NEEDLESS_VARIABLES, UNWATCHED
from sqlproxy.migrate.tables import Row, Tables

_CAUGHT_UP: Final = "a session waits for a node to catch up with what it has written: causal_reads"
_INTERFACES: Final = "mysql-interfaces"
_DEFAULT_LISTEN: Final = "0.0.0.0:6033"
Convert = Callable[[str], Scalar]


def _milliseconds(text: str) -> str:
    return values.duration(text, "ms")


_VARIABLES: Final[dict[str, tuple[str, str, Convert]]] = {
    "mysql-monitor_username": ("monitor", "user", str),
    "mysql-monitor_password": ("monitor", "password", str),
    "mysql-monitor_galera_healthcheck_interval": ("monitor", "interval", _milliseconds),
    "mysql-monitor_galera_healthcheck_timeout": ("monitor", "timeout", _milliseconds),
    "mysql-monitor_read_only_interval": ("monitor", "interval", _milliseconds),
    "mysql-monitor_read_only_timeout": ("monitor", "timeout", _milliseconds),
    "mysql-max_connections": ("service", "max_connections", int),
    "mysql-max_allowed_packet": ("service", "max_allowed_packet", int),
    "mysql-connect_timeout_server": ("service", "connect_timeout", _milliseconds),
    "mysql-connect_timeout_server_max": ("service", "failover_timeout", _milliseconds),
    "mysql-connect_timeout_client": ("service", "login_timeout", _milliseconds),
    "mysql-ping_interval_server_msec": ("service", "connection_keepalive", _milliseconds),
}
_FLAVOUR_ONLY: Final = {"galera": "read_only", "static": "galera"}  # the other's timing says nothing


def convert_file(text: str) -> Draft:
    """A ``proxysql.cnf``."""
    return _Conversion(tables.from_file(text)).run()


def convert_statements(text: str) -> Draft:
    """Statements for the admin side, or a dump of it."""
    return _Conversion(tables.from_statements(text)).run()


class _Conversion:
    def __init__(self, found: Tables) -> None:
        self._found = found
        self._draft = Draft("ProxySQL")
        self._servers: dict[str, Table] = {}  # by address
        self._writers: set[str] = set()  # hostgroups
        self._readers: set[str] = set()

    def run(self) -> Draft:
        self._hostgroups()
        self._add_servers()
        service = self._draft.add_service("app", "readwritesplit")
        self._variables(service)
        self._listeners(service)
        self._also_reader(service)
        self._rules()
        self._users()
        self._left()
        return self._draft

    # -- topology

    def _hostgroups(self) -> None:
        galera = [row for row in self._found.of("mysql_galera_hostgroups") if row.get("active", default="1") != "0"]
        checked = [row for row in self._found.of("scheduler") if "galera" in " ".join(row.values.values())]
        others = self._found.of("mysql_replication_hostgroups") + self._found.of("mysql_group_replication_hostgroups")
        self._draft.monitor["topology"] = "galera" if galera or checked else "static"
        for row in (*galera, *others):
            self._writers |= {row.get("writer_hostgroup"), row.get("backup_writer_hostgroup")} - {""}
            self._readers.add(row.get("reader_hostgroup"))
        for row in checked:
            self._note(row, "scheduler", "the cluster is watched by the monitor", needless=True)
        for row in others:
            for text in UNWATCHED[row.table]:
                self._note(row, row.table, f'with topology = "static" {text}')
        if not (galera or checked or others):
            self._draft.lost(0, "topology", 'no table tells of one: set topology = "galera" for a Galera cluster')

    def _add_servers(self) -> None:
        for row in self._found.of("mysql_servers"):
            self._server(row)
        weights = sorted({self._weight(row) for row in self._writer_rows()}, reverse=True)
        for row in self._writer_rows():
            table = self._servers.get(_address(row))
            if table is not None and len(weights) > 1:  # the heaviest writer is the primary
                table["priority"] = weights.index(self._weight(row)) + 1

    def _writer_rows(self) -> list[Row]:
        return [row for row in self._found.of("mysql_servers") if row.get("hostgroup_id", "hostgroup") in self._writers]

    def _weight(self, row: Row) -> int:
        text = row.get("weight", default="1")
        return int(text) if text.isdigit() else 1

    def _server(self, row: Row) -> None:
        where = _address(row)
        what = f"mysql_servers {row.get('hostname', 'address')}"
        status = row.get("status", default="ONLINE").upper()
        if status.startswith("OFFLINE"):
            self._draft.lost(row.line, what, f"is {status}; `sqlproxy maintenance NAME` does that at run time")
        table = self._servers.get(where)
        if table is None:
            name = row.get("comment") if re.fullmatch(r"[\w.-]{1,32}", row.get("comment")) else ""
            table = self._draft.add_server(
                name or row.get("hostname", "address").rpartition("/")[2], where, row.line, what
            )
        if table is None:
            return
        self._servers[where] = table
        if "weight" not in table or row.get("hostgroup_id", "hostgroup") in self._readers:
            self._draft.put(ServerConfig, table, "weight", self._weight(row), row.line, what)
        limit = row.get("max_connections")
        if limit.isdigit():
            self._draft.put(ServerConfig, table, "max_connections", int(limit), row.line, what)
        if row.get("use_ssl", default="0") not in ("0", "false"):
            table["tls"] = {"mode": "required"}
        if row.get("compression", default="0") not in ("0", "false"):
            table["compression"] = "zlib"
        if row.get("max_replication_lag", default="0") != "0":
            self._draft.lost(
                row.line, f"{what} max_replication_lag", "lag is not measured; causal_reads waits for nodes"
            )

    # -- the service

    def _variables(self, service: Table) -> None:
        other = _FLAVOUR_ONLY[str(self._draft.monitor["topology"])]
        sections: dict[str, tuple[Section, Table]] = {
            "monitor": (MonitorConfig, self._draft.monitor),
            "service": (ServiceConfig, service),
        }
        for name, (line, value) in self._found.variables.items():
            place = _VARIABLES.get(name)
            if place is None or not value or f"monitor_{other}" in name:
                continue
            (section, table), (_, key, change) = sections[place[0]], place
            try:
                self._draft.put(section, table, key, change(value), line, said(name, value))
            except ValueError:
                self._draft.lost(line, said(name, value), f"the value cannot be used as {key}")
        threads = self._found.variables.get("mysql-threads", (0, ""))[1]
        if threads.isdigit() and int(threads) > 1:
            self._draft.top["workers"] = int(threads)

    def _listeners(self, service: Table) -> None:
        line, text = self._found.variables.get(_INTERFACES, (0, ""))
        for one in (text or _DEFAULT_LISTEN).split(";"):
            one = one.strip()
            host, _, port = one.rpartition(":")
            where = f"unix:{one}" if one.startswith("/") else values.address(host, port)
            if one:
                self._draft.listen(service, where, line, said(_INTERFACES, one))
        networks = self._found.variables.get("mysql-proxy_protocol_networks", (0, ""))
        if networks[1]:
            wanted = [network.strip() for network in networks[1].split(",")]
            what = said("mysql-proxy_protocol_networks", networks[1])
            self._draft.put(ServiceConfig, service, "proxy_protocol_networks", wanted, networks[0], what)

    def _also_reader(self, service: Table) -> None:
        for row in self._found.of("mysql_galera_hostgroups") + self._found.of("mysql_group_replication_hostgroups"):
            if row.get("writer_is_also_reader") == "1":
                service["primary_accepts_reads"] = True
            if row.get("max_writers", default="1") not in ("0", "1"):
                self._note(row, f"max_writers={row.get('max_writers')}", "one server is the primary at a time")
            if row.get("max_transactions_behind", default="0") != "0":
                what = f"max_transactions_behind={row.get('max_transactions_behind')}"
                galera = row.table == "mysql_galera_hostgroups"
                self._note(row, what, _CAUGHT_UP if galera else "how far a member is behind is not measured")

    # -- what needs no place here

    def _rules(self) -> None:
        names: dict[str, list[str]] = {}
        for row in self._found.of("mysql_servers"):
            table = self._servers.get(_address(row))
            if table is not None:
                names.setdefault(row.get("hostgroup_id", "hostgroup"), []).append(str(table["name"]))
        hostgroups = Hostgroups(frozenset(self._writers), frozenset(self._readers), names)
        for row in self._found.of("mysql_query_rules"):
            take(self._draft, row, hostgroups)

    def _users(self) -> None:
        for row in self._found.of("mysql_users"):
            user = row.get("username")
            what = f"mysql_users {user}"
            if row.get("active", default="1") == "0":
                self._note(row, what, "was not active; the account on the servers counts")
                continue
            self._note(
                row, what, "accounts and passwords are those of the servers, read from their tables", needless=True
            )
            if row.get("default_hostgroup", default="0") in self._readers - self._writers:
                advice = 'began at the readers: give it a [[rules]] table with route = "replica"'
                self._note(row, f"{what} default_hostgroup", advice)
            if row.get("max_connections", default="10000") not in ("0", "10000", ""):
                self._note(row, f"{what} max_connections", "set MAX_USER_CONNECTIONS of the account on the servers")

    def _left(self) -> None:
        known = {"mysql_servers", "mysql_users", "mysql_query_rules", "mysql_galera_hostgroups"}
        known |= {"mysql_replication_hostgroups", "mysql_group_replication_hostgroups"}
        for row in self._found.rows:
            galera_check = row.table == "scheduler" and "galera" in " ".join(row.values.values())
            if row.table not in known and not galera_check:
                self._note(row, row.table, LOST_TABLES.get(row.table, "a table this import does not know"))
        for name, (line, value) in self._found.variables.items():
            self._variable(name, line, value)
        for line, what in self._found.unknown:
            self._draft.lost(line, what, LOST_TABLES.get(what.partition("=")[0], "is not understood"))

    def _variable(self, name: str, line: int, value: str) -> None:
        if name in _VARIABLES or name in (_INTERFACES, "mysql-threads", "mysql-proxy_protocol_networks"):
            return
        for prefix, text in NEEDLESS_VARIABLES.items():
            if name.startswith(prefix):
                self._draft.needless(line, said(name, value), text)
                return
        texts = (text for prefix, text in LOST_VARIABLES.items() if name.startswith(prefix))
        self._draft.lost(line, said(name, value), next(texts, "a variable this import does not know"))

    def _note(self, row: Row, what: str, text: str, needless: bool = False) -> None:
        (self._draft.needless if needless else self._draft.lost)(row.line, what, text)


def _address(row: Row) -> str:
    host, port = row.get("hostname", "address"), row.get("port", default="3306")
    return f"unix:{host}" if host.startswith("/") else values.address(host, port)

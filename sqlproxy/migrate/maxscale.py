"""maxscale.cnf: servers, galeramon and mariadbmon, readwritesplit and readconnroute, listeners.

Names and defaults: MaxScale's Configuration Guide and the pages of its routers and monitors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from sqlproxy.config import (
    AccountsConfig,
    LogConfig,
    MonitorConfig,
    ServerConfig,
    ServiceConfig,
    ServiceTLSConfig,
)
from sqlproxy.migrate import ini, values
from sqlproxy.migrate.draft import Draft, Scalar, Section, Table, said
from sqlproxy.migrate.maxscale_filters import RULE_FILTERS
from sqlproxy.migrate.maxscale_words import FILTERS, LOST, NEEDLESS, REPLICATION, ROUTERS

_ENCRYPTED: Final = re.compile(r"^(\d+:)?[0-9A-F]{32,}$")
_MODULES: Final = {"mysqlmon": "mariadbmon", "mmmon": "mariadbmon"}
_AFTER_ALL: Final = 1000  # galeramon takes servers without a priority only when none with one is left
_CAUSAL: Final = {"none": "none", "false": "none", "off": "none", "0": "none"}
_CAUSAL_WIDER: Final = ("global", "fast_global", "universal", "fast_universal")
_NOT_SESSION: Final = "causal reads reach as far as the session; what others have written may be seen a moment later"
Convert = Callable[[str], Scalar]

_SERVICE: Final[dict[str, tuple[str, Convert]]] = {
    "master_accept_reads": ("primary_accepts_reads", values.truth),
    "transaction_replay": ("transaction_replay", values.truth),
    "transaction_replay_max_size": ("transaction_replay_max_size", values.size),
    "transaction_replay_attempts": ("transaction_replay_attempts", int),
    "transaction_replay_timeout": ("transaction_replay_timeout", lambda text: values.duration(text, "s")),
    "transaction_replay_checksum": ("transaction_replay_checksum", str),
    "delayed_retry_timeout": ("failover_timeout", lambda text: values.duration(text, "s")),
    "causal_reads_timeout": ("causal_reads_timeout", lambda text: values.duration(text, "s")),
    "max_connections": ("max_connections", int),
    "connection_keepalive": ("connection_keepalive", lambda text: values.duration(text, "s")),
    "max_sescmd_history": ("max_session_history", int),
}


def convert(text: str) -> Draft:
    """Everything of the file, each line either in the configuration or in a note."""
    return _Conversion(ini.read(text)).run()


class _Conversion:
    def __init__(self, sections: list[ini.Section]) -> None:
        self._sections = sections
        self._draft = Draft("MaxScale")
        self._servers: dict[str, tuple[ini.Section, Table]] = {}  # by MaxScale's name
        self._services: dict[str, Table] = {}
        self._watched: dict[str, list[str]] = {}  # servers of each monitor
        self._filters: dict[str, list[str]] = {}  # of each service
        self._own: set[str] = set()  # keys a service named as weights

    def run(self) -> Draft:
        for step, kinds in (
            (self._global, ("",)),
            (self._server, ("server",)),
            (self._monitor, ("monitor",)),
            (self._service, ("service",)),
            (self._listener, ("listener",)),
            (self._filter, ("filter",)),
        ):
            for section in self._sections:
                if self._kind(section) in kinds:
                    step(section)
        for section in self._sections:
            self._rest(section)
        return self._draft

    def _kind(self, section: ini.Section) -> str:
        if section.name.lower() in ("maxscale", "gateway"):
            return ""
        return section.text("type").lower() or "unknown"

    # -- one section of each kind

    def _global(self, section: ini.Section) -> None:
        threads = section.take("threads")
        if threads is not None and threads.value.isdigit():
            if int(threads.value) > 1:
                self._draft.top["workers"] = int(threads.value)
        elif threads is not None:
            self._lost(threads, "set workers to the number of processors the proxy may use")
        failures = section.take("max_auth_errors_until_block")
        if failures is not None and failures.value.isdigit():
            self._put(AccountsConfig, self._draft.accounts, "max_failures", int(failures.value), failures)
        for key, level in (("log_debug", "debug"), ("log_info", "debug")):
            item = section.take(key)
            if item is not None and _is_true(item.value):
                self._put(LogConfig, self._draft.log, "level", level, item)

    def _server(self, section: ini.Section) -> None:
        address = section.take("address") or section.take("socket")
        socket = section.text("socket")
        if address is None:
            return self._draft.lost(section.line, f"[{section.name}]", "a server without an address")
        port = section.text("port") or "3306"
        where = f"unix:{socket}" if socket else values.address(address.value, port)
        table = self._draft.add_server(section.name, where, address.line, said(address.key, address.value))
        if table is None:
            return None
        self._servers[section.name] = section, table
        self._convert(section, "max_routing_connections", ServerConfig, table, "max_connections", int)
        self._convert(section, "proxy_protocol", ServerConfig, table, "proxy_protocol", values.truth)
        self._convert(section, "persistpoolmax", ServerConfig, table, "persistpoolmax", int)
        seconds: Convert = lambda text: values.duration(text, "s")  # noqa: E731
        self._convert(section, "persistmaxtime", ServerConfig, table, "persistmaxtime", seconds)
        rank = section.take("rank")
        if rank is not None and rank.value.lower() == "secondary":
            self._lost(rank, "give the servers of the first choice a lower priority, and this one weight = 0")
        self._server_tls(section, table)
        return None

    def _server_tls(self, section: ini.Section, table: Table) -> None:
        wanted = section.text("ssl").lower() in ("1", "true", "yes", "on", "required")
        files = {"ca": section.text("ssl_ca", "ssl_ca_cert"), "cert": section.text("ssl_cert")}
        files["key"] = section.text("ssl_key")
        verified, identified = section.text("ssl_verify_peer_certificate"), section.text("ssl_verify_peer_host")
        if not wanted:
            return
        mode = "verify_identity" if _is_true(identified) else "verify_ca" if _is_true(verified) else "required"
        table["tls"] = {"mode": mode, **{key: path for key, path in files.items() if path}}

    def _monitor(self, section: ini.Section) -> None:
        draft, module = self._draft, section.take("module")
        name = module.value.lower() if module else ""
        self._watched[section.name] = section.words("servers")
        if "user" in draft.monitor:
            draft.lost(
                section.line, f"[{section.name}]", "one monitor watches all servers: run another proxy for these"
            )
            for item in section.left():
                item.taken = True
            return
        galera = name == "galeramon"
        draft.monitor["topology"] = "galera" if galera else "static"
        self._credentials(section, MonitorConfig, draft.monitor)
        self._timing(section)
        self._convert(
            section, "available_when_donor", MonitorConfig, draft.monitor, "available_when_donor", values.truth
        )
        if not galera and module is not None:
            for text in REPLICATION:
                self._lost(module, f'with topology = "static" {text}')
        for key in ("auto_failover", "auto_rejoin", "auto_failback_switchover"):
            managed = section.take(key)
            if managed is not None and _is_true(managed.value):
                self._lost(
                    managed, "replication is not managed: promote servers with another tool, which sets read_only"
                )
        self._priorities(section, galera)

    def _timing(self, section: ini.Section) -> None:
        monitor = self._draft.monitor
        milliseconds: Convert = lambda text: values.duration(text, "ms")  # noqa: E731
        seconds: Convert = lambda text: values.duration(text, "s")  # noqa: E731
        self._convert(section, "monitor_interval", MonitorConfig, monitor, "interval", milliseconds)
        for key in ("backend_connect_timeout", "backend_write_timeout", "backend_read_timeout"):
            self._convert(section, key, MonitorConfig, monitor, "timeout", seconds)

    def _priorities(self, section: ini.Section, galera: bool) -> None:
        use = section.take("use_priority")
        used = use is not None and _is_true(use.value)
        for name in self._watched[section.name]:
            if name not in self._servers:
                continue
            server, table = self._servers[name]
            priority = server.take("priority")
            if used:
                table["priority"] = _priority(priority.value if priority else "0")
            elif priority is not None:
                self._lost(priority, "priorities had no effect, as use_priority is off")
            elif not galera:
                table["priority"] = self._watched[section.name].index(name) + 1

    def _service(self, section: ini.Section) -> None:
        router = section.take("router")
        kind = router.value.lower() if router else ""
        if router is None or kind not in ("readwritesplit", "readconnroute"):
            reason = ROUTERS.get(kind, "there is no such router here")
            self._draft.lost(section.line, f"[{section.name}] router={kind}", reason)
            for item in section.left():
                item.taken = True
            return
        table = self._draft.add_service(section.name, "readwritesplit" if kind == "readwritesplit" else "readconn")
        self._services[section.name] = table
        self._members(section, table)
        self._credentials(section, AccountsConfig, self._draft.accounts)
        for key, (ours, change) in _SERVICE.items():
            self._convert(section, key, ServiceConfig, table, ours, change)
        if kind == "readconnroute":
            self._connection_role(section, table)
        self._reads(section, table)
        self._weights(section)
        self._habits(section)

    def _members(self, section: ini.Section, table: Table) -> None:
        names = section.words("servers", "targets")
        for monitor in section.words("cluster"):
            names += self._watched.get(monitor, [])
        known = [str(self._servers[name][1]["name"]) for name in names if name in self._servers]
        for name in names:
            if name not in self._servers:
                self._draft.lost(section.line, f"[{section.name}] {name}", "is no server that could be taken over")
        if known and len(known) < len(self._servers):
            table["servers"] = list(dict.fromkeys(known))

    def _connection_role(self, section: ini.Section, table: Table) -> None:
        options = {word.lower() for word in section.words("router_options")}
        if options == {"master"}:
            table["role"] = "primary"
        elif options == {"slave"}:
            table["role"] = "replica"
        else:
            table["role"] = "any"
        table.pop("primary_accepts_reads", None)

    def _reads(self, section: ini.Section, table: Table) -> None:
        causal = section.take("causal_reads")
        if causal is not None:
            word = causal.value.lower()
            self._put(ServiceConfig, table, "causal_reads", _CAUSAL.get(word, "session"), causal)
            if word in _CAUSAL_WIDER:
                self._lost(causal, _NOT_SESSION)
        choice = section.take("slave_selection_criteria")
        if choice is not None and choice.value.upper() not in ("LEAST_CURRENT_OPERATIONS", ""):
            self._lost(choice, "reads go to the replica with the fewest statements under way, by weight")
        retried = section.take("retry_failed_reads")
        if retried is not None and not _is_true(retried.value):
            self._lost(retried, "reads that got no answer always run again elsewhere")
        mode = section.take("master_failure_mode")
        if mode is not None and mode.value.lower() != "fail_on_write":
            self._lost(mode, "reads go on without a primary; writes wait for one, failover_timeout long")
        delayed = section.take("delayed_retry")
        if delayed is not None and not _is_true(delayed.value):
            self._lost(delayed, 'statements wait for a server; failover_timeout = "0s" lets them fail at once')

    def _weights(self, section: ini.Section) -> None:
        by = section.text("weightby").lower().replace("-", "_")
        if not by:
            return
        self._own.add(by)
        for server, table in self._servers.values():
            self._convert(server, by, ServerConfig, table, "weight", int)

    def _habits(self, section: ini.Section) -> None:
        root = section.take("enable_root_user")
        if root is not None and not _is_true(root.value):
            self._lost(root, "root logs in as on the servers; let them refuse root from the proxy's address")
        deadlocks = section.take("transaction_replay_retry_on_deadlock")
        if deadlocks is not None and not _is_true(deadlocks.value):
            self._lost(
                deadlocks, "conflicts are run again as lost transactions are; transaction_replay = false ends both"
            )
        self._filters[section.name] = [name.strip() for name in re.split(r"[|,]", section.text("filters"))]
        for name in self._filters[section.name]:
            if name and not any(other.name == name for other in self._sections):
                self._draft.lost(section.line, f"filters={name}", "there is no such filter in the file")

    def _listener(self, section: ini.Section) -> None:
        service = self._services.get(section.text("service"))
        where = section.take("port") or section.take("socket")
        socket, address = section.text("socket"), section.text("address")
        if service is None or where is None:
            self._draft.lost(section.line, f"[{section.name}]", "its service could not be taken over")
            for item in section.left():
                item.taken = True
            return
        place = f"unix:{socket}" if socket else values.address(address or "::", where.value)
        self._draft.listen(service, place, where.line, said(where.key, where.value))
        networks = section.words("proxy_protocol_networks")
        if networks:
            line = section.items["proxy_protocol_networks"]
            self._put(ServiceConfig, service, "proxy_protocol_networks", networks, line)
        self._listener_tls(section, service)

    def _listener_tls(self, section: ini.Section, service: Table) -> None:
        cert, key, ca = section.text("ssl_cert"), section.text("ssl_key"), section.text("ssl_ca", "ssl_ca_cert")
        verify = section.take("ssl_verify_peer_certificate")
        section.take("ssl_verify_peer_host")
        if section.text("ssl").lower() not in ("1", "true", "yes", "on", "required"):
            return
        tls: dict[str, Scalar] = {"mode": "required", "cert": cert, "key": key, "ca": ca}
        service["tls"] = {name: value for name, value in tls.items() if value}
        ServiceTLSConfig(**service["tls"])  # type: ignore[arg-type]
        if verify is not None and _is_true(verify.value):
            self._lost(verify, "client certificates are checked when they are shown, not demanded")

    def _filter(self, section: ini.Section) -> None:
        module = section.text("module").lower()
        if module in RULE_FILTERS:
            using = [service for name, service in self._services.items() if section.name in self._filters[name]]
            if not using:
                self._draft.needless(section.line, f"[{section.name}] module={module}", "no service uses it")
                for item in section.left():
                    item.taken = True
                return
            servers = {name: str(table["name"]) for name, (_, table) in self._servers.items()}
            RULE_FILTERS[module](self._draft, section, [str(table["name"]) for table in using], servers)
            return
        kind, text = FILTERS.get(module, ("lost", "there are no filters here"))
        what = f"[{section.name}] module={module}"
        (self._draft.needless if kind == "needless" else self._draft.lost)(section.line, what, text)
        for item in section.left():
            item.taken = True

    def _rest(self, section: ini.Section) -> None:
        """Whatever nobody has asked for."""
        if self._kind(section) not in ("", "server", "monitor", "service", "listener", "filter"):
            kind = section.text("type") or "none"
            self._draft.lost(section.line, f"[{section.name}] type={kind}", "this part of the file is not understood")
            return
        for item in section.left():
            if item.key in NEEDLESS:
                self._draft.needless(item.line, said(item.key, item.value), NEEDLESS[item.key])
            elif item.key not in self._own and item.value:
                self._lost(item, LOST.get(item.key, "a setting this import does not know"))

    # -- single settings

    def _lost(self, item: ini.Item, text: str) -> None:
        self._draft.lost(item.line, said(item.key, item.value), text)

    def _put(self, section: Section, table: Table, key: str, value: Scalar | list[str], item: ini.Item) -> bool:
        return self._draft.put(section, table, key, value, item.line, said(item.key, item.value))

    def _convert(
        self, section: ini.Section, theirs: str, model: Section, table: Table, ours: str, change: Convert
    ) -> None:
        item = section.take(theirs)
        if item is None or not item.value:
            return
        try:
            value = change(item.value)
        except ValueError:
            self._lost(item, f"the value cannot be used as {ours}")
            return
        self._put(model, table, ours, value, item)

    def _credentials(self, section: ini.Section, model: Section, table: Table) -> None:
        user, password = section.take("user"), section.take("password", "passwd")
        if user is None:
            return
        if "user" in table:
            if table["user"] != user.value:
                self._lost(user, f"one user reads the accounts of all services: {table['user']}")
            return
        self._put(model, table, "user", user.value, user)
        if password is not None and _ENCRYPTED.match(password.value):
            self._lost(password, "is encrypted with MaxScale's key: write it down as password or password_file")
        elif password is not None:
            self._put(model, table, "password", password.value, password)


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("1", "true", "yes", "on", "safe")


def _priority(text: str) -> int:
    """galeramon: the lowest positive number first, 0 only after all these, negative never."""
    try:
        number = int(text)
    except ValueError:
        return _AFTER_ALL
    return 0 if number < 0 else number or _AFTER_ALL

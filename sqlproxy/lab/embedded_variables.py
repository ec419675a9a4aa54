"""System variables and status of a simulated node, with MariaDB's and Galera's names and defaults.

A variable's Python type is its MySQL type: ``bool`` reads 1 in ``SELECT @@x`` and ON in ``SHOW VARIABLES``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlproxy.lab.embedded_errors import sql_error

Value = str | int | bool | None
SERVER_VERSION = "5.5.5-10.11.0-MariaDB-sqlproxy-embedded"  # "5.5.5-" is MariaDB's mark in the greeting
MAX_PACKET = 16 << 20

DEFAULTS: dict[str, Value] = {
    "auto_increment_increment": 1,
    "auto_increment_offset": 1,
    "autocommit": True,
    "character_set_client": "utf8mb4",
    "character_set_connection": "utf8mb4",
    "character_set_database": "utf8mb4",
    "character_set_results": "utf8mb4",
    "character_set_server": "utf8mb4",
    "character_set_system": "utf8mb3",
    "collation_connection": "utf8mb4_general_ci",
    "collation_database": "utf8mb4_general_ci",
    "collation_server": "utf8mb4_general_ci",
    "default_password_lifetime": 0,
    "default_storage_engine": "InnoDB",
    "foreign_key_checks": True,
    "gtid_mode": "OFF",
    "have_ssl": "DISABLED",
    "init_connect": "",
    "innodb_lock_wait_timeout": 2,
    "interactive_timeout": 28800,
    "license": "Apache-2.0",
    "log_bin": False,
    "lower_case_table_names": 0,
    "max_allowed_packet": MAX_PACKET,
    "max_connections": 1000,
    "max_statement_time": "0.000000",
    "net_buffer_length": 16384,
    "net_read_timeout": 30,
    "net_write_timeout": 60,
    "optimizer_switch": "",
    "performance_schema": False,
    "proxy_protocol_networks": "",
    "query_cache_size": 0,
    "query_cache_type": "OFF",
    "read_only": False,
    "session_track_schema": True,
    "session_track_state_change": False,
    "session_track_system_variables": "autocommit,character_set_client,character_set_connection,time_zone",
    "skip_name_resolve": True,
    "skip_networking": False,
    "sql_auto_is_null": False,
    "sql_log_bin": True,
    "sql_mode": "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_CREATE_USER,NO_ENGINE_SUBSTITUTION",
    "sql_notes": True,
    "sql_quote_show_create": True,
    "sql_safe_updates": False,
    "sql_select_limit": 18446744073709551615,
    "sql_warnings": False,
    "strict_password_validation": False,
    "system_time_zone": "UTC",
    "time_zone": "SYSTEM",
    "tx_isolation": "REPEATABLE-READ",
    "tx_read_only": False,
    "transaction_isolation": "REPEATABLE-READ",
    "transaction_read_only": False,
    "unique_checks": True,
    "version": SERVER_VERSION.removeprefix("5.5.5-"),
    "version_comment": "sqlproxy embedded cluster",
    "version_compile_machine": "x86_64",
    "version_compile_os": "Linux",
    "wait_timeout": 28800,
    "wsrep_auto_increment_control": True,
    "wsrep_causal_reads": False,
    "wsrep_cluster_name": "sqlproxy-embedded",
    "wsrep_desync": False,
    "wsrep_dirty_reads": False,
    "wsrep_on": True,
    "wsrep_osu_method": "TOI",
    "wsrep_provider": "embedded",
    "wsrep_reject_queries": "NONE",
    "wsrep_retry_autocommit": 1,
    "wsrep_sst_donor_rejects_queries": False,
    "wsrep_sst_method": "rsync",
    "wsrep_sync_wait": 0,
    "wsrep_trx_fragment_size": 0,
}
_READ_ONLY = ("version", "version_comment", "hostname", "port", "wsrep_node_name", "wsrep_provider", "license")
_GLOBAL_ONLY = (
    "read_only",
    "wsrep_desync",
    "wsrep_reject_queries",
    "wsrep_sst_donor_rejects_queries",
    "max_connections",
)
_QUEUES = ("recv_queue", "recv_queue_avg", "send_queue", "send_queue_avg", "bf_aborts", "cert_failures", "commits")
_TRUE, _FALSE = ("ON", "1", "TRUE", "YES"), ("OFF", "0", "FALSE", "NO")
_ALIASES = {"tx_isolation": "transaction_isolation", "tx_read_only": "transaction_read_only"}


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node as ``EmbeddedCluster.status`` and ``SHOW STATUS`` see it. ``index`` is -1 outside the cluster."""

    name: str
    address: str
    state: str  # "Synced", "Donor/Desynced", "Joining: receiving State Transfer", "Down"
    local_state: int  # wsrep_local_state; 0 when down
    index: int
    gcomm_uuid: str
    cluster_size: int
    conf_id: int
    state_uuid: str
    last_committed: int
    connections: int
    accepted: int
    questions: int
    uptime: int
    incoming: str  # addresses of all members

    @property
    def ready(self) -> bool:
        """Takes queries."""
        return self.local_state in (2, 4)


def status_rows(node: NodeStatus) -> Iterator[tuple[str, str]]:
    """The rows of SHOW GLOBAL STATUS."""
    yield from (
        ("Connections", str(node.accepted)),
        ("Questions", str(node.questions)),
        ("Ssl_cipher", ""),
        ("Threads_connected", str(node.connections)),
        ("Threads_running", "1"),
        ("Uptime", str(node.uptime)),
        ("wsrep_cluster_conf_id", str(node.conf_id)),
        ("wsrep_cluster_size", str(node.cluster_size)),
        ("wsrep_cluster_state_uuid", node.state_uuid),
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_cluster_weight", str(node.cluster_size)),
        ("wsrep_connected", "ON"),
        ("wsrep_evs_state", "OPERATIONAL"),
        ("wsrep_gcomm_uuid", node.gcomm_uuid),
        ("wsrep_incoming_addresses", node.incoming),
        ("wsrep_last_committed", str(node.last_committed)),
        ("wsrep_local_index", str(node.index)),
        ("wsrep_local_state", str(node.local_state)),
        ("wsrep_local_state_comment", node.state),
        ("wsrep_local_state_uuid", node.state_uuid),
        ("wsrep_provider_name", "sqlproxy embedded"),
        ("wsrep_ready", "ON" if node.ready else "OFF"),
    )
    for queue in _QUEUES:
        yield f"wsrep_local_{queue}", "0.000000" if queue.endswith("avg") else "0"
    for flow in ("paused", "paused_ns", "sent", "recv"):
        yield f"wsrep_flow_control_{flow}", "0.000000" if flow == "paused" else "0"


class Variables:
    """The global variables of a node, or, over those, the ones of a session."""

    def __init__(self, values: Mapping[str, Value] | None = None, parent: Variables | None = None) -> None:
        self._values = dict(values or {})
        self._parent = parent

    def get(self, name: str) -> Value:
        """A value; raises error 1193 for a name that does not exist."""
        name = _ALIASES.get(name.lower(), name.lower())
        if name in self._values:
            return self._values[name]
        if self._parent is None:
            raise sql_error(1193, "HY000", f"Unknown system variable '{name}'")
        return self._parent.get(name)

    def set(self, name: str, value: Value) -> Value:
        """Set a value (None: the default), converted to the variable's type; raises 1193, 1229, 1231, 1238."""
        name = _ALIASES.get(name.lower(), name.lower())
        current = self.get(name)
        if name in _READ_ONLY:
            raise sql_error(1238, "HY000", f"Variable '{name}' is a read only variable")
        if self._parent is not None and name in _GLOBAL_ONLY:
            raise sql_error(1229, "HY000", f"Variable '{name}' is a GLOBAL variable and should be set with SET GLOBAL")
        if value is None and not name.startswith("character_set"):
            value = self._parent.get(name) if self._parent else DEFAULTS.get(name)
        self._values[name] = _convert(name, value, current)
        return self._values[name]

    def reset(self) -> None:
        """Back to the parent's values."""
        self._values.clear()

    def rows(self) -> list[tuple[str, str]]:
        """Name and value as SHOW VARIABLES prints them."""
        return [(name, _shown(self.get(name))) for name in sorted(self.names())]

    def names(self) -> frozenset[str]:
        """All names, aliases too."""
        return frozenset(self._values) | (self._parent.names() if self._parent else frozenset(_ALIASES))


def _convert(name: str, value: Value, current: Value) -> Value:
    text = str(value).upper()
    if isinstance(current, bool):
        if text not in _TRUE + _FALSE:
            raise sql_error(1231, "42000", f"Variable '{name}' can't be set to the value of '{value}'")
        return text in _TRUE
    if isinstance(current, int):
        try:
            return int(str(value))
        except ValueError:
            raise sql_error(1232, "42000", f"Incorrect argument type to variable '{name}'") from None
    return value if value is None else str(value)


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return "" if value is None else str(value)

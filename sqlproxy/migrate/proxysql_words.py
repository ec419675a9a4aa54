"""ProxySQL's variables, by how their names begin, and tables, and what became of them."""

from __future__ import annotations

from typing import Final

# What ProxySQL does for these tables and topology = "static" does not.
UNWATCHED: Final = {
    "mysql_replication_hostgroups": (
        "the primary is the first server by priority that is not read_only: set read_only = ON on every replica",
        "replication is not watched: a replica that lags, or has stopped, still takes reads until `sqlproxy drain`",
    ),
    "mysql_group_replication_hostgroups": (
        "the primary is the first server by priority that is not read_only, which the group's secondaries are",
        "the group is not watched: a member that has left it, or is in a minority, still takes reads until"
        " `sqlproxy drain`",
    ),
}

_POOL: Final = "there is no multiplexing; persistpoolmax of [[servers]] keeps connections for the next sessions"
_WATCH: Final = "servers are watched by the monitor, all the time"

NEEDLESS_VARIABLES: Final = {
    "mysql-query_digests": "digests are counted: GET /v1/digests",
    "mysql-monitor_": _WATCH,
    "mysql-shun_": "a server that comes back is used again at the next probe",
    "mysql-unshun_": "a server that comes back is used again at the next probe",
    "mysql-poll_timeout": "not needed",
    "mysql-stacksize": "not needed",
    "mysql-have_compress": "compression is offered to clients",
    "mysql-have_ssl": "TLS is offered to clients",
    "mysql-commands_stats": "statements are counted at /metrics",
    "mysql-sessions_sort": "not needed",
    "mysql-ping_timeout_server": "connect_timeout limits a ping too",
    "mysql-ping_interval_server": "idle connections are pinged: connection_keepalive",
    "mysql-verbose_query_error": "errors name what they are about",
    "mysql-forward_autocommit": "autocommit follows the session",
    "mysql-autocommit_": "autocommit and transactions are what the server says they are",
    "mysql-enforce_autocommit": "autocommit and transactions are what the server says they are",
    "mysql-client_": "the servers' own answers are relayed",
    "mysql-enable_client_deprecate_eof": "negotiated with the client",
    "mysql-enable_server_deprecate_eof": "negotiated with the server",
    "mysql-kill_backend_connection": "what a client that is gone has asked for is given up",
    "mysql-reset_connection_algorithm": "COM_RESET_CONNECTION and COM_CHANGE_USER do what they do on the server",
    "mysql-query_retries_on_failure": "reads run again elsewhere; writes that may have been applied never do",
    "mysql-connect_retries": "another server is tried, or the statement waits",
    "mysql-hostgroup_manager_verbose": "changes are logged, and kept at /v1/events",
    "mysql-tcp_keepalive": "TCP keepalive is on",
    "mysql-use_tcp_keepalive": "TCP keepalive is on",
    "mysql-set_query_lock": "statements that are not understood go to the primary and are counted",
    "mysql-session_debug": "not needed",
    "mysql-session_idle": "not needed",
    "mysql-default_charset": "the session's character set is the client's",
    "mysql-default_collation": "the session's character set is the client's",
    "mysql-enable_load_data_local_infile": "LOAD DATA LOCAL works if the servers allow it",
    "mysql-keep_multiplexing_variables": _POOL,
    "mysql-max_stmts": "prepared statements follow the session",
    "admin-refresh_interval": "figures are made when they are asked for",
    "admin-debug": 'set log.level = "debug"',
    "admin-web_enabled": "the dashboard is at [admin] listen, 127.0.0.1:8989",
}

LOST_VARIABLES: Final = {
    "mysql-server_version": "clients are told the version of a server",
    "mysql-default_query_timeout": "set max_statement_time in the servers",
    "mysql-default_query_delay": "statements are not slowed down",
    "mysql-default_schema": "a session has the database that the client names",
    "mysql-eventslog": "slow_log and error_log of [[services]] write what is slow or fails",
    "mysql-auditlog": "logins that are refused are logged; audit in the servers",
    "mysql-query_cache": "results are not cached",
    "mysql-query_processor": "statements are read, not matched",
    "mysql-multiplexing": _POOL,
    "mysql-connection_": _POOL,
    "mysql-auto_increment_delay": _POOL,
    "mysql-free_connections_pct": _POOL,
    "mysql-threshold": "not needed",
    "mysql-throttle": "max_connections limits sessions",
    "mysql-wait_timeout": "idle clients are not closed; set wait_timeout in the servers",
    "mysql-max_transaction": "transactions are not ended by time; set idle_transaction_timeout in the servers",
    "mysql-default_max_latency": "reads go to the server with the fewest statements under way, by weight",
    "mysql-ssl_p2s": "write tls = { mode = …, ca = …, cert = …, key = … } in [[servers]]",
    "mysql-ssl_p2c": "write cert and key in [services.tls]",
    "mysql-default_authentication_plugin": "accounts are checked by the plugin the servers have for them",
    "mysql-ldap": "LDAP accounts cannot be relayed",
    "mysql-mirror": "statements are not copied",
    "mysql-": "there is no such setting; docs/configuration.md has all there are",
    "admin-admin_credentials": "none are needed on loopback; elsewhere set [admin] user and password, or token",
    "admin-stats_credentials": "none are needed on loopback; elsewhere set [admin] user and password, or token",
    "admin-mysql_ifaces": "set [admin] sql_listen: the MySQL protocol is spoken there, with tables of its own",
    "admin-restapi": "the admin side is HTTP at 127.0.0.1:8989: set [admin] listen",
    "admin-web_port": "the dashboard is at [admin] listen, 127.0.0.1:8989",
    "admin-prometheus": "/metrics is at [admin] listen, 127.0.0.1:8989",
    "admin-cluster": "give every proxy the same file; they agree on the primary without talking",
    "admin-checksum": "give every proxy the same file; they agree on the primary without talking",
    "admin-": "there is no such setting; docs/configuration.md has all there are",
}

LOST_TABLES: Final = {
    "scheduler": "programs are not run: use cron or a systemd timer",
    "proxysql_servers": "proxies need not know each other: they agree on the primary",
    "mysql_query_rules_fast_routing": "give an application that needs servers of its own a port: [[services]]",
    "mysql_aws_aurora_hostgroups": 'Aurora is not watched; topology = "static" goes by read_only',
    "mysql_hostgroup_attributes": "there are no hostgroups",
    "mysql_servers_ssl_params": "write tls = { mode = …, ca = …, cert = …, key = … } in [[servers]]",
    "mysql_firewall_whitelist_users": "statements are not filtered; use privileges",
    "mysql_firewall_whitelist_rules": "statements are not filtered; use privileges",
    "mysql_collations": "collations are the servers'",
    "restapi_routes": "programs are not run",
    "pgsql_servers": "PostgreSQL is not spoken",
    "pgsql_users": "PostgreSQL is not spoken",
    "pgsql_variables": "PostgreSQL is not spoken",
    "pgsql_query_rules": "PostgreSQL is not spoken",
    "datadir": "no files of its own",
    "errorlog": "the log goes to standard error, to the journal under systemd",
    "sqlite3_server": "there is no SQLite in it",
}

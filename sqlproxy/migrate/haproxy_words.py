"""HAProxy's keywords and what became of them, where that is the same whatever their values."""

from __future__ import annotations

from typing import Final

IGNORED_SECTIONS: Final = {
    "peers": "proxies need not talk to each other: they agree on the primary",
    "userlist": "accounts come from the servers",
    "resolvers": "names are resolved by the system at every connection",
    "mailers": "alert on /metrics",
    "program": "run it under systemd",
    "cache": "results are not cached",
    "ring": "the log goes to standard error",
    "http-errors": "HTTP is not balanced",
    "fcgi-app": "HTTP is not balanced",
    "crt-store": "give the files as cert and key in [services.tls]",
    "log-forward": "the log goes to standard error",
    "traces": 'set log.level = "debug"',
    "acme": "give the files as cert and key in [services.tls]",
}
_CHECKS: Final = "servers are watched by the monitor, which knows more than the check"
_LOG: Final = "the log goes to standard error, to the journal under systemd"
_UNIT: Final = "User, Group and limits belong into the unit file: config/systemd/"
_HTTP: Final = "HTTP is not balanced"

NEEDLESS: Final = {
    "option httpchk": _CHECKS,
    "option mysql-check": f"{_CHECKS}; that passwordless account can be dropped",
    "option tcp-check": _CHECKS,
    "option external-check": _CHECKS,
    "tcp-check": _CHECKS,
    "http-check": _CHECKS,
    "external-check": _CHECKS,
    "option tcpka": "TCP keepalive is on, and idle connections are pinged: connection_keepalive",
    "option clitcpka": "TCP keepalive is on",
    "option srvtcpka": "TCP keepalive is on, and idle connections are pinged: connection_keepalive",
    "option allbackups": "all servers in service take reads",
    "option redispatch": "another server is tried",
    "retries": "another server is tried",
    "option tcplog": _LOG,
    "option dontlognull": _LOG,
    "option httplog": _LOG,
    "option log-health-checks": "changes are logged, and kept at /v1/events",
    "option dontlog-normal": _LOG,
    "option tcp-smart-accept": "not needed",
    "option tcp-smart-connect": "not needed",
    "option splice-auto": "not needed",
    "option nolinger": "not needed",
    "option abortonclose": "what a client that is gone has asked for is given up",
    "log": _LOG,
    "log-tag": _LOG,
    "log-send-hostname": _LOG,
    "daemon": "runs in the foreground, under systemd or a container",
    "quiet": "not needed",
    "pidfile": "runs in the foreground, under systemd or a container",
    "master-worker": "workers = N has a supervisor",
    "spread-checks": "not needed",
    "stick-table": "a session stays where its statements belong",
    "stick": "a session stays where its statements belong",
    "nbproc": "workers = N runs several processes",
    "description": "not needed",
    "tune.ssl.default-dh-param": "not needed",
    "errorfile": _HTTP,
    "option http-server-close": _HTTP,
    "option forwardfor": _HTTP,
    "option httpclose": _HTTP,
    "timeout http-request": _HTTP,
    "timeout http-keep-alive": _HTTP,
    "option http-keep-alive": _HTTP,
}

LOST: Final = {
    "user": _UNIT,
    "group": _UNIT,
    "uid": _UNIT,
    "gid": _UNIT,
    "chroot": _UNIT,
    "ulimit-n": _UNIT,
    "maxconn": "the limit of the whole process: set max_connections in [[services]] and LimitNOFILE in the unit file",
    "nbthread": "set workers to the number of processors the proxy may use",
    "cpu-map": "set CPUAffinity in the unit file",
    "stats": "the dashboard and /metrics are at [admin] listen, 127.0.0.1:8989",
    "balance": "reads go to the server with the fewest statements under way, by weight",
    "hash-type": "reads go to the server with the fewest statements under way, by weight",
    "server-template": "write a [[servers]] table for each server",
    "use_backend": "one service leads to one set of servers: write a [[services]] table for each port",
    "acl": "connections are not chosen by rules; accounts and firewalls say who may come",
    "tcp-request": "connections are not chosen by rules; accounts and firewalls say who may come",
    "tcp-response": "answers are not inspected",
    "source": "servers are reached from the address the system chooses",
    "fullconn": "max_connections of [[services]] and [[servers]] limit connections",
    "cookie": _HTTP,
    "email-alert": "alert on /metrics",
    "ca-base": "give whole paths in [servers.tls] and [services.tls]",
    "crt-base": "give whole paths in [servers.tls] and [services.tls]",
    "ssl-default-bind-ciphers": "TLS 1.2 and newer with the ciphers of the system's OpenSSL",
    "ssl-default-bind-ciphersuites": "TLS 1.2 and newer with the ciphers of the system's OpenSSL",
    "ssl-default-bind-options": "TLS 1.2 and newer with the ciphers of the system's OpenSSL",
    "ssl-default-server-ciphers": "TLS 1.2 and newer with the ciphers of the system's OpenSSL",
    "ssl-default-server-options": "TLS 1.2 and newer with the ciphers of the system's OpenSSL",
    "ssl-server-verify": "say it for each server: tls = { mode = … }",
}

LOST_OPTIONS: Final = {
    "timeout client": "idle clients are not closed; set wait_timeout in the servers",
    "timeout server": "slow statements are not ended; set max_statement_time in the servers",
    "timeout tunnel": "idle clients are not closed; set wait_timeout in the servers",
    "timeout client-fin": "not needed where TCP keepalive is on",
    "timeout server-fin": "not needed where TCP keepalive is on",
    "timeout tarpit": "a host is blocked after accounts.max_failures failed logins",
}

LOST_SERVER: Final = {
    "cookie": "HTTP is not balanced",
    "slowstart": "a server that returns gets reads by what it has under way",
    "track": "each server is watched by itself",
    "observe": "errors of statements always make the monitor probe",
    "maxqueue": "max_waiting limits the statements that wait",
    "source": "servers are reached from the address the system chooses",
    "sni": "verify_identity checks and sends the name in the address",
    "agent-check": "`sqlproxy drain NAME` takes a server out at run time",
    "non-stick": "a session stays where its statements belong",
}

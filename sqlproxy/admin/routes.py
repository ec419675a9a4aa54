"""The routes of the admin side; `http` serves them, `openapi` describes them."""

from __future__ import annotations

from sqlproxy.admin.openapi import Route

ROUTES = (
    Route("GET", "/", "dashboard", "the dashboard", media="text/html"),
    Route("GET", "/dashboard/{file}", "asset", "a part of the dashboard", media="text/plain"),
    Route(
        "GET",
        "/v1/stream",
        "stream",
        "server-sent events: hello once (samples of the last minutes), then state each second and at every change",
        media="text/event-stream",
    ),
    Route("GET", "/openapi.json", "openapi", "this document"),
    Route("GET", "/health", "health", "the proxy is alive", public=True, probe=True),
    Route(
        "GET",
        "/ready",
        "ready",
        "200 when statements find a server, 503 otherwise; the reason is shown to those who may ask",
        public=True,
        probe=True,
        query={"role": "primary (default): writes; replica: reads"},
    ),
    Route(
        "GET",
        "/clustercheck/{name}",
        "clustercheck",
        "percona-clustercheck's answer for one server",
        public=True,
        probe=True,
        media="text/plain",
        query={"available_when_donor": "1: a donor counts as synced", "available_when_readonly": "0: read_only fails"},
    ),
    Route("GET", "/metrics", "metrics", "Prometheus metrics", media="text/plain"),
    Route("GET", "/v1/servers", "servers", "all servers with role, state and reason"),
    Route("GET", "/v1/servers/{name}", "server", "one server"),
    Route(
        "PUT",
        "/v1/servers/{name}/state",
        "set_state",
        "drain a server, take it into maintenance, or make it active",
        body={"state": "drain, maintenance or active"},
    ),
    Route("GET", "/v1/services", "services", "all services with their counters"),
    Route("GET", "/v1/sessions", "sessions", "all client sessions"),
    Route("DELETE", "/v1/sessions/{id}", "kill", "close a client session"),
    Route("GET", "/v1/monitor", "monitor", "the newest verdict: number, age, primary, alarms"),
    Route("GET", "/v1/accounts", "accounts", "who may log in"),
    Route(
        "GET",
        "/v1/events",
        "events",
        "what changed, oldest first",
        query={"after": "only events with a higher number"},
    ),
    Route("GET", "/v1/config", "config", "the effective configuration without its secrets"),
    Route(
        "GET",
        "/v1/explain",
        "explain",
        "where a statement would go, and every rule that decided it",
        query={"sql": "the statement", "in_transaction": "true: as if a transaction were open"},
    ),
    Route(
        "POST",
        "/v1/switchover",
        "switchover",
        "make another server the primary",
        body={"server": "its name; without it the next best"},
    ),
    Route("POST", "/v1/reload", "reload", "read the configuration file again"),
    Route(
        "POST",
        "/v1/notify",
        "notify",
        "a view change pushed by Galera's wsrep_notify_cmd: all servers are probed at once",
        body={
            "status": "the member's status",
            "uuid": "the state UUID",
            "primary": "yes or no",
            "index": "the member's place in members",
            "members": "a list of uuid/name/address",
        },
    ),
)

"""Everything a fault may touch: the cluster, the proxy in front of it, the load on it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection

from tests.chaos.cluster import Cluster, Node
from tests.chaos.load import Load
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

ROLES = ["primary", "replica", "replica"]


class World:
    """``load`` is the one that runs now. ``primary`` and ``replicas`` are as the proxy sees them.

    ``port`` is where applications connect: the proxy's, unless another product is compared with it.
    """

    def __init__(self, cluster: Cluster, proxy: Proxy, port: int) -> None:
        self.cluster = cluster
        self.proxy = proxy
        self.port = port
        self.load: Load | None = None

    @property
    def primary(self) -> str:
        """The present primary's name; waits for one. For HAProxy it is the first node in service."""
        if self.port != self.proxy.port:
            wait_until(self._in_service, 30, "a node is in service")
            return self._in_service()[0]
        wait_until(lambda: self.proxy.primary, 30, "there is a primary")
        name = self.proxy.primary
        assert name is not None
        return name

    def _in_service(self) -> list[str]:
        rows = self.proxy.servers()
        return [name for name in self.cluster.members if rows[name]["role"] in ("primary", "replica")]

    @property
    def replicas(self) -> list[str]:
        """Names of the others, in the order they would be elected."""
        primary = self.primary
        rows = self.proxy.servers()
        others = [name for name in self.cluster.members if name != primary]
        return sorted(others, key=lambda name: int(rows[name].get("figures", {}).get("local_index") or 9))

    def progress(self, count: int = 15) -> None:
        """Wait until every worker has succeeded so often more."""
        assert self.load is not None
        self.load.progress(count)

    def wait_new_primary(self, old: str) -> None:
        wait_until(lambda: self.proxy.primary not in (None, old), 30, f"another primary than {old}")

    def wait_no_primary(self) -> None:
        wait_until(lambda: self.proxy.primary is None, 20, "there is no primary")

    def wait_alarm(self, text: str) -> None:
        wait_until(lambda: any(text in alarm for alarm in self.proxy.get("/v1/monitor")["alarms"]), 20, text)

    def wait_role(self, name: str, role: str) -> None:
        wait_until(lambda: self.proxy.servers()[name]["role"] == role, 30, f"{name} is {role}")

    def wait_whole(self) -> None:
        """Until the proxy uses all three again."""
        wait_until(lambda: sorted(r["role"] for r in self.proxy.servers().values()) == ROLES, 60, "all are in use")

    def wait_unused(self, name: str) -> None:
        """Until no session has a connection there."""
        wait_until(lambda: self.proxy.servers()[name]["connections"] == 0, 30, f"{name} has no connections")

    def has_donor(self) -> bool:
        return any(row["role"] == "donor" for row in self.proxy.servers().values())

    def put_state(self, name: str, state: str) -> None:
        self._send("PUT", f"/v1/servers/{name}/state", {"state": state})

    def switchover(self, name: str) -> None:
        """Make a server primary; returns when it is."""
        self._send("POST", "/v1/switchover", {"server": name})
        wait_until(lambda: self.proxy.primary == name, 10, f"{name} is primary")

    def _send(self, method: str, path: str, body: dict[str, str]) -> None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.proxy.admin_port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=10):
                return
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None

    def root(self, node: Node, *, tcp: bool = False) -> Connection:
        """An administrator's connection; over TCP as the application's user."""
        if tcp:
            return pymysql.connect(host=node.address, port=node.port, user="app", password="app")
        return pymysql.connect(unix_socket=str(node.socket), user="root", autocommit=True)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of one statement through the proxy."""
        connection = pymysql.connect(
            host="127.0.0.1", port=self.proxy.port, user="app", password="app", database="app", autocommit=True
        )
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())


def config(cluster: Cluster, port: int, admin_port: int, service: str) -> str:
    """The proxy's configuration; ``service`` are further lines of the service's table."""
    servers = "\n".join(
        f'[[servers]]\nname = "{name}"\naddress = "{node.address}:{node.port}"'
        for name, node in cluster.members.items()
    )
    return f"""
{servers}
[monitor]
user = "monitor"
password = "monitor"
interval = "200ms"
[[services]]
name = "app"
listen = "127.0.0.1:{port}"
{service}
[admin]
listen = "127.0.0.1:{admin_port}"
"""


def log_of(directory: Path) -> str:
    """What the proxy wrote."""
    return (directory / "sqlproxy.log").read_text(errors="replace")

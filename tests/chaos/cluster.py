"""Three real Galera nodes, each on a loopback address of its own, in a network namespace that is ours alone.

With an address per node any two of them, or a node and the proxy, can be cut apart by a firewall rule.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql

from sqlproxy.errors import SqlproxyError
from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.node import GaleraNode
from sqlproxy.lab.process import ProcessState
from tests.support.mysqlclient import rows

_BASE_PORT = 13300
_GALERA_BASE = 14570
_TABLE = "inet chaos"


class Node(GaleraNode):
    """A node that listens, and speaks to its peers, on ``address``."""

    def __init__(self, number: int, directory: Path) -> None:
        super().__init__(f"n{number}", directory / f"n{number}", _BASE_PORT + number, _GALERA_BASE + 10 * (number - 1))
        self.address = f"127.0.0.{10 + number}"

    def options(self, *, fast: bool, tls: bool) -> dict[str, str]:
        given = super().options(fast=fast, tls=tls)
        return {key: value.replace("127.0.0.1", self.address) for key, value in given.items()}

    def start(self, arguments: Sequence[str] = ()) -> None:
        super().start([re.sub(r"127\.0\.0\.1:(\d+)", _at_peer, argument) for argument in arguments])

    def ask(self, sql: str, **options: Any) -> list[tuple[Any, ...]]:
        """Rows of one statement as the application's user, over TCP."""
        settings: dict[str, Any] = {"user": "app", "password": "app", "database": "app", **options}
        connection = pymysql.connect(
            host=self.address, port=self.port, autocommit=True, connect_timeout=5, read_timeout=30, **settings
        )
        with connection:
            return rows(connection, sql)


def _at_peer(found: re.Match[str]) -> str:
    number = (int(found[1]) - _GALERA_BASE) // 10 + 1
    return f"127.0.0.{10 + number}:{found[1]}"


class Cluster(GaleraLab):
    """A GaleraLab of ``Node`` s; ``firewall`` rules say who cannot reach whom."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, _BASE_PORT, fast=True, galera_base=_GALERA_BASE, tls=False)
        self.members = {f"n{i}": Node(i, self.directory) for i in (1, 2, 3)}
        self.nodes = dict(self.members)

    @classmethod
    def open(cls, directory: Path | None = None) -> GaleraLab:
        """What ``up`` compares its settings with."""
        return GaleraLab.open(directory)

    def running(self) -> list[str]:
        """Names of the nodes whose process runs."""
        return [name for name, node in self.members.items() if node.state is ProcessState.RUNNING]

    def heal(self) -> None:
        """Make the cluster whole, whatever happened to it; a node that cannot start takes a full copy."""
        clear_firewall()
        for node in self.members.values():
            if node.status().cluster_status == "Disconnected":  # thrown out for being inconsistent: it comes back anew
                node.kill()
            elif node.state is ProcessState.RUNNING:
                reset(node)
        try:
            self.up()
        except SqlproxyError:
            for node in self.members.values():
                if node.state is ProcessState.DOWN:
                    forget_state(node)
            self.up()

    def peers(self, name: str) -> list[Node]:
        """All nodes but one."""
        return [node for other, node in self.members.items() if other != name]


def reset(node: GaleraNode) -> None:
    """Take back what faults set."""
    values = dict(node.query("SHOW GLOBAL VARIABLES LIKE 'wsrep_desync'"))
    if values["wsrep_desync"] == "ON":
        node.query("SET GLOBAL wsrep_desync = OFF")
    node.query("SET GLOBAL read_only = OFF")
    node.query("SET GLOBAL wsrep_reject_queries = 'NONE'")


def kill_connections(node: GaleraNode, user: str) -> None:
    """End every connection of a user on a node."""
    for (number,) in node.query(f"SELECT id FROM information_schema.processlist WHERE user = '{user}'"):
        try:
            node.query(f"KILL {number}")
        except SqlproxyError:
            continue  # it ended by itself in between


def forget_state(node: GaleraNode) -> None:
    """Make a node that is down need a full state transfer."""
    for name in ("grastate.dat", "galera.cache", "gvwstate.dat"):
        (node.data / name).unlink(missing_ok=True)


def _nft(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


def clear_firewall() -> None:
    """Everybody reaches everybody."""
    _nft(f"add table {_TABLE}\ndelete table {_TABLE}\n")


@contextmanager
def firewall(rules: Sequence[str]) -> Iterator[None]:
    """Packets that match a rule vanish, those of established connections too."""
    lines = "\n".join(f"add rule {_TABLE} input {rule} drop" for rule in rules)
    chain = "{ type filter hook input priority 0; }"
    _nft(f"add table {_TABLE}\nadd chain {_TABLE} input {chain}\n{lines}\n")
    try:
        yield
    finally:
        clear_firewall()


def between(side: Sequence[Node], other: Sequence[Node], how: str = "") -> list[str]:
    """Rules for the cluster's own packets from one side to the other and back."""
    pairs = [(a.address, b.address) for a in side for b in other]
    both = pairs + [(b, a) for a, b in pairs]
    return [f"ip saddr {a} ip daddr {b} {how}" for a, b in both]


def from_clients(node: Node, how: str = "") -> list[str]:
    """Rules for what clients (the proxy) send to a node's SQL port."""
    return [f"ip daddr {node.address} tcp dport {node.port} {how}"]


def addresses(cluster: Cluster) -> Mapping[str, str]:
    """Where the proxy finds each node."""
    return {name: f"{node.address}:{node.port}" for name, node in cluster.members.items()}

"""The two places a suite runs against: a server, and a proxy in front of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlproxy.errors import SqlproxyError
from sqlproxy.lab.galera import GaleraLab
from sqlproxy.lab.install import refuse_used_port, remove_directory
from sqlproxy.lab.query import query
from sqlproxy.lab.server import LabServer
from sqlproxy.lab.single import SingleServer
from tests.support.proxy import running_proxy

HOST = "127.0.0.1"
USER = "tester"
PASSWORD = "tester"
_BLOCK = 40  # ports: those of Galera for three nodes are 30, of the same block 6000 below
_PORTS = range(23300, 24500, _BLOCK)
_SETUP = (
    f"CREATE OR REPLACE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'",
    f"GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION",
    # mysql-test and a few drivers know no other account.
    "CREATE OR REPLACE USER root@'%'",
    "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION",
)


@dataclass(frozen=True)
class Endpoint:
    """Where a suite connects: TCP on ``HOST`` or a unix socket. ``name`` is "direct" or "proxied"."""

    name: str
    port: int
    socket: Path
    lab: GaleraLab | SingleServer

    @property
    def ports(self) -> list[int]:
        """The servers' own ports."""
        return self.lab.ports if isinstance(self.lab, GaleraLab) else [self.lab.port]

    @property
    def servers(self) -> list[LabServer]:
        """The servers, the one that takes the writes first."""
        return list(self.lab.nodes.values()) if isinstance(self.lab, GaleraLab) else [self.lab]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the first server itself, as root. Raises ServerLost when it does not answer or refuses."""
        return query(self.servers[0].socket, statement, timeout=30.0)

    def everywhere(self, statement: str) -> None:
        """The same statement on every server."""
        for server in self.servers:
            query(server.socket, statement, timeout=30.0)

    def revive(self) -> None:
        """Start servers again that a test has ended."""
        self.lab.up()

    def fresh_databases(self, *names: str, charset: str = "utf8mb4") -> None:
        """Empty databases of these names, and none that an earlier suite left."""
        keep = ("information_schema", "mysql", "performance_schema", "sys", "mtr")
        for (name,) in self.sql("SHOW DATABASES"):
            if name not in keep:
                self.sql(f"DROP DATABASE `{name}`")
        for name in names:
            self.sql(f"CREATE DATABASE IF NOT EXISTS `{name}` CHARACTER SET {charset}")


@contextmanager
def endpoints(topology: str) -> Iterator[tuple[Endpoint, Endpoint]]:
    """A server to run against directly (the primary of a cluster), and a proxy in front of it or of its cluster."""
    directory = Path(tempfile.mkdtemp(prefix="sqlproxy-conformance-"))
    directory.chmod(0o755)
    lab = _lab(topology, directory)
    try:
        lab.up()
        first = lab.nodes["n1"] if isinstance(lab, GaleraLab) else lab
        direct = Endpoint("direct", first.port, first.socket, lab)
        for statement in _SETUP:
            direct.sql(statement)
        with _proxied(directory, direct) as proxied:
            yield direct, proxied
    finally:
        lab.down(purge=True)
        remove_directory(directory)


@contextmanager
def _proxied(directory: Path, direct: Endpoint) -> Iterator[Endpoint]:
    """Plain sockets to one server, which is the default on loopback; TLS to a cluster, as on any other address."""
    servers = {f"n{number}": port for number, port in enumerate(direct.ports, 1)}
    socket = directory / "proxy.sock"
    extra = f'[[services]]\nname = "socket"\nlisten = "unix:{socket}"\n'
    server = 'tls = { mode = "required" }' if len(servers) > 1 else ""
    with running_proxy(directory, servers, extra=extra, server=server) as proxy:
        if len(servers) > 1:
            proxy.wait_roles(**dict.fromkeys(servers, "replica") | {"n1": "primary"})
        yield Endpoint("proxied", proxy.port, socket, direct.lab)
        shutil.copy(directory / "sqlproxy.log", Path(tempfile.gettempdir(), "sqlproxy-conformance.log"))


def _lab(topology: str, directory: Path) -> GaleraLab | SingleServer:
    base = _free_block()
    if topology == "galera":
        return GaleraLab(directory / "galera", base, galera_base=base - 6000, tls=True)
    return SingleServer(directory / "single", base)


def _free_block() -> int:
    """The first port of a block that nobody uses, nor the ports 6000 below."""
    first = os.getpid() % len(_PORTS)  # two runs that begin together shall not choose the same
    bases = [*_PORTS[first:], *_PORTS[:first]]
    for base in bases:
        try:
            for port in (*range(base, base + _BLOCK), *range(base - 6000, base - 6000 + _BLOCK)):
                refuse_used_port(port, "a port for conformance tests")
        except SqlproxyError:
            continue
        return base
    raise SqlproxyError(f"no {_BLOCK} ports in a row are free between {_PORTS.start} and {_PORTS.stop}")

"""HAProxy in the place of the proxy: the first server in service takes everything, as sqlproxy's health checks say."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.cluster import Cluster
from tests.support.proxy import free_port
from tests.support.waiting import wait_until

_CONFIG = """
global
    maxconn 2000
defaults
    mode tcp
    timeout connect 3s
    timeout client 80s
    timeout server 80s
    timeout check 1s
{backends}
frontend galera
    bind 127.0.0.1:{port}
{choices}
"""
_BACKEND = """
backend {name}
    option httpchk GET /clustercheck/{name}
    server {name} {address}:{server_port} check addr 127.0.0.1 port {admin_port} inter 500ms fall 2 rise 2 {down}
"""


@contextmanager
def haproxy(cluster: Cluster, directory: Path, admin_port: int) -> Iterator[int]:
    """A running HAProxy's port; ``admin_port`` is where sqlproxy answers for the nodes."""
    port = free_port()
    names = list(cluster.members)
    backends = "".join(
        _BACKEND.format(
            name=name,
            address=node.address,
            server_port=node.port,
            admin_port=admin_port,
            down="on-marked-down shutdown-sessions",
        )
        for name, node in cluster.members.items()
    )
    choices = [f"    use_backend {name} if {{ nbsrv({name}) gt 0 }}" for name in names]
    path = directory / "haproxy.cfg"
    text = _CONFIG.format(
        backends=backends, port=port, choices="\n".join([*choices, f"    default_backend {names[-1]}"])
    )
    path.write_text(text)
    with (directory / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(path)], stdout=log, stderr=log)
    try:
        wait_until(lambda: _listens(port), 10, "HAProxy listens")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0

"""A proxy in front of a lab's cluster: which servers it has, and when nothing more is about to move."""

from __future__ import annotations

from sqlproxy.lab.galera import GaleraLab
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until


def servers_of(galera: GaleraLab) -> dict[str, int]:
    """Names and SQL ports, as ``running_proxy`` takes them."""
    return {name: node.port for name, node in galera.nodes.items()}


def wait_settled(proxy: Proxy) -> None:
    """Until every server is used, and none that just returned is about to take over as primary."""

    def settled() -> bool:
        rows = proxy.servers().values()
        roles = sorted(row["role"] for row in rows)
        return roles == ["primary", "replica", "replica"] and not any("just returned" in row["reason"] for row in rows)

    wait_until(settled, 30, "one primary, two replicas and nobody just returned")


def wait_new_primary(proxy: Proxy, old: str) -> None:
    """Until another server is primary."""
    wait_until(lambda: proxy.primary not in (None, old), 15, f"another primary than {old}")


def name_of(galera: GaleraLab, port: object) -> str:
    """The node that listens on a SQL port."""
    return next(name for name, node in galera.nodes.items() if node.port == port)

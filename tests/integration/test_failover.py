"""Servers fail under load: nothing acknowledged is lost, reads see no error, writes at most an unknown outcome."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sqlproxy.lab.galera import GaleraLab
from tests.support import workload as load
from tests.support.cluster import servers_of, wait_new_primary, wait_settled
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import wait_until
from tests.support.workload import Workload

RETRYABLE = 1213
ADDED = 1.5  # seconds the proxy and a loaded machine may add to the cluster's own outage


@pytest.fixture(scope="module")
def module_proxy(galera: GaleraLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with running_proxy(tmp_path_factory.mktemp("proxy"), servers_of(galera)) as proxy:
        yield proxy


@pytest.fixture
def proxy(module_proxy: Proxy, healthy_galera: GaleraLab) -> Proxy:
    """The module's proxy with every node in use."""
    wait_settled(module_proxy)
    return module_proxy


def wait_used(proxy: Proxy, name: str) -> None:
    """Until a server takes statements again."""
    before = proxy.servers()[name]
    wait_until(
        lambda: (row := proxy.servers()[name])["reads"] + row["writes"] > before["reads"] + before["writes"] + 10,
        30,
        f"{name} takes statements again",
    )


def survivor(galera: GaleraLab, victim: str) -> int:
    return next(node.port for name, node in galera.nodes.items() if name != victim)


def check(workload: Workload, galera: GaleraLab, proxy: Proxy) -> None:
    """What holds after any failure: every promise kept, and all writes through one server at a time."""
    outcome = workload.outcome(galera.node(proxy.primary or "n1").port)
    assert outcome.kept, (outcome, workload.summary())
    assert workload.failures(load.READ, load.DIRECT) == []


def check_primary_lost(workload: Workload, galera: GaleraLab, proxy: Proxy) -> None:
    """A primary's loss costs each writer at most the statement under way."""
    check(workload, galera, proxy)
    assert [f for f in workload.failures(load.WRITE) if not f.unknown] == []
    assert [f for f in workload.failures(load.TRANSACTION) if not f.unknown and f.code != RETRYABLE] == []
    assert workload.most_failures(load.WRITE) <= 1
    assert workload.most_failures(load.TRANSACTION) <= 1


@contextmanager
def firewalled(port: int) -> Iterator[None]:
    """Packets to a port vanish, those of established connections too."""
    table = f"sqlproxy_test_{port}"
    rules = f"""
table inet {table} {{
  chain input {{
    type filter hook input priority 0;
    iif "lo" tcp dport {port} drop
  }}
}}"""
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


@pytest.mark.parametrize("how", ["kill", "stop", "shutdown"])
def test_a_lost_primary_costs_writers_at_most_the_statement_under_way(
    proxy: Proxy, galera: GaleraLab, how: str
) -> None:
    victim = proxy.primary
    assert victim is not None
    lose: Callable[[str], None] = getattr(galera, how)
    with load.running(proxy.port, survivor(galera, victim)) as workload:
        lose(victim)
        wait_new_primary(proxy, victim)
        workload.progress()
        pauses = workload.pause(load.WRITE), workload.pause(load.READ), workload.pause(load.DIRECT)
        galera.join(victim)
        wait_settled(proxy)
        wait_used(proxy, victim)
        workload.progress()
    check_primary_lost(workload, galera, proxy)
    write, read, direct = pauses
    assert write < direct + ADDED
    assert read < ADDED + 1


def test_connections_to_a_primary_behind_a_firewall_are_released(proxy: Proxy, galera: GaleraLab) -> None:
    victim = proxy.primary
    assert victim is not None
    with load.running(proxy.port, survivor(galera, victim)) as workload:
        with firewalled(galera.node(victim).port):
            wait_new_primary(proxy, victim)
            workload.progress()
        wait_settled(proxy)
        wait_used(proxy, victim)
        workload.progress()
    check_primary_lost(workload, galera, proxy)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_lost_replica_costs_nobody_an_error(proxy: Proxy, galera: GaleraLab, how: str) -> None:
    primary = proxy.primary
    assert primary is not None
    victim = next(name for name in galera.nodes if name != primary)
    with load.running(proxy.port, survivor(galera, victim)) as workload:
        getattr(galera, how)(victim)
        proxy.wait_roles(**{victim: "down"})
        workload.progress()
        galera.join(victim)
        wait_settled(proxy)
        wait_used(proxy, victim)
    check(workload, galera, proxy)
    assert workload.failures() == []
    assert all(len(servers) == 1 for servers in workload.writers_by_server(survivor(galera, victim)))

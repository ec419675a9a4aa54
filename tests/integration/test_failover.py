"""Servers fail under load: nothing acknowledged is lost, reads see no error, writes at most an unknown outcome."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Start:
    """How things were before a failure."""

    primary: str
    event: int

    @classmethod
    def now(cls, proxy: Proxy) -> Start:
        assert proxy.primary is not None
        return cls(proxy.primary, proxy.get("/v1/events")[-1]["number"])

    def primaries(self, proxy: Proxy) -> list[str]:
        """The servers that were primary since then, in order."""
        texts = [event["text"] for event in proxy.get(f"/v1/events?after={self.event}") if event["kind"] == "primary"]
        return [self.primary, *(match[1] for text in texts if (match := re.match(r"primary \S+ -> (n\d)", text)))]


def check(workload: Workload, galera: GaleraLab, proxy: Proxy, start: Start) -> None:
    """What holds after any failure: every promise kept, and all writes through what was primary at the time."""
    port = galera.node(proxy.primary or start.primary).port
    outcome = workload.outcome(port)
    assert outcome.kept, (outcome, workload.summary())
    assert workload.failures(load.READ) == []
    primaries = [galera.node(name).port for name in start.primaries(proxy)]
    for servers in workload.writers_by_server(port):
        assert is_part_of(servers, primaries), (servers, primaries)


def is_part_of(part: list[int], whole: list[int]) -> bool:
    """Whether ``part`` is left when items of ``whole`` are left out."""
    rest = iter(whole)
    return all(item in rest for item in part)


def check_primary_lost(workload: Workload, galera: GaleraLab, proxy: Proxy, start: Start) -> None:
    """A primary's loss costs each writer at most the statement under way, and transactions are replayed."""
    check(workload, galera, proxy, start)
    assert [f for f in workload.failures(load.WRITE) if not f.unknown] == []
    assert [f for f in workload.failures(load.TRANSACTION) if not f.unknown and f.code != RETRYABLE] == []
    outages = 1 if cluster_held(workload) else 3
    assert workload.most_failures(load.WRITE) <= outages
    assert workload.most_failures(load.TRANSACTION) <= outages


def cluster_held(workload: Workload) -> bool:
    """On a busy machine the survivors may suspect each other too: then the whole cluster is away for a moment."""
    return workload.failures(load.DIRECT) == []


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
    start = Start.now(proxy)
    victim = start.primary
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
    check_primary_lost(workload, galera, proxy, start)
    write, read, direct = pauses
    assert write < direct + ADDED
    assert read < ADDED + 1


def test_a_primary_that_is_silent_for_a_moment_costs_nobody_an_error(proxy: Proxy, galera: GaleraLab) -> None:
    start = Start.now(proxy)
    victim = start.primary
    with load.running(proxy.port, survivor(galera, victim)) as workload:
        galera.stop(victim)
        try:
            wait_until(lambda: proxy.servers()[victim]["role"] != "primary", 30, f"{victim} is suspected")
        finally:
            galera.cont(victim)
        wait_settled(proxy)
        workload.progress()
    check(workload, galera, proxy, start)
    texts = [event["text"] for event in proxy.get(f"/v1/events?after={start.event}") if event["server"] == victim]
    if not any("-> down" in text for text in texts):  # which it may be where it takes a second to see it silent
        assert any(f"{victim}: primary -> suspect: no byte to " in text for text in texts)
        assert workload.failures(load.READ, load.WRITE, load.TRANSACTION) == []


def test_connections_to_a_primary_behind_a_firewall_are_released(proxy: Proxy, galera: GaleraLab) -> None:
    start = Start.now(proxy)
    victim = start.primary
    with load.running(proxy.port, survivor(galera, victim)) as workload:
        with firewalled(galera.node(victim).port):
            wait_new_primary(proxy, victim)
            workload.progress()
        wait_settled(proxy)
        wait_used(proxy, victim)
        workload.progress()
    check_primary_lost(workload, galera, proxy, start)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_lost_replica_costs_nobody_an_error(proxy: Proxy, galera: GaleraLab, how: str) -> None:
    start = Start.now(proxy)
    victim = next(name for name in galera.nodes if name != start.primary)
    with load.running(proxy.port, survivor(galera, victim)) as workload:
        getattr(galera, how)(victim)
        proxy.wait_roles(**{victim: "down"})
        workload.progress()
        galera.join(victim)
        wait_settled(proxy)
        wait_used(proxy, victim)
    check(workload, galera, proxy, start)
    assert [f for f in workload.failures(load.WRITE, load.TRANSACTION) if cluster_held(workload) or not f.unknown] == []

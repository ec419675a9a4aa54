"""Nodes of the embedded cluster come, go and rejoin, as clients, monitor and account loader see it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import aiomysql
import pymysql
import pytest
from pydantic import SecretStr

from sqlproxy.accounts.loader import load
from sqlproxy.config import MonitorConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.lab.embedded import EmbeddedCluster
from sqlproxy.monitor.base import Situation, Verdict
from sqlproxy.monitor.galera import Galera
from sqlproxy.monitor.probe import Probe
from sqlproxy.topology.model import Address, Role, Server, ServerTLS, Snapshot
from tests.support.embedded import (
    ask,
    client,
    embedded_cluster,
    error_code,
    free_base,
    in_thread,
    in_use,
    port_of,
    status,
)
from tests.support.waiting import wait_until_async


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with embedded_cluster() as embedded:
        yield embedded


async def test_three_nodes_start_synced_and_leave_nothing_open() -> None:
    embedded = EmbeddedCluster(base_port=free_base())
    await embedded.start()
    assert [node.state for node in embedded.status()] == ["Synced"] * 3
    await embedded.stop()
    assert embedded.status() == []
    assert not any(in_use(address.port) for address in embedded.addresses.values())


async def test_a_cluster_can_be_started_again(cluster: EmbeddedCluster) -> None:
    await cluster.stop()
    await cluster.start()
    assert len(cluster.status()) == 3


async def test_a_busy_port_is_named_and_nothing_stays_open() -> None:
    base = free_base()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + 1))
        taken.listen()
        with pytest.raises(SqlproxyError, match=rf"embedded node n2 cannot listen on 127.0.0.1:{base + 1}: .*in use"):
            await EmbeddedCluster(base_port=base).start()
    assert not in_use(base)


async def test_nodes_listen_on_unix_sockets(tmp_path: Any) -> None:
    embedded = EmbeddedCluster([Address(path=str(tmp_path / "n1.sock"))])
    await embedded.start()

    def work() -> Any:
        with closing(pymysql.connect(unix_socket=str(tmp_path / "n1.sock"), user="root")) as connection:
            return ask(connection, "SELECT USER(), @@socket")

    assert await in_thread(work) == [("root@localhost", str(tmp_path / "n1.sock"))]
    await embedded.stop()


async def test_a_killed_node_resets_its_connections_and_leaves_the_view(cluster: EmbeddedCluster) -> None:
    survivor = await aiomysql.connect(host="127.0.0.1", port=port_of(cluster, "n2"), user="app", password="app")
    victim = await aiomysql.connect(host="127.0.0.1", port=port_of(cluster, "n1"), user="app", password="app")
    before = cluster.status()[1]
    await cluster.kill("n1")
    with pytest.raises(pymysql.OperationalError):
        await victim.ping(reconnect=False)
    assert in_use(port_of(cluster, "n1")) is False
    after = cluster.status()[1]
    assert (after.cluster_size, after.index, after.conf_id) == (2, 0, before.conf_id + 1)
    assert cluster.status()[0].state == "Down"
    async with survivor.cursor() as cursor:
        await cursor.execute("SELECT COUNT(*) FROM app.greetings")
        assert await cursor.fetchall() == ((5,),)
    await survivor.ensure_closed()
    victim.close()


async def test_a_joining_node_refuses_queries() -> None:
    async with embedded_cluster(join_seconds=600) as cluster:
        await cluster.kill("n1")
        joining = asyncio.create_task(cluster.join("n1"))
        await wait_until_async(lambda: cluster.status()[0].local_state == 1)

        def work() -> Any:
            with client(cluster, "n1") as connection:
                return status(connection)["wsrep_ready"], error_code(lambda: ask(connection, "SELECT * FROM greetings"))

        assert await in_thread(work) == ("OFF", 1047)
        joining.cancel()


async def test_a_node_that_has_joined_is_synced_and_has_the_highest_index(cluster: EmbeddedCluster) -> None:
    await cluster.kill("n1")
    await cluster.join("n1")
    node = cluster.status()[0]
    assert (node.state, node.local_state, node.index, node.cluster_size) == ("Synced", 4, 2, 3)


async def test_shutdown_kills_the_node_which_comes_back_by_itself() -> None:
    embedded = EmbeddedCluster(base_port=free_base(), rejoin_after=0.2, join_seconds=0.05)
    await embedded.start()

    def work() -> None:
        with client(embedded, "n2", user="root", password="") as connection:
            ask(connection, "SHUTDOWN")

    await in_thread(work)
    await wait_until_async(lambda: embedded.status()[1].state == "Down")
    await wait_until_async(lambda: embedded.status()[1].state == "Synced")
    await embedded.stop()


async def test_join_of_a_running_node_changes_nothing_and_unknown_names_are_refused(cluster: EmbeddedCluster) -> None:
    before = cluster.status()
    await cluster.join("n1")
    assert [node.conf_id for node in cluster.status()] == [node.conf_id for node in before]
    with pytest.raises(SqlproxyError, match="there is no embedded node named 'n9'"):
        await cluster.kill("n9")


async def test_a_node_can_be_desynced_made_read_only_and_closed_to_queries(cluster: EmbeddedCluster) -> None:
    def work() -> Any:
        with client(cluster, autocommit=True) as connection:
            ask(connection, "SET GLOBAL wsrep_desync = ON")
            desynced = status(connection)["wsrep_local_state_comment"]
            ask(connection, "SET GLOBAL wsrep_desync = OFF, GLOBAL read_only = ON")
            written = error_code(lambda: ask(connection, "DELETE FROM greetings"))
            ask(connection, "SET GLOBAL read_only = OFF, GLOBAL wsrep_reject_queries = ALL")
            return desynced, written, error_code(lambda: ask(connection, "SELECT * FROM greetings"))

    assert await in_thread(work) == ("Donor/Desynced", 1290, 1047)
    assert cluster.status()[1].state == "Synced"


def servers_of(cluster: EmbeddedCluster) -> list[Server]:
    return [Server(name, address, tls=ServerTLS(mode="disabled")) for name, address in cluster.addresses.items()]


async def verdict_on(cluster: EmbeddedCluster) -> Verdict:
    flavour, servers = Galera(), servers_of(cluster)
    settings = MonitorConfig(password=SecretStr("monitor"))
    probes = [Probe(server, settings, flavour) for server in servers]
    reports = {report.server: report for report in [await probe.report() for probe in probes]}
    for probe in probes:
        probe.close()
    return flavour.assess(Situation(servers, reports, {}, Snapshot(0, 0.0), time.monotonic()))


async def test_the_monitor_sees_a_healthy_galera_cluster(cluster: EmbeddedCluster) -> None:
    verdict = await verdict_on(cluster)
    assert verdict.primary == "n1"
    assert [server.role for server in verdict.servers] == [Role.PRIMARY, Role.REPLICA, Role.REPLICA]
    assert verdict.alarms == ()


async def test_the_monitor_sees_a_killed_node_down_and_another_primary(cluster: EmbeddedCluster) -> None:
    await cluster.kill("n1")
    verdict = await verdict_on(cluster)
    assert verdict.primary == "n2"
    assert [server.role for server in verdict.servers] == [Role.DOWN, Role.PRIMARY, Role.REPLICA]


async def test_the_monitor_sees_joiners_and_desynced_nodes(cluster: EmbeddedCluster) -> None:
    await cluster.kill("n1")
    joining = asyncio.create_task(cluster.join("n1"))
    await wait_until_async(lambda: cluster.status()[0].local_state == 1)

    def desync() -> None:
        with client(cluster, "n3", user="root", password="") as connection:
            ask(connection, "SET GLOBAL wsrep_desync = ON")

    verdict, _ = await asyncio.gather(verdict_on(cluster), in_thread(desync))
    assert verdict.servers[0].role is Role.JOINING
    await joining
    verdict = await verdict_on(cluster)
    assert [server.role for server in verdict.servers] == [Role.REPLICA, Role.PRIMARY, Role.DESYNCED]


async def test_accounts_are_read_from_a_node(cluster: EmbeddedCluster) -> None:
    accounts = await load(servers_of(cluster)[0], "monitor", "monitor", 5.0)
    found = {account.user: account for account in accounts.accounts}
    assert set(found) == {"app", "monitor", "root"}
    assert found["app"].host == "%"
    assert [method.accepts(b"app") for method in found["app"].authentications] == [True]
    assert [method.accepts(b"") for method in found["root"].authentications] == [True]

"""Clients of an embedded cluster, for tests that run them in threads beside it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pymysql
import pytest

from sqlproxy.lab.embedded import EmbeddedCluster

IN_TRANSACTION = 1  # status flag


def free_base(nodes: int = 3) -> int:
    """A port from 23501 on that is free, and those after it."""
    for base in range(23501, 23590, nodes):
        if all(not in_use(base + number) for number in range(nodes)):
            return base
    raise AssertionError("no free ports from 23501 to 23590")


def in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@asynccontextmanager
async def embedded_cluster(**options: Any) -> AsyncIterator[EmbeddedCluster]:
    """Three nodes on free ports that do not rejoin by themselves, unless asked otherwise."""
    settings = {"rejoin_after": 0, "join_seconds": 0.1, **options}
    embedded = EmbeddedCluster(base_port=free_base(), **settings)
    await embedded.start()
    try:
        yield embedded
    finally:
        await embedded.stop()


def port_of(cluster: EmbeddedCluster, name: str) -> int:
    return cluster.addresses[name].port


@contextmanager
def client(cluster: EmbeddedCluster, name: str = "n1", **options: Any) -> Iterator[Any]:
    settings = {"user": "app", "password": "app", "database": "app", "autocommit": None, **options}
    connection = pymysql.connect(host="127.0.0.1", port=port_of(cluster, name), read_timeout=10, **settings)
    try:
        yield connection
    finally:
        if connection.open:
            connection.close()


def ask(connection: Any, sql: str, arguments: Any = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, arguments)
        return list(cursor.fetchall())


async def in_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.wait_for(asyncio.to_thread(work), 30)


def status(connection: Any, pattern: str = "wsrep%") -> dict[str, str]:
    return dict(ask(connection, "SHOW GLOBAL STATUS LIKE %s", (pattern,)))


def error_code(work: Callable[[], Any]) -> int:
    with pytest.raises(pymysql.MySQLError) as raised:
        work()
    return int(raised.value.args[0])


def greets(cluster: EmbeddedCluster) -> Any:
    with client(cluster) as connection:
        return ask(connection, "SELECT 1")

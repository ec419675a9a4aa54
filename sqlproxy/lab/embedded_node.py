"""One simulated Galera node: its port, its clients, its variables, and its place in the cluster."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from sqlproxy.door import ConnectionGone, Packets
from sqlproxy.errors import SqlproxyError
from sqlproxy.lab.embedded_connection import NodeConnection
from sqlproxy.lab.embedded_login import login
from sqlproxy.lab.embedded_session import Session
from sqlproxy.lab.embedded_store import Store
from sqlproxy.lab.embedded_variables import DEFAULTS, SERVER_VERSION, NodeStatus, Value, Variables
from sqlproxy.topology.model import Address
from sqlproxy.wire.constants import ER_CON_COUNT_ERROR
from sqlproxy.wire.packets import err_packet

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no time: closing sends RST, as after a crash


class Membership(Protocol):
    """What a node needs of its cluster."""

    store: Store
    users: dict[str, str]

    def node_status(self, node: Node) -> NodeStatus: ...
    def shut_down(self, name: str) -> None: ...


@dataclass
class _Client:
    task: asyncio.Task[None]
    writer: asyncio.StreamWriter
    since: float
    connection: NodeConnection | None = None  # None until it has logged in


class Node:
    """A simulated server. ``open`` and ``crash`` may alternate; global variables live from one ``open`` to the next."""

    def __init__(self, cluster: Membership, name: str, address: Address, server_id: int) -> None:
        self._cluster = cluster
        self._server_id = server_id
        self.name = name
        self.address = address
        self.store = cluster.store
        self.gcomm_uuid = ""
        self.synced = False
        self.accepted = 0  # connections so far
        self.questions = 0  # statements so far
        self._server: asyncio.Server | None = None
        self._clients: dict[int, _Client] = {}
        self._restart_state()

    def _restart_state(self) -> None:
        own: dict[str, Value] = {
            "hostname": self.name,
            "port": self.address.port,
            "server_id": self._server_id,
            "socket": self.address.path,
            "wsrep_node_name": self.name,
            "wsrep_node_address": str(self.address),
            "wsrep_cluster_address": "gcomm://embedded",
        }
        self.variables = Variables({**DEFAULTS, **own})
        self.locks: dict[str, int] = {}
        self._started = time.monotonic()

    @property
    def up(self) -> bool:
        """Whether the port is open."""
        return self._server is not None

    async def open(self) -> None:
        """Listen. Raises SqlproxyError naming the address when that is not possible."""
        self._restart_state()
        try:
            if self.address.path:
                self._server = await asyncio.start_unix_server(self._accept, self.address.path)
            else:
                self._server = await asyncio.start_server(self._accept, self.address.host, self.address.port)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise SqlproxyError(f"embedded node {self.name} cannot listen on {self.address}: {reason}") from None

    async def crash(self) -> None:
        """Close the port and reset every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        clients = list(self._clients.values())
        for client in clients:
            _reset(client.writer)
            client.task.cancel()
        await asyncio.gather(*(client.task for client in clients), return_exceptions=True)
        if server is not None:
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection_id = self.accepted
        task = asyncio.ensure_future(self._serve(connection_id, reader, writer))
        self._clients[connection_id] = _Client(task, writer, time.monotonic())
        task.add_done_callback(lambda _: self._clients.pop(connection_id, None))
        if not self.up:  # accepted in the moment of the crash
            _reset(writer)
            task.cancel()

    async def _serve(self, connection_id: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets = Packets(reader, writer)
        try:
            await self._talk(connection_id, packets)
        except (ConnectionGone, TimeoutError):
            pass
        except SqlproxyError as error:
            with suppress(ConnectionGone):
                await packets.write(err_packet(error.code, error.sqlstate, error.message))
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _talk(self, connection_id: int, packets: Packets) -> None:
        if len(self._clients) > int(str(self.variables.get("max_connections"))):
            raise SqlproxyError("Too many connections", code=ER_CON_COUNT_ERROR, sqlstate="08004")
        request = await login(packets, connection_id, SERVER_VERSION, self._cluster.users)
        session = Session(self, request.username.decode("utf-8", "replace"), packets.peer(), connection_id)
        try:
            if request.database:
                session.use(request.database.decode("utf-8", "replace"))
            connection = NodeConnection(packets, session, request.capabilities, self._cluster.users)
            self._clients[connection_id].connection = connection
            await packets.write(connection.ok())
            await connection.serve()
        finally:
            session.close()

    # What sessions ask; see embedded_session.Host.

    def status(self) -> NodeStatus:
        """The node's place in the cluster and its counters."""
        return self._cluster.node_status(self)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    @property
    def uptime(self) -> int:
        """Seconds since the port was opened."""
        return int(time.monotonic() - self._started)

    def processes(self) -> Iterable[tuple[Any, ...]]:
        """The rows of INFORMATION_SCHEMA.PROCESSLIST."""
        for number, client in self._clients.items():
            if client.connection is None:
                yield number, "unauthenticated user", "", None, "Connect", 0, "login", None
                continue
            session = client.connection.sql
            command = "Query" if session.info else "Sleep"
            seconds = int(time.monotonic() - client.since)
            yield number, session.user, session.host, session.database, command, seconds, "", session.info

    def kill(self, connection_id: int, *, query_only: bool) -> bool:
        """KILL; False if there is no such connection."""
        client = self._clients.get(connection_id)
        if client is None:
            return False
        if not query_only:
            client.task.cancel()
        elif client.connection is not None:
            client.connection.interrupt()
        return True

    def shut_down(self) -> None:
        """The SHUTDOWN statement: the node goes once it has answered."""
        self._cluster.shut_down(self.name)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()

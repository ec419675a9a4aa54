"""The embedded cluster: simulated Galera nodes in this process, for trying the proxy without any database.

The nodes share one store, so that a write on any of them is seen on all at once: replication without delay, conflict or
flow control. A killed node leaves the cluster, the others go on as the Primary component whatever their number, and the
node rejoins with the highest local index. Importing this module is cheap; ``start`` imports what the nodes need.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlproxy.errors import SqlproxyError
from sqlproxy.lab.embedded_variables import NodeStatus
from sqlproxy.topology.model import Address

if TYPE_CHECKING:
    from sqlproxy.lab.embedded_node import Node
    from sqlproxy.lab.embedded_store import Store

DEFAULT_PORT = 33101
USERS: Mapping[str, str] = MappingProxyType({"app": "app", "monitor": "monitor", "root": ""})
_JOIN_SECONDS = 0.5  # how long a joiner is seen joining
_LAST_WORDS = 0.02  # seconds from SHUTDOWN's answer to the end
_FIRST_UUID = 0x10000000


class EmbeddedCluster:
    """Simulated Galera nodes n1, n2, … on ``addresses``, or on ``nodes`` loopback ports from ``base_port`` on.

    ``users``: name to password, for login from any host with all privileges. ``rejoin_after``: seconds until a killed
    node comes back by itself; 0 never. ``join_seconds``: how long it is then seen joining.
    """

    store: Store

    def __init__(
        self,
        addresses: Sequence[Address] = (),
        *,
        base_port: int = DEFAULT_PORT,
        nodes: int = 3,
        users: Mapping[str, str] = USERS,
        rejoin_after: float = 20.0,
        join_seconds: float = _JOIN_SECONDS,
    ) -> None:
        places = addresses or [Address("127.0.0.1", base_port + number) for number in range(nodes)]
        self.addresses = {f"n{number}": address for number, address in enumerate(places, 1)}
        self.users = dict(users)
        self._rejoin_after = rejoin_after
        self._join_seconds = join_seconds
        self._nodes: dict[str, Node] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._joiners: dict[str, asyncio.Task[None]] = {}
        self._state_uuid = str(uuid.uuid4())
        self._joined = 0  # memberships so far
        self._conf_id = 0

    async def start(self) -> None:
        """Open all nodes, synced from the start. Raises SqlproxyError naming the port if one cannot be had."""
        from sqlproxy.lab.embedded_node import Node
        from sqlproxy.lab.embedded_store import Store

        self.store = Store(self.users)
        for number, (name, address) in enumerate(self.addresses.items(), 1):
            self._nodes[name] = Node(self, name, address, number)
        try:
            for node in self._nodes.values():
                await node.open()
                self._admit(node)
                node.synced = True
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything and forget the data; the cluster can be started anew."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        nodes, self._nodes = list(self._nodes.values()), {}
        for node in nodes:
            await node.crash()
        if nodes:
            self.store.close()

    async def kill(self, name: str) -> None:
        """Crash a node: its port closes, its connections are reset, the others see it leave. Nothing if it is down.

        Raises SqlproxyError for an unknown name, as ``join`` does.
        """
        node = self._node(name)
        joiner = self._joiners.pop(name, None)
        if joiner is not None and joiner is not asyncio.current_task():
            joiner.cancel()
        if node.up:
            self._conf_id += 1
            node.gcomm_uuid = ""
            node.synced = False
            await node.crash()
        if self._rejoin_after > 0:
            self._joiners[name] = self._spawn(self._rejoin(name))

    async def join(self, name: str) -> None:
        """Bring a node back: it is seen joining for a moment and is synced when this returns."""
        node = self._node(name)
        joiner = self._joiners.pop(name, None)
        if joiner is not None and joiner is not asyncio.current_task():
            joiner.cancel()
        if not node.up:
            await node.open()
            self._admit(node)
            await asyncio.sleep(self._join_seconds)
            node.synced = node.up

    async def _rejoin(self, name: str) -> None:
        """Join after a while, and try again for as long as the port is taken."""
        while not self._node(name).up:
            await asyncio.sleep(self._rejoin_after)
            try:
                await self.join(name)
            except SqlproxyError:
                continue

    def _node(self, name: str) -> Node:
        if name not in self._nodes:
            known = ", ".join(self._nodes) or "none: the cluster is not started"
            raise SqlproxyError(f"there is no embedded node named {name!r} (there are: {known})")
        return self._nodes[name]

    def _admit(self, node: Node) -> None:
        """A new view with ``node`` in it; its identity sorts behind all others, and so does its local index."""
        number = (_FIRST_UUID + self._joined) << 96 | secrets.randbits(96)
        node.gcomm_uuid = str(uuid.UUID(int=number))
        self._joined += 1
        self._conf_id += 1

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def status(self) -> list[NodeStatus]:
        """All nodes, down ones too, in the order of their names; empty before ``start``."""
        return [self.node_status(node) for node in self._nodes.values()]

    def node_status(self, node: Node) -> NodeStatus:
        """One node as it sees itself."""
        members = sorted((other for other in self._nodes.values() if other.up), key=lambda other: other.gcomm_uuid)
        state, number = _state(node)
        return NodeStatus(
            name=node.name,
            address=str(node.address),
            state=state,
            local_state=number,
            index=members.index(node) if node in members else -1,
            gcomm_uuid=node.gcomm_uuid,
            cluster_size=len(members),
            conf_id=self._conf_id,
            state_uuid=self._state_uuid,
            last_committed=self.store.committed,
            connections=node.connections,
            accepted=node.accepted,
            questions=node.questions,
            uptime=node.uptime,
            incoming=",".join(str(other.address) for other in members),
        )

    def shut_down(self, name: str) -> None:
        """What SHUTDOWN does: kill the node once its answer is on the way."""
        self._spawn(self._shut_down(name))

    async def _shut_down(self, name: str) -> None:
        await asyncio.sleep(_LAST_WORDS)
        await self.kill(name)


def _state(node: Node) -> tuple[str, int]:
    """wsrep_local_state_comment and wsrep_local_state."""
    if not node.up:
        return "Down", 0
    if not node.synced:
        return "Joining: receiving State Transfer", 1
    return ("Donor/Desynced", 2) if node.variables.get("wsrep_desync") else ("Synced", 4)

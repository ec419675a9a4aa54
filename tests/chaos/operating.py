"""What operators do to servers that are well, and what breaks meanwhile."""

from __future__ import annotations

import pymysql

from tests.chaos.cluster import forget_state
from tests.chaos.world import World
from tests.support.waiting import wait_until


def drain_primary(world: World) -> None:
    victim = world.primary
    world.put_state(victim, "drain")
    world.wait_new_primary(victim)
    world.wait_unused(victim)
    world.put_state(victim, "active")


def drain_replica(world: World) -> None:
    victim = world.replicas[0]
    world.put_state(victim, "drain")
    world.wait_unused(victim)
    world.put_state(victim, "active")


def maintain_primary(world: World) -> None:
    victim = world.primary
    world.put_state(victim, "maintenance")
    world.wait_new_primary(victim)
    world.progress()
    world.put_state(victim, "active")


def switchovers(world: World) -> None:
    for _ in range(6):
        world.switchover(world.replicas[0])
        world.progress(10)


def crash_after_switchover(world: World) -> None:
    target = world.replicas[0]
    world.switchover(target)
    world.cluster.kill(target)
    world.wait_new_primary(target)
    world.progress()
    world.cluster.join(target)


def crash_in_state_transfer(world: World) -> None:
    """A joiner dies in the middle of receiving, and comes again."""
    victim = world.replicas[0]
    node = world.cluster.members[victim]
    world.cluster.kill(victim)
    forget_state(node)
    node.start_in(list(world.cluster.nodes.values()))
    wait_until(lambda: world.has_donor(), 20, "a donor is at work")
    world.cluster.kill(victim)
    forget_state(node)
    world.progress()
    world.cluster.heal()


def unreachable_replica_logins(world: World) -> None:
    """A replica that has no connections left."""
    node = world.cluster.members[world.replicas[0]]
    node.query("SET GLOBAL max_connections = 10")
    held: list[pymysql.connections.Connection] = []
    try:
        for _ in range(12):
            held.append(world.root(node, tcp=True))
    except pymysql.MySQLError:
        world.progress()
    finally:
        for connection in held:
            connection.close()
        node.query("SET GLOBAL max_connections = 500")

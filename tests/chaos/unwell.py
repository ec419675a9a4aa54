"""A server that is there but not well."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos.cluster import kill_connections
from tests.chaos.disk import filled
from tests.chaos.world import World

Run = Callable[[World], None]


def flow_control(world: World) -> None:
    """A replica that cannot apply stops the whole cluster until it can."""
    replica = world.cluster.members[world.replicas[0]]
    connection = world.root(replica)
    with connection, connection.cursor() as cursor:
        cursor.execute("FLUSH TABLES WITH READ LOCK")
        time.sleep(3)
        cursor.execute("UNLOCK TABLES")


def desynced(world: World) -> None:
    victim = world.replicas[0]
    node = world.cluster.members[victim]
    node.query("SET GLOBAL wsrep_desync = ON")
    world.wait_role(victim, "desynced")
    world.progress()
    node.query("SET GLOBAL wsrep_desync = OFF")


def full_disk(which: str) -> Run:
    def run(world: World) -> None:
        victim = world.primary if which == "primary" else world.replicas[0]
        node = world.cluster.members[victim]
        with filled(node.data):
            time.sleep(4)
        world.cluster.heal()

    return run


def _set_on_primary(variable: str, during: str, after: str) -> Run:
    """A global variable makes the primary unfit for writes until it is set back."""

    def run(world: World) -> None:
        victim = world.primary
        node = world.cluster.members[victim]
        node.query(f"SET GLOBAL {variable} = {during}")
        world.wait_new_primary(victim)
        world.progress()
        node.query(f"SET GLOBAL {variable} = {after}")

    return run


read_only_primary = _set_on_primary("read_only", "ON", "OFF")
rejecting_primary = _set_on_primary("wsrep_reject_queries", "'ALL'", "'NONE'")


def connections_killed(world: World) -> None:
    """An administrator ends every connection of the application on the primary."""
    node = world.cluster.members[world.primary]
    for _ in range(5):
        kill_connections(node, "app")
        world.progress(3)


def wrong_monitor_password(world: World) -> None:
    """The monitor sees no server; what runs goes on."""
    node = world.cluster.members[world.replicas[0]]
    node.query("ALTER USER monitor@'%' IDENTIFIED BY 'changed'")
    for member in world.cluster.members.values():
        kill_connections(member, "monitor")
    world.wait_alarm("cannot look at n1, n2, n3")
    world.progress()
    node.query("ALTER USER monitor@'%' IDENTIFIED BY 'monitor'")


def schema_change_and_crash(world: World) -> None:
    """DDL under load, in the middle of which the primary crashes."""
    victim = world.primary
    for number in range(3):
        world.ask("ALTER TABLE entries ADD COLUMN IF NOT EXISTS extra INT")
        world.ask("ALTER TABLE entries DROP COLUMN IF EXISTS extra")
        if number == 1:
            world.cluster.kill(victim)
            world.wait_new_primary(victim)
    world.progress()
    world.cluster.join(victim)

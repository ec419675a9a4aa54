"""The faults: each a function that breaks something under load and mends it, waiting for what must happen meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pymysql

from sqlproxy.errors import SqlproxyError
from tests.chaos.cluster import between, firewall, forget_state, from_clients
from tests.chaos.disk import filled
from tests.chaos.load import WRITES
from tests.chaos.world import World
from tests.support.waiting import wait_until

Run = Callable[[World], None]


@dataclass(frozen=True)
class Fault:
    """``run`` breaks and mends. ``direct`` names the node (n1 …, or a place in the order of election: "first replica",
    "last replica") that a writer goes straight to for comparison, "" when no node stays untouched.

    ``allowed`` are errors (as ``Failure.what``) that no proxy can spare the application; ``compared`` whether the
    proxy's pause must keep to the cluster's own.
    """

    name: str
    run: Run
    direct: str = "last replica"
    allowed: tuple[str, ...] = ()
    compared: bool = True


# -- a server ends


def kill_primary(world: World) -> None:
    victim = world.primary
    world.cluster.kill(victim)
    world.wait_new_primary(victim)
    world.progress()
    world.cluster.join(victim)


def kill_replica(world: World) -> None:
    victim = world.replicas[0]
    world.cluster.kill(victim)
    world.wait_role(victim, "down")
    world.progress()
    world.cluster.join(victim)


def freeze_primary(world: World) -> None:
    victim = world.primary
    world.cluster.stop(victim)
    world.wait_new_primary(victim)
    world.progress()
    world.cluster.join(victim)


def freeze_replica(world: World) -> None:
    victim = world.replicas[0]
    world.cluster.stop(victim)
    world.wait_role(victim, "down")
    world.progress()
    world.cluster.join(victim)


def blink(seconds: float) -> Run:
    """The primary freezes for a moment that may or may not be noticed."""

    def run(world: World) -> None:
        victim = world.primary
        world.cluster.stop(victim)
        time.sleep(seconds)
        world.cluster.cont(victim)

    return run


def freeze_then_kill(world: World) -> None:
    victim = world.primary
    world.cluster.stop(victim)
    time.sleep(0.3)
    world.cluster.kill(victim)
    world.wait_new_primary(victim)
    world.progress()
    world.cluster.join(victim)


def shut_down_primary(world: World) -> None:
    victim = world.primary
    world.cluster.shutdown(victim)
    world.wait_new_primary(victim)
    world.progress()
    world.cluster.join(victim)


def shut_down_replica(world: World) -> None:
    victim = world.replicas[0]
    world.cluster.shutdown(victim)
    world.progress()
    world.cluster.join(victim)


def crash_loop(world: World) -> None:
    """One server crashes again as soon as it is back."""
    victim = world.primary
    for _ in range(3):
        world.cluster.kill(victim)
        world.progress()
        world.cluster.join(victim)


def crash_each_primary(world: World) -> None:
    """Whoever is primary crashes, three times running."""
    for _ in range(3):
        victim = world.primary
        world.cluster.kill(victim)
        world.wait_new_primary(victim)
        world.progress()
        world.cluster.join(victim)
        world.wait_whole()


def state_transfer(world: World) -> None:
    """A replica comes back with nothing: another becomes its donor."""
    victim = world.replicas[0]
    world.cluster.kill(victim)
    forget_state(world.cluster.members[victim])
    world.progress()
    world.cluster.join(victim)


def state_transfer_of_primary(world: World) -> None:
    victim = world.primary
    world.cluster.kill(victim)
    forget_state(world.cluster.members[victim])
    world.wait_new_primary(victim)
    world.cluster.join(victim)


def rolling_restart(world: World) -> None:
    for name in (*world.replicas, world.primary):
        world.cluster.shutdown(name)
        world.cluster.join(name)
        world.wait_whole()


def drained_rolling_restart(world: World) -> None:
    """As an operator would: drain, restart, activate, one after the other."""
    for name in (*world.replicas, world.primary):
        world.put_state(name, "drain")
        world.wait_unused(name)
        world.cluster.shutdown(name)
        world.cluster.join(name)
        world.put_state(name, "active")
        world.wait_whole()


def all_killed(world: World) -> None:
    for name in world.cluster.members:
        world.cluster.kill(name)
    world.cluster.up()


def all_shut_down(world: World) -> None:
    for name in (*world.replicas, world.primary):
        world.cluster.shutdown(name)
    world.cluster.up()


def majority_killed(world: World) -> None:
    """The survivor has no majority; it must not be written to until the others are back."""
    for name in (world.primary, world.replicas[0]):
        world.cluster.kill(name)
    world.wait_no_primary()
    world.cluster.up()


# -- the network


def primary_cut_from_peers(world: World) -> None:
    """Proxy and clients still reach it: it must not be written to."""
    victim = world.primary
    with firewall(between([world.cluster.members[victim]], world.cluster.peers(victim))):
        world.wait_new_primary(victim)
        world.progress()


def replica_cut_from_peers(world: World) -> None:
    victim = world.replicas[0]
    with firewall(between([world.cluster.members[victim]], world.cluster.peers(victim))):
        world.wait_role(victim, "non-primary")
        world.progress()


def primary_cut_from_one(world: World) -> None:
    """One link is gone; the cluster relays around it or takes one side out, and it must not matter which."""
    nodes = world.cluster.members
    with firewall(between([nodes[world.primary]], [nodes[world.replicas[0]]])):
        time.sleep(4)
        world.progress()


def short_partitions(world: World) -> None:
    """Too short to be noticed, then just long enough."""
    victim = world.primary
    for seconds in (0.3, 0.6, 1.2):
        with firewall(between([world.cluster.members[victim]], world.cluster.peers(victim))):
            time.sleep(seconds)
        world.progress(5)


def three_ways(world: World) -> None:
    """Nobody has a majority for a while."""
    nodes = list(world.cluster.members.values())
    with firewall([*between(nodes[:1], nodes[1:]), *between(nodes[1:2], nodes[2:])]):
        world.wait_no_primary()
        time.sleep(1)


def primary_cut_from_proxy(world: World) -> None:
    victim = world.primary
    with firewall(from_clients(world.cluster.members[victim])):
        world.wait_new_primary(victim)
        world.progress()


def replica_cut_from_proxy(world: World) -> None:
    victim = world.replicas[0]
    with firewall(from_clients(world.cluster.members[victim])):
        world.wait_role(victim, "down")
        world.progress()


def lossy_cluster(world: World) -> None:
    nodes = list(world.cluster.members.values())
    lost = "numgen random mod 100 < 5"
    with firewall([*between(nodes[:1], nodes[1:], lost), *between(nodes[1:2], nodes[2:], lost)]):
        time.sleep(4)


def lossy_proxy(world: World) -> None:
    rules = [r for node in world.cluster.members.values() for r in from_clients(node, "numgen random mod 100 < 5")]
    with firewall(rules):
        time.sleep(4)


# -- a server that is there but not well


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


def read_only_primary(world: World) -> None:
    victim = world.primary
    node = world.cluster.members[victim]
    node.query("SET GLOBAL read_only = ON")
    world.wait_new_primary(victim)
    world.progress()
    node.query("SET GLOBAL read_only = OFF")


def rejecting_primary(world: World) -> None:
    victim = world.primary
    node = world.cluster.members[victim]
    node.query("SET GLOBAL wsrep_reject_queries = 'ALL'")
    world.wait_new_primary(victim)
    world.progress()
    node.query("SET GLOBAL wsrep_reject_queries = 'NONE'")


def connections_killed(world: World) -> None:
    """An administrator ends every connection of the application on the primary."""
    node = world.cluster.members[world.primary]
    for _ in range(5):
        for (number,) in node.query("SELECT id FROM information_schema.processlist WHERE user = 'app'"):
            try:
                node.query(f"KILL {number}")
            except SqlproxyError:
                continue  # it ended by itself in between
        world.progress(3)


def wrong_monitor_password(world: World) -> None:
    """The monitor sees no server; what runs goes on."""
    node = world.cluster.members[world.replicas[0]]
    node.query("ALTER USER monitor@'%' IDENTIFIED BY 'changed'")
    for member in world.cluster.members.values():
        for (number,) in member.query("SELECT id FROM information_schema.processlist WHERE user = 'monitor'"):
            member.query(f"KILL {number}")
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


# -- what operators do


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


SHORT = (
    Fault("kill -9 of the primary", kill_primary),
    Fault("kill -9 of a replica", kill_replica),
    Fault("primary frozen (SIGSTOP)", freeze_primary),
    Fault("primary shut down and back", shut_down_primary),
    Fault("primary cut off from its peers", primary_cut_from_peers),
    Fault("primary cut off from the proxy", primary_cut_from_proxy),
    Fault("drain of the primary", drain_primary),
    Fault("six switchovers", switchovers),
)
OTHERS = (
    Fault("replica frozen (SIGSTOP)", freeze_replica),
    Fault("primary frozen for 0.3 s", blink(0.3)),
    Fault("primary frozen for 0.9 s", blink(0.9)),
    Fault("primary frozen for 1.6 s", blink(1.6)),
    Fault("primary frozen for 4 s", blink(4.0)),
    Fault("primary frozen, then kill -9", freeze_then_kill),
    Fault("replica shut down and back", shut_down_replica),
    Fault("crash loop of one server", crash_loop),
    Fault("crash of each new primary", crash_each_primary, direct=""),
    Fault("replica back by state transfer", state_transfer),
    Fault("primary back by state transfer", state_transfer_of_primary),
    Fault("joiner crashes in its state transfer", crash_in_state_transfer),
    Fault("rolling restart", rolling_restart, direct=""),
    Fault("rolling restart with drains", drained_rolling_restart, direct=""),
    Fault("all servers killed and back", all_killed, direct=""),
    Fault("all servers shut down and back", all_shut_down, direct=""),
    Fault("majority killed and back", majority_killed, direct=""),
    Fault("replica cut off from its peers", replica_cut_from_peers),
    Fault("primary cut off from one peer", primary_cut_from_one),
    Fault("short partitions of the primary", short_partitions),
    Fault("partition three ways", three_ways, direct=""),
    Fault("replica cut off from the proxy", replica_cut_from_proxy),
    Fault("5 % of packets lost in the cluster", lossy_cluster, compared=False),
    Fault("5 % of packets lost at the proxy", lossy_proxy, compared=False),
    Fault("flow control (replica locked)", flow_control),
    Fault("replica desynced", desynced),
    Fault("disk of a replica full", full_disk("replica")),
    Fault("disk of the primary full", full_disk("primary"), allowed=tuple(f"{kind} 1114" for kind in WRITES)),
    Fault("primary made read-only", read_only_primary),
    Fault("primary rejects queries", rejecting_primary),
    Fault("application connections killed", connections_killed),
    Fault("monitor password wrong for a while", wrong_monitor_password),
    Fault("schema changes and a crash", schema_change_and_crash, compared=False),
    Fault("drain of a replica", drain_replica),
    Fault("maintenance of the primary", maintain_primary),
    Fault("crash right after a switchover", crash_after_switchover),
    Fault("replica without free connections", unreachable_replica_logins),
)
AGAIN = (*SHORT[:3], SHORT[4], SHORT[5])  # the commonest, often, as luck decides what was in flight
FULL = (*SHORT, *OTHERS, *AGAIN, *AGAIN, *AGAIN)

"""The network between servers, or between them and the proxy, is cut, lossy or slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.chaos.cluster import between, firewall, from_clients, kill_connections
from tests.chaos.delay import delayed
from tests.chaos.world import World

Run = Callable[[World], None]


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


def majority_cut_from_proxy(world: World) -> None:
    """The last server that the proxy reaches is in the cluster's Primary component: it does everything."""
    victims = [world.primary, world.replicas[0]]
    with firewall([rule for name in victims for rule in from_clients(world.cluster.members[name])]):
        world.wait_new_primary(victims[0])
        world.wait_role(victims[1], "down")
        world.progress()


def alone_with_the_minority(world: World) -> None:
    """The majority goes on where the proxy does not see it; what it sees instead must not be written to."""
    minority = world.replicas[0]
    majority = world.cluster.peers(minority)
    unseen = [rule for node in majority for rule in from_clients(node)]
    with firewall([*between([world.cluster.members[minority]], majority), *unseen]):
        world.wait_no_primary()
        time.sleep(1)


def slow(seconds: float, *, only_primary: bool = False) -> Run:
    """Every byte takes so long each way, and up to as long again; meanwhile a replica crashes and comes back."""

    def run(world: World) -> None:
        names = [world.primary] if only_primary else [*world.replicas, world.primary]
        with delayed([world.cluster.members[name] for name in names], seconds):
            _connect_anew(world, names)
            world.progress()
            victim = world.replicas[0]
            world.cluster.kill(victim)
            world.wait_role(victim, "down")
            world.progress()
            world.cluster.join(victim)
            world.wait_whole()
        world.progress()  # on new connections: those through the relay have broken

    return run


def _connect_anew(world: World, names: Sequence[str]) -> None:
    """Have every connection of the proxy to these servers opened again, without an error to anybody."""
    for name in names:
        kill_connections(world.cluster.members[name], "monitor")
        world.put_state(name, "drain")
        world.wait_unused(name)
        world.put_state(name, "active")

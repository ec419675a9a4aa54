"""A server ends, by itself or by somebody's hand, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos.cluster import forget_state
from tests.chaos.world import World

Run = Callable[[World], None]


def _loses_primary(end: Callable[[World, str], None]) -> Run:
    """The primary ends in a way of its own, another takes its place, and it joins again."""

    def run(world: World) -> None:
        victim = world.primary
        end(world, victim)
        world.wait_new_primary(victim)
        world.progress()
        world.cluster.join(victim)

    return run


def _loses_replica(end: Callable[[World, str], None]) -> Run:
    """The same of a replica, once the proxy knows."""

    def run(world: World) -> None:
        victim = world.replicas[0]
        end(world, victim)
        world.wait_role(victim, "down")
        world.progress()
        world.cluster.join(victim)

    return run


def _freeze_then_kill(world: World, victim: str) -> None:
    world.cluster.stop(victim)
    time.sleep(0.3)
    world.cluster.kill(victim)


kill_primary = _loses_primary(lambda world, victim: world.cluster.kill(victim))
freeze_primary = _loses_primary(lambda world, victim: world.cluster.stop(victim))
freeze_then_kill = _loses_primary(_freeze_then_kill)
shut_down_primary = _loses_primary(lambda world, victim: world.cluster.shutdown(victim))
kill_replica = _loses_replica(lambda world, victim: world.cluster.kill(victim))
freeze_replica = _loses_replica(lambda world, victim: world.cluster.stop(victim))


def blink(seconds: float) -> Run:
    """The primary freezes for a moment that may or may not be noticed."""

    def run(world: World) -> None:
        victim = world.primary
        world.cluster.stop(victim)
        time.sleep(seconds)
        world.cluster.cont(victim)

    return run


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

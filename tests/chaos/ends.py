"""A server ends, by itself or by somebody's hand, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.chaos.cluster import forget_state
from tests.chaos.world import World

Run = Callable[[World], None]


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

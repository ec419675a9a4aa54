"""The faults by name and kind: each a function that breaks something under load and mends it, see the modules named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from tests.chaos import ends, network, operating, unwell
from tests.chaos.load import WRITES
from tests.chaos.mixed import SYSBENCH
from tests.chaos.world import World

CRASH, HANG, LEAVE, TRANSFER, CUT, SLOW, UNWELL, OPERATED = KINDS = (
    "crash",
    "hang",
    "leave",
    "transfer",
    "cut",
    "slow",
    "unwell",
    "operated",
)


@dataclass(frozen=True)
class Fault:
    """``run`` breaks and mends, and waits for what must happen meanwhile.

    ``direct`` names the node (n1 …, or a place in the order of election: "first replica", "last replica") that a writer
    goes straight to for comparison, "" when no node stays untouched. ``allowed`` are errors (as ``Failure.what``) that
    no proxy can spare the application; ``compared`` whether the proxy's pause must keep to the cluster's own.
    """

    name: str
    kind: str
    run: Callable[[World], None]
    direct: str = "last replica"
    allowed: tuple[str, ...] = ()
    compared: bool = True


def balanced(faults: Sequence[Fault]) -> list[Fault]:
    """The same faults in turns of their kinds, so that any beginning of the list has some of every kind."""
    by_kind = [[fault for fault in faults if fault.kind == kind] for kind in KINDS]
    return [fault for fault in chain.from_iterable(zip_longest(*by_kind)) if fault is not None]


SHORT = (
    Fault("kill -9 of the primary", CRASH, ends.kill_primary),
    Fault("kill -9 of a replica", CRASH, ends.kill_replica),
    Fault("primary frozen (SIGSTOP)", HANG, ends.freeze_primary),
    Fault("primary shut down and back", LEAVE, ends.shut_down_primary),
    Fault("primary cut off from its peers", CUT, network.primary_cut_from_peers),
    Fault("primary cut off from the proxy", CUT, network.primary_cut_from_proxy),
    Fault("drain of the primary", OPERATED, operating.drain_primary),
    Fault("six switchovers", OPERATED, operating.switchovers),
)
_FULL = tuple(f"{kind} 1114" for kind in (*WRITES, SYSBENCH))
OTHERS = (
    Fault("replica frozen (SIGSTOP)", HANG, ends.freeze_replica),
    Fault("primary frozen for 0.3 s", HANG, ends.blink(0.3)),
    Fault("primary frozen for 0.9 s", HANG, ends.blink(0.9)),
    Fault("primary frozen for 1.6 s", HANG, ends.blink(1.6)),
    Fault("primary frozen for 4 s", HANG, ends.blink(4.0)),
    Fault("primary frozen, then kill -9", HANG, ends.freeze_then_kill),
    Fault("replica shut down and back", LEAVE, ends.shut_down_replica),
    Fault("crash loop of one server", CRASH, ends.crash_loop),
    Fault("crash of each new primary", CRASH, ends.crash_each_primary, direct=""),
    Fault("replica back by state transfer", TRANSFER, ends.state_transfer),
    Fault("primary back by state transfer", TRANSFER, ends.state_transfer_of_primary),
    Fault("joiner crashes in its state transfer", TRANSFER, operating.crash_in_state_transfer),
    Fault("rolling restart", LEAVE, ends.rolling_restart, direct=""),
    Fault("rolling restart with drains", OPERATED, ends.drained_rolling_restart, direct=""),
    Fault("all servers killed and back", CRASH, ends.all_killed, direct=""),
    Fault("all servers shut down and back", LEAVE, ends.all_shut_down, direct=""),
    Fault("majority killed and back", CRASH, ends.majority_killed, direct=""),
    Fault("replica cut off from its peers", CUT, network.replica_cut_from_peers),
    Fault("primary cut off from one peer", CUT, network.primary_cut_from_one),
    Fault("short partitions of the primary", CUT, network.short_partitions),
    Fault("partition three ways", CUT, network.three_ways, direct=""),
    Fault("replica cut off from the proxy", CUT, network.replica_cut_from_proxy),
    Fault("majority cut off from the proxy", CUT, network.majority_cut_from_proxy),
    Fault("proxy alone with the minority", CUT, network.alone_with_the_minority, direct=""),
    Fault("5 % of packets lost in the cluster", SLOW, network.lossy_cluster, compared=False),
    Fault("5 % of packets lost at the proxy", SLOW, network.lossy_proxy, compared=False),
    Fault("45 ms between proxy and servers", SLOW, network.slow(0.015), direct=""),
    Fault("45 ms between proxy and primary", SLOW, network.slow(0.015, only_primary=True), direct=""),
    Fault("flow control (replica locked)", UNWELL, unwell.flow_control),
    Fault("replica desynced", UNWELL, unwell.desynced),
    Fault("disk of a replica full", UNWELL, unwell.full_disk("replica")),
    Fault("disk of the primary full", UNWELL, unwell.full_disk("primary"), allowed=_FULL),
    Fault("primary made read-only", UNWELL, unwell.read_only_primary),
    Fault("primary rejects queries", UNWELL, unwell.rejecting_primary),
    Fault("application connections killed", UNWELL, unwell.connections_killed),
    Fault("monitor password wrong for a while", UNWELL, unwell.wrong_monitor_password),
    Fault("schema changes and a crash", CRASH, unwell.schema_change_and_crash, compared=False),
    Fault("drain of a replica", OPERATED, operating.drain_replica),
    Fault("maintenance of the primary", OPERATED, operating.maintain_primary),
    Fault("crash right after a switchover", CRASH, operating.crash_after_switchover),
    Fault("replica without free connections", UNWELL, operating.unreachable_replica_logins),
)
AGAIN = (*SHORT[:3], SHORT[4], SHORT[5])  # the commonest, often, as luck decides what was in flight
FULL = (*SHORT, *OTHERS, *AGAIN, *AGAIN)

"""The words of the topology, as frozen values: Server, NodeReport, ServerView, Snapshot, Event.

A monitor turns NodeReports (facts) into numbered Snapshots (verdicts). Everybody else reads the newest Snapshot;
nobody changes one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Role(StrEnum):
    """What a server is to the cluster, as the monitor judges it."""

    PRIMARY = "primary"  # takes writes; exactly one per snapshot, or none
    REPLICA = "replica"  # in sync, takes reads
    JOINING = "joining"  # receiving state, not yet usable
    DONOR = "donor"  # giving state to a joiner
    DESYNCED = "desynced"  # in the cluster, deliberately behind
    NON_PRIMARY = "non-primary"  # cut off from the majority
    SUSPECT = "suspect"  # silent for a moment: no new work, what cannot be repeated waits for it
    DOWN = "down"  # does not answer
    UNKNOWN = "unknown"  # not probed yet


class AdminState(StrEnum):
    """What the operator wants of a server."""

    ACTIVE = "active"
    DRAIN = "drain"  # no new work; transactions there may end
    MAINTENANCE = "maintenance"  # no work at all


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def is_local(self) -> bool:
        """A unix socket or a loopback address: nobody on the way can listen in."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """TLS towards a server. ``mode``: disabled, preferred, required, verify_ca or verify_identity.

    "preferred" uses TLS where the server offers it, except on loopback, where it would only cost.
    """

    mode: str = "preferred"
    ca: str = ""
    cert: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A server as configured. ``priority``: candidates for primary, lowest first; 0 never."""

    name: str
    address: Address
    priority: int = 1
    weight: int = 1
    zone: str = ""
    max_connections: int = 0
    persistpoolmax: int = 0  # connections kept for the next sessions
    persistmaxtime: float = 0.0  # seconds they are kept
    proxy_protocol: bool = False
    compression: str = ""  # "zlib" or "zstd": where the server offers it
    tls: ServerTLS = field(default_factory=ServerTLS)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """The facts one probe brought home; nothing in it is judged.

    ``at`` is monotonic seconds, ``latency`` seconds. ``error`` is empty when the probe succeeded; ``facts`` are
    then the flavour's rows, lower-case name to value. ``capabilities`` and ``version`` come from the greeting.
    ``refusal`` is why a server that answers does not let the monitor look: it is alive, and ``facts`` are the last
    that are known of it, if any, as of ``seen``.
    """

    server: str
    at: float
    error: str = ""
    refusal: str = ""
    seen: float = 0.0
    latency: float = 0.0
    version: str = ""
    capabilities: int = 0
    collation: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerView:
    """The verdict on one server. ``reason`` is a sentence with the value that decided.

    ``usable``: sessions may hold connections to it (it is primary or replica, and not in maintenance).
    """

    name: str
    role: Role
    state: AdminState
    reason: str
    weight: int = 1
    zone: str = ""
    version: str = ""
    capabilities: int = 0
    collation: int = 0
    latency: float = 0.0
    lag: float | None = None
    figures: Mapping[str, str] = field(default_factory=dict)  # facts worth showing to operators

    @property
    def usable(self) -> bool:
        return self.role in (Role.PRIMARY, Role.REPLICA) and self.state is not AdminState.MAINTENANCE

    @property
    def lost(self) -> bool:
        """Nothing sent there will be answered, or not by the cluster: what is under way is given up."""
        return self.role in (Role.DOWN, Role.NON_PRIMARY, Role.UNKNOWN)

    @property
    def readable(self) -> bool:
        """New reads may go here."""
        return self.role in (Role.PRIMARY, Role.REPLICA) and self.state is AdminState.ACTIVE


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbered verdict on all servers. ``primary`` is a name or None; ``at`` is monotonic seconds.

    ``causal`` names how a read can be made to wait for earlier writes: "galera" or "" (not at all).
    """

    number: int
    at: float
    servers: tuple[ServerView, ...] = ()
    primary: str | None = None
    alarms: tuple[str, ...] = ()
    causal: str = ""

    def server(self, name: str) -> ServerView | None:
        """The view of a server, or None when it is not configured."""
        for view in self.servers:
            if view.name == name:
                return view
        return None

    def only(self, names: Collection[str]) -> Snapshot:
        """The same verdict with only the servers named."""
        return replace(
            self,
            servers=tuple(view for view in self.servers if view.name in names),
            primary=self.primary if self.primary in names else None,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed, in a sentence. ``time`` is wall-clock seconds since the epoch."""

    number: int
    time: float
    kind: str  # "role", "primary", "state", "alarm", "notify", …
    server: str
    text: str

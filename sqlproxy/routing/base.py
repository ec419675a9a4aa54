"""What a router is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlproxy.topology.model import Snapshot


@dataclass(frozen=True, slots=True)
class RouteContext:
    """What of a session bears on routing; made anew only when it changes. Servers are names, "" is none."""

    transaction: str = ""  # where a transaction is open
    pinned: str = ""  # the only server that has the session's state
    pin_reason: str = ""
    last: str = ""  # the server that answered last
    autocommit: bool = True
    next_transaction: bool = False  # SET TRANSACTION waits for its transaction
    history_full: bool = False  # the next session statement pins, so it belongs on the primary


@dataclass(frozen=True, slots=True)
class Decision:
    """``server`` is a name, or "" when no server has the role now; ``reason`` is a sentence.

    ``read`` says that a replica's answer would do, so that the statement may be run again elsewhere.
    """

    server: str
    reason: str
    read: bool = False


class Load:
    """What balancing looks at: statements a server works on now, and reads it has been sent."""

    __slots__ = ("operations", "reads")

    def __init__(self, operations: int = 0, reads: int = 0) -> None:
        self.operations = operations
        self.reads = reads


class Router(Protocol):
    """Pure: the same arguments give the same decision."""

    def route(self, mask: int, context: RouteContext, snapshot: Snapshot, loads: Mapping[str, Load]) -> Decision:
        """Where a statement with classification ``mask`` goes."""
        ...

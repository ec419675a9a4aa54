"""The sessions of a process by the ids that their clients see, and those of other processes as far as KILL goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from sqlproxy.inherited import SLOTS
from sqlproxy.session import errand

if TYPE_CHECKING:
    from sqlproxy.session.session import Session

_IDS_PER_WORKER: Final = (1 << 30) // SLOTS  # so that all of them fit below 2**31
_FIRST_ID: Final = 1 << 30  # far above the ids of the servers' own connections, so that KILL can tell them apart


@dataclass(frozen=True, slots=True)
class Victim:
    """A session as far as KILL needs to know it; it may live in another process.

    ``targets``: server and connection id there of what is to be killed, of the running statement if there is one.
    """

    number: int
    user: bytes
    targets: tuple[tuple[str, int], ...]
    running: bool


class Others(Protocol):
    """The sessions of other processes."""

    async def victim(self, number: int) -> Victim | None:
        """The session with this id, if there is one."""

    def end(self, number: int, query_only: bool) -> None:
        """See ``Registry.end``."""


def describe(session: Session) -> Victim:
    """A session of this process."""
    running = session.running_on
    backends = [running] if running is not None else list(session.backends.values())[:1]
    targets = tuple((backend.server, backend.thread_id) for backend in backends)
    return Victim(session.number, session.login.credentials.username, targets, running is not None)


def end(session: Session, query_only: bool) -> None:
    """What is left to do when the servers have killed: end the client's connection, or what waits for a server."""
    if not query_only:
        session.client.close()
    elif session.running_on is None:
        errand.interrupt(session)


class Registry:
    """The sessions of all services by the id their clients see."""

    def __init__(self, worker: int = 0) -> None:
        self.sessions: dict[int, Session] = {}
        self.others: Others | None = None  # where there are further processes
        self._first = _FIRST_ID + worker * _IDS_PER_WORKER
        self._newest = self._first

    def next_id(self) -> int:
        """An id no session has, in any worker, below 2**31 for clients that take it for signed."""
        while True:
            self._newest += 1
            if self._newest == self._first + _IDS_PER_WORKER:
                self._newest = self._first + 1
            if self._newest not in self.sessions:
                return self._newest

    def slots(self) -> set[int]:
        """The ranges of ids in use: this process's own, and those of sessions that came from others."""
        return {(number - _FIRST_ID) // _IDS_PER_WORKER for number in (self._first, *self.sessions)}

    async def victim(self, number: int) -> Victim | None:
        """The session with this id, wherever it lives, as KILL sees it."""
        session = self.sessions.get(number)
        if session is not None:
            return describe(session)
        if self.others is None or number < _FIRST_ID:
            return None
        return await self.others.victim(number)

    def end(self, number: int, query_only: bool) -> None:
        """End a session, or only what it waits for; see ``end``."""
        session = self.sessions.get(number)
        if session is not None:
            end(session, query_only)
        elif self.others is not None:
            self.others.end(number, query_only)

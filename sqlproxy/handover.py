"""Sessions on their way from one process to the one that replaces it, over a pair of sockets. docs/design/upgrade.md.

Every packet (SOCK_SEQPACKET keeps them whole and in order) begins with a letter. The process after says HELLO with the
format that it understands. The process before sends each session of a batch as PARTs and one SESSION, with the sockets;
the answer is YES or NO with the session's number. COMMIT names those that are the other process's from then on: it is
the only moment at which a session changes hands, and what it does not name stays where it was.
"""

from __future__ import annotations

import array
import asyncio
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from sqlproxy.session import moving
from sqlproxy.session.parcel import FORMAT, Parcel, ParcelRefused
from sqlproxy.session.registry import Registry
from sqlproxy.session.service import Service
from sqlproxy.session.session import Session

log = logging.getLogger("sqlproxy.upgrade")

HELLO: Final = b"H"
PART: Final = b"P"
SESSION: Final = b"S"
YES: Final = b"Y"
NO: Final = b"N"
COMMIT: Final = b"C"

_PACKET: Final = 32 * 1024  # bytes, so that several fit into a socket's buffer
_LONGEST: Final = 1 << 20  # bytes of a session's parcel; one with more stays
_SOCKETS: Final = 64  # of a session; one with more stays
_BATCH: Final = 16  # sessions that are held at once
_PATIENCE: Final = 2.0  # seconds for the other process to answer, after which everything stays
_HELLO_PATIENCE: Final = 10.0  # seconds for its first word
_LOOKED_AT: Final = 256  # sessions, of which a batch is taken
_EVERY: Final = 0.01  # seconds between two looks for sessions that can move …
_SELDOM: Final = 0.25  # … and when none could for a while
_EAGER: Final = 200  # looks in vain, after which they are made seldom


class Link:
    """One end of the pair. Everything raises OSError when the other end is gone, EOFError where something is due."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    async def send(self, kind: bytes, payload: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """One packet, as soon as there is room for it."""
        while not self.send_now(kind, payload, descriptors):
            await self._until_ready(write=True)

    def send_now(self, kind: bytes, payload: bytes = b"", descriptors: Sequence[int] = ()) -> bool:
        """One packet; False when there is no room."""
        rights = array.array("i", descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        try:
            self._sock.sendmsg([kind, payload], ancillary)
        except BlockingIOError:
            return False
        return True

    async def receive(self) -> tuple[bytes, bytes, list[socket.socket]]:
        """The next packet: its kind, what it says, the sockets that came with it. Raises EOFError after the last."""
        while True:
            try:
                data, numbers, flags, _ = socket.recv_fds(self._sock, _PACKET + 1, _SOCKETS, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                await self._until_ready(write=False)
                continue
            sockets = [socket.socket(fileno=number) for number in numbers]
            if flags & socket.MSG_CTRUNC:  # more than this process may have open
                close_all(sockets)
                sockets = []
            if not data:
                raise EOFError("the other process is gone")
            return data[:1], data[1:], sockets

    async def _until_ready(self, *, write: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        add(self._sock, _wake, ready)
        try:
            await ready
        finally:
            remove(self._sock)

    def take_no_more(self) -> None:
        """Let the other end send no further packet; what it has sent can still be received."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """The other end learns of it."""
        self._sock.close()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def close_all(sockets: Sequence[socket.socket]) -> None:
    """Close this process's part of them; whoever else has them keeps his."""
    for sock in sockets:
        sock.close()


class Departure:
    """The process before: gives its sessions away, one batch after the other, whenever they are between statements."""

    def __init__(self, sock: socket.socket, registry: Registry) -> None:
        self._link = Link(sock)
        self._registry = registry
        self._refused: dict[int, str] = {}  # session → the other process's reason
        self._round: Iterator[Session] = iter(())
        self.moved = 0
        self.longest = 0.0  # seconds that a session was held

    async def run(self) -> None:
        """Until there are no sessions left or the other process takes no more; cancelled when time is up."""
        try:
            async with asyncio.timeout(_HELLO_PATIENCE):
                kind, said, _ = await self._link.receive()
            if kind != HELLO or said.decode() != FORMAT:
                log.info("upgrade: sessions end where they began, as the new process understands another format")
                return
            await self._move_all()
        except (TimeoutError, EOFError, OSError) as error:
            log.info("upgrade: no further session moves: %s", error or "no answer from the new process")
        finally:
            self._link.close()

    async def _move_all(self) -> None:
        vain = 0
        while True:
            found = self._movable()
            if found:
                await self._move(found)
                vain = 0
            else:
                vain += 1
                if vain == _EAGER:
                    log.info("upgrade: %s", self.summary())
            await asyncio.sleep(0 if found else _EVERY if vain < _EAGER else _SELDOM)

    def _movable(self) -> list[Session]:
        """A batch of sessions that can move now, of the next few."""
        found: list[Session] = []
        for _ in range(_LOOKED_AT):
            session = next(self._round, None)
            if session is None:
                self._round = iter(list(self._registry.sessions.values()))
                break
            if session.number not in self._refused and not moving.obstacle(session):
                found.append(session)
                if len(found) == _BATCH:
                    break
        return found

    async def _move(self, sessions: Sequence[Session]) -> None:
        """Hold them, offer them, and commit to what the other process agrees to; in any other case they go on here."""
        began = time.monotonic()
        parcels: dict[int, Parcel] = {}
        try:
            for session in sessions:
                moving.hold(session)
            async with asyncio.timeout(_PATIENCE):
                for session in sessions:
                    await self._offer(session, parcels)
                agreed = [await self._answer() for _ in parcels]
            self._commit(sessions, parcels, {number for number in agreed if number})
        finally:
            for session in sessions:
                if session.number in self._registry.sessions:
                    moving.resume(session)
            self.longest = max(self.longest, time.monotonic() - began)

    async def _offer(self, session: Session, parcels: dict[int, Parcel]) -> None:
        parcel = moving.pack(session)
        data, sockets = parcel.encode(), moving.sockets_of(session)
        if len(data) > _LONGEST or len(sockets) > _SOCKETS:
            self._refused[session.number] = "more state than can be handed over"
            return
        parts = [data[start : start + _PACKET] for start in range(0, len(data), _PACKET)]
        parcels[session.number] = parcel
        for part in parts[:-1]:
            await self._link.send(PART, part)
        await self._link.send(SESSION, parts[-1], [sock.fileno() for sock in sockets])

    async def _answer(self) -> int:
        """The number of the session that the other process agrees to take; 0 when it does not."""
        kind, said, _ = await self._link.receive()
        number, _, reason = said.decode().partition(" ")
        if kind == YES:
            return int(number)
        self._refused[int(number)] = reason
        return 0

    def _commit(self, sessions: Sequence[Session], parcels: Mapping[int, Parcel], agreed: set[int]) -> None:
        """Without a pause in which anything could happen to a session."""
        going = [s for s in sessions if s.number in agreed and unchanged(s, parcels[s.number])]
        if not self._link.send_now(COMMIT, json.dumps([session.number for session in going]).encode()):
            raise EOFError("the new process does not read")
        for session in going:
            moving.let_go(session)
        self.moved += len(going)

    def summary(self) -> str:
        """What became of the sessions, for the log."""
        reasons = Counter(
            self._refused.get(session.number) or moving.obstacle(session) or "about to move"
            for session in self._registry.sessions.values()
        )
        stay = ", ".join(f"{reason}: {count}" for reason, count in reasons.most_common())
        text = f"{self.moved} sessions have moved, held for {self.longest * 1000:.1f} ms at most"
        return f"{text}; {reasons.total()} go on here ({stay})" if stay else text


def unchanged(session: Session, parcel: Parcel) -> bool:
    """Nothing has happened to a session since it was packed: no byte, no KILL, no lost server."""
    return not moving.obstacle(session) and moving.pack(session) == parcel


class Arrival:
    """The process after: takes in sessions of the one before."""

    def __init__(self, sock: socket.socket, services: Callable[[], Mapping[str, Service]]) -> None:
        self._link = Link(sock)
        self._services = services
        self._parts = bytearray()
        self._offered: dict[int, tuple[Session, bytes, list[socket.socket]]] = {}
        self.taken = 0

    async def run(self) -> None:
        """Until the other process is done or gone."""
        try:
            await self._link.send(HELLO, FORMAT.encode())
            while True:
                await self._take(*await self._link.receive())
        except (EOFError, OSError):
            if self.taken:
                log.info("upgrade: %d sessions were taken over", self.taken)
        finally:
            self._drop_offered()
            self._link.close()

    def take_no_more(self) -> None:
        """``run`` ends as soon as what is agreed already is done."""
        self._link.take_no_more()

    async def _take(self, kind: bytes, payload: bytes, sockets: list[socket.socket]) -> None:
        if kind in (PART, SESSION):
            self._parts += payload
            if kind == SESSION:
                data = bytes(self._parts)
                self._parts.clear()
                await self._consider(data, sockets)
        elif kind == COMMIT:
            for number in json.loads(payload):
                await self._adopt(*self._offered.pop(number))
            self._drop_offered()

    async def _consider(self, data: bytes, sockets: list[socket.socket]) -> None:
        """Answer an offer."""
        try:
            parcel = Parcel.decode(data)
        except ParcelRefused as error:
            close_all(sockets)
            raise EOFError(error.message) from None  # nobody knows which session it is: all of them stay
        reason = self._keep(parcel, sockets)
        if reason:
            close_all(sockets)
            await self._link.send(NO, f"{parcel.number} {reason}".encode())
        else:
            await self._link.send(YES, str(parcel.number).encode())

    def _keep(self, parcel: Parcel, sockets: list[socket.socket]) -> str:
        """Have a session ready; the reason when that is not possible."""
        if len(sockets) != 1 + len(parcel.backends):
            return "the new process has too many open files"
        services = self._services()
        reason = moving.refusal(services, parcel)
        if reason:
            return reason
        try:
            session = moving.unpack(services[parcel.service], parcel)
        except ValueError as error:
            return str(error)
        self._offered[parcel.number] = (session, parcel.client.pending, sockets)
        return ""

    async def _adopt(self, session: Session, pending: bytes, sockets: list[socket.socket]) -> None:
        for sock in sockets:
            sock.setblocking(False)
        try:
            await moving.adopt(session, pending, sockets)
        except Exception:
            log.exception("upgrade: session %d was lost", session.number)
            moving.drop(session, sockets)
        else:
            self.taken += 1

    def _drop_offered(self) -> None:
        """What was not committed to lives on in the other process."""
        for _, _, sockets in self._offered.values():
            close_all(sockets)
        self._offered.clear()

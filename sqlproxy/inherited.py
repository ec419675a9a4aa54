"""What this process has from the one it replaces: listening sockets by address, ways for sessions to come, and which
ids are taken; see ``sqlproxy.upgrade``."""

from __future__ import annotations

import json
import os
import socket
from typing import Final

from sqlproxy.errors import SqlproxyError

ENVIRONMENT: Final = "SQLPROXY_UPGRADE"  # the number of a socket on which the process before is told how it went
SERVES: Final = b"\0"  # what the process before reads when all went well
SLOTS: Final = 256  # ranges of session ids
_LONGEST: Final = 1 << 20  # bytes of the message that says what is inherited


class _Predecessor:
    """The process before, until it has been told how the start went."""

    def __init__(self) -> None:
        self.sockets: dict[str, list[socket.socket]] = {}
        self.links: list[socket.socket] = []
        self.slots: set[int] = set()  # in use
        self.newest_slot = -1
        self.connection: socket.socket | None = None


_before: Final = _Predecessor()


def receive() -> None:
    """Take over what the environment announces; nothing at an ordinary start."""
    number = os.environ.pop(ENVIRONMENT, "")
    if not number:
        return
    _before.connection = _own(int(number))
    data = b""
    while not data.endswith(b"\n") and len(data) < _LONGEST:
        data += _before.connection.recv(65536)
    message = json.loads(data)
    for address, numbers in message["sockets"].items():
        _before.sockets[address] = [_own(number) for number in numbers]
    _before.links = [_own(number) for number in message["links"]]
    _before.slots = set(message["slots"])
    _before.newest_slot = message["newest_slot"]


def _own(number: int) -> socket.socket:
    """Not for processes that this one starts, unless they are given it."""
    sock = socket.socket(fileno=number)
    sock.set_inheritable(False)
    return sock


def take(address: str) -> socket.socket | None:
    """A socket that listens at this address already, once for each that there is."""
    waiting = _before.sockets.get(address)
    if not waiting:
        return None
    sock = waiting.pop(0)
    sock.setblocking(False)
    return sock


def links() -> list[socket.socket]:
    """The sockets over which sessions come from the process before, once; see ``sqlproxy.handover``."""
    found, _before.links = _before.links, []
    return found


def free_slots(count: int) -> list[int]:
    """Ranges of session ids for so many processes of this one's: those unused for longest.

    Sessions of the process before keep their ids, wherever they live on. Raises SqlproxyError when there are too few.
    """
    after = _before.newest_slot + 1
    found = [slot % SLOTS for slot in range(after, after + SLOTS) if slot % SLOTS not in _before.slots]
    if len(found) < count:
        raise SqlproxyError(f"{count} ranges of session ids are needed, and sessions of old leave only {len(found)}")
    return found[:count]


def report(failure: str = "") -> None:
    """Tell the process before that this one serves, or why it does not; addresses that nobody took are closed."""
    connection, _before.connection = _before.connection, None
    for waiting in _before.sockets.values():
        for sock in waiting:
            sock.close()
    _before.sockets.clear()
    if connection is not None:
        with connection:
            connection.sendall(failure.encode() or SERVES)

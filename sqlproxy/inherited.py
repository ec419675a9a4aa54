"""Listening sockets that this process has from the one it replaces, by address; see ``sqlproxy.upgrade``."""

from __future__ import annotations

import json
import os
import socket
from typing import Final

ENVIRONMENT: Final = "SQLPROXY_UPGRADE"  # the number of a socket on which the process before is told how it went
SERVES: Final = b"\0"  # what the process before reads when all went well
_SLOTS: Final = 128  # of session ids; every other generation of processes uses the other half
_LONGEST: Final = 1 << 20  # bytes of the message that says what is inherited


class _Predecessor:
    """The process before, until it has been told how the start went."""

    def __init__(self) -> None:
        self.generation = 0
        self.sockets: dict[str, list[socket.socket]] = {}
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
    _before.generation = message["generation"]
    for address, numbers in message["sockets"].items():
        _before.sockets[address] = [_own(number) for number in numbers]


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


def generation() -> int:
    """How many processes there were before this one."""
    return _before.generation


def first_slot() -> int:
    """The first of this process's ranges of session ids: its predecessor's sessions may live on and keep theirs."""
    return _SLOTS * (_before.generation % 2)


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

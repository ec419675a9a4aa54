"""SIGUSR2: the program is started again, with the same arguments, on the listening sockets of the one that runs.

The new process gets the sockets by inheritance and says over a pair of sockets that it serves, or why it does not. Then
the old one accepts nobody any more, hands over what sessions it can (``sqlproxy.handover``), serves the others until
they end, and ends itself. docs/design/upgrade.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlproxy import inherited
from sqlproxy.errors import SqlproxyError

log = logging.getLogger("sqlproxy.upgrade")

_START_TIMEOUT: Final = 30.0  # seconds the new process gets
_ON_STDERR: Final = "its own words are on standard error"


@dataclass(frozen=True, slots=True)
class Estate:
    """What the new process gets: listening sockets by address; ranges of session ids that are in use, and the newest of
    this process's own; for each process with sessions a way to hand them over."""

    listening: Mapping[str, Sequence[socket.socket]]
    slots: Sequence[int]
    newest_slot: int
    departures: int


async def start_successor(estate: Estate) -> tuple[int, list[socket.socket]]:
    """Start the new process and wait until it serves; its id, and this side's ends of the ways for sessions.

    Raises SqlproxyError with the reason when it does not.
    """
    with ExitStack() as opened:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(estate.departures)]
        for sock in (sock for pair in pairs for sock in pair):
            opened.enter_context(sock)
        pid = await _start_successor(estate, [there for _, there in pairs])
        return pid, [here.dup() for here, _ in pairs]


async def _start_successor(estate: Estate, links: Sequence[socket.socket]) -> int:
    here, there = socket.socketpair()
    numbers = {address: [sock.fileno() for sock in sockets] for address, sockets in estate.listening.items()}
    given = [link.fileno() for link in links]
    message = {"sockets": numbers, "links": given, "slots": [*estate.slots], "newest_slot": estate.newest_slot}
    with here:
        with there:
            here.sendall(json.dumps(message).encode() + b"\n")
            process = _start(there, [*given, *(number for found in numbers.values() for number in found)])
        answer = await _answer(here)
    if answer == inherited.SERVES:
        return process.pid
    process.kill()
    code = await asyncio.to_thread(process.wait)
    raise SqlproxyError(answer.decode(errors="replace") or f"it ended with exit code {code}; {_ON_STDERR}")


def _start(there: socket.socket, given: Sequence[int]) -> subprocess.Popen[bytes]:
    """This program anew. Not by the event loop, which would end it along with itself."""
    environment = {**os.environ, inherited.ENVIRONMENT: str(there.fileno())}
    environment.pop("WATCHDOG_PID", None)  # systemd watches the new process from now on
    command = [sys.executable, *sys.orig_argv[1:]]
    return subprocess.Popen(command, pass_fds=[there.fileno(), *given], env=environment)


async def _answer(connection: socket.socket) -> bytes:
    """What the new process says; words of our own when that takes too long."""
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    said = b""
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            while said != inherited.SERVES and (part := await loop.sock_recv(connection, 65536)):
                said += part
    except TimeoutError:
        return f"it does not serve after {_START_TIMEOUT:g}s".encode()
    return said


class PidFile:
    """The file with the process id, "" for none: whoever serves writes it, and takes it away if it still names him."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    def write(self) -> None:
        """Raises SqlproxyError when the file cannot be written."""
        if self._path is None:
            return
        partial = self._path.with_name(f"{self._path.name}.new")
        try:
            partial.write_text(f"{os.getpid()}\n")
            partial.replace(self._path)
        except OSError as error:
            raise SqlproxyError(f"pid_file: {self._path} cannot be written: {error.strerror}") from None

    def remove(self) -> None:
        """See the class."""
        with suppress(OSError, ValueError):
            if self._path is not None and int(self._path.read_text()) == os.getpid():
                self._path.unlink()

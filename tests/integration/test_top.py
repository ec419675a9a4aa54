"""`sqlproxy top` on a terminal: it redraws in place, obeys its keys, and leaves the terminal as it was."""

from __future__ import annotations

import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

from sqlproxy.lab.single import SingleServer
from tests.support.mysqlclient import connected, rows
from tests.support.proxy import Proxy, running_proxy

OTHER_SCREEN, BACK = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A program on a terminal of its own; ``seen`` is all it wrote."""

    def __init__(self, proxy: Proxy) -> None:
        self.ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        self.modes = termios.tcgetattr(theirs)
        self._theirs = theirs
        env = {**os.environ, "TERM": "xterm", "SQLPROXY_ADMIN_URL": f"http://127.0.0.1:{proxy.admin_port}"}
        command = [sys.executable, "-m", "sqlproxy", "top", "--interval", "0.2"]
        self.process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        self.seen = b""

    def wait(self, text: bytes, after: int = 0) -> int:
        """Until it has written this; where that ends."""
        deadline = time.monotonic() + 60
        while (place := self.seen.find(text, after)) < 0:
            assert time.monotonic() < deadline, self.seen[-3000:]
            if select.select([self.ours], [], [], 0.1)[0]:
                self.seen += os.read(self.ours, 65536)
        return place + len(text)

    def press(self, key: bytes) -> None:
        os.write(self.ours, key)

    @property
    def as_before(self) -> bool:
        """The terminal's modes are those of the beginning."""
        return termios.tcgetattr(self._theirs) == self.modes

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self._theirs)


@contextmanager
def terminal(proxy: Proxy) -> Iterator[Terminal]:
    running = Terminal(proxy)
    try:
        yield running
    finally:
        running.close()


def test_the_screen_is_drawn_in_place_sorted_and_left(mariadb: SingleServer, tmp_path: Path) -> None:
    with running_proxy(tmp_path, {"n1": mariadb.port}) as proxy, connected(proxy.port) as session:
        rows(session, "SELECT GET_LOCK('top', 1)")
        with terminal(proxy) as screen:
            place = screen.wait(OTHER_SCREEN)
            place = screen.wait(b"GET_LOCK", place)
            place = screen.wait(b"busy first", place)
            screen.press(b"s")
            place = screen.wait(b"pinned first", place)
            screen.press(b"q")
            screen.wait(BACK, place)
            assert screen.process.wait(30) == 0
            assert screen.as_before

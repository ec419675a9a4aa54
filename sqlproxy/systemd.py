"""Tells systemd how the service is: ready, reloading, stopping, still turning. Nothing happens without NOTIFY_SOCKET.

The protocol is one datagram of ``NAME=value`` lines to a unix socket: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_WATCHDOG: Final = "WATCHDOG=1"


def notify(*lines: str) -> None:
    """Send the lines, in one datagram; whether anybody listens does not matter."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = f"\0{path[1:]}" if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.sendto("\n".join(lines).encode(), address)
        except OSError:
            return


def reloading() -> str:
    """The line for the beginning of a reload; READY ends it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def watchdog_interval() -> float:
    """Seconds between two signs of life, half of what systemd waits for; 0 when it waits for none."""
    limit, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not limit.isdigit() or (pid and pid != str(os.getpid())):
        return 0.0
    return int(limit) / 2e6


async def keep_alive() -> None:
    """Signs of life while the event loop turns, until cancelled."""
    interval = watchdog_interval()
    while interval:
        notify(_WATCHDOG)
        await asyncio.sleep(interval)

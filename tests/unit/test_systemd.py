"""What systemd is told, over a datagram socket of the test's own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sqlproxy import run, systemd
from sqlproxy.errors import ConfigError


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        yield sock


def received(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_lines_are_one_datagram(manager: socket.socket) -> None:
    systemd.notify(systemd.READY, "STATUS=well")
    assert received(manager) == ["READY=1\nSTATUS=well"]


def test_an_abstract_address_begins_with_an_at_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"sqlproxy-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0{name}")
        systemd.notify(systemd.STOPPING)
        assert sock.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("path", ["", "relative", "/nonexistent/socket"])
def test_nobody_to_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    systemd.notify(systemd.READY)


@pytest.mark.parametrize(
    ("limit", "pid", "seconds"),
    [
        ("30000000", "", 15.0),
        ("30000000", str(os.getpid()), 15.0),
        ("30000000", "1", 0.0),
        ("", "", 0.0),
        ("x", "", 0.0),
    ],
)
def test_signs_of_life_come_twice_as_often_as_asked(
    monkeypatch: pytest.MonkeyPatch, limit: str, pid: str, seconds: float
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", limit)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert systemd.watchdog_interval() == seconds


async def test_the_watchdog_hears_from_a_loop_that_turns(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    task = asyncio.ensure_future(systemd.keep_alive())
    await asyncio.sleep(0)
    task.cancel()
    assert received(manager) == ["WATCHDOG=1"]


@pytest.mark.parametrize("outcome", [[], ConfigError("bad key")])
async def test_a_reload_is_announced_and_ended(manager: socket.socket, outcome: Any) -> None:
    class App:
        async def reload(self) -> list[str]:
            if isinstance(outcome, Exception):
                raise outcome
            return list(outcome)

    app: Any = App()
    await run._reload(app)
    begun, ended = received(manager)
    assert begun.startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert ended == "READY=1"

"""What of accepting clients can be told without sockets: refusals in words, and a process out of descriptors."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from sqlproxy import listener
from sqlproxy.config import ServiceConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.listener import Listener
from sqlproxy.topology.model import Address
from tests.support.virtualtime import virtual


class Door:
    """A listening socket as far as the listener looks at it."""

    family = socket.AF_UNIX

    def __init__(self) -> None:
        self.closed = False
        self.answers: list[OSError | tuple[Door, str]] = []

    def close(self) -> None:
        self.closed = True

    def accept(self) -> tuple[Door, str]:
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def setblocking(self, flag: bool) -> None:
        assert not flag


class FakeService:
    name = "app"

    def __init__(self, *listen: str) -> None:
        self.config = ServiceConfig(name="app", listen=list(listen))  # type: ignore[arg-type]


def make(*listen: str) -> Listener:
    service: Any = FakeService(*listen)
    return Listener(service)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EADDRINUSE, "Address already in use"), "it is in use"),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
    ],
)
def test_a_port_that_cannot_be_had_is_named_and_nothing_stays_open(
    monkeypatch: pytest.MonkeyPatch, error: OSError, reason: str
) -> None:
    doors: list[Door] = []

    def listen(address: Address) -> Door:
        if doors:
            raise error
        doors.append(Door())
        return doors[0]

    monkeypatch.setattr(listener, "_listen", listen)
    with pytest.raises(SqlproxyError) as caught:
        make("127.0.0.1:4006", "[::1]:4007").open()
    assert caught.value.message == f"service app cannot listen on [::1]:4007: {reason}"
    assert doors[0].closed


@virtual
async def test_clients_are_served_on_and_errors_survived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served: list[str] = []
    readers: dict[Door, Callable[[], None]] = {}
    loop = asyncio.get_running_loop()
    door = Door()
    door.answers = [
        ConnectionAbortedError(errno.ECONNABORTED, "aborted"),
        OSError(errno.EMFILE, "Too many open files"),
        (Door(), ""),
        BlockingIOError(errno.EAGAIN, "nobody"),
    ]

    class Entry:
        def __init__(self, service: object, address: str, port: int, entries: object) -> None:
            served.append(address)

        def begin(self, sock: Door) -> None:
            assert not sock.closed

    monkeypatch.setattr(listener, "_listen", lambda address: door)
    monkeypatch.setattr(loop, "add_reader", lambda sock, call, *args: readers.update({sock: lambda: call(*args)}))
    monkeypatch.setattr(loop, "remove_reader", readers.pop)
    monkeypatch.setattr(listener, "Entry", Entry)
    found = make("127.0.0.1:4006")
    found.open()
    found.start()
    readers[door]()
    readers[door]()
    assert not readers  # nobody is accepted for a while
    await asyncio.sleep(1)
    readers[door]()
    await asyncio.sleep(0)
    assert served == [""]
    assert "no client can be accepted: Too many open files" in caplog.text
    await found.stop()
    assert door.closed
    assert not readers

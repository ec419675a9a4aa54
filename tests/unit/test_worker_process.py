"""What is done with a worker that is not there any more."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from sqlproxy.errors import SqlproxyError
from sqlproxy.topology.model import Address
from sqlproxy.worker_process import WorkerProcess


class Told:
    """A channel that keeps what is told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def tell(self, *message: Any) -> None:
        self.said.append(message)


@pytest.mark.parametrize(
    ("state", "told"),
    [("ready", ("retire", 5.0)), ("just died", ("stop",)), ("not ready", ("stop",))],
)
async def test_a_worker_hands_its_sessions_over_if_it_can_be_told_where(state: str, told: tuple[Any, ...]) -> None:
    nobody: Any = None
    worker = WorkerProcess(nobody, 0, 0, {}, [])
    channel: Any = Told()
    worker.channel = channel
    here, there = socket.socketpair()
    link, far = socket.socketpair()
    with here, there, far:
        worker._descriptors = here
        if state != "not ready":
            worker.ready.set()
        if state == "just died":
            there.close()
        await worker.retire(5.0, link)
        assert channel.said == [told]
        assert link.fileno() == -1


async def test_settings_are_refused_when_a_worker_just_died() -> None:
    nobody: Any = None
    settings: Any = None
    worker = WorkerProcess(nobody, 1, 0, {}, [])
    here, there = socket.socketpair()
    opened, _ = socket.socketpair()
    with here, there, opened, _:
        worker._descriptors = here
        worker.ready.set()
        there.close()
        with pytest.raises(SqlproxyError, match="worker 1 has just ended"):
            await worker.prepare(settings, {"app": [(Address("127.0.0.1", 1), opened)]})

"""The feed of the dashboard: frames made once, slow readers, listings that take long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sqlproxy.admin import live
from sqlproxy.admin.live import LiveFeed, Watcher, event

from .conftest import Runtime


def data(frame: bytes) -> Any:
    return json.loads(frame.decode().split("\n")[1].removeprefix("data: "))


@asynccontextmanager
async def running(feed: LiveFeed) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(feed.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_an_event_is_one_line_whatever_its_text() -> None:
    assert event("state", {"reason": "a\nb\r\n\n"}) == b'event: state\ndata: {"reason": "a\\nb\\r\\n\\n"}\n\n'


async def test_a_slow_reader_gets_the_newest_frame_only() -> None:
    watcher = Watcher()
    for frame in (b"1", b"2", b"3"):
        watcher.offer(frame)
    assert await watcher.next() == b"3"
    watcher.offer(b"4")
    assert await watcher.next() == b"4"


async def test_every_watcher_gets_the_same_frame(runtime: Runtime) -> None:
    feed = LiveFeed(runtime)
    first, second = feed.watch(), feed.watch()
    async with running(feed):
        assert await first.next() is await second.next()


async def test_nothing_is_listed_while_nobody_watches(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def sessions() -> list[dict[str, object]]:
        asked.append(1)
        return [{"id": number} for number in range(500)]

    monkeypatch.setattr(runtime, "sessions", sessions)
    feed = LiveFeed(runtime)
    async with running(feed):
        await asyncio.sleep(0)
        assert not asked
        watcher = feed.watch()
        assert len(data(await watcher.next())["sessions"]) == live.MAX_SESSIONS
        assert asked


async def test_a_listing_that_fails_leaves_the_rest(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    async def sessions() -> list[dict[str, object]]:
        raise RuntimeError("a worker is gone")

    monkeypatch.setattr(runtime, "sessions", sessions)
    feed = LiveFeed(runtime)
    watcher = feed.watch()
    async with running(feed):
        state = data(await watcher.next())
    assert state["sessions"] == []
    assert len(state["servers"]) == 3


async def test_the_first_event_has_the_samples_so_far(runtime: Runtime) -> None:
    feed = LiveFeed(runtime)
    watcher = feed.watch()
    async with running(feed):
        await watcher.next()
    hello = data(feed.opening("dba from 127.0.0.1"))
    assert hello["who"] == "dba from 127.0.0.1"
    (sample,) = hello["samples"]
    assert set(sample["servers"]) == {"n1", "n2", "n3"}
    assert len(sample["servers"]["n1"]) == len(hello["fields"])

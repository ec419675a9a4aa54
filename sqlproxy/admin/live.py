"""What the dashboard shows, pushed: one task samples the proxy and builds each frame once for all who watch.

A frame is a server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html). A watcher that reads
slowly misses frames, never delays others; nothing is built while nobody watches but the samples of the plots.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from sqlproxy.admin import digests, view
from sqlproxy.admin.history import FIELDS, SAMPLE_SECONDS, History
from sqlproxy.admin.view import Row, Runtime

MAX_WATCHERS = 64
FRAME_SECONDS = 1.0
MAX_SESSIONS = 100
MAX_DIGESTS = 20
LISTING_SHARE = 0.01  # of the time, at most, goes into one listing for those who watch

log = logging.getLogger("sqlproxy.admin")


class TooManyWatchers(Exception):
    """As many pages as are served at once are open."""


class Watcher:
    """One open page: the newest frame it has not seen."""

    def __init__(self) -> None:
        self._frame = b""
        self._ready = asyncio.Event()

    def offer(self, frame: bytes) -> None:
        """Replace the frame that waits, if any."""
        self._frame = frame
        self._ready.set()

    async def next(self) -> bytes:
        """The newest frame, once there is one that was not returned yet."""
        await self._ready.wait()
        self._ready.clear()
        return self._frame


class Listing:
    """The first rows of something that may be long: asked for the less often the longer that takes."""

    def __init__(self, what: str, ask: Callable[[], Awaitable[list[Row]]]) -> None:
        self._what = what
        self._ask = ask
        self._rows: list[Row] = []
        self._due = 0.0

    async def rows(self) -> list[Row]:
        """The newest there are; none when asking failed."""
        started = time.monotonic()
        if started < self._due:
            return self._rows
        try:
            self._rows = await self._ask()
        except Exception:
            log.exception("the %s could not be listed", self._what)
            self._rows = []
        self._due = started + (time.monotonic() - started) / LISTING_SHARE
        return self._rows


class LiveFeed:
    """Samples ``runtime`` and feeds its watchers; `run` is its task."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._history = History()
        self._newest: Row = {}
        self._watchers: set[Watcher] = set()
        self._wake = asyncio.Event()
        self._sessions = Listing("sessions", self._first_sessions)
        self._digests = Listing("digests", self._top_digests)

    def watch(self) -> Watcher:
        """A new watcher, to be given back with `leave`. Raises TooManyWatchers."""
        if len(self._watchers) >= MAX_WATCHERS:
            raise TooManyWatchers
        watcher = Watcher()
        self._watchers.add(watcher)
        self._wake.set()
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Stop feeding it."""
        self._watchers.discard(watcher)

    def opening(self, who: str) -> bytes:
        """The first event of a stream: who is logged in, and the samples so far."""
        hello = {
            "who": who,
            "fields": FIELDS,
            "seconds": SAMPLE_SECONDS,
            "samples": self._history.samples(),
            "started_at": self._runtime.started_at,
        }
        return event("hello", hello)

    async def run(self) -> None:
        """Sample and feed until cancelled; a change of the servers is shown at once."""
        unsubscribe = self._runtime.publisher.subscribe(lambda new, old: self._wake.set())
        try:
            sample_due = 0.0
            while True:
                self._wake.clear()  # what changes while a frame is made asks for another
                now = time.monotonic()
                sampling = now >= sample_due
                if sampling or self._watchers:
                    state = self._state()
                if sampling:
                    self._newest = self._history.add(time.time(), state["servers"], state["services"])
                    sample_due = now + SAMPLE_SECONDS
                if self._watchers:
                    await self._feed(state)
                await self._pause(min(sample_due, now + FRAME_SECONDS) if self._watchers else sample_due)
        finally:
            unsubscribe()

    def _state(self) -> dict[str, list[Row]]:
        return {"servers": view.servers(self._runtime), "services": view.services(self._runtime)}

    async def _pause(self, until: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), max(0.05, until - time.monotonic()))
        except TimeoutError:
            return

    async def _feed(self, state: Mapping[str, list[Row]]) -> None:
        """``state``: the servers and services as the newest sample shows them, unless that is older."""
        frame = event(
            "state",
            {
                "monitor": view.monitor(self._runtime),
                **state,
                "sessions": await self._sessions.rows(),
                "digests": await self._digests.rows(),
                "sample": self._newest,
            },
        )
        for watcher in self._watchers:
            watcher.offer(frame)

    async def _first_sessions(self) -> list[Row]:
        return (await view.sessions(self._runtime))[:MAX_SESSIONS]

    async def _top_digests(self) -> list[Row]:
        """What took most time, whoever asked and whichever server answered."""
        figures = await self._runtime.digests()
        with self._runtime.pace.work():
            return [digests.row(found) for found in digests.select(figures, "total", str(MAX_DIGESTS), "statement")]


def event(kind: str, data: object) -> bytes:
    """A server-sent event; JSON has no bare line breaks, so one data line is enough."""
    text = json.dumps(data, ensure_ascii=False, default=str)
    return f"event: {kind}\ndata: {text}\n\n".encode("utf-8", "backslashreplace")

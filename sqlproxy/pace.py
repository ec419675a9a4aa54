"""Keeps what operators ask for from slowing the data path down: long work in slices, and only a share of the time.

A process that carries sessions has one Pace. Whoever builds something long for an operator goes through its ``slices``,
or calls ``turn`` before a piece of ``work``. Some time is saved up while nothing is asked; beyond that no more than
``share`` of the time is given, so that questions asked without end wait for each other instead of for the statements.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

SHARE = 0.03  # of the time
SAVED = 0.25  # seconds of work that may be done at once after a rest
SLICE = 64  # rows

T = TypeVar("T")
R = TypeVar("R")


class Shared:
    """What takes long is made once for all who ask for it meanwhile."""

    def __init__(self) -> None:
        self._making: dict[object, asyncio.Task[Any]] = {}

    async def get(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """What ``make`` makes of a key, or whoever asked for the same before. It goes on when an asker is gone."""
        making: asyncio.Task[R] | None = self._making.get(key)
        if making is None:
            making = self._making[key] = asyncio.get_running_loop().create_task(make())
            making.add_done_callback(lambda done: self._made(key, done))
        return await asyncio.shield(making)

    def _made(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        del self._making[key]
        if not done.cancelled():
            done.exception()  # every asker may be gone


class Pace:
    """The time that may be spent; ``share`` 0 gives any amount, for processes that carry no sessions."""

    def __init__(self, share: float = SHARE, saved: float = SAVED) -> None:
        self._share = share
        self._saved = self._left = saved
        self._at = time.monotonic()

    def spent(self, seconds: float) -> None:
        """Work that took so long was done."""
        now = time.monotonic()
        self._left = min(self._saved, self._left + (now - self._at) * self._share) - seconds
        self._at = now

    async def turn(self) -> None:
        """Let the data path have its turn, and wait until there is time again."""
        self.spent(0.0)
        owed = -self._left
        await asyncio.sleep(owed / self._share if owed > 0 and self._share else 0)

    @contextmanager
    def work(self) -> Iterator[None]:
        """What is done inside, without an await, is work."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent(time.perf_counter() - began)

    async def slices(self, items: Iterable[T], make: Callable[[T], R]) -> AsyncIterator[list[R]]:
        """What ``make`` makes of each item, ``SLICE`` at a time."""
        rows: list[R] = []
        began = time.perf_counter()
        for item in items:
            rows.append(make(item))
            if len(rows) == SLICE:
                self.spent(time.perf_counter() - began)
                yield rows
                rows = []
                await self.turn()
                began = time.perf_counter()
        if rows:
            self.spent(time.perf_counter() - began)
            yield rows

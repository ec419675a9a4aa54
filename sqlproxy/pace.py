"""Keeps what operators ask for from slowing the data path down: long work in slices, and only a share of the time.

A process that carries sessions has one Pace. Whoever builds something long for an operator goes through its ``slices``,
or calls ``turn`` before a piece of ``work``. Some time is saved up while nothing is asked; beyond that no more than
``share`` of the time is given, so that questions asked without end wait for each other instead of for the statements.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

SHARE = 0.03  # of the time
SAVED = 0.25  # seconds of work that may be done at once after a rest
SLICE = 64  # rows

T = TypeVar("T")
R = TypeVar("R")


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

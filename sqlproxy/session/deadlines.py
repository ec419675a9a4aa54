"""What must be over in time: one timer for everything, as hardly anything ever is not."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

_EVERY: Final = 0.25  # seconds between two looks, and so what something may get on top


class Limited(Protocol):
    """What takes its time."""

    def expire(self) -> None:
        """Time is up."""


class Deadlines:
    """Tells whoever is still there when his time is up, up to a quarter of a second late."""

    def __init__(self) -> None:
        self._ends: dict[Limited, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, item: Limited, seconds: float) -> None:
        """It gets so much time from now on."""
        loop = asyncio.get_running_loop()
        self._ends[item] = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(_EVERY, self._look)

    def discard(self, item: Limited) -> None:
        """It is over."""
        self._ends.pop(item, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = loop.call_later(_EVERY, self._look) if self._ends else None  # first: what follows may fail
        for item in [item for item, end in self._ends.items() if end <= now]:
            if self._ends.pop(item, None) is not None:  # not ended by the one before it
                item.expire()

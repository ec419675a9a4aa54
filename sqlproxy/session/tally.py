"""Log lines about what may happen a thousand times a second: one now and then, with the number of those left out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

_EVERY: Final = 5.0  # seconds between two lines of one kind


class Tally:
    """Lines of one kind. ``now`` gives monotonic seconds."""

    def __init__(self, log: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._next = float("-inf")
        self._left_out = 0

    def note(self, text: str) -> None:
        """Log this line, or count it for the next one."""
        now = self._now()
        if now < self._next:
            self._left_out += 1
            return
        more = f" (and {self._left_out} more like it before)" if self._left_out else ""
        self._next, self._left_out = now + _EVERY, 0
        self._log.info("%s%s", text, more)

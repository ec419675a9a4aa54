"""An event loop whose clock jumps to the next timer instead of waiting: time-outs of minutes pass in no time."""

from __future__ import annotations

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # chosen at run time
    """Never waits; tells how long it would have waited."""

    def __init__(self, jump: Callable[[float], None]) -> None:
        super().__init__()
        self._jump = jump

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("the test waits for something that nothing will bring about")
        found: list[Any] = super().select(0)
        if not found and timeout > 0:
            self._jump(timeout)
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time()`` begins at the monotonic clock and moves only by timers."""

    def __init__(self) -> None:
        self._now = time.monotonic()
        super().__init__(_JumpingSelector(self._advance))

    def _advance(self, seconds: float) -> None:
        self._now += seconds

    def time(self) -> float:
        return self._now


def virtual(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on a ``VirtualLoop``."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run

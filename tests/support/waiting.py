"""The one place where tests wait: poll a condition until it holds, fail with words if it never does."""

import asyncio
import time
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], object], timeout: float = 30.0, message: str = "the condition") -> None:
    """Return as soon as ``condition()`` is true; AssertionError naming ``message`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"{message} did not come true in {timeout:g} s")
        time.sleep(POLL_SECONDS)


async def wait_until_async(
    condition: Callable[[], object | Awaitable[object]],
    timeout: float = 30.0,
    message: str = "the condition",
) -> None:
    """``wait_until`` for tests on an event loop; the condition may be a plain or a coroutine function."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return
        if time.monotonic() >= deadline:
            raise AssertionError(f"{message} did not come true in {timeout:g} s")
        await asyncio.sleep(POLL_SECONDS)

"""The event loop everything runs on."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("sqlproxy.app")


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run on uvloop where it is installed; ``SQLPROXY_LOOP=asyncio`` chooses the standard loop."""
    if os.environ.get("SQLPROXY_LOOP") != "asyncio":
        try:
            import uvloop
        except ImportError:
            log.info("uvloop is not installed: the standard event loop is used")
        else:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(main)
    return asyncio.run(main)

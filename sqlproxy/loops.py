"""The event loop everything runs on."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("sqlproxy.app")

_MOST = 1 << 20  # open files
_FEW = 4096  # of them


def raise_descriptor_limit() -> None:
    """As many open files as the system lets this process have: two or three are needed for each session."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def warn_of_few_descriptors() -> None:
    """Say it in the log when the system allows this process no more than a thousand sessions or two."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit != resource.RLIM_INFINITY and limit < _FEW:
        log.warning(
            "this process may have no more than %d files open, and each session takes two or three: raise LimitNOFILE"
            " in the systemd unit, or ulimit -n",
            limit,
        )


def keep_what_is_loaded() -> None:
    """Let the collector of garbage pass over modules and classes from now on: each full pass stopped every session."""
    gc.collect()
    gc.freeze()


def run_loop(main: Coroutine[Any, Any, int]) -> int:
    """Run with room for many sockets, on uvloop where it is installed unless ``SQLPROXY_LOOP=asyncio``."""
    raise_descriptor_limit()
    if os.environ.get("SQLPROXY_LOOP") != "asyncio":
        try:
            import uvloop
        except ImportError:
            log.info("uvloop is not installed: the standard event loop is used")
        else:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(main)
    return asyncio.run(main)

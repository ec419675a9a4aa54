"""Whose time is up is told so, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlproxy.session.deadlines import Deadlines
from tests.support.virtualtime import virtual


class Item:
    """Something that takes its time; ``fails`` when that is up."""

    def __init__(self, fails: bool = False) -> None:
        self.expired = 0
        self._fails = fails

    def expire(self) -> None:
        self.expired += 1
        if self._fails:
            raise ValueError("it cannot be ended")


@virtual
async def test_who_is_done_in_time_is_left_alone() -> None:
    deadlines, done, late = Deadlines(), Item(), Item()
    deadlines.add(done, 1.0)
    deadlines.add(late, 1.0)
    await asyncio.sleep(0.9)
    deadlines.discard(done)
    assert late.expired == 0
    await asyncio.sleep(0.4)
    assert (done.expired, late.expired, len(deadlines)) == (0, 1, 0)
    await asyncio.sleep(1.0)
    assert late.expired == 1


@virtual
async def test_one_that_fails_keeps_nobody_else_from_his_end() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    deadlines, bad, good, later = Deadlines(), Item(fails=True), Item(), Item()
    deadlines.add(bad, 1.0)
    deadlines.add(good, 1.0)
    deadlines.add(later, 3.0)
    await asyncio.sleep(4.0)
    assert (bad.expired, good.expired, later.expired, len(deadlines)) == (1, 1, 1, 0)
    assert len(told) == 1

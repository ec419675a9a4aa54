"""Long work for operators: in slices, and only a share of the time."""

import asyncio

from sqlproxy.pace import SLICE, Pace
from tests.support.virtualtime import virtual


@virtual
async def test_all_items_come_in_order_and_in_slices() -> None:
    slices = [rows async for rows in Pace().slices(range(SLICE * 2 + 3), str)]
    assert [len(rows) for rows in slices] == [SLICE, SLICE, 3]
    assert [row for rows in slices for row in rows] == [str(number) for number in range(SLICE * 2 + 3)]
    assert [rows async for rows in Pace().slices([], str)] == []


@virtual
async def test_work_beyond_what_was_saved_up_waits() -> None:
    pace = Pace(share=0.1, saved=1.0)
    began = asyncio.get_running_loop().time()
    pace.spent(0.9)
    await pace.turn()
    assert asyncio.get_running_loop().time() - began < 0.01
    pace.spent(0.6)
    await pace.turn()
    assert 4.5 < asyncio.get_running_loop().time() - began < 5.5


@virtual
async def test_without_a_share_nothing_waits() -> None:
    pace = Pace(share=0)
    began = asyncio.get_running_loop().time()
    pace.spent(100.0)
    await pace.turn()
    assert asyncio.get_running_loop().time() - began < 0.01

"""Long work for operators: in slices, and only a share of the time."""

import asyncio

import pytest

from sqlproxy.pace import SLICE, Pace, Shared
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


@virtual
async def test_what_many_ask_for_meanwhile_is_made_once() -> None:
    shared, made = Shared(), 0

    async def make() -> int:
        nonlocal made
        made += 1
        await asyncio.sleep(1.0)
        return made

    gone = asyncio.create_task(shared.get("a", make))
    await asyncio.sleep(0.1)
    gone.cancel()  # whoever asked first is gone
    assert await asyncio.gather(*(shared.get("a", make) for _ in range(3)), shared.get("b", make)) == [2, 2, 2, 2]
    assert await shared.get("a", make) == 3


@virtual
async def test_what_cannot_be_made_is_refused_to_all_and_tried_again() -> None:
    shared, refuse = Shared(), True

    async def make() -> str:
        await asyncio.sleep(1.0)
        if refuse:
            raise ValueError("no")
        return "yes"

    outcomes = await asyncio.gather(shared.get("a", make), shared.get("a", make), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no", "no"]
    refuse = False
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await shared.get("a", make)
    assert await shared.get("a", make) == "yes"

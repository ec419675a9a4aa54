"""Which ranges of session ids a process takes, when sessions of the one before live on."""

from __future__ import annotations

import pytest

from sqlproxy import inherited
from sqlproxy.errors import SqlproxyError
from sqlproxy.session.registry import Registry


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> inherited._Predecessor:
    found = inherited._Predecessor()
    monkeypatch.setattr(inherited, "_before", found)
    return found


@pytest.mark.usefixtures("before")
def test_the_first_process_takes_the_first_ranges() -> None:
    assert inherited.free_slots(3) == [0, 1, 2]


def test_the_next_ones_follow_and_leave_out_what_is_in_use(before: inherited._Predecessor) -> None:
    before.newest_slot, before.slots = 253, {0, 252, 253, 255}
    assert inherited.free_slots(3) == [254, 1, 2]


def test_without_a_free_range_nothing_starts(before: inherited._Predecessor) -> None:
    before.slots = set(range(inherited.SLOTS)) - {7}
    assert inherited.free_slots(1) == [7]
    with pytest.raises(SqlproxyError, match="2 ranges of session ids are needed, and sessions of old leave only 1"):
        inherited.free_slots(2)


def test_links_are_given_once(before: inherited._Predecessor) -> None:
    before.links = ["a socket"]  # type: ignore[list-item]
    assert inherited.links() == ["a socket"]
    assert inherited.links() == []


def test_a_registry_knows_the_ranges_of_its_sessions() -> None:
    registry, older = Registry(5), Registry(3)
    registry.sessions[older.next_id()] = None  # type: ignore[assignment]
    assert registry.slots() == {3, 5}


def test_an_id_in_use_is_not_given_again() -> None:
    registry = Registry(2)
    first = registry.next_id()
    registry.sessions[first + 1] = None  # type: ignore[assignment]
    assert registry.next_id() == first + 2
    assert registry.next_id() < 1 << 31

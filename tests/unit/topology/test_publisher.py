"""Who is told of what, and when."""

import pytest

from sqlproxy.topology.model import Event, Snapshot
from sqlproxy.topology.publisher import EVENTS_KEPT, Publisher


def test_subscribers_get_the_new_and_the_previous_snapshot() -> None:
    publisher, seen = Publisher(), []
    publisher.subscribe(lambda new, old: seen.append((new.number, old.number)))
    publisher.publish(Snapshot(1, 10.0))
    publisher.publish(Snapshot(4, 12.0))
    assert seen == [(1, 0), (4, 1)]
    assert publisher.snapshot.number == 4
    assert publisher.fresh_at == 12.0


@pytest.mark.parametrize("number", [0, 1])
def test_a_snapshot_that_is_not_newer_is_refused_and_changes_nothing(number: int) -> None:
    publisher = Publisher()
    publisher.publish(Snapshot(1, 10.0))
    with pytest.raises(ValueError, match=f"snapshot {number} is not newer than 1"):
        publisher.publish(Snapshot(number, 20.0))
    assert publisher.snapshot.at == 10.0
    assert publisher.fresh_at == 10.0


def test_a_confirmation_renews_the_snapshot_without_waking_anybody() -> None:
    publisher, seen = Publisher(), []
    publisher.publish(Snapshot(1, 10.0))
    publisher.subscribe(lambda new, old: seen.append(new))
    publisher.confirm(11.0)
    assert publisher.fresh_at == 11.0
    assert seen == []


def test_an_ended_subscription_is_silent_even_when_ended_during_a_call() -> None:
    publisher, seen = Publisher(), []

    def once(new: Snapshot, old: Snapshot) -> None:
        seen.append(new.number)
        end()

    end = publisher.subscribe(once)
    publisher.subscribe(lambda new, old: seen.append(-new.number))
    publisher.publish(Snapshot(1, 1.0))
    publisher.publish(Snapshot(2, 2.0))
    assert seen == [1, -1, -2]


def test_events_are_numbered_kept_and_told() -> None:
    publisher = Publisher()
    told: list[Event] = []
    end = publisher.subscribe_events(told.append)
    for _ in range(EVENTS_KEPT + 5):
        publisher.event("role", "n1", "n1: replica -> down")
    end()
    publisher.event("role", "n1", "unheard")
    assert len(told) == EVENTS_KEPT + 5
    assert len(publisher.events) == EVENTS_KEPT
    assert publisher.events[0].number == 7
    assert publisher.events[-1].text == "unheard"

"""Hands the newest Snapshot and the change events to whoever subscribed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from sqlproxy.topology.model import Event, Snapshot

EVENTS_KEPT = 1000


class Publisher:
    """Holds the newest Snapshot; subscribers are called with (new, previous) after each change.

    ``fresh_at`` is the monotonic time of the newest completed judgement, changed or not: a reader that finds it too
    old must stop writing.
    """

    def __init__(self) -> None:
        self.snapshot = Snapshot(number=0, at=0.0)
        self.fresh_at = 0.0
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._event_number = 0
        self._on_snapshot: list[Callable[[Snapshot, Snapshot], None]] = []
        self._on_event: list[Callable[[Event], None]] = []

    def subscribe(self, callback: Callable[[Snapshot, Snapshot], None]) -> Callable[[], None]:
        """Call back on every new Snapshot; the result unsubscribes."""
        self._on_snapshot.append(callback)
        return lambda: self._on_snapshot.remove(callback)

    def subscribe_events(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call back on every new Event; the result unsubscribes."""
        self._on_event.append(callback)
        return lambda: self._on_event.remove(callback)

    def confirm(self, at: float) -> None:
        """Note that the newest Snapshot was judged again at ``at`` and still holds."""
        self.fresh_at = at

    def publish(self, snapshot: Snapshot) -> None:
        """Make ``snapshot`` the newest. Raises ValueError unless its number grows."""
        previous = self.snapshot
        if snapshot.number <= previous.number:
            raise ValueError(f"snapshot {snapshot.number} is not newer than {previous.number}")
        self.snapshot = snapshot
        self.fresh_at = snapshot.at
        for callback in tuple(self._on_snapshot):
            callback(snapshot, previous)

    def event(self, kind: str, server: str, text: str) -> Event:
        """Record a change and tell the subscribers."""
        self._event_number += 1
        event = Event(self._event_number, time.time(), kind, server, text)
        self.events.append(event)
        for callback in tuple(self._on_event):
            callback(event)
        return event

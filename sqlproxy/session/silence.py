"""Notices servers from which nothing comes though statements wait for them, long before a probe of them times out.

Nothing is done per statement but storing a number: a few times in a tenth of a second the counters of all servers are
compared with what they were. The monitor then asks the server; what is decided is its matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlproxy.session.service import Service

ASK_SHARE: Final = 0.3  # of suspect_after, of silence before the monitor is told
LOOKS: Final = 3  # in that time
_LONGEST: Final = 0.5  # seconds between two words to the monitor about one silence


class Silence:
    """One server. ``after``: seconds of silence that are worth a word. Times are seconds of the loop's clock."""

    def __init__(self, after: float) -> None:
        self._after = after
        self._received = self._sent = -1
        self._due = 0.0
        self._pause = after

    def look(self, now: float, operations: int, received: int, sent: int) -> bool:
        """Whether the monitor is to be told now, given the statements under way and the bytes from and to the server.

        It is told again about the same silence, at growing distances that a newly sent statement makes short again.
        """
        if not operations or received != self._received:
            self._received, self._sent = received, sent
            self._pause = self._after
            self._due = now + self._after
            return False
        if sent != self._sent:
            self._sent = sent
            self._pause = self._after
            self._due = min(self._due, now + self._after)
        if now < self._due:
            return False
        self._due = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST)
        return True

    def spare(self, seconds: float) -> None:
        """This process was held up for so long, which is no silence of the server's."""
        self._due += seconds


class SilenceWatch:
    """All servers of a process's services. ``suspect(server, why)`` tells the monitor, wherever it runs.

    Also takes away from suspect servers what can go on elsewhere. ``suspect_after`` is the monitor's, in seconds;
    ``recent``: seconds since a statement was sent up to which moving it is worth it: one that has run for longer has
    more to lose.
    """

    def __init__(
        self,
        services: Callable[[], Sequence[Service]],
        suspect_after: float,
        recent: float,
        suspect: Callable[[str, str], None],
    ) -> None:
        self._after = suspect_after * ASK_SHARE
        self.period = self._after / LOOKS
        self._services = services
        self._recent = round(recent / self.period)
        self._suspect = suspect
        self._silences: dict[str, Silence] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(self.period)
            now = loop.time()
            self.look(now, now - last - self.period)
            last = now

    def look(self, now: float, late: float) -> None:
        """Compare all counters; ``late``: seconds that this look comes too late."""
        services = self._services()
        for name in {name for service in services for name in service.servers}:
            silence = self._silences.get(name)
            if silence is None:
                silence = self._silences[name] = Silence(self._after)
            if late > self.period:
                silence.spare(late)
            waiting, received, sent = _counts(services, name)
            if silence.look(now, waiting, received, sent):
                self._suspect(name, f"no byte to {waiting} statement{'s' if waiting > 1 else ''} under way")
        for service in services:
            service.ticks += 1
            service.relieve(service.ticks - self._recent)


def _counts(services: Sequence[Service], name: str) -> tuple[int, int, int]:
    """What waits for a server, logins too, and the bytes from and to it."""
    waiting = received = sent = 0
    for service in services:
        stats = service.server_stats.get(name)
        if stats is not None:
            waiting += stats.operations + service.opening(name)
            received += stats.bytes_received
            sent += stats.bytes_sent
    return waiting, received, sent

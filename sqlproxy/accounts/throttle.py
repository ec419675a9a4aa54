"""Blocks a host for a while after too many failed logins in a row."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

HOSTS_KEPT = 10_000  # a few hundred bytes each; those unheard of for longest go first


@dataclass(slots=True)
class _Record:
    failures: int = 0
    blocked_until: float = 0.0


class Throttle:
    """Counts failed logins per host; every host alike, loopback too.

    ``max_failures`` in a row (0: no limit) block for ``block_for`` seconds, after which counting starts anew. Times
    are monotonic seconds given by the caller.
    """

    def __init__(self, max_failures: int, block_for: float, hosts_kept: int = HOSTS_KEPT) -> None:
        self._max_failures = max_failures
        self._block_for = block_for
        self._hosts_kept = hosts_kept
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def configure(self, max_failures: int, block_for: float) -> None:
        """Other limits from now on; who is blocked stays so."""
        self._max_failures, self._block_for = max_failures, block_for

    def failed(self, host: str, now: float) -> bool:
        """Note a failed login; True if the host is blocked from now on because of it."""
        if not self._max_failures:
            return False
        record = self._records.setdefault(host, _Record())
        self._records.move_to_end(host)
        if len(self._records) > self._hosts_kept:
            self._records.popitem(last=False)
        if record.blocked_until > now:
            return False
        record.failures += 1
        if record.failures < self._max_failures:
            return False
        record.failures, record.blocked_until = 0, now + self._block_for
        return True

    def succeeded(self, host: str) -> None:
        """Note a good login: the host's failures are forgotten."""
        self._records.pop(host, None)

    def blocked(self, host: str, now: float) -> float:
        """Seconds for which ``host`` stays blocked; 0 if it is not."""
        record = self._records.get(host)
        return max(0.0, record.blocked_until - now) if record else 0.0

    def hosts(self, now: float) -> dict[str, float]:
        """The blocked hosts and the seconds left, for operators."""
        return {
            host: record.blocked_until - now for host, record in self._records.items() if record.blocked_until > now
        }

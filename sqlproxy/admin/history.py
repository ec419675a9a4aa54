"""The last minutes in figures, for plots: a sample of every server's counters each few seconds.

Counters are kept as they are; whoever draws takes differences, so that a restart or a lost sample shows as a gap
rather than as a false peak.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from sqlproxy.admin.view import Row

SAMPLE_SECONDS = 2.0
SAMPLES_KEPT = 300  # ten minutes

FIELDS = ("connections", "operations", "reads", "writes", "errors", "latency_ms", "lag", "receive_queue", "paused_ns")
_FIGURES = {"receive_queue": "local_recv_queue", "paused_ns": "flow_control_paused_ns"}


class History:
    """A bounded series of samples, oldest first."""

    def __init__(self, kept: int = SAMPLES_KEPT) -> None:
        self._samples: deque[Row] = deque(maxlen=kept)

    def add(self, now: float, servers: Sequence[Row], services: Sequence[Row]) -> Row:
        """Take a sample at ``now`` (seconds since the epoch) from the rows the admin side shows; returns it."""
        sample: Row = {
            "time": round(now, 3),
            "statements": _total(services, "statements"),
            "sessions": _total(services, "sessions"),
            "servers": {str(row["name"]): [_value(row, field) for field in FIELDS] for row in servers},
        }
        self._samples.append(sample)
        return sample

    def samples(self) -> list[Row]:
        """All samples kept: time, statements, sessions, and per server the values of FIELDS (None: not known)."""
        return list(self._samples)


def _total(rows: Sequence[Row], field: str) -> int:
    return sum(value for row in rows if isinstance(value := row[field], int))


def _value(row: Row, field: str) -> float | None:
    """One figure of a server row; those of its own status variables are text there."""
    if field not in _FIGURES:
        value = row[field]
        return value if isinstance(value, int | float) else None
    figures = row["figures"]
    text = figures.get(_FIGURES[field], "") if isinstance(figures, Mapping) else ""
    try:
        return float(text)
    except ValueError:
        return None

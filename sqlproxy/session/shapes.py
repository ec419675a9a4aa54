"""How often statements of which shape were not understood: a small table for operators, off the fast path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlproxy.sql.digest import digest

SHOWN: Final = 20
_KEPT: Final = 100
_READ: Final = 65536  # bytes of a text


class Shapes:
    """Counts by shape, the most frequent kept.

    A new shape takes the place of the rarest and goes on from its count, so that what is frequent comes up among ever
    new ones (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k Elements in Data Streams").
    """

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def note(self, text: bytes, mode: int) -> None:
        """Count a statement by its text; nothing of its literals is kept."""
        self.add(digest(text[:_READ], 0, mode).decode("utf-8", "replace"), 1)

    def add(self, shape: str, count: int) -> None:
        """Count a shape so many times."""
        counts = self._counts
        if shape not in counts and len(counts) >= _KEPT:
            rarest = min(counts, key=counts.__getitem__)
            count += counts.pop(rarest)
        counts[shape] = counts.get(shape, 0) + count

    def merge(self, others: Mapping[str, int]) -> None:
        """Add the counts of another table."""
        for shape, count in others.items():
            self.add(shape, count)

    def top(self) -> dict[str, int]:
        """The most frequent shapes and their counts, the most frequent first."""
        return dict(sorted(self._counts.items(), key=lambda item: -item[1])[:SHOWN])

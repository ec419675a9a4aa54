"""How long things took, in buckets that grow by a quarter of a power of two: cheap to fill, easy to add up.

Durations are counted in 1/1024000 of a second, so that 1 ms, 2 ms, 4 ms … and their halves are bounds of buckets
exactly. What took longer than the last bound is in the last bucket.
"""

from __future__ import annotations

from typing import Any, Final

PER_SECOND: Final = 1024000
OCTAVES: Final = 27  # 131 s
SIZE: Final = 4 * OCTAVES
_SIZE: Final = SIZE
_NONE: Final = [0] * SIZE
_FIRST: Final = 24  # the bucket that begins at 1/8 ms
_LAST: Final = 96  # at 32.768 s
_PER_SECOND: Final = float(PER_SECOND)

State = tuple[int, float, dict[int, int]]  # count, seconds, buckets that are not empty


class Histogram:
    """``buckets[i]`` is how many values lie in ``lower_bound(i)`` to ``lower_bound(i + 1)``; ``total`` in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.buckets = list(_NONE)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.count += 1
        self.total += seconds
        units = int(seconds * _PER_SECOND)
        if units < 4:
            self.buckets[units if units > 0 else 0] += 1
            return
        octave = 1
        while units >= 8:
            units >>= 1
            octave += 1
        place = 4 * octave + units - 4
        self.buckets[place if place < _SIZE else _SIZE - 1] += 1

    def state(self) -> State:
        """All of it, buckets that are not empty only: for another process."""
        return self.count, self.total, {place: n for place, n in enumerate(self.buckets) if n}

    def merge(self, state: State) -> None:
        """Add another one's ``state``."""
        count, total, buckets = state
        self.count += count
        self.total += total
        for place, n in buckets.items():
            self.buckets[place] += n

    def below_octaves(self) -> list[tuple[float, int]]:
        """How many values lie below each power of two of 1/8 ms, up to 32.768 s: bound in seconds and count."""
        buckets = list(self.buckets)
        total = sum(buckets[:_FIRST])
        found = [(lower_bound(_FIRST), total)]
        for place in range(_FIRST, _LAST, 4):
            total += sum(buckets[place : place + 4])
            found.append((lower_bound(place + 4), total))
        return found

    def quantile(self, share: float) -> float:
        """The value in seconds that ``share`` of all lie below, evened out within its bucket; 0.0 without values."""
        wanted = share * self.count
        for place, n in enumerate(self.buckets):
            if n and wanted <= n:
                low, high = lower_bound(place), lower_bound(place + 1)
                return low + (high - low) * wanted / n
            wanted -= n
        return 0.0

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.state(),)


def _restored(state: State) -> Histogram:
    histogram = Histogram()
    histogram.merge(state)
    return histogram


def lower_bound(place: int) -> float:
    """Where a bucket begins, in seconds."""
    if place < 4:
        return place / PER_SECOND
    octave, quarter = divmod(place, 4)
    return (4 + quarter << octave - 1) / PER_SECOND

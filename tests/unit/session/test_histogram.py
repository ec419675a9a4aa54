"""Durations in buckets: nothing is lost, bounds hold, quantiles are near."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.session.histogram import SIZE, Histogram, lower_bound


def filled(*seconds: float) -> Histogram:
    histogram = Histogram()
    for value in seconds:
        histogram.add(value)
    return histogram


def test_bounds_grow_and_milliseconds_are_among_them() -> None:
    bounds = [lower_bound(place) for place in range(SIZE + 1)]
    assert bounds == sorted(set(bounds))
    assert {0.00025, 0.0005, 0.001, 0.002, 0.032, 0.512, 1.024, 32.768} <= set(bounds)


@given(st.floats(0, 1000, allow_nan=False))
def test_a_value_lies_within_the_bounds_of_its_bucket(seconds: float) -> None:
    [place] = filled(seconds).state()[2]
    units = int(seconds * 1024000) / 1024000
    assert lower_bound(place) <= units + 1e-9
    assert place == SIZE - 1 or units < lower_bound(place + 1) + 1e-9


def test_what_is_below_a_bound_is_counted() -> None:
    histogram = filled(0.0002, 0.0009, 0.0011, 0.5, 900.0)
    below = dict(histogram.below_octaves())
    assert [below[bound] for bound in (0.000125, 0.00025, 0.001, 0.002, 32.768)] == [0, 1, 2, 3, 4]
    assert histogram.count == 5


def test_quantiles_are_within_a_fifth() -> None:
    histogram = filled(*(n / 1000 for n in range(1, 1001)))
    assert histogram.quantile(0.95) == pytest.approx(0.95, rel=0.2)
    assert histogram.quantile(0.5) == pytest.approx(0.5, rel=0.2)
    assert Histogram().quantile(0.95) == 0.0


def test_a_clock_that_goes_back_costs_nothing() -> None:
    assert filled(-1.0).state()[2] == {0: 1}


@given(st.lists(st.floats(0, 200, allow_nan=False)), st.lists(st.floats(0, 200, allow_nan=False)))
def test_two_added_up_are_one_of_both(one: list[float], other: list[float]) -> None:
    total = filled(*one)
    total.merge(filled(*other).state())
    both = filled(*one, *other)
    assert total.state()[2] == both.state()[2]
    assert total.total == pytest.approx(both.total)


def test_it_travels_between_processes() -> None:
    histogram = filled(0.1, 0.2)
    assert pickle.loads(pickle.dumps(histogram)).state() == histogram.state()

"""Timing of single steps."""

from benchmarks.micro import __main__, timing
from benchmarks.micro.cases import STATEMENT, cases


def test_every_step_runs() -> None:
    steps = cases()
    assert f"{STATEMENT}, 60 B SELECT" in steps
    for call in steps.values():
        call()


def test_a_step_is_measured_in_both_forms() -> None:
    found = timing.both("nothing")
    assert found["compiled"]["nothing"] > 0
    assert found["pure"]["nothing"] > 0


def test_the_table_compares_with_an_earlier_run() -> None:
    found = {"compiled": {"a": 150.0, "b": 10.0}, "pure": {"a": 1000.0, "b": 20.0}}
    plain = __main__.lines(found, {})
    assert plain[1].split() == ["a", "150", "1000"]
    compared = __main__.lines(found, {"compiled": {"a": 100.0}})
    assert compared[1].split() == ["a", "150", "1000", "+50", "%"]
    assert compared[2].split() == ["b", "10", "20"]

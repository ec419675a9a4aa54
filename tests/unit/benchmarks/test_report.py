"""The benchmark's report: medians, ratios within a round, limits, and the page, the data and the picture of it."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pytest

from benchmarks import bars, extras, plot, report, run
from benchmarks.loads import Load, Sample
from benchmarks.report import Figure

SAMPLE = Sample(queries=1000, bytes=1e6, seconds=1.0, cpu=0.01, p50=10, p95=20, p99=40)


def load(name: str, unit: str = "query") -> Load:
    return cast(Load, SimpleNamespace(name=name, title=f"the load {name}", unit=unit))


def samples(**cpu: float) -> dict[str, list[Sample]]:
    """Three rounds of each target; every round the machine is slower than the one before."""
    return {
        name.replace("_", "-"): [replace(SAMPLE, cpu=seconds * slower) for slower in (1, 2, 3)]
        for name, seconds in cpu.items()
    }


def tables(cost: float = 0.009) -> list[tuple[Load, list[report.Row]]]:
    taken = samples(direct=0.0, haproxy=0.01, sqlproxy=cost, sqlproxy_2=0.0099, sqlproxy_pure=0.03)
    found = [load("text-64"), load("text-8"), load("connect"), load("result-1MB", "GB")]
    return [(one, report.rows(one, taken)) for one in found]


EXTRAS: dict[str, Any] = {
    "memory": {"sqlproxy": {"bytes_per_session": 20 * 1024.0, "base_bytes": 30 * 2.0**20}},
    "crowd": {"sessions": 9850, "bytes": {"haproxy": 90 * 2.0**20}},
    "statements": {
        "classification and digest of a known shape, 60 B SELECT": 160.0,
        "classification and digest of a known shape, 2 KB SELECT": 3500.0,
    },
    "system_calls": {"haproxy": {"all": 4.5, "recvfrom": 2.25}, "sqlproxy": None},
}
ABOUT = {
    "command": "make bench",
    "date": "2026-11-21 10:00 UTC",
    "machine": "2 cores",
    "load_before": 0.1,
    "versions": {"HAProxy": "2.6.12", "MariaDB": "10.11.19"},
    "rounds": 3,
    "sysbench_rounds": 2,
}


def test_a_figure_is_the_median_and_the_middle_half() -> None:
    assert Figure.of([5.0]) == Figure(5.0, 5.0, 5.0)
    assert Figure.of([1.0, 2.0, 3.0, 4.0, 100.0]) == Figure(3.0, 2.0, 4.0)


def test_ratios_are_taken_within_a_round() -> None:
    found = {row.target: row for row in report.rows(load("text-64"), samples(haproxy=0.01, sqlproxy=0.009))}
    ratio = found["sqlproxy"].ratio
    assert ratio is not None
    assert (ratio.low, ratio.median, ratio.high) == pytest.approx((0.9, 0.9, 0.9))
    assert found["sqlproxy"].cost == Figure(pytest.approx(18.0), pytest.approx(13.5), pytest.approx(22.5))
    assert found["sqlproxy"].speed == Figure(1.0, 1.0, 1.0)
    assert found["sqlproxy"].tail == Figure(1.0, 1.0, 1.0)


def test_what_costs_no_proxy_anything_has_no_ratio() -> None:
    direct = report.rows(load("text-64"), samples(direct=0.0, haproxy=0.01))[0]
    assert direct.cost is None
    assert direct.ratio is None
    assert direct.rate.median == 1000


def test_large_results_count_bytes() -> None:
    row = report.rows(load("result-1MB", "GB"), samples(haproxy=0.01))[0]
    assert row.rate.median == pytest.approx(1.0)  # MB/s
    assert row.cost is not None
    assert row.cost.median == pytest.approx(20.0)  # CPU s per GB


def test_without_latencies_there_is_no_tail() -> None:
    silent = {name: [replace(SAMPLE, p99=0.0)] for name in ("haproxy", "sqlproxy")}
    assert report.rows(load("sysbench"), silent)[1].tail is None


def test_the_limits_are_kept_or_not() -> None:
    found = {bar.what: bar for bar in bars.bars(tables(), EXTRAS)}
    met = {what: bar.met for what, bar in found.items()}
    assert met == {
        "point select, text, 64 connections: CPU per query, HAProxy = 1": True,
        "point select, text, 64 connections: p99, HAProxy = 1": True,
        "point select, text, 8 connections: CPU per query, HAProxy = 1": True,
        "point select, text, 8 connections: p99, HAProxy = 1": True,
        "results of 1MB: MB/s, HAProxy = 1": True,
        "results of 1MB: CPU per GB, HAProxy = 1": True,
        "connect, query, quit": False,
        "idle session with one server connection": False,
        "classification and digest of a known shape, 60 B SELECT": True,
        "classification and digest of a known shape, 2 KB SELECT": False,
        "point select, text, 64 connections: CPU per query with two workers, one process = 1": False,
    }
    assert found["idle session with one server connection"].value == 20


def test_a_dearer_proxy_misses_its_limits() -> None:
    missed = {bar.what for bar in bars.bars(tables(cost=0.012), {}) if not bar.met}
    assert "point select, text, 64 connections: CPU per query, HAProxy = 1" in missed
    assert "results of 1MB: CPU per GB, HAProxy = 1" in missed


def test_a_part_of_the_run_has_only_its_own_limits() -> None:
    assert bars.bars([], {"memory": {}}) == []


def test_the_page_shows_limits_tables_and_versions() -> None:
    page = report.as_markdown(ABOUT, bars.bars(tables(), EXTRAS), tables(), EXTRAS)
    assert "HAProxy 2.6.12, MariaDB 10.11.19" in page
    assert "| connect, query, quit | ≥ 3000 /s | 1000 /s | **not met** |" in page
    assert "| idle session with one server connection | ≤ 16 KiB | 20.00 KiB | **not met** |" in page
    assert "## The load text-64" in page
    assert "| sqlproxy | 20.0 | 30 |" in page
    assert "## 9,850 idle sessions" in page
    assert "| haproxy | 4.50 | recvfrom 2.25 |" in page
    assert page.endswith("\n")


def test_the_page_says_when_the_machine_was_busy() -> None:
    assert "machine was busy" not in report.as_markdown(ABOUT, [], tables(), EXTRAS)
    assert "machine was busy" in report.as_markdown({**ABOUT, "load_before": 4.0}, [], tables(), EXTRAS)


def test_the_page_says_when_calls_were_not_counted() -> None:
    page = report.as_markdown(ABOUT, [], tables(), {**EXTRAS, "system_calls": {"sqlproxy": None}})
    assert "strace is missing" in page


def test_the_data_say_what_was_met() -> None:
    data = json.loads(json.dumps(report.as_json(ABOUT, bars.bars(tables(), EXTRAS), tables(), EXTRAS)))
    assert data["bars"][0]["met"] is True
    assert data["loads"][0]["targets"][2]["target"] == "sqlproxy"
    assert data["crowd"]["sessions"] == 9850


def test_the_picture_is_well_formed_and_has_a_bar_for_each_proxy() -> None:
    found = tables()
    root = ElementTree.fromstring(plot.draw(found))
    fills = [element.get("fill") for element in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert fills.count("#2563eb") == len(found) + 1  # and one in the legend


def test_the_slope_ignores_what_there_is_without_sessions() -> None:
    assert extras.slope([(100, 1500.0), (500, 3500.0), (1000, 6000.0)]) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("HAProxy version 2.6.12-1+deb12u4 2026/10/17", "2.6.12"),
        ("mariadbd  Ver 10.11.19-MariaDB-0+deb12u1 for debian-linux-gnu", "10.11.19"),
        ("sysbench 1.0.20\n", "1.0.20"),
        ("nothing", "?"),
    ],
)
def test_versions_are_found_in_what_programs_say(said: str, number: str) -> None:
    assert run.version_in(said) == number

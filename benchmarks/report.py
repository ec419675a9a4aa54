"""From samples to medians, spreads and ratios within the same round; as JSON, as Markdown, as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.loads import Load, Sample

if TYPE_CHECKING:
    from benchmarks.bars import Bar

BASELINE = "haproxy"
GIGABYTE = 1e9
_IDLE_LOAD = 0.5  # load average of a machine that does nothing else


@dataclass(frozen=True)
class Figure:
    """Median and the middle half of some samples."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Row:
    """One target under one load. ``cost``: CPU µs per query, or CPU s per GB.

    Against the baseline in the same round: ``ratio`` of the costs, ``speed`` of the rates, ``tail`` of the p99s.
    """

    target: str
    rate: Figure  # queries per second, or MB/s
    cost: Figure | None
    ratio: Figure | None
    speed: Figure
    tail: Figure | None
    p50: float
    p95: float
    p99: float


def rows(load: Load, samples: Mapping[str, Sequence[Sample]]) -> list[Row]:
    """One row a target, in the order of ``samples``; the same index is the same round."""
    base = samples[BASELINE]
    costs = {name: [_cost(load, sample) for sample in taken] for name, taken in samples.items()}
    found = []
    for name, taken in samples.items():
        measured = any(costs[name])
        rates = [_rate(load, sample) for sample in taken]
        tails = [(own.p99, other.p99) for own, other in zip(taken, base, strict=True)]
        found.append(
            Row(
                name,
                Figure.of(rates),
                Figure.of(costs[name]) if measured else None,
                _against(costs[name], costs[BASELINE]) if measured else None,
                _against(rates, [_rate(load, sample) for sample in base]),
                _against(*zip(*tails, strict=True)) if all(map(all, tails)) else None,
                *(statistics.median(getattr(sample, key) for sample in taken) for key in ("p50", "p95", "p99")),
            )
        )
    return found


def _against(own: Sequence[float], base: Sequence[float]) -> Figure:
    """The ratio round by round."""
    return Figure.of([value / other for value, other in zip(own, base, strict=True)])


def _cost(load: Load, sample: Sample) -> float:
    return sample.cpu * GIGABYTE / sample.bytes if load.unit == "GB" else sample.cpu * 1e6 / sample.queries


def _rate(load: Load, sample: Sample) -> float:
    return (sample.bytes / 1e6 if load.unit == "GB" else sample.queries) / sample.seconds


Tables = Sequence[tuple[Load, list[Row]]]


def as_json(about: Mapping[str, Any], bars: Sequence[Bar], tables: Tables, extras: Mapping[str, Any]) -> Any:
    """Everything, for programs."""
    loads = [
        {"name": load.name, "title": load.title, "unit": load.unit, "targets": [asdict(row) for row in table]}
        for load, table in tables
    ]
    return {**about, "bars": [{**asdict(bar), "met": bar.met} for bar in bars], "loads": loads, **extras}


def as_markdown(about: Mapping[str, Any], bars: Sequence[Bar], tables: Tables, extras: Mapping[str, Any]) -> str:
    """Everything, for people."""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{about['command']}` on {about['date']}; the same in [benchmarks.json](benchmarks.json).",
        "",
        f"Machine: {about['machine']}; load average before the run {about['load_before']:.1f}.",
        f"Versions: {', '.join(f'{name} {version}' for name, version in about['versions'].items())}.",
        "",
        f"{about['rounds']} rounds ({about['sysbench_rounds']} of sysbench), the targets interleaved in random order.",
        "All proxies on one core (`sqlproxy-2`, with two workers, too), load and servers on the rest. Median, and in",
        "brackets the middle half. The ratio is the CPU cost, of all processes of a proxy, divided by HAProxy's (mode",
        "tcp, one thread) in the same round, so that drifts of the machine cancel out. Point selects, results and",
        "connections use a stub server and a load generator of our own that cost less than any proxy; sysbench asks a",
        "real MariaDB.",
        "",
        "![CPU cost of each load as a multiple of HAProxy's](images/benchmark.svg)",
        "",
    ]
    if about["load_before"] > _IDLE_LOAD:
        lines += [
            "**The machine was busy with other things before, and maybe meanwhile: latencies and rates say little.**",
            "",
        ]
    lines += _bars(bars)
    for load, table in tables:
        lines += _table(load, table)
    lines += _memory(extras["memory"]) + _crowd(extras["crowd"]) + _calls(extras["system_calls"])
    return "\n".join(lines)


def _bars(bars: Sequence[Bar]) -> list[str]:
    if not bars:
        return []
    lines = ["## What the project wants of itself", "", "| | wanted | measured | |", "|---|---|---|---|"]
    for bar in bars:
        unit = f" {bar.unit}" if bar.unit else ""
        digits = 0 if bar.value >= 100 else 2
        wanted, measured = f"{'≤' if bar.most else '≥'} {bar.limit:g}{unit}", f"{bar.value:.{digits}f}{unit}"
        lines.append(f"| {bar.what} | {wanted} | {measured} | {'met' if bar.met else '**not met**'} |")
    return [*lines, ""]


def _table(load: Load, table: list[Row]) -> list[str]:
    rate, cost = ("MB/s", "CPU s per GB") if load.unit == "GB" else ("per second", "CPU µs each")
    lines = [f"## {load.title[0].upper()}{load.title[1:]}", ""]
    lines += [
        f"| target | {cost} | ratio to HAProxy | {rate} | p50 µs | p95 µs | p99 µs |",
        "|---|---|---|---|---|---|---|",
    ]
    digits = 3 if load.unit == "GB" else 1
    for row in table:
        latencies = " | ".join(f"{value:.0f}" if value else "–" for value in (row.p50, row.p95, row.p99))
        ratio = _figure(row.ratio, 2)
        lines.append(f"| {row.target} | {_figure(row.cost, digits)} | {ratio} | {_figure(row.rate, 0)} | {latencies} |")
    return [*lines, ""]


def _figure(figure: Figure | None, digits: int) -> str:
    if figure is None:
        return "–"
    return f"{figure.median:.{digits}f} ({figure.low:.{digits}f}–{figure.high:.{digits}f})"


def _memory(memory: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not memory:
        return []
    lines = ["## Memory of idle sessions, one connection to a server each", ""]
    lines += ["| target | KiB per session (slope up to 1,000) | MiB without sessions |", "|---|---|---|"]
    for name, figures in memory.items():
        per_session, base = figures["bytes_per_session"] / 2**10, figures["base_bytes"] / 2**20
        lines.append(f"| {name} | {per_session:.1f} | {base:.0f} |")
    return [*lines, ""]


def _crowd(crowd: Mapping[str, Any]) -> list[str]:
    if not crowd:
        return []
    lines = [f"## {crowd['sessions']:,} idle sessions in one process, one connection to a server each", ""]
    lines += ["| target | MiB resident |", "|---|---|"]
    lines += [f"| {name} | {resident / 2**20:.0f} |" for name, resident in crowd["bytes"].items()]
    return [*lines, ""]


def _calls(calls: Mapping[str, Mapping[str, float] | None]) -> list[str]:
    counted = {name: found for name, found in calls.items() if found}
    if not calls:
        return []
    if not counted:
        return ["System calls were not counted: strace is missing.", ""]
    lines = ["## System calls per point select (text, 8 connections)", ""]
    lines += ["| target | all | by name |", "|---|---|---|"]
    for name, found in counted.items():
        names = ", ".join(f"{call} {value:.2f}" for call, value in found.items() if call != "all")
        lines.append(f"| {name} | {found['all']:.2f} | {names} |")
    return [*lines, ""]

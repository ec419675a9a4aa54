"""CPU cost as a multiple of HAProxy's, one group of bars for each load, drawn as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.loads import Load
from benchmarks.report import BASELINE, Row

_COLOURS = {"haproxy": "#8a8f98", "sqlproxy": "#2563eb", "sqlproxy-2": "#0f766e", "sqlproxy-pure": "#93b4f5"}
_LEFT, _TOP, _BAR, _GAP, _WIDTH, _RIGHT = 430, 56, 11, 12, 420, 70


def draw(tables: Sequence[tuple[Load, list[Row]]]) -> str:
    """The picture; longer bars are dearer."""
    shown = [(load.title, [row for row in table if row.ratio is not None]) for load, table in tables]
    top = max(row.ratio.median for _, table in shown for row in table if row.ratio is not None)
    scale = _WIDTH / (top * 1.05)
    parts, y = [], _TOP
    for title, table in shown:
        middle = y + len(table) * _BAR / 2 + 4
        parts.append(f'<text x="{_LEFT - 10}" y="{middle:.0f}" text-anchor="end">{escape(title)}</text>')
        for row in table:
            parts.append(_bar(row, y, scale))
            y += _BAR
        y += _GAP
    line = _LEFT + scale
    parts.append(f'<path d="M{line:.1f} {_TOP - 6}V{y}" stroke="#333" stroke-dasharray="3 3"/>')
    return _page(parts, y + 10)


def _bar(row: Row, y: int, scale: float) -> str:
    assert row.ratio is not None
    width, low, high = (value * scale for value in (row.ratio.median, row.ratio.low, row.ratio.high))
    middle = y + _BAR / 2
    return (
        f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" fill="{_COLOURS[row.target]}"/>'
        f'<path d="M{_LEFT + low:.1f} {middle:.1f}H{_LEFT + high:.1f}" stroke="#111"/>'
        f'<text x="{_LEFT + max(width, high) + 5:.1f}" y="{y + _BAR - 2}" font-size="10">{row.ratio.median:.2f}</text>'
    )


def _page(parts: Sequence[str], height: int) -> str:
    width = _LEFT + _WIDTH + _RIGHT
    legend = "".join(
        f'<rect x="{_LEFT + 110 * place}" y="30" width="10" height="10" fill="{colour}"/>'
        f'<text x="{_LEFT + 110 * place + 15}" y="39">{name}</text>'
        for place, (name, colour) in enumerate(_COLOURS.items())
    )
    title = f"CPU cost, {BASELINE} = 1 (median and middle half of the rounds; shorter is better)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="#fff"/>'
        f'<text x="10" y="20" font-size="14" font-weight="bold">{title}</text>{legend}{"".join(parts)}</svg>\n'
    )

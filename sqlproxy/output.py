"""How the command line shows the admin API's answers: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from sqlproxy.logs import visible

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, object]

_PIPE_WIDTH: Final = 400  # what is piped into another program is not wrapped
_TONES: Final = {
    "primary": "bold green",
    "replica": "green",
    "ok": "green",
    **dict.fromkeys(("down", "fail", "non-primary"), "bold red"),
    **dict.fromkeys(("joining", "donor", "desynced", "suspect", "drain", "maintenance", "warn", "waiting"), "yellow"),
}


def mapping(answer: object) -> Row:
    """An object of the answer; empty when it is none."""
    return answer if isinstance(answer, dict) else {}


def sequence(value: object) -> Sequence[object]:
    """A list of the answer; empty when it is none."""
    return value if isinstance(value, list) else []


def rows_of(answer: object) -> list[Row]:
    """The objects of a list."""
    return [mapping(row) for row in sequence(answer)]


def number(value: object) -> float:
    """A counter; what is none counts as 0."""
    return float(value) if isinstance(value, int | float) else 0.0


def clock(seconds: object) -> str:
    """A time since the epoch, in this machine's zone."""
    if not isinstance(seconds, int | float):
        return ""
    return datetime.fromtimestamp(seconds).isoformat(sep=" ", timespec="milliseconds")


def print_json(data: object) -> None:
    """For programs."""
    print(json.dumps(data, indent=2))


def show(rows: Iterable[Row], columns: Sequence[str], as_json: bool) -> None:
    """A table of some columns; as JSON all there is."""
    if as_json:
        print_json([dict(row) for row in rows])
        return
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table(rows, columns))


def table(rows: Iterable[Row], columns: Sequence[str], compact: bool = False) -> Table:
    """For rich to print; ``compact``: a line for each row and one for the head, so that what is too long is cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table
    from rich.text import Text

    heads = [Column(name.replace("_", " "), no_wrap=compact) for name in columns]
    found = Table(*heads, box=SIMPLE_HEAD, pad_edge=False)
    if compact:
        found.box, found.header_style, found.expand = None, "reverse", True
    for row in rows:
        cells = [cell(row.get(name)) for name in columns]
        found.add_row(*(Text(text, style=_TONES.get(text, "")) for text in cells))
    return found


def cell(value: object) -> str:
    """One value in words, on one line and without a terminal's control characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return visible("; ".join(str(item) for item in value)) or "-"
    return visible(str(value))

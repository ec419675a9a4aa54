"""The screen of ``sqlproxy top``: drawn in place on a terminal, printed anew where there is none."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from sqlproxy.admin.client import AdminClient, Unreachable
from sqlproxy.logs import visible
from sqlproxy.output import mapping, rows_of, show, table
from sqlproxy.top import ORDERS, STATEMENTS, Look, Section, headline, sections

if TYPE_CHECKING:
    from rich.console import RenderableType

_LEAST: Final = 3  # rows of sessions, however small the terminal
_AROUND: Final = 1  # lines of a table besides its rows
_HELP: Final = "q ends · s sorts · sessions: "


def run(client: AdminClient, interval: float, once: bool, as_json: bool) -> None:
    """Look until q, Ctrl-C or, with ``once``, the first interval is over. Raises Unreachable at the first look."""
    if once or as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print(client, interval, once, as_json)
    else:
        _draw(client, interval)


def look(client: AdminClient) -> Look:
    """Ask for all that is shown."""
    return Look(
        mapping(client.get("/v1/monitor")),
        rows_of(client.get("/v1/services")),
        rows_of(client.get("/v1/servers")),
        rows_of(client.get("/v1/sessions")),
        rows_of(client.get("/v1/digests", order="total", limit=str(STATEMENTS))),
        rows_of(client.get("/v1/events")),
    )


def _print(client: AdminClient, interval: float, once: bool, as_json: bool) -> None:
    before = look(client)
    while True:
        time.sleep(interval)
        now = look(client)
        if as_json:
            tables = {found.name: found.rows for found in sections(now, before)}
            print(json.dumps({"monitor": now.monitor, "seconds": round(now.at - before.at, 3), **tables}), flush=True)
        else:
            print(visible(headline(now)))
            for found in sections(now, before):
                if found.rows:
                    show(found.rows, found.columns, False)
        if once:
            return
        before = now


def _draw(client: AdminClient, interval: float) -> None:
    """On the terminal's other screen, so that what was there comes back."""
    from rich.live import Live

    before = now = look(client)
    order, trouble = 0, ""
    with suppress(KeyboardInterrupt), _keys(), Live(screen=True, auto_refresh=False) as live:
        while True:
            height = live.console.size.height
            live.update(_picture(now, before, ORDERS[order], trouble, height), refresh=True)
            key = _key(max(0.0, now.at + interval - time.monotonic()) if not trouble else interval)
            if key == "q":
                return
            if key == "s":
                order = (order + 1) % len(ORDERS)
                continue
            if key:
                continue
            try:
                before, now, trouble = now, look(client), ""
            except Unreachable as error:
                trouble = str(error)


def _picture(now: Look, before: Look, order: str, trouble: str, height: int) -> RenderableType:
    """Everything, in as many lines as there are: sessions are what is cut."""
    from rich.console import Group
    from rich.text import Text

    found = [section for section in sections(now, before, order) if section.rows]
    alarms = now.monitor.get("alarms")
    warnings = [trouble] if trouble else [str(alarm) for alarm in alarms] if isinstance(alarms, list) else []
    others = sum(len(section.rows) for section in found if section.name != "sessions")
    room = max(_LEAST, height - others - _AROUND * len(found) - len(warnings) - 2)
    lines: list[RenderableType] = [Text(visible(headline(now)), style="bold")]
    lines += [Text(visible(warning), style="bold red") for warning in warnings]
    lines += [table(_cut(section, room), section.columns, compact=True) for section in found]
    return Group(*lines, Text(_HELP + order, style="dim"))


def _cut(section: Section, room: int) -> list[dict[str, object]]:
    rows = section.rows[:room] if section.name == "sessions" else section.rows
    return [dict(row) for row in rows]


@contextmanager
def _keys() -> Iterator[None]:
    """Keys come one by one and are not shown."""
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key(seconds: float) -> str:
    """The key that is pressed within so many seconds, "" when none is; the end of the input is q."""
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return (os.read(sys.stdin.fileno(), 1).decode(errors="replace") or "q") if ready else ""

"""What ``sqlproxy top`` shows: rates between two looks at the admin API's rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Row = Mapping[str, object]


def number(value: object) -> float:
    """A counter; what is none counts as 0."""
    return float(value) if isinstance(value, int | float) else 0.0


def server_rows(rows: Sequence[Row], before: Sequence[Row], seconds: float) -> list[Row]:
    """Servers with statements a second since the look before, ``seconds`` ago."""
    known = {row.get("name"): row for row in before}
    shown: list[Row] = []
    for row in rows:
        old, figures = known.get(row.get("name"), row), row.get("figures")
        facts = figures if isinstance(figures, dict) else {}
        rates = {f"{key}/s": f"{(number(row.get(key)) - number(old.get(key))) / seconds:.0f}" for key in _COUNTED}
        state = {key: row.get(key) for key in ("name", "role", "state", "connections", "operations")}
        galera = {"queue": facts.get("local_recv_queue"), "flow control": facts.get("flow_control_paused_ns")}
        shown.append({**state, **rates, "lag": row.get("lag"), **galera, "latency ms": row.get("latency_ms")})
    return shown


def service_rows(rows: Sequence[Row], before: Sequence[Row], seconds: float) -> list[Row]:
    """Services with statements a second since the look before."""
    known = {row.get("name"): row for row in before}
    return [
        {
            **{key: row.get(key) for key in ("name", "sessions", "waiting", "longest_pause_ms")},
            "statements/s": f"{(number(row.get('statements')) - number(old.get('statements'))) / seconds:.0f}",
        }
        for row in rows
        for old in [known.get(row.get("name"), row)]
    ]


_COUNTED = ("reads", "writes", "errors")

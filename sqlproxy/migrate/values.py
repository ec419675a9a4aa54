"""Values as other proxies write them, in our words. Each raises ValueError for what is none of its kind."""

from __future__ import annotations

import re

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(us|ms|s|min|m|h|d)?\s*$", re.IGNORECASE)
_MILLISECONDS = {
    "us": 0.001,
    "ms": 1.0,
    "s": 1000.0,
    "m": 60_000.0,
    "min": 60_000.0,
    "h": 3_600_000.0,
    "d": 86_400_000.0,
}
_SIZE = re.compile(r"^\s*(\d+)\s*([kmgt]?)(i?)b?\s*$", re.IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def truth(text: str) -> bool:
    """MaxScale's and libconfig's words for yes and no."""
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", ""):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def duration(text: str, unit: str) -> str:
    """As our configuration writes it; ``unit`` is that of a bare number."""
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration")
    milliseconds = float(match[1]) * _MILLISECONDS[(match[2] or unit).lower()]
    if milliseconds % 1000 == 0:
        return f"{milliseconds / 1000:.0f}s"
    return f"{max(milliseconds, 1):.0f}ms"


def size(text: str) -> int:
    """Bytes from 1048576, 1Mi (of 1024) or 1M (of 1000)."""
    match = _SIZE.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no size")
    return int(match[1]) * int((1024 if match[3] else 1000) ** _POWER[match[2].lower()])


def address(host: str, port: str) -> str:
    """``host:port``, IPv6 in brackets; every address of the machine when none is given. The port is not checked."""
    host = host.strip().strip("[]")
    if host in ("", "*"):
        host = "0.0.0.0"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

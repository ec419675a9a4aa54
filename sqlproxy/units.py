"""How durations, sizes and addresses are written in the configuration and on the command line."""

from __future__ import annotations

import re

from sqlproxy.topology.model import Address

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*$")
_SIZE = re.compile(r"^\s*(\d+)\s*(B|KiB|MiB|GiB|KB|MB|GB)?\s*$")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_HOST = re.compile(r"^[A-Za-z0-9._%-]+$|^\[[0-9A-Fa-f:.%A-Za-z]+\]$")


def parse_duration(value: object) -> float:
    """Seconds from "500ms", "2s", "1m", "1h"; a bare number is refused because its unit is a guess."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a duration such as "500ms" or "2s"')
    return float(match[1]) * _MILLISECONDS[match[2]] / 1000  # divided, so that 350ms is the nearest number to 0.35


def parse_size(value: object) -> int:
    """Bytes from "64KiB", "1MiB" or a plain number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a size such as "64KiB" or "1MiB"')
    return int(match[1]) * _BYTES[match[2] or "B"]


def parse_address(value: object) -> Address:
    """``host:port``, ``[v6]:port`` or ``unix:/path``."""
    if isinstance(value, Address):
        return value
    if isinstance(value, str) and value.startswith("unix:/"):
        return Address(path=value[5:])
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not _HOST.match(host) or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"{value!r} is not an address such as 127.0.0.1:3306, [::1]:3306 or unix:/path")
    return Address(host=host.strip("[]"), port=int(port))

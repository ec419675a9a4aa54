"""The topologies the monitor knows, by the name used in ``[monitor] topology``."""

from __future__ import annotations

from collections.abc import Callable

from sqlproxy.config import MonitorConfig
from sqlproxy.monitor.base import Flavour
from sqlproxy.monitor.galera import Galera
from sqlproxy.monitor.static import Static

FLAVOURS: dict[str, Callable[[MonitorConfig], Flavour]] = {
    "galera": lambda config: Galera(config.available_when_donor),
    "static": lambda config: Static(),
}


def flavour_for(config: MonitorConfig) -> Flavour:
    """The flavour of a configuration."""
    return FLAVOURS[config.topology](config)

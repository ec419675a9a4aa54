"""The configuration of MaxScale, HAProxy or ProxySQL to ours, told apart by what is in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlproxy.config import parse
from sqlproxy.errors import ConfigError
from sqlproxy.migrate import haproxy, maxscale, proxysql
from sqlproxy.migrate.draft import Draft

_LARGEST: Final = 8 << 20  # bytes; none of these files comes near
# What each kind of file cannot do without, in the order in which they are tried.
_SIGNS: Final[tuple[tuple[re.Pattern[str], Callable[[str], Draft]], ...]] = (
    (
        re.compile(r"^\s*(INSERT|REPLACE)\b[^;]*\binto\s+\W*(main\W+)?mysql_servers\b", re.M | re.I),
        proxysql.convert_statements,
    ),
    (re.compile(r"\b(mysql_servers|mysql_variables|admin_variables)\s*[=:]", re.M), proxysql.convert_file),
    (re.compile(r"^\s*type\s*=\s*(server|service|listener|monitor)\s*$", re.M | re.I), maxscale.convert),
    (re.compile(r"^\s*(listen|frontend|backend)\s+\S+", re.M), haproxy.convert),
)


def convert(text: str, name: str) -> str:
    """Our TOML for the text of another proxy's file; ``name`` stands for it.

    Raises ConfigError: one sentence, when the file is of no known kind, names no server, or cannot be understood.
    """
    converter = next((converter for sign, converter in _SIGNS if sign.search(text)), None)
    if converter is None:
        raise ConfigError(f"{name}: is not a configuration of MaxScale, HAProxy or ProxySQL")
    try:
        result = converter(text).text(name)
    except ConfigError as error:
        raise ConfigError(error.message if error.message.startswith(name) else f"{name}: {error.message}") from None
    parse(result, f"what came of {name}")
    return result


def convert_file(path: Path) -> str:
    """As ``convert``, of a file. Raises ConfigError when it cannot be read."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path}: is larger than a configuration would be")
        return convert(path.read_text(encoding="utf-8", errors="replace"), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None

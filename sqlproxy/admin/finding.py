"""What `sqlproxy check` reports: findings, each with a severity and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is; one ``fail`` makes the check fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report: ``subject`` names the server, service or section, ``fix`` what settles it."""

    level: Level
    subject: str
    text: str
    fix: str = ""

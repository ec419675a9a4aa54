"""The sample files of tests/data/migrate, converted, and what tests ask of the result."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from sqlproxy.migrate.convert import convert

FILES = sorted((Path(__file__).parents[2] / "data" / "migrate").iterdir())


class Result:
    """A converted text: its data, and its notes by the original's line."""

    def __init__(self, text: str) -> None:
        self.text = convert(text, "x")
        self.data: dict[str, Any] = tomllib.loads(self.text)
        lost, _, needless = self.text.partition("# What needs no setting here:")
        self.lost, self.needless = _notes(lost), _notes(needless)
        self.notes = [text for _, text in (*self.lost, *self.needless)]

    def server(self, name: str) -> dict[str, Any]:
        return next(server for server in self.data["servers"] if server["name"] == name)

    def service(self, name: str) -> dict[str, Any]:
        return next(service for service in self.data["services"] if service["name"] == name)


def _notes(text: str) -> list[tuple[int, str]]:
    found = re.findall(r"^# (?:line (\d+): )?(.*: .*)$", text, re.MULTILINE)
    return [(int(line or 0), note) for line, note in found]


def sample(name: str) -> Result:
    return Result(next(path for path in FILES if path.name == name).read_text())


def line_of(name: str, text: str) -> int:
    """The first line of a sample that has this text."""
    lines = next(path for path in FILES if path.name == name).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)

"""Finds the line a key of a TOML text stands on; the parser of the standard library does not tell."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)([^\[\]#]+)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")

Location = tuple[int | str, ...]


def line_of(text: str, location: Location) -> int:
    """The line (from 1) of a key such as ``("servers", 1, "name")``, or of the nearest table around it; 0: unknown."""
    known = _lines(text)
    for length in range(len(location), 0, -1):
        if location[:length] in known:
            return known[location[:length]]
    return 0


def _lines(text: str) -> dict[Location, int]:
    """Every table and key of the text with its line; of keys inside inline tables only the outermost."""
    known: dict[Location, int] = {}
    arrays: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _open(header[1] == "[[", _parts(header[2]), arrays)
            known.setdefault(table, number)
        elif key := _KEY.match(line):
            known.setdefault(table + tuple(_parts(key[1])), number)
    return known


def _open(in_array: bool, parts: list[str], arrays: dict[Location, int]) -> Location:
    """The location of a table header; ``arrays`` counts the tables of each array so far."""
    path: Location = ()
    for i, part in enumerate(parts):
        path += (part,)
        if in_array and i == len(parts) - 1:
            arrays[path] = arrays.get(path, 0) + 1
        if path in arrays:
            path += (arrays[path] - 1,)
    return path


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.strip().split(".")]

"""Where the values of a configuration came from: a line of the file, an environment variable, a secret's file. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sqlproxy.toml_lines import Location

PREFIX: Final = "SQLPROXY_"
DELIMITER: Final = "__"


def key_of(location: Location) -> str:
    """A location in words: ``servers[0].weight``."""
    return ".".join(f"[{part}]" if isinstance(part, int) else part for part in location).replace(".[", "[")


def leaves(value: object, location: Location = ()) -> Iterator[Location]:
    """Every key of a validated section that holds a value and no further section."""
    for name in type(value).model_fields:  # type: ignore[attr-defined]
        inner = getattr(value, name)
        yield from _below(inner, (*location, name))


def _below(value: object, location: Location) -> Iterator[Location]:
    if hasattr(type(value), "model_fields"):
        yield from leaves(value, location)
    elif isinstance(value, list) and value and hasattr(type(value[0]), "model_fields"):
        for number, item in enumerate(value):
            yield from leaves(item, (*location, number))
    else:
        yield location


def origins(
    settings: object,
    data: Mapping[str, Any],
    environ: Mapping[str, str],
    name: str,
    find_line: Callable[[Location], int],
) -> dict[str, str]:
    """For each key that is no default where its value came from; ``data`` is the file's, ``name`` stands for it."""
    given = {variable.upper(): value for variable, value in environ.items()}
    found = {}
    for location in leaves(settings):
        text = _from_environment(location, given) or _from_file(location, data, name, find_line)
        if text:
            found[key_of(location)] = text
    return found


def _from_environment(location: Location, given: Mapping[str, str]) -> str:
    beside = (*location[:-1], f"{location[-1]}_file")
    if value := given.get(variable_of(beside)):
        return f"{value}, named by {variable_of(beside)}"
    for length in range(len(location), 0, -1):
        variable = variable_of(location[:length])
        if variable in given and _holds(given[variable], location[length:]):
            return f"environment variable {variable}"
    return ""


def variable_of(location: Location) -> str:
    """The environment variable of a key."""
    return PREFIX + DELIMITER.join(str(part) for part in location).upper()


def _holds(text: str, location: Location) -> bool:
    """Whether a variable's JSON has a key; without a location the variable is the value."""
    if not location:
        return True
    try:
        return _present(json.loads(text), location)
    except ValueError:
        return False


def _present(data: Any, location: Location) -> bool:
    for part in location:
        if isinstance(part, int) and isinstance(data, list) and part < len(data):
            data = data[part]
        elif isinstance(data, dict) and str(part) in data:
            data = data[str(part)]
        else:
            return False
    return True


def _from_file(location: Location, data: Mapping[str, Any], name: str, find_line: Callable[[Location], int]) -> str:
    beside = (*location[:-1], f"{location[-1]}_file")
    for where in (beside, location):
        if _present(data, where):
            line = find_line(where)
            place = f"{name}:{line}" if line else name
            return f"{_at(data, where)}, named by {place}" if where is beside else place
    return ""


def _at(data: Any, location: Location) -> str:
    for part in location:
        data = data[part]
    return str(data)

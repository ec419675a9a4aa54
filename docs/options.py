"""Writes docs/options.md from the configuration's models: ``python docs/options.py``; ``--check`` only compares."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from sqlproxy import config
from sqlproxy.topology.model import Address
from sqlproxy.units import parse_duration, parse_size

PAGE = Path(__file__).with_name("options.md")
HEAD = """# All options

Made by `python docs/options.py` from the program's own definitions. [Configuration](configuration.md) says what each
one means. `[…]` stands for a number, from 0, in the names of environment variables.

| key | value | default | environment |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(rows(config.Settings, "", "SQLPROXY_")) + "\n"


def rows(model: type[BaseModel], path: str, variable: str) -> Iterator[str]:
    """A row for each key, tables inside after the keys of their own."""
    inner: list[tuple[type[BaseModel], str, str]] = []
    for name, field in model.model_fields.items():
        section, listed = table_of(field.annotation)
        if section is None:
            yield row(f"{path}{name}", f"{variable}{name.upper()}", field)
        else:
            number = "[…]__" if listed else ""
            inner.append((section, f"{path}{name}.", f"{variable}{name.upper()}__{number}"))
    for section, below, prefix in inner:
        yield from rows(section, below, prefix)


def table_of(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model of a table or of a list of tables, and whether it is a list."""
    parts = [annotation, *typing.get_args(annotation)]
    found = next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)
    return found, typing.get_origin(annotation) is list


def row(key: str, variable: str, field: FieldInfo) -> str:
    return f"| `{key}` | {value_of(field)} | {default_of(field)} | `{variable}` |"


def value_of(field: FieldInfo) -> str:
    """What may be written: type, unit and limits."""
    text = kind_of(field.annotation, [field.annotation, *field.metadata])
    limits = [
        f"{word} {getattr(item, name):g}" for item in field.metadata for name, word in LIMITS if hasattr(item, name)
    ]
    return ", ".join([text, *limits])


LIMITS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))


def kind_of(annotation: Any, metadata: list[Any]) -> str:
    named = {getattr(item, "func", None) for item in metadata}
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        return kind_of(inner, [*metadata, *more])
    if parse_size in named:
        return "size (bytes, `KiB`, `MiB`)"
    if annotation is float and any(hasattr(item, "le") for item in metadata):
        return "number"
    if annotation is float or parse_duration in named:
        return "duration (`ms`, `s`, `m`, `h`)"
    return plain_kind(annotation)


def plain_kind(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " · ".join(f'`"{value}"`' if isinstance(value, str) else f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {kind_of(arguments[0], [])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind_of(one, []) for one in arguments if one is not type(None))
    names = {
        bool: "`true` or `false`",
        int: "number",
        str: "text",
        SecretStr: "text, or from a file",
        Address: "address",
    }
    return names.get(annotation, "text")


def default_of(field: FieldInfo) -> str:
    """As it would be written in the file."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return f"`{written(value, field)}`" if value is not None else "none"


def written(value: Any, field: FieldInfo) -> str:
    if isinstance(value, int) and value and any(getattr(item, "func", None) is parse_size for item in field.metadata):
        return f'"{value >> 20}MiB"' if value % (1 << 20) == 0 else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and any(hasattr(item, "le") for item in field.metadata):
        return f"{value:g}"
    if isinstance(value, float):
        return f'"{value * 1000:g}ms"' if value % 1 else f'"{value:g}s"'
    if isinstance(value, SecretStr):
        return '""'
    if isinstance(value, str | Address):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(written(item, field) for item in value) + "]"
    return f"{value}"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text() == page() else "docs/options.md is not current: python docs/options.py")
    PAGE.write_text(page())

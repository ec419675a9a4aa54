"""Where the configuration's values come from: the file, and the environment over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource


class EnvironmentOverFile(PydanticBaseSettingsSource):
    """The file with what the environment says instead, list items by number."""

    def __init__(
        self, settings_cls: type[BaseSettings], file: PydanticBaseSettingsSource, env: PydanticBaseSettingsSource
    ) -> None:
        super().__init__(settings_cls)
        self._file, self._env = file, env

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._env.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        merged: dict[str, Any] = _merge(self._file(), self._env())
        return merged


def _merge(base: Any, over: Any) -> Any:
    if not isinstance(over, dict):
        return over
    if over and all(str(key).isdecimal() for key in over):
        return _merge_list(base if isinstance(base, list) else [], over)
    merged = dict(base) if isinstance(base, dict) else {}
    for key, value in over.items():
        merged.pop(key.removesuffix("_file") if key.endswith("_file") else f"{key}_file", None)
        merged[key] = _merge(merged.get(key), value)
    return merged


def _merge_list(base: list[Any], over: Mapping[str, Any]) -> list[Any]:
    """Items replaced by number; the next number adds one. Numbers beyond add in their order."""
    merged = list(base)
    for number, value in sorted((int(key), value) for key, value in over.items()):
        if number < len(merged):
            merged[number] = _merge(merged[number], value)
        else:
            merged.append(_merge(None, value))
    return merged

"""What all sections of the configuration are made of: their fields' types, secrets from files."""

from __future__ import annotations

import ipaddress
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sqlproxy.topology.model import Address
from sqlproxy.units import parse_address, parse_duration, parse_size


def as_list(value: object) -> object:
    """One value stands for a list of one; the environment can give a list as JSON."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]  # an IPv6 address begins like a list
    return value if isinstance(value, list | tuple) else [value]


def _known_network(value: str) -> str:
    if value not in ("*", "localhost"):
        ipaddress.ip_network(value)
    return value


def has_library(name: str) -> bool:
    """Whether a module of an optional library is installed."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _installed(name: str) -> str:
    if name == "zstd" and not has_library("zstandard"):
        raise ValueError('zstd needs the library zstandard: pip install "sqlproxy[zstd]"')
    return name


Duration = Annotated[float, BeforeValidator(lambda v: v if isinstance(v, float) else parse_duration(v))]
Period = Annotated[Duration, Field(gt=0)]
Size = Annotated[int, BeforeValidator(parse_size)]
AddressField = Annotated[Address, BeforeValidator(parse_address)]
Network = Annotated[str, AfterValidator(_known_network)]
Compression = Annotated[Literal["zlib", "zstd"], AfterValidator(_installed)]


class Section(BaseModel):
    """One table of the file: no other keys than its own, and ``…_file`` for the secret of that name."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for key in [k for k in data if k.endswith("_file") and k.removesuffix("_file") in cls.model_fields]:
            name, path = key.removesuffix("_file"), data.pop(key)
            if name in data:
                raise ValueError(f"{name} and {key} are both given")
            data[name] = _secret_from(key, path)
        return data


def _secret_from(key: str, path: object) -> str:
    """A secret is the file's text without the line end that editors leave."""
    try:
        return Path(str(path)).read_text().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{key}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{key}: {path} is not text") from None

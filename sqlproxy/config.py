"""The configuration file: TOML, validated, every key also from the environment.

``load(path)`` is the one entry; it raises ConfigError with file, line where known, key and reason.
Environment: ``SQLPROXY_MONITOR__PASSWORD=…`` overrides ``[monitor] password``; secrets also by ``password_file``.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sqlproxy.errors import ConfigError
from sqlproxy.topology.model import Address, Server, ServerTLS

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*$")
_SIZE = re.compile(r"^\s*(\d+)\s*(B|KiB|MiB|GiB|KB|MB|GB)?\s*$")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_TRUSTED_HOSTS = ("localhost",)


def parse_duration(value: object) -> float:
    """Seconds from "500ms", "2s", "1m", "1h"; a bare number is refused because its unit is a guess."""
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is not a duration such as "500ms" or "2s"')
    return float(match[1]) * _SECONDS[match[2]]


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
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not an address such as 127.0.0.1:3306 or unix:/path")
    if value.startswith("unix:"):
        return Address(path=value[5:])
    host, separator, port = value.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{value!r} is not an address such as 127.0.0.1:3306, [::1]:3306 or unix:/path")
    return Address(host=host, port=int(port))


def _as_list(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _is_local(address: Address) -> bool:
    if address.path or address.host in _TRUSTED_HOSTS:
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


Duration = Annotated[float, BeforeValidator(lambda v: v if isinstance(v, float) else parse_duration(v))]
Size = Annotated[int, BeforeValidator(parse_size)]
AddressField = Annotated[Address, BeforeValidator(parse_address)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _secrets_from_files(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for key in [k for k in data if k.endswith("_file") and k.removesuffix("_file") in cls.model_fields]:
            path = Path(str(data.pop(key)))
            try:
                data[key.removesuffix("_file")] = path.read_text().strip("\r\n")
            except OSError as error:
                raise ValueError(f"{key}: cannot read {path}: {error.strerror}") from None
        return data


class ServerTLSConfig(_Section):
    """TLS towards one server."""

    mode: Literal["disabled", "preferred", "required", "verify_ca", "verify_identity"] = "preferred"
    ca: str = ""
    cert: str = ""
    key: str = ""


class ServerConfig(_Section):
    """``[[servers]]``: a server the proxy may use."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    address: AddressField
    priority: int = Field(default=1, ge=0)
    weight: int = Field(default=1, ge=0)
    zone: str = ""
    max_connections: int = Field(default=0, ge=0)
    proxy_protocol: bool = False
    tls: ServerTLSConfig = ServerTLSConfig()

    def server(self) -> Server:
        """The value the topology knows it by."""
        data = {name: getattr(self, name) for name in type(self).model_fields if name != "tls"}
        return Server(**data, tls=ServerTLS(**self.tls.model_dump()))


class MonitorConfig(_Section):
    """``[monitor]``: how the servers are watched."""

    topology: Literal["galera", "static"] = "galera"
    user: str = "monitor"
    password: SecretStr = SecretStr("")
    interval: Duration = 0.5
    timeout: Duration = 1.0
    available_when_donor: bool = False  # read from a donor whose SST method does not block it
    stale_after: Duration = 5.0  # a worker whose newest snapshot is older stops writing


class AccountConfig(_Section):
    """``[[accounts.users]]``: a static account, or the password of one the servers' tables keep secret."""

    name: str
    password: SecretStr | None = None
    password_hash: SecretStr | None = None  # '*HEX' of mysql_native_password
    hosts: Annotated[list[str], BeforeValidator(_as_list)] = ["%"]


class AccountsConfig(_Section):
    """``[accounts]``: who may log in."""

    source: Literal["servers", "static"] = "servers"
    user: str = ""
    password: SecretStr = SecretStr("")
    refresh: Duration = 60.0
    max_failures: int = Field(default=10, ge=0)  # failed logins from one host before it is blocked; 0: never
    block_for: Duration = 60.0
    users: list[AccountConfig] = []


class ServiceTLSConfig(_Section):
    """TLS towards clients; without cert and key a self-signed certificate is made at start."""

    mode: Literal["disabled", "preferred", "required"] = "preferred"
    cert: str = ""
    key: str = ""
    ca: str = ""


class ServiceConfig(_Section):
    """``[[services]]``: a port and how its statements are routed."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    listen: Annotated[list[AddressField], BeforeValidator(_as_list)]
    router: Literal["readwritesplit", "readconn"] = "readwritesplit"
    role: Literal["primary", "replica", "any"] = "primary"  # readconn only
    servers: list[str] = []  # names; empty: all
    causal_reads: Literal["none", "session"] = "session"
    causal_reads_timeout: Duration = 10.0
    primary_accepts_reads: bool = False  # reads use the primary too while replicas exist
    failover_timeout: Duration = 30.0
    login_timeout: Duration = 10.0
    connect_timeout: Duration = 5.0
    max_connections: int = Field(default=0, ge=0)
    max_allowed_packet: Size = 64 << 20
    max_session_history: int = Field(default=50, ge=1)
    tls: ServiceTLSConfig = ServiceTLSConfig()


class AdminConfig(_Section):
    """``[admin]``: dashboard, REST, metrics, health."""

    listen: AddressField | None = Address(host="127.0.0.1", port=8989)
    user: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")

    @field_validator("listen", mode="before")
    @classmethod
    def _empty_is_off(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _guarded(self) -> AdminConfig:
        secret = self.token.get_secret_value() or (self.user and self.password.get_secret_value())
        if self.listen is not None and not _is_local(self.listen) and not secret:
            raise ValueError(f"listen: {self.listen} is not loopback, so user and password or a token are needed")
        return self


class LogConfig(_Section):
    """``[log]``: one event a line."""

    format: Literal["human", "json"] = "human"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """The whole file."""

    model_config = SettingsConfigDict(
        env_prefix="SQLPROXY_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
    )

    workers: int = Field(default=0, ge=0)
    servers: list[ServerConfig] = Field(min_length=1)
    monitor: MonitorConfig = MonitorConfig()
    accounts: AccountsConfig = AccountsConfig()
    services: list[ServiceConfig] = Field(min_length=1)
    admin: AdminConfig = AdminConfig()
    log: LogConfig = LogConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [server.name for server in self.servers]
        _unique("servers", names)
        _unique("services", [service.name for service in self.services])
        for service in self.services:
            for name in service.servers:
                if name not in names:
                    raise ValueError(f"services.{service.name}.servers: there is no server named {name!r}")
        _unique("services.listen", [str(address) for s in self.services for address in s.listen])
        return self


def _unique(key: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{key}: {name!r} is given twice")


def load(path: Path) -> Settings:
    """Read and validate a file. Raises ConfigError: one sentence with file, line where known, key and reason."""
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Settings:
    """Validate TOML text; ``name`` stands for it in errors."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: {error}") from None
    return validate(data, name, lambda location: _line_of(text, location))


def validate(
    data: dict[str, Any], name: str, line_of: Callable[[tuple[int | str, ...]], int] = lambda location: 0
) -> Settings:
    """Validate a configuration given as a dictionary."""
    try:
        return Settings(**data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(_describe(name, first["loc"], first["msg"], line_of)) from None


def _describe(
    name: str, location: tuple[int | str, ...], reason: str, line_of: Callable[[tuple[int | str, ...]], int]
) -> str:
    key = ".".join(f"[{part}]" if isinstance(part, int) else part for part in location).replace(".[", "[")
    line = line_of(location)
    place = f"{name}:{line}" if line else name
    reason = reason.removeprefix("Value error, ").replace("Extra inputs are not permitted", "unknown key")
    return f"{place}: {key}: {reason}" if key else f"{place}: {reason}"


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """The line of a key: the table header is sought first, then the key below it; 0 when not found."""
    keys = [part for part in location if isinstance(part, str)]
    indexes = [part for part in location if isinstance(part, int)]
    if not keys:
        return 0
    lines = text.splitlines()
    header = re.compile(rf"^\s*\[\[?\s*{re.escape(keys[0])}\s*(\.[^\]]*)?\]")
    starts = [i for i, line in enumerate(lines) if header.match(line)]
    if not starts:
        return next((i + 1 for i, line in enumerate(lines) if re.match(rf"^\s*{re.escape(keys[0])}\s*=", line)), 0)
    start = starts[min(indexes[0], len(starts) - 1)] if indexes else starts[0]
    wanted = re.compile(rf"^\s*{re.escape(keys[-1])}\s*[=.]")
    for i in range(start + 1, len(lines)):
        if wanted.match(lines[i]):
            return i + 1
        if header.match(lines[i]) and len(keys) > 1:
            break
    return start + 1

"""The configuration file: TOML, validated, every key also from the environment.

``load(path)`` is the one entry; it raises ConfigError with file, line where known, key and reason.
Environment: ``SQLPROXY_MONITOR__PASSWORD=…`` overrides ``[monitor] password``, ``SQLPROXY_SERVERS__0__WEIGHT=…`` that
of the first ``[[servers]]``; secrets also by ``password_file``.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from sqlproxy.config_fields import (
    AddressField,
    Compression,
    Duration,
    Network,
    Period,
    Section,
    Size,
    as_list,
    has_library,
)
from sqlproxy.config_rules import AllowListConfig as AllowListConfig
from sqlproxy.config_rules import RuleConfig as RuleConfig
from sqlproxy.config_sources import EnvironmentOverFile
from sqlproxy.errors import ConfigError
from sqlproxy.origins import DELIMITER, PREFIX, key_of, origins, variable_of
from sqlproxy.toml_lines import Location, line_of
from sqlproxy.topology.model import Address, Server, ServerTLS

COMMIT_TOKENS = "sqlproxy.commit_token"  # the table in the servers that exactly_once needs
COMMAND_LINE = "the command line"  # where a value came from
_LOCAL_NAME = "localhost"
# pydantic's words, where they speak of Python rather than of the file
_REASONS = {
    "missing": "is missing",
    "extra_forbidden": "unknown key",
    "model_type": "must be a table",
    "list_type": "must be a list",
    "string_type": "must be text in quotes",
    "too_short": "at least one is needed",
}


class ServerTLSConfig(Section):
    """TLS towards one server."""

    mode: Literal["disabled", "preferred", "required", "verify_ca", "verify_identity"] = "preferred"
    ca: str = ""
    cert: str = ""
    key: str = ""


class ServerConfig(Section):
    """``[[servers]]``: a server the proxy may use."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    address: AddressField
    priority: int = Field(default=1, ge=0)
    weight: int = Field(default=1, ge=0)
    zone: str = ""
    max_connections: int = Field(default=0, ge=0)
    persistpoolmax: int = Field(default=50, ge=0)  # connections one service keeps for the next sessions
    persistmaxtime: Period = 10.0  # how long
    proxy_protocol: bool = False
    compression: Literal[""] | Compression = ""
    tls: ServerTLSConfig = ServerTLSConfig()

    def server(self) -> Server:
        """The value the topology knows it by."""
        data = {name: getattr(self, name) for name in type(self).model_fields if name != "tls"}
        return Server(**data, tls=ServerTLS(**self.tls.model_dump()))


class MonitorConfig(Section):
    """``[monitor]``: how the servers are watched."""

    topology: Literal["galera", "static"] = "galera"
    user: str = "monitor"
    password: SecretStr = SecretStr("")
    interval: Period = 0.5
    timeout: Period = 1.0
    suspect_after: Duration = 0.35  # silence after which a server gets no new work; 0 or timeout and more: never
    available_when_donor: bool = False  # read from a donor whose SST method does not block it
    stale_after: Period = 5.0  # a worker whose newest snapshot is older stops writing

    @model_validator(mode="after")
    def _fresh_enough(self) -> MonitorConfig:
        if self.stale_after <= self.interval + self.timeout:
            raise ValueError("stale_after must be longer than interval and timeout together")
        return self


class AccountConfig(Section):
    """``[[accounts.users]]``: a static account, or the password of one the servers' tables keep secret."""

    name: str
    password: SecretStr | None = None
    password_hash: SecretStr | None = None  # '*HEX' of mysql_native_password
    hosts: Annotated[list[str], BeforeValidator(as_list)] = ["%"]


class AccountsConfig(Section):
    """``[accounts]``: who may log in."""

    source: Literal["servers", "static"] = "servers"
    user: str = ""
    password: SecretStr = SecretStr("")
    refresh: Period = 60.0
    max_failures: int = Field(default=10, ge=0)  # failed logins from one host before it is blocked; 0: never
    block_for: Duration = 60.0
    users: list[AccountConfig] = []


class ServiceTLSConfig(Section):
    """TLS towards clients, operators too; without cert and key a self-signed certificate is made at start."""

    mode: Literal["disabled", "preferred", "required"] = "preferred"
    cert: str = ""
    key: str = ""
    ca: str = ""


class ServiceConfig(Section):
    """``[[services]]``: a port and how its statements are routed."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    listen: Annotated[list[AddressField], BeforeValidator(as_list)]
    router: Literal["readwritesplit", "readconn"] = "readwritesplit"
    role: Literal["primary", "replica", "any"] = "primary"  # readconn only
    servers: list[str] = []  # names; empty: all
    causal_reads: Literal["none", "session"] = "session"
    causal_reads_timeout: Period = 10.0
    transaction_replay: bool = True
    transaction_replay_max_size: Size = 1 << 20
    transaction_replay_attempts: int = Field(default=5, ge=1)
    transaction_replay_timeout: Duration = 30.0
    transaction_replay_checksum: Literal["full", "result_only", "no_insert_id"] = "full"
    exactly_once: bool = False  # commit tokens tell whether a COMMIT without a reply went through; Galera only
    primary_accepts_reads: bool = False  # reads use the primary too while replicas exist
    failover_timeout: Duration = 30.0
    max_waiting: int = Field(default=10_000, ge=1)  # statements that may wait for a server at one time
    login_timeout: Period = 10.0
    connect_timeout: Period = 5.0
    connection_keepalive: Duration = 300.0  # an idle connection to a server is pinged after this; 0: never
    max_connections: int = Field(default=0, ge=0)
    max_allowed_packet: Size = 64 << 20
    max_session_history: int = Field(default=50, ge=1)
    compression: Annotated[list[Compression], BeforeValidator(as_list)] = ["zlib"]  # offered to clients
    max_digests: int = Field(default=2000, ge=0)  # rows of statement statistics a process keeps; 0: none
    slow_after: Duration = 0.0  # statements that take longer are logged; 0: none
    slow_log: str = ""  # where to, instead of the log
    slow_log_text: bool = False  # with their text, literals and all
    error_log: bool = False  # errors that servers answer are logged too
    read_only: bool = False  # refuses writes
    proxy_protocol_networks: Annotated[list[Network], BeforeValidator(as_list)] = []  # whose headers are believed
    tls: ServiceTLSConfig = ServiceTLSConfig()
    allow_list: AllowListConfig = AllowListConfig()


class AdminConfig(Section):
    """``[admin]``: dashboard, REST, metrics, health."""

    listen: AddressField | None = Address(host="127.0.0.1", port=8989)
    sql_listen: AddressField | None = None  # the same over the MySQL protocol
    user: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    tls: ServiceTLSConfig = ServiceTLSConfig()

    @field_validator("listen", "sql_listen", mode="before")
    @classmethod
    def _empty_is_off(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _guarded(self) -> AdminConfig:
        if bool(self.user) != bool(self.password.get_secret_value()):
            raise ValueError("user and password go together: one of them is empty")
        secret = self.token.get_secret_value() or self.user
        for key, address in (("listen", self.listen), ("sql_listen", self.sql_listen)):
            if address is not None and not address.is_local and not secret:
                raise ValueError(f"{key}: {address} is not loopback, so user and password or a token are needed")
        return self


class LogConfig(Section):
    """``[log]``: one event a line."""

    format: Literal["human", "json"] = "human"
    level: Literal["debug", "info", "warning", "error"] = "info"


class TracingConfig(Section):
    """``[tracing]``: where spans of statements go, by OTLP over HTTP."""

    endpoint: str = Field(default="", pattern=r"^(|https?://[^@]+)$")  # without a password: it is shown; empty: none
    ratio: float = Field(default=0.0, ge=0, le=1)  # of the statements whose clients do not say
    service_name: str = "sqlproxy"

    @model_validator(mode="after")
    def _installed(self) -> TracingConfig:
        if self.endpoint and not has_library("opentelemetry.exporter.otlp.proto.http"):
            raise ValueError('tracing needs the libraries of OpenTelemetry: pip install "sqlproxy[otel]"')
        return self


class Settings(BaseSettings):
    """The whole file."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
    )

    workers: int = Field(default=0, ge=0)
    drain_timeout: Duration = 10.0  # at a shutdown, what statements and transactions get to end
    upgrade_timeout: Duration = 3600.0  # what sessions get to end after SIGUSR2 has put another process in charge
    pid_file: str = ""
    servers: list[ServerConfig] = Field(min_length=1)
    monitor: MonitorConfig = MonitorConfig()
    accounts: AccountsConfig = AccountsConfig()
    services: list[ServiceConfig] = Field(min_length=1)
    rules: list[RuleConfig] = []
    rule_cache_size: Size = 16 << 20  # bytes of answers kept by rules with ``cache``, in each process
    read_only: bool = False  # no service takes writes
    admin: AdminConfig = AdminConfig()
    log: LogConfig = LogConfig()
    tracing: TracingConfig = TracingConfig()
    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        """The same values, wherever they came from."""
        return isinstance(other, Settings) and dict(self) == dict(other)

    @property
    def origins(self) -> Mapping[str, str]:
        """Where the values that are no defaults came from, by key such as ``servers[0].weight``."""
        return self._origins

    def with_workers(self, workers: int) -> Settings:
        """The same with as many workers as the command line says."""
        settings = self.model_copy(update={"workers": workers})
        settings._origins = {**self._origins, "workers": COMMAND_LINE}
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (EnvironmentOverFile(settings_cls, init_settings, env_settings),)

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        names = [server.name for server in self.servers]
        _unique("servers", names)
        _unique("services", [service.name for service in self.services])
        for service in self.services:
            if service.exactly_once and self.monitor.topology != "galera":
                raise ValueError(
                    f"services.{service.name}.exactly_once: needs the certification of Galera, and monitor.topology"
                    f" is {self.monitor.topology!r}"
                )
            for name in service.servers:
                if name not in names:
                    raise ValueError(f"services.{service.name}.servers: there is no server named {name!r}")
        self._check_rules(names)
        listen = [str(address) for service in self.services for address in service.listen]
        admin = [str(address) for address in (self.admin.listen, self.admin.sql_listen) if address is not None]
        _unique("listen", [*listen, *admin])
        return self

    def _check_rules(self, servers: list[str]) -> None:
        _unique("rules", [rule.name for rule in self.rules])
        routers = {service.name: service.router for service in self.services}
        for rule in self.rules:
            kind, _, name = rule.route.partition("=")
            if kind == "server" and name not in servers:
                raise ValueError(f"rules.{rule.name}.route: there is no server named {name!r}")
            if rule.mirror and ":" not in rule.mirror and rule.mirror not in servers:
                raise ValueError(f"rules.{rule.name}.mirror: there is no server named {rule.mirror!r}")
            if kind == "zone" and name not in [server.zone for server in self.servers]:
                raise ValueError(f"rules.{rule.name}.route: no server is in the zone {name!r}")
            for service in rule.service or routers:
                if service not in routers:
                    raise ValueError(f"rules.{rule.name}.service: there is no service named {service!r}")
                if rule.route and routers[service] != "readwritesplit":
                    raise ValueError(
                        f"rules.{rule.name}.route: the service {service} has router = {routers[service]!r}, which"
                        " gives each session one server"
                    )

    @property
    def exactly_once(self) -> bool:
        """Some service writes commit tokens."""
        return any(service.exactly_once for service in self.services)


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
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not text in UTF-8") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Settings:
    """Validate TOML text; ``name`` stands for it in errors."""
    try:
        data = tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{name}: is nested too deeply") from None
    return validate(data, name, lambda location: line_of(text, location))


def validate(data: dict[str, Any], name: str, find_line: Callable[[Location], int] = lambda location: 0) -> Settings:
    """Validate a configuration given as a dictionary."""
    try:
        settings = Settings(**data)
        settings._origins = origins(settings, data, os.environ, name, find_line)
        return settings
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = _REASONS.get(first["type"], first["msg"].removeprefix("Value error, "))
        raise ConfigError(_describe(name, first["loc"], reason, find_line)) from None
    except SettingsError as error:  # a whole section given as one variable, which must be JSON
        field = re.search(r'field "(\w+)"', str(error))
        variable = PREFIX + (field[1].upper() if field else "…")
        raise ConfigError(f"environment variable {variable}: is not JSON") from None


def _describe(name: str, location: Location, reason: str, find_line: Callable[[Location], int]) -> str:
    key = key_of(location)
    variable, line = _variable(location), find_line(location)
    place = f"environment variable {variable}" if variable else f"{name}:{line}" if line else name
    return f"{place}: {key}: {reason}" if key else f"{place}: {reason}"


def _variable(location: Location) -> str:
    """The environment variable a value came from, or empty."""
    given = {name.upper() for name in os.environ}
    for length in range(len(location), 0, -1):
        variable = variable_of(location[:length])
        if variable in given:
            return variable
    return ""

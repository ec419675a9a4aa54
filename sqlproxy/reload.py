"""What a changed configuration means for a proxy that runs: the difference of two Settings, in sentences. Pure.

``plan`` says what will be in force, what changed, what waits for a restart and which servers have to be drained first.
``sqlproxy.reloading`` does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlproxy.config import ServerConfig, Settings
from sqlproxy.errors import ConfigError

# What is made once, when a proxy starts.
_AT_START: Final = ("workers", "monitor.topology", "admin.listen", "admin.sql_listen")
_NAMED: Final = {
    "servers": "drained first",
    "services": "its sessions end",
    "rules": "it acts no more",
}  # lists by name: what a removal means
_HIDDEN: Final = ("password", "password_hash", "token", "users")


@dataclass(frozen=True, slots=True)
class Plan:
    """``settings``: in force once servers that go are drained. ``changes`` are sentences.

    ``leaving``: servers of the running configuration that are removed, or whose address changes.
    """

    settings: Settings
    changes: tuple[str, ...]
    leaving: tuple[str, ...]

    def meanwhile(self, running: Settings) -> Settings:
        """In force while they are drained: as ``settings``, the leaving servers still as they were."""
        old = {server.name: server for server in running.servers}
        kept = [old[server.name] if server.name in self.leaving else server for server in self.settings.servers]
        names = {server.name for server in kept}
        gone = [old[name] for name in self.leaving if name not in names]
        services = [
            service.model_copy(update={"servers": [*service.servers, *_still_used(running, service.name, gone)]})
            if service.servers
            else service
            for service in self.settings.services
        ]
        return self.settings.model_copy(update={"servers": [*kept, *gone], "services": services})


def _still_used(running: Settings, name: str, gone: Sequence[ServerConfig]) -> list[str]:
    used = next((service.servers for service in running.services if service.name == name), [])
    return [server.name for server in gone if server.name in used]


def plan(running: Settings, wanted: Settings) -> Plan:
    """From what runs to what the file says. ``running`` may hold servers that are still being drained.

    Raises ConfigError when a part that could be changed depends on one that needs a restart.
    """
    settings = wanted
    waiting = []
    for key in _AT_START:
        old, new = _value(running, key), _value(wanted, key)
        if old != new:
            waiting.append(f"{key} needs a restart: {_shown(key, old)} -> {_shown(key, new)}")
            settings = _with(settings, key, old)
    old_ports, new_ports = [(of.admin.listen, of.admin.sql_listen) for of in (running, wanted)]
    if old_ports != new_ports:  # credentials are meant for the new addresses
        settings = settings.model_copy(update={"admin": running.admin})
    if settings.exactly_once and settings.monitor.topology != "galera":
        raise ConfigError("exactly_once needs monitor.topology = 'galera', and a change of that needs a restart")
    old_servers = {server.name: server for server in running.servers}
    new_servers = {server.name: server for server in settings.servers}
    leaving = tuple(
        name
        for name, server in old_servers.items()
        if name not in new_servers or new_servers[name].address != server.address
    )
    return Plan(settings, (*differences(running, settings), *waiting), leaving)


def differences(old: Settings, new: Settings) -> tuple[str, ...]:
    """Every key whose value differs, as a sentence; secrets only as changed."""
    return tuple(_of_section(old, new, ""))


def _of_section(old: Any, new: Any, prefix: str) -> Iterator[str]:
    for name in type(new).model_fields:
        before, after, key = getattr(old, name), getattr(new, name), f"{prefix}{name}"
        if before == after:
            continue
        if hasattr(type(after), "model_fields") and type(before) is type(after):
            yield from _of_section(before, after, f"{key}.")
        elif key in _NAMED:
            yield from _of_list(before, after, name)
        elif name in _HIDDEN or _is_tables(before) or _is_tables(after):
            yield f"{key}: changed"
        else:
            moved = ", once it is drained" if prefix.startswith("servers.") and name == "address" else ""
            yield f"{key}: {_shown(name, before)} -> {_shown(name, after)}{moved}"


def _of_list(old: Iterable[Any], new: Iterable[Any], key: str) -> Iterator[str]:
    before, after = {item.name: item for item in old}, {item.name: item for item in new}
    for name, item in after.items():
        if name not in before:
            yield f"{key}.{name}: added"
        else:
            yield from _of_section(before[name], item, f"{key}.{name}.")
    yield from (f"{key}.{name}: removed, {_NAMED[key]}" for name in before if name not in after)
    if [name for name in before if name in after] != [name for name in after if name in before]:
        yield f"{key}: in another order"


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and any(hasattr(type(item), "model_fields") for item in value)


def _shown(key: str, value: object) -> str:
    if key.rpartition(".")[2] in _HIDDEN:
        return "***"
    if isinstance(value, list | tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if key.endswith("ratio") else f"{value:g}s"  # every other is a duration
    return str(value) if value not in ("", None) else '""'


def _value(settings: Settings, key: str) -> object:
    value: object = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _with(settings: Settings, key: str, value: object) -> Settings:
    section, _, name = key.rpartition(".")
    update: Mapping[str, object] = {name: value}
    if section:
        update = {section: getattr(settings, section).model_copy(update=update)}
    return settings.model_copy(update=update)

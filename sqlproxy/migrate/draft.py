"""What an import makes: a configuration under construction, and notes on what the original says that it cannot hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlproxy.config import (
    AccountsConfig,
    AdminConfig,
    LogConfig,
    MonitorConfig,
    RuleConfig,
    ServerConfig,
    ServerTLSConfig,
    ServiceConfig,
    ServiceTLSConfig,
)
from sqlproxy.errors import ConfigError
from sqlproxy.logs import visible

Scalar = str | int | bool
Table = dict[str, Scalar | list[str] | dict[str, Scalar]]
Section = (
    type[ServerConfig]
    | type[ServerTLSConfig]
    | type[ServiceConfig]
    | type[ServiceTLSConfig]
    | type[MonitorConfig]
    | type[AccountsConfig]
    | type[AdminConfig]
    | type[LogConfig]
)
_REQUIRED: Final[Mapping[str, Mapping[str, str]]] = {
    "ServerConfig": {"name": "x", "address": "x:1"},
    "ServiceConfig": {"name": "x", "listen": "x:1"},
}
# A probe's period and timeout may be longer than any we choose by default: what is tried alone must not fail on that.
_ROOM: Final = {"MonitorConfig": {"stale_after": "10000h"}}
_SECRET: Final = re.compile(r"passw|pwd|monitorpw|credential|secret|token|jwt|stats_auth|^auth$", re.IGNORECASE)
_LONGEST: Final = 160  # characters of an original line that are repeated


class Kind(StrEnum):
    """What became of a line of the original."""

    LOST = "lost"  # nothing here does the same
    NEEDLESS = "needless"  # done without being asked for


@dataclass(frozen=True, slots=True, order=True)
class Note:
    """One line of the original that is not in the result: what it said, why, and what to do instead."""

    line: int
    said: str
    text: str
    kind: Kind = Kind.LOST


def said(key: str, value: object = "", equals: str = "=") -> str:
    """A setting as the original has it, secrets blanked."""
    text = str(value)
    if not text:
        return key
    return f"{key}{equals}{'***' if _SECRET.search(key) else text}"


class Draft:
    """A configuration under construction; ``product`` is whose the original is."""

    def __init__(self, product: str) -> None:
        self.product = product
        self.top: Table = {}
        self.servers: list[Table] = []
        self.monitor: Table = {}
        self.accounts: Table = {}
        self.services: list[Table] = []
        self.rules: list[Table] = []
        self.log: Table = {}
        self.notes: list[Note] = []

    def lost(self, line: int, what: str, text: str) -> None:
        """Nothing here does the same; the text says why or what to do instead."""
        self.notes.append(Note(line, what, text))

    def needless(self, line: int, what: str, text: str) -> None:
        """Done here without being asked for."""
        self.notes.append(Note(line, what, text, Kind.NEEDLESS))

    def put(self, section: Section, table: Table, key: str, value: Scalar | list[str], line: int, what: str) -> bool:
        """Set a key if its value is one the configuration takes; otherwise note that, and return False."""
        name = section.__name__
        try:
            section(**{**_REQUIRED.get(name, {}), **_ROOM.get(name, {}), key: value})  # type: ignore[arg-type]
        except ValueError:
            self.lost(line, what, f"the value cannot be used as {key}")
            return False
        table[key] = value
        return True

    def add_server(self, name: str, address: str, line: int, what: str) -> Table | None:
        """A server under a name of its own; None when the address is none, which is noted."""
        table: Table = {"name": unique(plain(name, "server"), (server["name"] for server in self.servers))}
        if not self.put(ServerConfig, table, "address", address, line, what):
            return None
        self.servers.append(table)
        return table

    def add_service(self, name: str, router: str) -> Table:
        """A service without addresses yet; one that gets none is left out in the end."""
        wanted = unique(plain(name, "service"), (service["name"] for service in self.services))
        table: Table = {"name": wanted, "listen": [], "router": router}
        self.services.append(table)
        return table

    def add_rule(self, table: Table, line: int, what: str) -> None:
        """A rule, unless it is none that the configuration takes, which is noted with the reason."""
        try:
            RuleConfig(**table)  # type: ignore[arg-type]
        except ValueError as error:
            reason = str(getattr(error, "errors", list)()[0]["msg"]).removeprefix("Value error, ")
            self.lost(line, what, f"does not make a rule: {reason}")
            return
        self.rules.append(table)

    def listen(self, service: Table, address: str, line: int, what: str) -> None:
        """One more address for a service, unless another has it already."""
        taken = [one for table in self.services if isinstance(found := table["listen"], list) for one in found]
        addresses = service["listen"]
        if address in taken or not isinstance(addresses, list):
            self.lost(line, what, f"{address} is listened at already")
            return
        wanted = [*addresses, address]
        self.put(ServiceConfig, service, "listen", wanted, line, what)

    def text(self, original: str) -> str:
        """The configuration as TOML with the notes. Raises ConfigError when there is nothing to make one of."""
        if not self.servers:
            raise ConfigError(f"{original}: names no server that sqlproxy could use{self._first_loss()}")
        services = [service for service in self.services if service["listen"]]
        if not services:
            services = [{"name": "app", "listen": ["127.0.0.1:4006"], "router": "readwritesplit"}]
            self.lost(
                0, "no listener", "the original listens nowhere that can be told; 127.0.0.1:4006 is an assumption"
            )
        self._keep_fresh()
        blocks = [_header(self, original), *_pairs(self.top), *_arrays("servers", self.servers)]
        blocks += [*_table("monitor", self.monitor), *_table("accounts", self.accounts)]
        blocks += [
            *_arrays("services", services),
            *_arrays("rules", self.rules),
            *_table("log", self.log),
            *_notes(self.notes),
        ]
        return "\n".join(blocks) + "\n"

    def _first_loss(self) -> str:
        """Why the first of the servers could not be taken over."""
        losses = sorted(note for note in self.notes if note.text.endswith("as address") and note.line)
        return f": line {losses[0].line}: {visible(losses[0].said)[:_LONGEST]}: {losses[0].text}" if losses else ""

    def _keep_fresh(self) -> None:
        """Slower probes need a longer time until a verdict counts as old."""
        try:
            MonitorConfig(**self.monitor)  # type: ignore[arg-type]
        except ValueError:
            self.monitor["stale_after"] = "1m"


def plain(name: str, otherwise: str) -> str:
    """A name of letters, digits and ``_.-``."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or otherwise


def unique(name: str, taken: Iterable[object]) -> str:
    """The name, or the name with the first number that nobody has."""
    known = set(taken)
    number = 2
    fresh = name
    while fresh in known:
        fresh, number = f"{name}-{number}", number + 1
    return fresh


# -- TOML --------------------------------------------------------------------------------------------------------


def _header(draft: Draft, original: str) -> str:
    losses = sum(note.kind is Kind.LOST for note in draft.notes)
    told = f"{losses} things have no equivalent: see the end." if losses else "Everything has an equivalent."
    return f"# Made by `sqlproxy import` from {visible(original)} ({draft.product}). {told}"


def _pairs(table: Table) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _table(name: str, table: Table) -> list[str]:
    return ["", f"[{name}]", *_pairs(table)] if table else []


def _arrays(name: str, tables: Iterable[Table]) -> list[str]:
    return [line for table in tables for line in ("", f"[[{name}]]", *_pairs(table))]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return str(value)


def _notes(notes: Iterable[Note]) -> list[str]:
    lines = []
    for kind, title in (
        (Kind.LOST, "What has no equivalent here, by the original's lines"),
        (Kind.NEEDLESS, "What needs no setting here"),
    ):
        some = [note for note in sorted(set(notes)) if note.kind is kind]
        if some:
            lines += ["", f"# {title}:", *(_line(note) for note in some)]
    return lines


def _line(note: Note) -> str:
    what = visible(note.said)
    what = what if len(what) <= _LONGEST else f"{what[:_LONGEST]}…"
    return f"# {f'line {note.line}: ' if note.line else ''}{what}: {note.text}"

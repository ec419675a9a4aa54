"""What a changed configuration needs of one process: which servers, sockets, certificates and allow lists."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlproxy import allow_files
from sqlproxy.config import ServiceConfig, Settings
from sqlproxy.routing.allow_list import AllowList
from sqlproxy.topology.model import Address, Server

Sockets = Mapping[str, Sequence[tuple[Address, socket.socket]]]  # by service


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a changed configuration needs, opened and read: TLS contexts and new listening sockets by service."""

    settings: Settings
    contexts: Mapping[str, ssl.SSLContext | None]
    sockets: Sockets
    allow_lists: Mapping[str, AllowList]


def servers_of(config: ServiceConfig, servers: Sequence[Server]) -> list[Server]:
    """The servers that a service uses."""
    return [server for server in servers if not config.servers or server.name in config.servers]


def new_addresses(before: Settings, after: Settings) -> dict[str, list[Address]]:
    """Where services have to listen and nobody does yet; services without such addresses are left out."""
    known = {address for config in before.services for address in config.listen}
    return _addresses(after, lambda name, address: address not in known)


def moved_addresses(before: Settings, after: Settings) -> dict[str, list[Address]]:
    """Where services have to listen and another does until then; services without such addresses are left out."""
    known = {address: config.name for config in before.services for address in config.listen}
    return _addresses(after, lambda name, address: known.get(address, name) != name)


def _addresses(settings: Settings, which: Callable[[str, Address], bool]) -> dict[str, list[Address]]:
    found = {
        config.name: [found for found in config.listen if which(config.name, found)] for config in settings.services
    }
    return {name: addresses for name, addresses in found.items() if addresses}


def allow_lists(settings: Settings) -> dict[str, AllowList]:
    """The allow lists that settings ask for, by service. Raises SqlproxyError when a file cannot be used."""
    return {
        config.name: AllowList(config.name, config.allow_list, allow_files.entries_for(config.name, config.allow_list))
        for config in settings.services
        if config.allow_list.mode != "off"
    }

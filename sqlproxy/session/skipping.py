"""A client that sends a command larger than max_allowed_packet: read to its end, told so, closed.

Drivers write a whole command before they read. If the connection were closed at once, they would see a broken pipe
instead of the reason.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlproxy.errors import PacketTooLarge
from sqlproxy.wire import codec
from sqlproxy.wire.packets import err_packet
from sqlproxy.wire.skipping import CommandSkipper

if TYPE_CHECKING:
    from sqlproxy.session.client import Client


class Skipping(asyncio.Protocol):
    """Takes the place of ``client`` as its transport's protocol; ``begun``: what has come of the command so far."""

    def __init__(self, client: Client, error: PacketTooLarge, begun: bytes) -> None:
        self._client = client
        self._error = error
        self._skipper = CommandSkipper()
        self.data_received(begun)

    def data_received(self, chunk: bytes) -> None:
        if not self._client.closing and self._skipper.feed(chunk):
            error = self._error
            packet = err_packet(error.code, error.sqlstate, error.message)
            self._client.write(codec.packet(self._skipper.seq + 1, packet))
            self._client.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.connection_lost(exc)

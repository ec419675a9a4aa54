"""Puts the compressed protocol between a transport and its protocol, which both go on as if it were not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlproxy.errors import ProtocolError
from sqlproxy.wire.compression import Algorithm, CompressedStream


class CompressedTransport(asyncio.Transport, asyncio.Protocol):
    """A transport for ``protocol`` and a protocol for ``transport``. ``on_error`` is told of frames that are none.

    ``protocol`` may be any object with a protocol's methods: compiled ones inherit from none.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        protocol: Any,
        algorithm: Algorithm,
        on_error: Callable[[ProtocolError], None],
        *,
        serving: bool,
    ) -> None:
        super().__init__()
        self._transport = transport
        self._protocol = protocol
        self._on_error = on_error
        self._stream = CompressedStream(algorithm, serving=serving)
        transport.set_protocol(self)

    # -- as a transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Plain bytes for the peer."""
        self._transport.write(self._stream.encode(bytes(data)))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    # -- as a protocol

    def data_received(self, chunk: bytes) -> None:
        try:
            plain = self._stream.decode(chunk)
        except ProtocolError as error:
            self._on_error(error)
            return
        if plain:
            self._protocol.data_received(plain)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()

    def eof_received(self) -> None:
        self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

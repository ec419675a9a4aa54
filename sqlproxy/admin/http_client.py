"""One client of the admin side over HTTP: aiohttp's protocol with limits in time and refusals in JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

log = logging.getLogger("sqlproxy.admin")

MAX_CLIENTS: Final = 256
HEAD_SECONDS: Final = 10.0  # for the first request's head, TLS included
IDLE_SECONDS: Final = 30.0  # between two requests, the next one's head included
LINGER_SECONDS: Final = 2.0  # for a body that nobody wanted
LINE: Final = 8190  # bytes of the request line or of a header
TLS_RECORD: Final = b"\x16"  # a handshake, RFC 8446 5.1: no method of HTTP begins so


def _refusal(status: int, error: str, hint: str) -> bytes:
    body = json.dumps({"error": error, "hint": hint}).encode()
    head = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


FULL: Final = _refusal(503, f"{MAX_CLIENTS} connections are open already", "close some, or wait")


class HttpClient(web.RequestHandler):
    """``asked`` is set by the first request; ``allowed`` is False for who ought to use TLS and does not."""

    def __init__(self, server: web.Server, allowed: bool) -> None:
        loop = asyncio.get_running_loop()
        limits = {"max_line_size": LINE, "max_field_size": LINE, "lingering_time": LINGER_SECONDS}
        super().__init__(server, loop=loop, keepalive_timeout=IDLE_SECONDS, access_log=None, **limits)  # type: ignore[arg-type]
        self.allowed = allowed
        self.asked = asyncio.Event()
        self._gone = asyncio.Event()

    async def take(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        """Serve a socket until its client is gone. Raises OSError when TLS fails."""
        loop = asyncio.get_running_loop()
        limit = {"ssl_handshake_timeout": HEAD_SECONDS} if context is not None else {}
        await loop.connect_accepted_socket(lambda: self, sock, ssl=context, **limit)
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                await self.asked.wait()
        except TimeoutError:
            self.force_close()
        await self._gone.wait()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See asyncio.Protocol."""
        super().connection_lost(exc)
        self.asked.set()
        self._gone.set()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What is not HTTP, in the form of every other error."""
        self.asked.set()
        log.debug("HTTP: a request from %s was refused: %r", request.remote, exc)
        error, hint = "the request is not well-formed HTTP", "GET /openapi.json lists what there is"
        if isinstance(exc, LineTooLong):
            status, error, hint = 431, f"the request's head has a line of more than {LINE} bytes", "send a shorter one"
        elif status >= 500:
            error, hint = "the proxy failed to answer", "its log says why"
        response = web.json_response({"error": error, "hint": hint}, status=status)
        response.force_close()
        return response

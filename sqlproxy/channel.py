"""Messages between the supervisor and a worker over an inherited socket: told, or asked and answered.

Both ends are this program, started by itself, so values travel pickled; nobody else can reach the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import pickle
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from sqlproxy.errors import SqlproxyError

log = logging.getLogger("sqlproxy.supervisor")

_LENGTH: Final = struct.Struct("<I")
_ANSWER_TIMEOUT: Final = 5.0  # seconds

Handler = Callable[..., Any]


class ChannelClosed(SqlproxyError):
    """The process at the other end is gone, or does not answer."""


class Channel:
    """One end. ``handlers``: what may be told or asked of this end, by name; asked ones may be coroutines."""

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, sock: socket.socket) -> None:
        """Use this socket; from here on messages can be sent."""
        self._reader, self._writer = await asyncio.open_connection(sock=sock)

    async def run(self) -> None:
        """Take messages until the other end closes."""
        reader = self._reader
        if reader is None:
            return
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                self._take(pickle.loads(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, OSError):
            return
        except Exception:
            log.exception("internal error in the channel between supervisor and worker")
        finally:
            self.close()

    def tell(self, name: str, *arguments: Any) -> None:
        """Have ``name`` called at the other end; lost without a word when that is gone."""
        self._send((name, 0, arguments))

    async def ask(self, name: str, *arguments: Any) -> Any:
        """The other end's answer. Raises ChannelClosed when none comes, or the error that it raised."""
        number = next(self._numbers)
        future = self._asked[number] = asyncio.get_running_loop().create_future()
        self._send((name, number, arguments))
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT):
                return await future
        except TimeoutError:
            raise ChannelClosed(f"no answer to {name!r} within {_ANSWER_TIMEOUT:g}s") from None
        finally:
            self._asked.pop(number, None)

    def close(self) -> None:
        """Send and take no more; what is being asked fails."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(ChannelClosed("the other process is gone"))

    def _send(self, message: tuple[str, int, tuple[Any, ...]]) -> None:
        if self._writer is None or self._writer.is_closing():
            if message[1] in self._asked:
                self._asked[message[1]].set_exception(ChannelClosed("the other process is gone"))
            return
        data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
        self._writer.write(_LENGTH.pack(len(data)) + data)

    def _take(self, message: tuple[str, int, tuple[Any, ...]]) -> None:
        name, number, arguments = message
        if name == "answer":
            future = self._asked.get(number)
            if future is not None and not future.done():
                future.set_result(arguments[0])
        elif name == "failure":
            future = self._asked.get(number)
            if future is not None and not future.done():
                future.set_exception(arguments[0])
        elif number:
            self._spawn(self._answer(name, number, arguments))
        else:
            self._call(name, arguments)

    def _call(self, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            result = self._handlers[name](*arguments)
        except Exception:
            log.exception("internal error in what %r was to do", name)
            return
        if inspect.isawaitable(result):
            self._spawn(_await(result))

    async def _answer(self, name: str, number: int, arguments: tuple[Any, ...]) -> None:
        try:
            result = self._handlers[name](*arguments)
            if inspect.isawaitable(result):
                result = await result
        except SqlproxyError as error:
            self._send(("failure", number, (error,)))
        else:
            self._send(("answer", number, (result,)))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _await(work: Any) -> None:
    await work

"""A slow line to a node: new connections to its SQL port go through a relay that holds every byte back for a while.

The kernel's own means (netem) is not in every kernel; address translation is. Connections that are open stay fast until
they are opened anew. The relay is a process of its own (``python -m tests.chaos.delay``), or the load would delay it.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.cluster import Node

_TABLE = "ip chaos_slow"
_MARK = 0x51  # of the relay's own connections, which are not led back to it


@contextmanager
def delayed(nodes: Sequence[Node], seconds: float) -> Iterator[None]:
    """Bytes on connections opened inside take so long each way, and up to as long again; at the end those break."""
    command = [sys.executable, "-m", "tests.chaos.delay", str(seconds), *(f"{n.address}:{n.port}" for n in nodes)]
    relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert relay.stdout is not None
    try:
        ports: list[int] = json.loads(relay.stdout.readline())
        chain = "{ type nat hook output priority -100; }"
        rules = "\n".join(
            f"add rule {_TABLE} output meta mark != {_MARK} ip daddr {node.address} tcp dport {node.port}"
            f" dnat to 127.0.0.1:{port}"
            for node, port in zip(nodes, ports, strict=True)
        )
        _nft(f"add table {_TABLE}\nadd chain {_TABLE} output {chain}\n{rules}\n")
        yield
    finally:
        _nft(f"add table {_TABLE}\ndelete table {_TABLE}\n")
        relay.terminate()
        relay.wait(10)
        relay.stdout.close()


def _nft(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True)


# -- the relay

_pumps: set[asyncio.Task[None]] = set()


async def relay(delay: float, targets: Sequence[tuple[str, int]]) -> None:
    """Relay to each target from a port of its own, for ever; prints the ports."""
    ports = []
    for target in targets:

        async def accepted(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int] = target
        ) -> None:
            await _join(reader, writer, target, delay)

        server = await asyncio.start_server(accepted, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int], delay: float
) -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, target)
        back, forth = await asyncio.open_connection(sock=sock)
    except OSError:
        sock.close()
        writer.transport.abort()
        return
    for source, sink in ((reader, forth), (back, writer)):
        pump = asyncio.create_task(_pump(source, sink, delay))
        _pumps.add(pump)  # the event loop alone would forget it
        pump.add_done_callback(_pumps.discard)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay: float) -> None:
    """Bytes one way, in order; the end of them ends the way back too."""
    loop, due = asyncio.get_running_loop(), 0.0
    try:
        while chunk := await source.read(65536):
            due = max(due + 1e-6, loop.time() + delay * random.uniform(1, 2))  # timers of one time have no order
            loop.call_at(due, sink.write, chunk)
    except OSError:
        pass
    loop.call_at(max(due + 1e-6, loop.time() + delay), sink.transport.abort)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    asyncio.run(relay(float(sys.argv[1]), [_address(text) for text in sys.argv[2:]]))

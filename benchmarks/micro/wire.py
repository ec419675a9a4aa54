"""What one call of the wire layer costs, in nanoseconds; run it with SQLPROXY_PURE=1 for the uncompiled figures.

python benchmarks/micro/wire.py
"""

import timeit
from collections.abc import Callable

from sqlproxy.wire import framing, response
from sqlproxy.wire.codec import packet, write_lenenc_string
from sqlproxy.wire.packets import eof_packet, ok_packet

DEFINITION = b"\x03def" + bytes(40)
REPEATS = 7  # the best of these counts: the others were disturbed


def result_set(rows: int, deprecate_eof: bool) -> bytes:
    """A text result set of one column."""
    last = ok_packet(2, header=0xFE) if deprecate_eof else eof_packet(2)
    payloads = [b"\x01", DEFINITION]
    if not deprecate_eof:
        payloads.append(eof_packet(2))
    payloads += [write_lenenc_string(b"%020d" % n) for n in range(rows)]
    return b"".join(packet(seq & 0xFF, payload) for seq, payload in enumerate([*payloads, last], 1))


def followed(reply: bytes, deprecate_eof: bool) -> Callable[[], None]:
    tracker = response.ResponseTracker(deprecate_eof)

    def call() -> None:
        tracker.begin(response.QUERY)
        tracker.feed(reply)

    return call


def cut(command: bytes) -> Callable[[], None]:
    reader = framing.PacketReader(1 << 24)

    def call() -> None:
        reader.feed(command)

    return call


def nanoseconds(call: Callable[[], None]) -> float:
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    return min(timer.repeat(REPEATS, max(1, number // 5))) / max(1, number // 5) * 1e9


def cases() -> dict[str, Callable[[], None]]:
    command = packet(0, b"\x03SELECT 1")
    made = {"nothing (the cost of measuring)": lambda: None}
    for deprecate_eof in (False, True):
        mode = "OK" if deprecate_eof else "EOF"
        for rows in (1, 10, 1000):
            reply = result_set(rows, deprecate_eof)
            made[f"begin + feed, {rows} rows, ended by {mode}"] = followed(reply, deprecate_eof)
    made["begin + feed, OK packet"] = followed(packet(1, ok_packet(2)), True)
    made["PacketReader.feed, one command"] = cut(command)
    return made


if __name__ == "__main__":
    compiled = "pure" if response.__file__.endswith(".py") else "compiled"
    for name, call in cases().items():
        print(f"{nanoseconds(call):12.0f} ns  {name} ({compiled})")

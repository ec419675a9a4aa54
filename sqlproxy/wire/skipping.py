"""Finds the end of a command whose bytes are dropped because it is too long."""

from typing import Final

from sqlproxy.wire.constants import HEADER, MAX_PAYLOAD

LARGEST: Final = 1 << 30  # payload bytes of a command: no server lets max_allowed_packet be more


class CommandSkipper:
    """Fed a command from its first byte on, says when it has ended; keeps nothing of it but counts.

    ``seq`` is the sequence id of its newest packet, ``size`` the bytes seen so far.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.size = 0
        self._header = bytearray()
        self._remaining = 0
        self._last = False

    def feed(self, chunk: bytes) -> bool:
        """Whether the command ends in this chunk (what follows it is dropped too) or has become impossibly long."""
        self.size += len(chunk)
        pos = 0
        while True:
            step = min(self._remaining, len(chunk) - pos)
            self._remaining -= step
            pos += step
            if self._last and not self._remaining:
                return True
            if pos == len(chunk):
                return self.size > LARGEST
            take = min(HEADER - len(self._header), len(chunk) - pos)
            self._header += chunk[pos : pos + take]
            pos += take
            if len(self._header) == HEADER:
                self._begin_packet()

    def _begin_packet(self) -> None:
        self._remaining = int.from_bytes(self._header[:3], "little")
        self._last = self._remaining < MAX_PAYLOAD
        self.seq = self._header[3]
        self._header.clear()

"""The two ends of a byte stream, as classes that compiled modules call without a lookup.

Whatever owns a socket is a ``Writer`` and hands what comes in to a ``Receiver``. Ordinary transports and protocols need
not be either: they are called by name.
"""

from __future__ import annotations


class Receiver:
    """What takes in the bytes of a connection."""

    def data_received(self, chunk: bytes) -> None:
        """Some bytes have come, at least one."""
        raise NotImplementedError


class Writer:
    """What sends the bytes of a connection."""

    def write(self, data: bytes) -> None:
        """Send now, or as soon as the peer reads."""
        raise NotImplementedError

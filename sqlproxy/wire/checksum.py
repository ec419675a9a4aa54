"""Whether two replies were the same, without keeping them: short ones by their bytes, longer ones by a hash of these.

The hash is one of this process: ``wire.fasthash`` where it has been compiled, else blake2b.
"""

from hashlib import blake2b
from typing import Any, Final

try:
    from sqlproxy.wire.fasthash import FastHash
except ImportError:
    _COMPILED = False
else:
    _COMPILED = True

SHORT: Final = 256  # bytes up to which a reply is its own checksum
_SHORT: Final = SHORT  # the same as a variable that the compiled form reads without a lookup


def new_hash() -> Any:
    """Something with ``update`` and ``digest``."""
    return FastHash() if _COMPILED else blake2b(digest_size=16)


class Checksum:
    """``update`` with pieces, then ``digest``; where the pieces are cut makes no difference."""

    __slots__ = ("_bytes", "_hash")

    def __init__(self) -> None:
        self._bytes = b""
        self._hash: Any = None

    def update(self, data: bytes) -> None:
        """Take in some bytes."""
        if self._hash is None:
            if self._bytes:
                data = self._bytes + data
            if len(data) <= _SHORT:
                self._bytes = data
                return
            self._bytes = b""
            self._hash = new_hash()
        self._hash.update(data)

    def digest(self) -> bytes:
        """What is equal for equal bytes."""
        return self._bytes if self._hash is None else bytes(self._hash.digest())

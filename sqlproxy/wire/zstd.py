"""zstd for the compressed protocol, by the optional library ``zstandard``."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlproxy.errors import ProtocolError

DEFAULT_LEVEL: Final = 3  # as in MySQL
_HIGHEST_LEVEL: Final = 6  # beyond, a frame takes so long that other clients would notice; any level can be read
_FAST_LEVEL: Final = 1
_LARGEST_WINDOW: Final = 1 << 27  # bytes; what MySQL's highest level uses


class Zstd:
    """Compresses and expands the bodies of frames. ``level``: as the client wishes, 1 to 22. Needs the library."""

    def __init__(self, level: int) -> None:
        self._level = min(max(level, 1), _HIGHEST_LEVEL)

    def compress(self, data: bytes, fast: bool) -> bytes:
        """One zstd frame; ``fast``: rather soon than small."""
        packed: bytes = _compressor(_FAST_LEVEL if fast else self._level).compress(data)
        return packed

    def expand(self, body: bytes, size: int) -> bytes:
        """Exactly ``size`` bytes. Raises ProtocolError for anything else, before more memory is used than that."""
        import zstandard  # optional

        try:
            if zstandard.frame_content_size(body) not in (size, -1):
                raise zstandard.ZstdError("another size")
            data: bytes = _expander().decompress(body, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError:
            data = b""
        if len(data) != size:
            raise ProtocolError(
                f"malformed packet: a compressed frame that does not hold the {size} bytes it announces"
            )
        return data


@cache
def _compressor(level: int) -> Any:
    import zstandard  # optional

    return zstandard.ZstdCompressor(level=level)


@cache
def _expander() -> Any:
    import zstandard  # optional

    return zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)

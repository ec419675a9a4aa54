"""A full disk: the data directory's file system has no byte left."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_BLOCK = 1 << 20


def mount_memory(directory: Path, megabytes: int) -> None:
    """Put a file system of its own, in memory, at a directory; private to this mount namespace."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}M,mode=0755", "chaos", str(directory)], check=True)


def unmount(directories: Sequence[Path]) -> None:
    """Take the file systems away again, in this order; one that was never mounted is left alone."""
    for directory in directories:
        if directory.is_mount():
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """No space left on the file system of a directory."""
    ballast = directory / "ballast"
    try:
        with ballast.open("wb", buffering=0) as stream:
            for size in (_BLOCK, 4096):
                _fill(stream.write, bytes(size))
        yield
    finally:
        ballast.unlink(missing_ok=True)


def _fill(write: object, block: bytes) -> None:
    assert callable(write)
    try:
        while True:
            write(block)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise

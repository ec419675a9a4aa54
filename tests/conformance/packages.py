"""Where the suites come from: source distributions and virtual environments, in a cache outside the repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Sequence
from pathlib import Path


class Unavailable(Exception):
    """A suite cannot run on this machine; the message says what is missing."""


def cache() -> Path:
    """``SQLPROXY_CONFORMANCE_CACHE``, else a directory below ``XDG_CACHE_HOME``."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(os.environ.get("SQLPROXY_CONFORMANCE_CACHE") or Path(home, "sqlproxy/conformance"))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def source(name: str, version: str) -> Path:
    """The unpacked source distribution of a package, fetched once. Raises Unavailable."""
    place = cache() / "sources" / f"{name}-{version}"
    if not place.exists():
        download = cache() / "download" / name
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name]
        _run([*pip, "--dest", str(download), f"{name}=={version}"], f"{name} {version} cannot be fetched")
        partial = place.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        archive = next(path for path in download.iterdir() if version in path.name)
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        place.parent.mkdir(parents=True, exist_ok=True)
        next(partial.iterdir()).rename(place)
        partial.rmdir()
    return place


def environment(requirements: Sequence[str]) -> Path:
    """The Python of a virtual environment that holds exactly these requirements, made once. Raises Unavailable.

    A requirement may be an option of pip: ``--no-binary=NAME`` for one to build from its source.
    """
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:12]
    directory = cache() / "environments" / key
    python = directory / "bin" / "python"
    if not (directory / "complete").exists():
        venv.create(directory, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        _run([*pip, *requirements], f"{', '.join(requirements)} cannot be installed")
        (directory / "complete").touch()
    return python


def _run(command: Sequence[str], failure: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        raise Unavailable(f"{failure}: {lines[-1] if lines else 'no reason given'}")


def program(name: str, package: str) -> str:
    """Path of an installed program. Raises Unavailable with the package to install."""
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"{name} is missing: apt-get install -y {package}")
    return found

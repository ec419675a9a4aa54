"""The files of allow lists: one JSON object a line, ``{"digest": …, "user": …, "statement": …}``, sorted.

They are meant to be read, reviewed and edited: ``statement`` (a shape, as the digests show it) and ``user`` count, the
digest is for people. Whoever writes one reads it first, so that what operators change in it stays changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlproxy.config import Settings
from sqlproxy.config_rules import AllowListConfig
from sqlproxy.errors import SqlproxyError
from sqlproxy.routing.allow_list import Entry, digest_of

log = logging.getLogger("sqlproxy.allow")

WRITE_EVERY: Final = 1.0  # seconds
_WRITING: Final = threading.Lock()  # between reading a file and writing it

Learned = Mapping[str, Sequence[Entry]]  # by service


def read(path: Path) -> set[Entry]:
    """What a file allows. Raises SqlproxyError with file, line and reason; OSError is one of them."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise SqlproxyError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SqlproxyError(f"{path}: is not text in UTF-8") from None
    return {_entry(path, number, line) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"}


def _entry(path: Path, number: int, line: str) -> Entry:
    try:
        found = json.loads(line)
        return _bytes(found["statement"]), _bytes(found["user"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SqlproxyError(f'{path}:{number}: is not an object in JSON with "user" and "statement"') from None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Replace a file in one step, with the old one's permissions. Raises SqlproxyError."""
    lines = [
        json.dumps({"digest": digest_of(shape), "user": _text(user), "statement": _text(shape)}) + "\n"
        for shape, user in sorted(entries)
    ]
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(path.stat().st_mode & 0o7777)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SqlproxyError(f"{path}: cannot be written: {error.strerror}") from None


def entries_for(service: str, config: AllowListConfig) -> set[Entry]:
    """What a service's list has when it begins; only one that is enforced must have a file. Raises SqlproxyError."""
    path = Path(config.file)
    if config.mode != "enforce" and not path.exists():
        return set()
    try:
        return read(path)
    except SqlproxyError as error:
        raise SqlproxyError(f"services.{service}.allow_list: {error.message}") from None


class Keeper:
    """Writes the files of all services, in one process for all. ``collect`` gives what was learned since it was asked.

    ``entries`` is what is allowed by service, as the admin side shows it.
    """

    def __init__(self, settings: Settings, collect: Callable[[], Learned]) -> None:
        self._collect = collect
        self._pending: dict[str, set[Entry]] = {}
        self._complained: set[str] = set()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._configs = _configs(settings)
        self.entries: dict[str, set[Entry]] = {name: set() for name in self._configs}
        self.entries = self.read(settings)

    def read(self, settings: Settings) -> dict[str, set[Entry]]:
        """What the files of these settings have, with what was learned until now. Raises SqlproxyError."""
        self.flush()
        return {name: entries_for(name, config) for name, config in _configs(settings).items()}

    def use(self, settings: Settings, entries: dict[str, set[Entry]]) -> None:
        """Keep the lists of these settings from now on; ``entries`` is what ``read`` said."""
        self._configs, self.entries = _configs(settings), entries
        self._pending = {name: pending for name, pending in self._pending.items() if name in entries}

    def start(self) -> None:
        """Begin to write what is learned."""
        self._task = asyncio.create_task(self._keep_writing(), name="allow lists")

    async def stop(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            await self._write_learned()

    async def add(self, service: str, entries: Iterable[Entry]) -> None:
        """Allow these, in the file too. Raises SqlproxyError when that cannot be written."""
        wanted = set(entries)
        async with self._lock:
            await self._write(service, wanted)
        if not wanted <= self.entries[service]:
            raise SqlproxyError(f"the allow list of the service {service} is full: raise max_statements")

    def flush(self) -> None:
        """Write what is known now, at once: a process is about to read the files."""
        self._take()
        for service in [name for name, pending in self._pending.items() if pending]:
            config, pending = self._configs[service], self._pending.pop(service)
            try:
                _merge(config, pending)
            except SqlproxyError as error:
                self._complain(service, error)
                self._pending[service] = pending

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY)
            await self._write_learned()

    async def _write_learned(self) -> None:
        async with self._lock:
            self._take()
            for service in [name for name, pending in self._pending.items() if pending]:
                pending = self._pending.pop(service)
                try:
                    await self._write(service, pending)
                except SqlproxyError as error:
                    self._complain(service, error)
                    self._pending.setdefault(service, set()).update(pending)

    def _take(self) -> None:
        for service, learned in self._collect().items():
            if service in self.entries:
                self._pending.setdefault(service, set()).update(set(learned) - self.entries[service])

    async def _write(self, service: str, entries: set[Entry]) -> None:
        self.entries[service] = await asyncio.to_thread(_merge, self._configs[service], entries)
        self._complained.discard(service)

    def _complain(self, service: str, error: SqlproxyError) -> None:
        if service not in self._complained:
            log.error("service %s: what its allow list has learned is not kept: %s", service, error.message)
        self._complained.add(service)


def _configs(settings: Settings) -> dict[str, AllowListConfig]:
    return {service.name: service.allow_list for service in settings.services if service.allow_list.mode != "off"}


def _merge(config: AllowListConfig, entries: set[Entry]) -> set[Entry]:
    """Add to a file as it is now; what it has then. Raises SqlproxyError."""
    path = Path(config.file)
    with _WRITING:
        known = read(path) if path.exists() else set()
        room = max(0, config.max_statements - len(known))
        merged = known | set(sorted(entries - known)[:room])
        if merged != known:
            write(path, merged)
    return merged

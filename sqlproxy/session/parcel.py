"""Everything another process has to know of a session to go on with it, as values and as bytes.

Pure. The bytes are JSON in which byte strings are Latin-1 text; the reader is strict about fields and their types.
``FORMAT`` names what they mean: it differs between versions of the program that differ in the fields, in the facts that
statements are classified by or in ``_MEANING``, and parcels of another format are not taken.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, get_args, get_origin, get_type_hints

from sqlproxy.errors import SqlproxyError
from sqlproxy.sql import bits

_MEANING: Final = 1  # to be counted up when a field's meaning changes but neither its name nor its type


class ParcelRefused(SqlproxyError):
    """The bytes are no parcel of this format."""


@dataclass(frozen=True, slots=True)
class HintParcel:
    """See ``routing.hints.Hint``; ``target`` is the value of its Target."""

    target: str
    server: str
    lag: float
    rule: str


@dataclass(frozen=True, slots=True)
class StatementParcel:
    """See ``PreparedStatement``."""

    number: int
    payload: bytes
    mask: int
    parameters: int
    columns: int
    types: bytes
    key: int
    database: bytes
    hint: HintParcel | None
    definitions: bytes
    version: int


@dataclass(frozen=True, slots=True)
class EntryParcel:
    """See ``history.Entry``."""

    number: int
    key: tuple[str, ...]
    payload: bytes
    literal: bool
    may_fail: bool
    textual: bool


@dataclass(frozen=True, slots=True)
class StateParcel:
    """See ``SessionState``; outside of a transaction and without pins."""

    database: bytes
    found: str
    insert_id: int
    insert_holder: tuple[str, int]
    last: str
    mode: int
    begun: bool
    status: int
    position: int
    history: tuple[EntryParcel, ...]
    next_transaction: bytes
    written: int
    written_on: str
    statements: tuple[StatementParcel, ...]
    last_statement: int
    last_prepared: int
    text_statements: tuple[tuple[bytes, int], ...]


@dataclass(frozen=True, slots=True)
class TargetParcel:
    """See ``BackendStatement``."""

    number: int
    types: bytes
    attributed: bool
    version: int
    definitions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class BackendParcel:
    """See ``Backend``; ``address`` is where its server is. ``statements`` by the client's numbers."""

    server: str
    address: str
    thread_id: int
    capabilities: int
    secure: bool
    plugin: str
    scramble: bytes
    repeats_scramble: bool
    applied: int
    synced: int
    deaf: bool
    filters: bool
    only_state_change: bool
    attributed: bool
    deprecate_eof: bool
    tracking: bool
    optional: bool
    status: int
    statements: tuple[tuple[int, TargetParcel], ...]


@dataclass(frozen=True, slots=True)
class LoginParcel:
    """See ``Login`` and ``Credentials``."""

    username: bytes
    cleartext: bytes | None
    sha1_stage1: bytes | None
    sha256_stage1: bytes | None
    capabilities: int
    collation: int
    database: bytes
    attrs: bytes
    client: tuple[str, int] | None
    tls: bool

    def __repr__(self) -> str:
        return f"LoginParcel({self.username!r})"


@dataclass(frozen=True, slots=True)
class ClientParcel:
    """See ``Client``; ``pending`` is the beginning of a command, as far as it has come."""

    address: str
    host: str
    port: int
    secure: bool
    capabilities: int
    scramble: bytes
    plugin: str
    failed_changes: int
    pending: bytes


@dataclass(frozen=True, slots=True)
class Parcel:
    """One session between two statements. Times are of the machine's clocks, which all its processes share."""

    number: int
    service: str
    started: float
    active_at: float
    statements: int
    sees_state_changes: bool
    seen_written: int
    wrote_at: float
    hints_told: bool
    hint_blocks: tuple[HintParcel, ...]
    hint_names: tuple[tuple[str, HintParcel], ...]
    login: LoginParcel
    client: ClientParcel
    state: StateParcel
    backends: tuple[BackendParcel, ...]

    def encode(self) -> bytes:
        """The bytes for another process."""
        return json.dumps(_plain(self), ensure_ascii=False).encode("utf-8", "surrogatepass")

    @classmethod
    def decode(cls, data: bytes) -> Parcel:
        """The reverse. Raises ParcelRefused."""
        try:
            found: Parcel = _typed(cls, json.loads(data.decode("utf-8", "surrogatepass")))
        except (ValueError, TypeError) as error:
            raise ParcelRefused(f"no session can be read from it: {error}") from None
        return found


def _plain(value: Any) -> Any:
    """As JSON has it."""
    kind: Any = type(value)
    if kind is bytes:
        return value.decode("latin-1")
    if kind is tuple:
        return [_plain(item) for item in value]
    names = _names_of(kind)
    return {name: _plain(getattr(value, name)) for name in names} if names else value


@cache
def _names_of(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()


@cache
def _types_of(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _typed(kind: Any, value: Any) -> Any:
    """A value of this type. Raises ValueError or TypeError when it is none."""
    return _reader(kind)(value)


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """As ``_typed``: made once for each type, as sessions wait meanwhile."""
    if is_dataclass(kind):
        return _reader_of_fields(kind)  # type: ignore[arg-type]
    if kind is bytes:
        return lambda value: _checked(str, value).encode("latin-1")
    if get_origin(kind) is tuple:
        return _reader_of_items(get_args(kind))
    if get_origin(kind) is UnionType:
        (some,) = (_reader(one) for one in get_args(kind) if one is not NoneType)
        return lambda value: None if value is None else some(value)
    return lambda value: _checked(kind, value)


def _reader_of_fields(kind: type) -> Callable[[Any], Any]:
    readers = {name: _reader(part) for name, part in _types_of(kind).items()}

    def read(value: Any) -> Any:
        if type(value) is not dict or value.keys() != readers.keys():
            raise ValueError(f"other fields than {kind.__name__} has")
        return kind(**{name: part(value[name]) for name, part in readers.items()})

    return read


def _reader_of_items(kinds: tuple[Any, ...]) -> Callable[[Any], Any]:
    if kinds[-1] is Ellipsis:
        every = _reader(kinds[0])
        return lambda value: tuple([every(item) for item in _checked(list, value)])
    readers = [_reader(kind) for kind in kinds]
    return lambda value: tuple([read(item) for read, item in zip(readers, _checked(list, value), strict=True)])


def _checked(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} where {kind.__name__} is due")
    return value


def _format() -> str:
    """A name for the fields, their types, and the numbers that stand for facts of statements."""
    kinds: list[type] = [HintParcel, StatementParcel, EntryParcel, StateParcel, TargetParcel, BackendParcel]
    kinds += [LoginParcel, ClientParcel, Parcel]
    schema = [(kind.__name__, sorted((name, str(what)) for name, what in _types_of(kind).items())) for kind in kinds]
    facts = sorted((name, value) for name, value in vars(bits).items() if isinstance(value, int))
    return f"{_MEANING}-{zlib.crc32(repr((schema, facts)).encode()):08x}"


FORMAT: Final = _format()

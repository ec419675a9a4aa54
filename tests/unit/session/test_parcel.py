"""A session on its way to another process: whatever is in it comes out again, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import is_dataclass, replace
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.session import parcel as module
from sqlproxy.session.parcel import (
    FORMAT,
    BackendParcel,
    ClientParcel,
    EntryParcel,
    HintParcel,
    LoginParcel,
    Parcel,
    ParcelRefused,
    StatementParcel,
    StateParcel,
    TargetParcel,
)

SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    bytes: st.binary(max_size=12),
    str: st.text(max_size=8),
    int: st.integers(0, 2**64 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    if is_dataclass(kind):
        return st.builds(kind, **{name: values_of(part) for name, part in get_type_hints(kind).items()})
    parts = get_args(kind)
    if get_origin(kind) is not tuple:
        return st.none() | values_of(next(part for part in parts if part is not NoneType))
    if parts[-1] is Ellipsis:
        return st.lists(values_of(parts[0]), max_size=2).map(tuple)
    return st.tuples(*map(values_of, parts))


HINT = HintParcel("server", "n1", 0.0, "")
PARCEL = Parcel(
    number=(1 << 30) + 5,
    service="app",
    started=1.5,
    active_at=2.5,
    statements=3,
    sees_state_changes=False,
    seen_written=1,
    wrote_at=float("-inf"),
    hints_told=False,
    hint_blocks=(HINT,),
    hint_names=(("a", HINT),),
    login=LoginParcel(b"app", b"s3cret", b"\xff\x00", None, 0xFFFF, 45, b"db", b"", ("10.0.0.1", 999), False),
    client=ClientParcel("10.0.0.1", "10.0.0.1", 999, False, 0xFFFF, b"x" * 20, "mysql_native_password", 0, b"\x05\0"),
    state=StateParcel(
        database=b"db",
        found="n1",
        insert_id=7,
        insert_holder=("n1", 12),
        last="n2",
        mode=0,
        begun=True,
        status=2,
        position=4,
        history=(EntryParcel(4, ("set", "session sql_mode"), b"\x03SET sql_mode='\xe9'", True, False, True),),
        next_transaction=b"",
        written=1,
        written_on="n1",
        statements=(StatementParcel(7, b"\x16SELECT ?", 1 << 40, 1, 1, b"\x08\x00", 2**63, b"db", None, b"", 0),),
        last_statement=7,
        last_prepared=7,
        text_statements=((b"s", 12),),
    ),
    backends=(
        BackendParcel(
            server="n1",
            address="127.0.0.1:3306",
            thread_id=12,
            capabilities=0xFFFF,
            secure=False,
            plugin="mysql_native_password",
            scramble=b"y" * 20,
            repeats_scramble=True,
            applied=4,
            synced=1,
            deaf=False,
            filters=True,
            only_state_change=False,
            attributed=False,
            deprecate_eof=True,
            tracking=True,
            status=2,
            optional=False,
            statements=((7, TargetParcel(31, b"\x08\x00", False, 0, (b"\x03def",))),),
        ),
    ),
)


@settings(max_examples=40, deadline=None)
@given(values_of(Parcel))
def test_what_is_packed_comes_out_again(parcel: Parcel) -> None:
    assert Parcel.decode(parcel.encode()) == parcel


def test_bytes_that_are_no_text_come_out_again() -> None:
    every = bytes(range(256))
    parcel = replace(PARCEL, client=replace(PARCEL.client, pending=every))
    assert Parcel.decode(parcel.encode()).client.pending == every


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ParcelRefused):
        Parcel.decode(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("number",), "7"),
        (("number",), True),
        (("number",), 7.0),
        (("service",), None),
        (("login", "username"), "\u20ac"),
        (("login", "client"), ["10.0.0.1"]),
        (("login", "client"), ["10.0.0.1", 5, 6]),
        (("state", "statements"), {}),
        (("state", "history"), [{}]),
        (("backends",), [7]),
        (("unknown",), 1),
    ],
)
def test_another_type_or_field_is_refused(path: tuple[str, ...], value: object) -> None:
    data: Any = json.loads(PARCEL.encode())
    part = data
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(ParcelRefused):
        Parcel.decode(json.dumps(data).encode())


def test_a_missing_field_is_refused() -> None:
    data = json.loads(PARCEL.encode())
    del data["client"]["pending"]
    with pytest.raises(ParcelRefused, match="other fields than ClientParcel has"):
        Parcel.decode(json.dumps(data).encode())


def test_secrets_are_not_shown() -> None:
    assert "s3cret" not in repr(PARCEL)


def test_the_format_names_fields_and_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._format() == FORMAT
    monkeypatch.setattr(module.bits, "READ", 1 << 60)
    assert module._format() != FORMAT

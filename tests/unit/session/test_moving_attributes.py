"""Every attribute of what moves with a session is carried to the other process, or named here with why it is not.

Who adds one to these classes has to decide: pack it (session.parcel, session.moving) and add it to CARRIED, or say in
STAYS why a session between two statements goes on well without it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

import sqlproxy
from sqlproxy.routing.hints import Hint, HintStack, Target
from sqlproxy.session import moving, parcel
from sqlproxy.session.connect import Login
from sqlproxy.session.history import Entry
from sqlproxy.session.parcel import Parcel
from sqlproxy.session.session import Session
from sqlproxy.wire.auth import Credentials
from sqlproxy.wire.constants import SERVER_STATUS_NO_BACKSLASH_ESCAPES
from tests.support.fakes import Bench
from tests.support.virtualtime import virtual
from tests.unit.session.test_moving import busy_life

PACKAGE = Path(sqlproxy.__file__).parent

# Where a class's attributes are declared, and how to find one of its objects in a session.
CLASSES: dict[str, tuple[str, Callable[[Session], Any]]] = {
    "Session": ("session/session.pxd", lambda session: session),
    "SessionState": ("session/state.pxd", lambda session: session.state),
    "History": ("session/history.pxd", lambda session: session.state.history),
    "PreparedStatement": ("session/prepared.pxd", lambda session: next(iter(session.state.statements.values()))),
    "BackendStatement": ("session/prepared.pxd", lambda session: next(iter(_prepared_on(session).statements.values()))),
    "Backend": ("session/backend.pxd", lambda session: _prepared_on(session)),
    "ResponseTracker": ("wire/response.pxd", lambda session: _prepared_on(session).tracker),
    "Client": ("session/client.pxd", lambda session: session.client),
    "PacketReader": ("wire/framing.pxd", lambda session: session.client._reader),
}

CARRIED: dict[str, str] = {
    "Session": "number login started active_at statements sees_state_changes seen_written wrote_at",
    "SessionState": """
        database found insert_id insert_holder last mode begun status next_transaction written written_on last_statement
        last_prepared text_statements
    """,
    "History": "position",
    "PreparedStatement": "number payload mask parameters columns types key database hint definitions version",
    "BackendStatement": "number types attributed definitions version",
    "Backend": """
        thread_id capabilities secure plugin scramble repeats_scramble applied synced deaf filters only_state_change
        attributed
    """,
    "ResponseTracker": "deprecate_eof tracking optional status",
    "Client": "address host port secure capabilities scramble plugin failed_changes",
    "PacketReader": "",
}

# Carried part by part: other classes here, or dataclasses that have the parcel's fields.
PARTS: dict[str, str] = {
    "Session": "client state backends hints",
    "SessionState": "history statements",
    "History": "entries",
    "PreparedStatement": "",
    "BackendStatement": "",
    "Backend": "server tracker statements",
    "ResponseTracker": "",
    "Client": "session _reader _backlog",  # these two as ``pending``
    "PacketReader": "_buffer",
}

AT_HAND = "of the statement at hand, and there is none"
ONGOING = "something is under way, or to be told, and then the session stays"
OF_SERVICE = "the service says it there"
OF_LOGIN = "follows from the login"
OF_STATE = "follows from the rest of the state"
TRANSACTION = "of the open transaction, and there is none"
LOGGING_IN = "of use while logging in only"
SENT_AHEAD = "data sent ahead, with which a session stays"
OF_REPLY = "of the newest reply, which was relayed; begin() makes it anew"
OF_SOCKET = "of the transport, which is another one there"

STAYS: dict[str, dict[str, str]] = {
    "Session": {
        OF_SERVICE: "service exactly_once counts _records rules allow_list tracing _always_slow _slow",
        OF_LOGIN: "user _attributed _keeps",
        AT_HAND: """
            busy waiting deadline avoid _current _command _key block _mask _kind _executing _forwarded _sent _size _held
            _recording _conflicts _losses in_doubt _attending trace cleared ruling _verdict
        """,
        ONGOING: "uploading _loss _task",
        TRANSACTION: "log _doubtful",
    },
    "SessionState": {
        OF_SERVICE: "max_history",
        OF_STATE: "context free transaction",
        "with pins a session stays": "pins named",
        SENT_AHEAD: "_with_long_data",
    },
    "History": {TRANSACTION: "kept"},
    "PreparedStatement": {
        SENT_AHEAD: "long_data long_data_size overflow",
        "with an open cursor a session stays": "cursor",
    },
    "BackendStatement": {},
    "Backend": {
        "counted by the service there": "stats",
        "the session": "owner",
        "keep-alives are counted anew: a ping comes one period later at most": "idle",
        "with a connection that is lost a session stays": "closed reason unread",
        AT_HAND: "fill _kept _collected _discards _waiter",
        ONGOING: "_prelude _starting",
        OF_SOCKET: "_transport _direct",
        LOGGING_IN: "_packets _on_packet _login_buffer",
    },
    "ResponseTracker": {
        OF_REPLY: """
            done described keeps definitions error first rows affected statement_id columns parameters upload checksum
            insert_id counts changed special changes marks carried _kind _state _left _skip _continued _last _out_params
            _bare _volatile _carry
        """,
        "counts for keep-alives, which begin anew": "begun",
    },
    "Client": {
        OF_SERVICE: "service",
        "with TLS or compression a session stays": "tls shown _zstd_level",
        ONGOING: "closing _pumping _paused _full",
        OF_SOCKET: "_transport _direct",
        LOGGING_IN: "_seq _arrived login_buffer",
    },
    "PacketReader": {
        OF_SERVICE: "limit",
        "follows from the bytes, which are read again": "held _scanned _seq _payload",
    },
}

# Attributes whose values a simple change would make invalid.
OTHERS: dict[tuple[str, str], Any] = {
    ("Session", "wrote_at"): 12.5,
    ("SessionState", "status"): SERVER_STATUS_NO_BACKSLASH_ESCAPES,
    ("SessionState", "text_statements"): {b"other": 5},
    ("SessionState", "insert_holder"): ("n9", 99),
    ("PreparedStatement", "hint"): Hint(Target.LAG, "n9", 1.5, "a rule"),
    ("BackendStatement", "definitions"): [b"\x03def", b"\xff"],
    ("Session", "login"): Login(Credentials(b"u", b"p", b"1", b"2"), 5, 6, b"d", b"a", ("10.0.0.9", 9), True),
}


def _prepared_on(session: Session) -> Any:
    """The backend that has the session's prepared statement."""
    return next(backend for backend in session.backends.values() if backend.statements)


def declared(name: str) -> set[str]:
    """The attributes of a class in its .pxd: those of the compiled class, which has no dictionary for others."""
    text = (PACKAGE / CLASSES[name][0]).read_text()
    (body,) = re.findall(rf"^cdef class {name}\b[^\n]*:\n((?:(?:    [^\n]*)?\n)+)", text, re.MULTILINE)
    return set(re.findall(r"^    cdef (?:public |readonly )?[^()\n]*?(\w+)$", body, re.MULTILINE))


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    return value + {int: 1, float: 1.5, bytes: b"\xe9", str: "é"}[type(value)]


@pytest.mark.parametrize("name", CLASSES)
def test_every_attribute_is_carried_or_stays_for_a_reason(name: str) -> None:
    found = [*CARRIED[name].split(), *PARTS[name].split(), *" ".join(STAYS[name].values()).split()]
    assert len(found) == len(set(found))
    assert set(found) == declared(name)


@pytest.mark.parametrize("name", CLASSES)
@virtual
async def test_the_declarations_name_all_there_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session = (await busy_life(Bench(monkeypatch))).session
    assert set(getattr(CLASSES[name][1](session), "__dict__", ())) <= declared(name)


@pytest.mark.parametrize(("name", "attribute"), [(name, one) for name in CARRIED for one in CARRIED[name].split()])
@virtual
async def test_what_is_carried_comes_out_again(name: str, attribute: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = Bench(monkeypatch), Bench(monkeypatch)
    session = (await busy_life(before)).session
    owner = CLASSES[name][1](session)
    was = getattr(owner, attribute)
    wanted = OTHERS[name, attribute] if (name, attribute) in OTHERS else other(was)
    assert wanted != was
    setattr(owner, attribute, wanted)
    found = moving.unpack(after.service, Parcel.decode(moving.pack(session).encode()))
    assert getattr(CLASSES[name][1](found), attribute) == wanted


@pytest.mark.parametrize(
    ("kind", "packed"),
    [(Entry, parcel.EntryParcel), (Hint, parcel.HintParcel)],
)
def test_values_are_carried_whole(kind: Any, packed: Any) -> None:
    assert {field.name for field in fields(kind)} == {field.name for field in fields(packed)}


def test_logins_are_carried_whole() -> None:
    there = {field.name for kind in (Login, Credentials) for field in fields(kind)}
    assert there - {"credentials"} == {field.name for field in fields(parcel.LoginParcel)}


def test_hints_are_carried_but_for_the_statement_at_hand() -> None:
    hint = Hint(Target.PRIMARY)
    before, after = HintStack(), HintStack()
    assert set(vars(before)) == {"told", "_blocks", "_named", "_taken"}
    before.restore(True, [hint], {"a": replace(hint, rule="r")})
    after.restore(*before.kept)
    assert vars(after) == vars(before)

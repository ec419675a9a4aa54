"""Definitions put back into replies, however these are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.wire.codec import packet
from sqlproxy.wire.definitions import Definitions, columns_of, digest_of

EOF = b"\xfe\x00\x00\x02\x00"
OK_END = b"\xfe\x00\x00\x02\x00\x00\x00"
KNOWN = [b"\x03def one", b"\x03def two"]
PROGRESS = b"\xff\xff\xff\x00\x01\x01\x00\x00\x00\x00"


def framed(*payloads: bytes) -> bytes:
    return b"".join(packet(number & 0xFF, payload) for number, payload in enumerate(payloads, 1))


def fed(reply: bytes, cuts: list[int]) -> tuple[bytes, bool]:
    fill = Definitions(KNOWN)
    places = [0, *sorted({cut % (len(reply) + 1) for cut in cuts}), len(reply)]
    out = b"".join(fill.feed(reply[start:end]) for start, end in pairwise(places))
    return out, fill.used


@pytest.mark.parametrize("after", [[EOF], []], ids=["eof", "deprecate eof"])
@given(rows=st.lists(st.binary(min_size=1, max_size=30), max_size=300), cuts=st.lists(st.integers(0, 20_000)))
def test_what_a_server_left_out_is_there(after: list[bytes], rows: list[bytes], cuts: list[int]) -> None:
    reply = framed(b"\x02\x00", *after, *rows, OK_END)
    assert fed(reply, cuts) == (framed(b"\x02\x01", *KNOWN, *after, *rows, OK_END), True)


@pytest.mark.parametrize(
    "reply",
    [
        framed(b"\x02\x01", *KNOWN, EOF, b"\x00\x00row", EOF),
        framed(b"\x00\x01\x00\x02\x00\x00\x00"),
        framed(b"\xff\x15\x04#42000no"),
        framed(b"\xfbfile\x00"),
        framed(PROGRESS, b"\x00\x01\x00\x02\x00\x00\x00"),
    ],
    ids=["described", "ok", "error", "local infile", "progress, ok"],
)
@given(cuts=st.lists(st.integers(0, 100)))
def test_other_replies_stay_as_they_are(reply: bytes, cuts: list[int]) -> None:
    assert fed(reply, cuts) == (reply, False)


@given(cuts=st.lists(st.integers(0, 100)))
def test_reports_of_progress_come_before(cuts: list[int]) -> None:
    reply = framed(PROGRESS, PROGRESS, b"\x02\x00", b"row", OK_END)
    assert fed(reply, cuts) == (framed(PROGRESS, PROGRESS, b"\x02\x01", *KNOWN, b"row", OK_END), True)


@pytest.mark.parametrize("deprecate_eof", [True, False])
@pytest.mark.parametrize("parameters", [0, 3])
def test_the_columns_of_a_prepared_statement(deprecate_eof: bool, parameters: int) -> None:
    end = [] if deprecate_eof else [EOF]
    head = b"\x00\x01\x00\x00\x00\x02\x00" + bytes((parameters, 0)) + b"\x00\x00\x00"
    asked = [b"\x03def ?"] * parameters + (end if parameters else [])
    assert columns_of(framed(head, *asked, *KNOWN, *end), deprecate_eof) == KNOWN


def test_digests_tell_definitions_apart() -> None:
    assert digest_of([]) == b""
    assert digest_of(KNOWN) == digest_of(list(KNOWN)) != digest_of(KNOWN[:1])
    assert digest_of([b"ab", b"c"]) != digest_of([b"a", b"bc"])

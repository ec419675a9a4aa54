"""Small result sets: what is written is read again, whichever way the rows end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ServerProtocolError
from sqlproxy.wire.codec import packet
from sqlproxy.wire.constants import CLIENT_DEPRECATE_EOF, MARIADB_CLIENT_CACHE_METADATA
from sqlproxy.wire.result_set import text_result, text_rows

CAPABILITIES = st.sampled_from([0, CLIENT_DEPRECATE_EOF, MARIADB_CLIENT_CACHE_METADATA])
VALUES = st.one_of(st.none(), st.integers(-(1 << 40), 1 << 40), st.text(max_size=300))


@given(st.integers(1, 4).flatmap(lambda n: st.lists(st.tuples(*[VALUES] * n), min_size=1, max_size=5)), CAPABILITIES)
def test_rows_read_as_they_were_written(rows: list[tuple[str | int | None, ...]], capabilities: int) -> None:
    names = [f"c{number}" for number in range(len(rows[0]))]
    found = text_rows(text_result(names, rows, 1, 2, capabilities))
    assert found == [tuple(b"" if v is None else str(v).encode("utf-8", "replace") for v in row) for row in rows]


def test_no_rows() -> None:
    for capabilities in (0, CLIENT_DEPRECATE_EOF):
        assert text_rows(text_result(["a"], [], 1, 2, capabilities)) == []


def test_rows_without_definitions() -> None:
    for end in ([b"\xfe\x00\x00\x02\x00"], []):
        parts = [b"\x02\x00", *end, b"\x01a\xfb", b"\x01b\x01c", b"\xfe\x00\x00\x02\x00"]
        reply = b"".join(packet(number, part) for number, part in enumerate(parts, 1))
        assert text_rows(reply) == [(b"a", b""), (b"b", b"c")]


def test_a_row_that_ends_early_is_the_server_s_fault() -> None:
    parts = [b"\x01", b"\x03def", b"\x09short", b"\xfe\x00\x00\x02\x00"]
    with pytest.raises(ServerProtocolError):
        text_rows(b"".join(packet(number, part) for number, part in enumerate(parts, 1)))

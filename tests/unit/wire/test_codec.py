"""Primitives: what is written is read back, and truncated data is refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError
from sqlproxy.wire import codec
from sqlproxy.wire.constants import MAX_PAYLOAD


@given(st.integers(0, 2**64 - 1), st.binary(max_size=4))
def test_lenenc_integers_round_trip_at_any_position(n: int, prefix: bytes) -> None:
    data = prefix + codec.write_lenenc(n) + b"rest"
    assert codec.read_lenenc(data, len(prefix)) == (n, len(data) - 4)


@pytest.mark.parametrize(("n", "size"), [(250, 1), (251, 3), (65535, 3), (65536, 4), (2**24 - 1, 4), (2**24, 9)])
def test_lenenc_uses_the_shortest_form(n: int, size: int) -> None:
    assert len(codec.write_lenenc(n)) == size


@given(st.integers(251, 2**64 - 1), st.data())
def test_truncated_lenenc_is_refused_naming_field_and_offset(n: int, data: st.DataObject) -> None:
    whole = codec.write_lenenc(n)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ProtocolError, match="row count at offset"):
        codec.read_lenenc(whole[:cut], 0, "row count")


@pytest.mark.parametrize("first", [0xFB, 0xFF])
def test_null_and_error_markers_are_no_lengths(first: int) -> None:
    with pytest.raises(ProtocolError, match=f"0x{first:02X}"):
        codec.read_lenenc(bytes([first]) + bytes(8), 0)


@given(st.binary(max_size=600))
def test_strings_round_trip(value: bytes) -> None:
    data = codec.write_lenenc_string(value) + b"x"
    assert codec.read_lenenc_string(data, 0) == (value, len(data) - 1)


def test_a_length_beyond_any_memory_is_refused_at_once() -> None:
    with pytest.raises(ProtocolError, match="user name at offset 0 is truncated"):
        codec.read_lenenc_string(b"\xfe" + b"\xff" * 8 + b"abc", 0, "user name")


def test_null_string_ends_before_its_nul() -> None:
    assert codec.read_null_string(b"xab\0c", 1) == (b"ab", 4)
    with pytest.raises(ProtocolError, match="plugin at offset 1 has no terminating NUL"):
        codec.read_null_string(b"xab", 1, "plugin")


@given(st.binary(max_size=40), st.integers(0, 60))
def test_readers_only_ever_raise_protocol_errors(data: bytes, pos: int) -> None:
    for read in (codec.read_lenenc, codec.read_lenenc_string, codec.read_null_string):
        try:
            _, end = read(data, pos)
        except ProtocolError:
            continue
        assert pos < end <= len(data)


def test_fixed_integers_and_bytes() -> None:
    assert codec.read_uint(b"\x01\x02\x03", 1, 2) == (0x0302, 3)
    assert codec.read_bytes(b"abcd", 1, 2) == (b"bc", 3)
    with pytest.raises(ProtocolError, match="status at offset 2 is truncated"):
        codec.read_uint(b"abc", 2, 2, "status")
    with pytest.raises(ProtocolError, match="scramble at offset 0 is truncated"):
        codec.read_bytes(b"abc", 0, 8, "scramble")


def test_a_small_payload_is_one_packet() -> None:
    assert codec.packet(3, b"abc") == b"\x03\x00\x00\x03abc"
    assert codec.packet(256, b"") == b"\x00\x00\x00\x00"


@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_packets_split_at_the_limit_and_sequence_ids_wrap(extra: int) -> None:
    payload = bytes(MAX_PAYLOAD + extra)
    framed = codec.packet(255, payload)
    sizes, ids, pos = [], [], 0
    while pos < len(framed):
        size, _ = codec.read_uint(framed, pos, 3)
        sizes.append(size)
        ids.append(framed[pos + 3])
        pos += 4 + size
    assert sum(sizes) == len(payload)
    assert sizes[-1] < MAX_PAYLOAD
    assert ids == [255, 0][: len(sizes)]
    assert len(sizes) == (1 if extra < 0 else 2)

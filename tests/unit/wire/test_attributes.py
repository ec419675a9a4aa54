"""Query attributes: what is cut out of a command and put back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError
from sqlproxy.wire import attributes, codec
from sqlproxy.wire.attributes import NONE, block_length, cut_execute, execute_with, with_block, without_block
from sqlproxy.wire.constants import COM_QUERY, COM_STMT_EXECUTE, MAX_PAYLOAD
from sqlproxy.wire.framing import payload_of

STRING, INT, NULL, DATE = b"\xfe\x00", b"\x08\x00", b"\x06\x00", b"\x0a\x00"
VALUES = {
    STRING: codec.write_lenenc_string(b"text"),
    INT: b"\1\2\3\4\5\6\7\x08",
    DATE: b"\x04\xe9\x07\x01\x01",
    b"\x01\x80": b"\xff",
    b"\x02\x00": b"\xff\x7f",
    b"\x03\x00": b"\0\0\0\1",
    b"\x04\x00": b"\0\0\0\2",
    b"\x05\x00": b"\0\0\0\0\0\0\0\3",
}
values = st.sampled_from([*VALUES.items(), (NULL, None)])
names = st.binary(max_size=300)
attribute_lists = st.lists(st.tuples(values, names), max_size=12)


def query(text: bytes, block: bytes = b"") -> bytes:
    return codec.packet(0, bytes((COM_QUERY,)) + block + text)


def bitmap(chosen: list[bool]) -> bytes:
    bits = sum(1 << number for number, null in enumerate(chosen) if null)
    return bits.to_bytes((len(chosen) + 7) // 8, "little")


def block_of(found: list[tuple[tuple[bytes, bytes | None], bytes]]) -> bytes:
    """The block of a COM_QUERY with these attributes."""
    if not found:
        return NONE
    described = b"".join(kind + codec.write_lenenc_string(name) for (kind, _), name in found)
    data = b"".join(value or b"" for (_, value), _ in found)
    nulls = bitmap([value is None for (_, value), _ in found])
    return codec.write_lenenc(len(found)) + b"\x01" + nulls + b"\x01" + described + data


def execution(flags: int, rest: bytes) -> bytes:
    return codec.packet(0, bytes((COM_STMT_EXECUTE,)) + b"\7\0\0\0" + bytes((flags,)) + b"\1\0\0\0" + rest)


def classic(parameters: list[tuple[bytes, bytes | None]], types: bool, flags: int = 0) -> bytes:
    """An execution without attributes."""
    if not parameters:
        return execution(flags, b"")
    described = b"".join(kind for kind, _ in parameters) if types else b""
    data = b"".join(value or b"" for _, value in parameters)
    return execution(flags, bitmap([value is None for _, value in parameters]) + bytes((types,)) + described + data)


@given(attribute_lists, st.binary(max_size=50))
def test_a_block_is_cut_off_and_put_back(found: list[tuple[tuple[bytes, bytes | None], bytes]], text: bytes) -> None:
    block = block_of(found)
    whole = query(text, block)
    length = block_length(whole)
    assert length == len(block)
    assert without_block(whole, length) == query(text)
    assert with_block(query(text), block) == whole


@pytest.mark.parametrize("size", [MAX_PAYLOAD - 4, MAX_PAYLOAD - 3, MAX_PAYLOAD - 2, MAX_PAYLOAD - 1, MAX_PAYLOAD])
def test_a_long_text_is_framed_anew(size: int) -> None:
    text = b"x" * size
    whole = query(text, NONE)
    assert without_block(whole, block_length(whole)) == query(text)
    assert with_block(query(text), NONE) == whole


@pytest.mark.parametrize(
    "block",
    [b"", b"\x00", b"\x00\x00", b"\x00\x02", b"\x01\x01", b"\x01\x01\x00", b"\x01\x01\x00\x00\x03abc",
     b"\x01\x01\x00\x01\xfe", b"\x01\x01\x00\x01\xfe\x00\x05x", b"\x01\x01\x00\x01\xfe\x00\x01x\x04abc",
     b"\x01\x01\x00\x01\x08\x00\x01x\0\0", b"\xfb\x01", b"\x00\xfb", b"\xfd\x00\x00\x01\x01", b"\xff",
     b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
)  # fmt: skip
def test_a_malformed_block_is_refused_in_the_servers_words(block: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^Malformed communication packet\.$") as caught:
        block_length(query(b"", block))
    assert (caught.value.code, caught.value.sqlstate) == (1835, "HY000")


@given(st.lists(values, max_size=20), attribute_lists, st.sampled_from([0, 1]), st.booleans())
def test_an_execution_is_brought_into_the_classic_form_and_back(
    parameters: list[tuple[bytes, bytes | None]],
    found: list[tuple[tuple[bytes, bytes | None], bytes]],
    cursor: int,
    types: bool,
) -> None:
    known = b"".join(kind for kind, _ in parameters)
    plain, block = classic(parameters, types, cursor), block_of(found)
    whole = execute_with(plain, len(parameters), known, block)
    told = types or bool(found)
    assert cut_execute(whole, len(parameters)) == (classic(parameters, told, cursor), block)


def test_the_form_is_the_servers() -> None:
    parameters: list[tuple[bytes, bytes | None]] = [(STRING, VALUES[STRING])]
    plain = classic(parameters, True)
    assert execute_with(plain, 1, STRING, NONE) == execution(0, b"\x01\x00\x01\xfe\x00\x00\x04text")
    block = block_of([((STRING, b"\x03abc"), b"x")])
    whole = execution(8, b"\x02\x00\x01\xfe\x00\x00\xfe\x00\x01x\x04text\x03abc")
    assert execute_with(plain, 1, STRING, block) == whole
    assert execute_with(execution(0, b""), 0, b"", block) == execution(8, b"\x01\x00\x01\xfe\x00\x01x\x03abc")
    assert execute_with(execution(0, b""), 0, b"", NONE) == execution(0, b"")


def test_a_parameter_sent_ahead_has_no_value() -> None:
    whole = execution(8, b"\x02\x00\x01\xfe\x00\x00\xfe\x00\x01x\x03abc")
    plain, block = cut_execute(whole, 1, {0})
    assert payload_of(plain)[10:] == b"\x00\x01\xfe\x00"
    assert block == block_of([((STRING, b"\x03abc"), b"x")])


def test_a_count_that_is_not_announced_is_not_read() -> None:
    command = execution(0, b"\x01\x00\x01\xfe\x00\x01x\x03abc")
    assert cut_execute(command, 0) == (command, NONE)


def test_attributes_without_types_are_all_null() -> None:
    plain, block = cut_execute(execution(8, b"\x02\x02\x00\x02hi"), 1)
    assert (payload_of(plain)[10:], block) == (b"\x00\x00\x02hi", NONE)
    with pytest.raises(ProtocolError, match="Malformed"):
        cut_execute(execution(8, b"\x02\x00\x00\x02hi\x03abc"), 1)


@pytest.mark.parametrize(
    "rest", [b"", b"\x01", b"\x01\x00", b"\x01\x00\x01\xfe", b"\x02\x00\x01\xfe\x00\x00\xfe\x00\x01x"]
)
def test_a_malformed_execution_is_refused(rest: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"^Malformed communication packet\.$"):
        cut_execute(execution(8, rest), 1)


def test_too_few_parameters_are_wrong_arguments() -> None:
    with pytest.raises(ProtocolError, match="Incorrect arguments to COM_STMT_EXECUTE") as caught:
        cut_execute(execution(8, b"\x00"), 1)
    assert caught.value.code == attributes.ER_WRONG_ARGUMENTS

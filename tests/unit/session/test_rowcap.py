"""So many rows pass, in chunks of any size, and the error takes the place of the first that does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.session.rowcap import RowCap
from sqlproxy.wire import codec
from sqlproxy.wire import constants as c
from sqlproxy.wire.packets import eof_packet, err_packet, ok_packet
from tests.support.fakes import packets


def result(rows: int, deprecate_eof: bool, columns: int = 2, more: bool = False) -> list[bytes]:
    status = c.SERVER_MORE_RESULTS_EXISTS if more else 0
    head = [codec.write_lenenc(columns), *[b"\x03def" + bytes(20)] * columns]
    if not deprecate_eof:
        head.append(eof_packet(0))
    end = ok_packet(status, header=c.EOF) if deprecate_eof else eof_packet(status)
    return [*head, *(b"\x01%d" % (n % 10) for n in range(rows)), end]


def stream(payloads: list[bytes]) -> bytes:
    return b"".join(codec.packet(number & 0xFF, payload) for number, payload in enumerate(payloads, 1))


@given(st.integers(0, 12), st.booleans(), st.lists(st.integers(1, 9), max_size=30), st.sampled_from([1, 2, 300]))
def test_of_each_result_set_so_many_rows_pass(rows: int, deprecate: bool, cuts: list[int], columns: int) -> None:
    data = stream(result(3, deprecate, more=True) + result(rows, deprecate, columns))
    cap = RowCap(5)
    passed, position = b"", 0
    for size in [*cuts, len(data)]:
        passed += cap.feed(data[position : position + size], deprecate)
        position += size
    assert data.startswith(passed)
    assert cap.over == (rows > 5)
    if not cap.over:
        assert passed == data
        return
    found = packets(passed)
    assert cap.sequence == (len(found) + 1) & 0xFF
    assert len(found) == len(result(3, deprecate)) + len(result(5, deprecate, columns)) - 1
    assert cap.feed(b"more", deprecate) == b""


@pytest.mark.parametrize("payload", [ok_packet(2), err_packet(1064, "42000", "no")])
def test_what_is_no_result_set_passes(payload: bytes) -> None:
    cap = RowCap(1)
    assert cap.feed(stream([payload]), True) == stream([payload])
    assert not cap.over


def test_an_error_among_rows_passes() -> None:
    data = stream([*result(1, True)[:-1], err_packet(1317, "70100", "interrupted")])
    cap = RowCap(1)
    assert cap.feed(data, True) == data
    assert not cap.over


def test_a_row_of_several_packets_is_one_row() -> None:
    payloads = [*result(0, True)[:-1], b"\xfe" + bytes(c.MAX_PAYLOAD), b"\x011", result(0, True)[-1]]
    data = stream(payloads)
    cap = RowCap(2)
    assert cap.feed(data, True) == data
    assert not cap.over


@pytest.mark.parametrize("described", [True, False])
@given(st.integers(0, 12), st.booleans(), st.lists(st.integers(1, 9), max_size=30), st.sampled_from([1, 300]))
def test_definitions_may_lack(described: bool, rows: int, deprecate: bool, cuts: list[int], columns: int) -> None:
    head, *rest = result(rows, deprecate, columns)
    data = stream([head + bytes((described,)), *(rest if described else rest[columns:])])
    cap = RowCap(5)
    passed, position = b"", 0
    for size in [*cuts, len(data)]:
        passed += cap.feed(data[position : position + size], deprecate, optional=True)
        position += size
    assert cap.over == (rows > 5)
    assert passed == data[: len(passed)]
    before = 1 + columns * described + (not deprecate)
    assert len(packets(passed)) == before + min(rows, 5) + (rows <= 5)

"""The checksum of a reply: the same however it is cut, blind to status flags, sensitive to everything else."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlproxy.wire import checksum as module
from sqlproxy.wire import codec
from sqlproxy.wire.checksum import SHORT, Checksum
from sqlproxy.wire.packets import ok_packet
from sqlproxy.wire.response import QUERY, ResponseTracker
from tests.support.replies import Reply, load

REPLIES = [reply for reply in load() if reply.upload is None and reply.size < 100_000]


def checksum(reply: bytes, kind: int, deprecate_eof: bool, cuts: list[int]) -> bytes:
    tracker = ResponseTracker(deprecate_eof)
    tracker.begin(kind)
    tracker.checksum = Checksum()
    start = 0
    for cut in [*cuts, len(reply)]:
        if cut > start:
            tracker.feed(reply[start:cut])
            start = cut
    assert tracker.done
    return tracker.checksum.digest()


@pytest.mark.parametrize("reply", REPLIES, ids=[reply.name for reply in REPLIES])
def test_is_the_same_however_the_reply_is_cut(reply: Reply) -> None:
    whole = b"".join(reply.bytes)
    expected = checksum(whole, reply.kind, reply.deprecate_eof, [])
    if len(whole) < 3000:
        assert checksum(whole, reply.kind, reply.deprecate_eof, list(range(1, len(whole)))) == expected
    source = random.Random(reply.name)
    for _ in range(5):
        cuts = sorted(source.randrange(len(whole)) for _ in range(6))
        assert checksum(whole, reply.kind, reply.deprecate_eof, cuts) == expected


def ok(status: int, affected: int = 1, insert_id: int = 0, warnings: int = 0, info: bytes = b"") -> bytes:
    packet = codec.packet(1, ok_packet(status, affected, insert_id, warnings, info))
    return checksum(packet, QUERY, True, [])


def test_is_blind_to_status_flags_warnings_and_info() -> None:
    assert ok(2) == ok(3) == ok(2, warnings=4) == ok(2, info=b"Rows matched: 1")


def test_sees_affected_rows_and_insert_ids() -> None:
    assert len({ok(2, 1), ok(2, 2), ok(2, 1, 7)}) == 3


def rows(*values: bytes, status: int = 2) -> bytes:
    definition = b"\x03def" + b"\x00" * 4 + b"\x01a\x00\x0c\x2d\x00\x0a\x00\x00\x00\xfd\x00\x00\x00\x00\x00"
    payloads = [b"\x01", definition, *(codec.write_lenenc_string(value) for value in values)]
    packets = [codec.packet(number, payload) for number, payload in enumerate(payloads, 1)]
    return b"".join(packets) + codec.packet(len(packets) + 1, ok_packet(status, header=0xFE))


def test_sees_every_row_and_their_order() -> None:
    found = {checksum(rows(*values), QUERY, True, []) for values in ([b"1", b"2"], [b"2", b"1"], [b"1"], [])}
    assert len(found) == 4
    assert checksum(rows(b"1", status=34), QUERY, True, []) == checksum(rows(b"1"), QUERY, True, [])


def test_notes_the_insert_id_of_the_last_ok_packet() -> None:
    tracker = ResponseTracker(True)
    tracker.begin(QUERY)
    tracker.checksum = Checksum()
    tracker.feed(codec.packet(1, ok_packet(2, 1, 4711)))
    assert tracker.insert_id == 4711


@given(st.lists(st.integers(0, 3 * SHORT), max_size=8), st.binary(max_size=4 * SHORT), st.data())
def test_bytes_may_come_in_any_pieces_and_none_may_differ(cuts: list[int], data: bytes, draw: st.DataObject) -> None:
    whole, pieces, other = Checksum(), Checksum(), Checksum()
    whole.update(data)
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        pieces.update(data[start:cut])
        start = max(start, min(cut, len(data)))
    expected = whole.digest()
    assert pieces.digest() == expected
    if data:
        place = draw.draw(st.integers(0, len(data) - 1))
        other.update(data[:place] + bytes((data[place] ^ 1,)) + data[place + 1 :])
        assert other.digest() != expected


@pytest.mark.parametrize("size", [SHORT, SHORT + 1, 1000, 1024, 100_000])
def test_a_byte_more_or_less_is_another_reply(size: int) -> None:
    found = set()
    for length in (size - 1, size, size + 1):
        one = Checksum()
        one.update(bytes(length))
        found.add(one.digest())
    assert len(found) == 3


def test_a_long_reply_is_kept_as_sixteen_bytes() -> None:
    one = Checksum()
    one.update(b"x" * 10_000)
    assert len(one.digest()) == 16


def test_the_hash_of_the_standard_library_does_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPILED", False)
    one, other = module.new_hash(), module.new_hash()
    one.update(b"ab")
    other.update(b"a")
    other.update(b"b")
    assert one.digest() == other.digest()

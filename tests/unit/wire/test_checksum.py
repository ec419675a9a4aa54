"""The checksum of a reply: the same however it is cut, blind to status flags, sensitive to everything else."""

import hashlib
import random

import pytest

from sqlproxy.wire import codec
from sqlproxy.wire.packets import ok_packet
from sqlproxy.wire.response import QUERY, ResponseTracker
from tests.support.replies import Reply, load

REPLIES = [reply for reply in load() if reply.upload is None and reply.size < 100_000]


def checksum(reply: bytes, kind: int, deprecate_eof: bool, cuts: list[int]) -> bytes:
    tracker = ResponseTracker(deprecate_eof)
    tracker.begin(kind)
    tracker.checksum = hashlib.blake2b(digest_size=16)
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
    tracker.checksum = hashlib.blake2b(digest_size=16)
    tracker.feed(codec.packet(1, ok_packet(2, 1, 4711)))
    assert tracker.insert_id == 4711

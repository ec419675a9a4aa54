"""Arbitrary bytes on either side are parsed or refused as protocol errors; nothing else, and nothing grows."""

import contextlib
import os
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from sqlproxy.errors import ProtocolError, ServerProtocolError
from sqlproxy.wire import attributes, response
from sqlproxy.wire.codec import packet
from sqlproxy.wire.compression import CompressedStream, Zlib
from sqlproxy.wire.framing import PacketReader, UploadReader
from sqlproxy.wire.response import ResponseTracker
from sqlproxy.wire.zstd import Zstd
from tests.support import replies

EXAMPLES = int(os.environ.get("SQLPROXY_FUZZ_EXAMPLES", "300"))
KINDS = [response.QUERY, response.PREPARE, response.ROWS, response.SINGLE, response.TEXT, response.CURSOR]
WHOLE = [part for reply in replies.load() if reply.size < 4096 for part in reply.bytes]

# junk that gets further than its first header: packets of telling bytes in any order
heads = st.sampled_from([b"", b"\0", b"\1", b"\3", b"\xfb", b"\xfc", b"\xfd", b"\xfe", b"\xff", b"\xff\xff\xff"])
payloads = st.builds(lambda head, body: head + body, heads, st.binary(max_size=12))
streams = st.lists(payloads, max_size=12).map(lambda parts: b"".join(packet(n & 0xFF, p) for n, p in enumerate(parts)))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A real reply with some bytes changed, and perhaps an end missing."""
    data = bytearray(draw(st.sampled_from(WHOLE)))
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.sampled_from([0, 1, 2, 8, 0xFB, 0xFC, 0xFE, 0xFF]))
    return bytes(data[: draw(st.integers(1, len(data)))])


junk = st.one_of(st.binary(max_size=200), streams, damaged())
fuzzed = settings(max_examples=EXAMPLES, deadline=None)


def chunks_of(data: bytes, sizes: list[int]) -> list[bytes]:
    """``data`` cut into chunks of the given sizes, the rest in one."""
    chunks = []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    return [chunk for chunk in [*chunks, data] if chunk]


def outcome(kind: int, deprecate_eof: bool, chunks: list[bytes]) -> tuple[object, ...]:
    """All that is to be known of a reply; the end as an offset in the whole, or the error's text."""
    tracker = ResponseTracker(deprecate_eof)
    tracker.begin(kind)
    fed = 0
    for chunk in chunks:
        try:
            end = tracker.feed(chunk)
        except ServerProtocolError as error:
            return (error.message,)
        if end >= 0:
            assert 0 < end <= len(chunk)
            return (fed + end, tracker.status, tracker.error, tracker.rows, tracker.first, tracker.statement_id)
        fed += len(chunk)
    return (-1, tracker.done, tracker.upload)


@fuzzed
@given(st.sampled_from(KINDS), st.booleans(), junk, st.lists(st.integers(1, 30), max_size=10))
def test_any_reply_ends_or_fails_alike_whatever_the_cuts(
    kind: int, deprecate_eof: bool, data: bytes, sizes: list[int]
) -> None:
    whole = outcome(kind, deprecate_eof, [data] if data else [])
    assert outcome(kind, deprecate_eof, chunks_of(data, sizes)) == whole
    assert outcome(kind, deprecate_eof, chunks_of(data, [1] * len(data))) == whole


@fuzzed
@given(junk, st.lists(st.integers(1, 30), max_size=10), st.integers(1, 100))
def test_any_bytes_from_a_client_are_commands_or_a_protocol_error(data: bytes, sizes: list[int], limit: int) -> None:
    seen = []
    for chunks in ([data], chunks_of(data, sizes), chunks_of(data, [1] * len(data))):
        commands, fed, reader = [], 0, PacketReader(limit)
        with contextlib.suppress(ProtocolError):
            for chunk in chunks:
                command, fed = reader.feed(chunk), fed + len(chunk)
                while command is not None:
                    assert 4 < len(command) <= limit + 4
                    commands.append(command)
                    command = reader.next()
                assert reader.buffered <= min(fed, limit + 4)
        assert data.startswith(b"".join(commands))
        seen.append(commands)
    assert seen[0] == seen[1] == seen[2]


@fuzzed
@given(junk, st.lists(st.integers(1, 30), max_size=10))
def test_any_upload_ends_at_the_same_place_whatever_the_cuts(data: bytes, sizes: list[int]) -> None:
    ends = []
    for chunks in ([data], chunks_of(data, sizes), chunks_of(data, [1] * len(data))):
        reader, fed, end = UploadReader(), 0, -1
        for chunk in chunks:
            end = reader.feed(chunk)
            if end >= 0:
                end += fed
                break
            fed += len(chunk)
        ends.append(end)
    assert ends[0] == ends[1] == ends[2]


def test_an_endless_reply_does_not_grow_the_tracker() -> None:
    tracker = ResponseTracker(True)
    tracker.begin(response.ROWS)
    rows = packet(1, b"\x05hello") * 1000
    before = sys.getallocatedblocks()
    for _ in range(300):
        for start in range(0, len(rows), 4001):
            assert tracker.feed(rows[start : start + 4001]) == -1
    assert tracker.rows == 300_000
    assert sys.getallocatedblocks() - before < 200


tricky = st.lists(
    st.sampled_from([b"\0", b"\1", b"\2", b"\6", b"\x08", b"\xfb", b"\xfc", b"\xfd", b"\xfe", b"\xff", b"\xfe\0\1x"]),
    max_size=20,
).map(b"".join)


@fuzzed
@given(st.one_of(st.binary(max_size=80), tricky))
def test_any_attribute_block_is_cut_off_whole_or_refused(data: bytes) -> None:
    command = packet(0, b"\x03" + data)
    try:
        length = attributes.block_length(command)
    except ProtocolError:
        return
    assert 2 <= length <= len(data)
    plain = attributes.without_block(command, length)
    assert plain == packet(0, b"\x03" + data[length:])
    assert attributes.with_block(plain, data[:length]) == command


@fuzzed
@given(
    st.one_of(st.binary(max_size=80), tricky),
    st.integers(0, 12),
    st.sampled_from([0, 1, 8, 9]),
    st.sets(st.integers(0, 3)),
)
def test_any_execution_becomes_a_plain_one_or_is_refused(
    data: bytes, parameters: int, flags: int, long_data: set[int]
) -> None:
    command = packet(0, b"\x17\1\0\0\0" + bytes((flags,)) + b"\1\0\0\0" + data)
    try:
        plain, block = attributes.cut_execute(command, parameters, long_data)
    except ProtocolError:
        return
    assert block == attributes.NONE or attributes.block_length(packet(0, b"\x03" + block)) <= len(block)
    assert len(plain) <= len(command)


@fuzzed
@given(st.sampled_from([Zlib(), Zstd(3)]), st.binary(max_size=300), st.lists(st.integers(1, 30), max_size=10))
def test_any_compressed_bytes_are_expanded_or_refused_alike_whatever_the_cuts(
    algorithm: Zlib | Zstd, data: bytes, sizes: list[int]
) -> None:
    seen = []
    for chunks in ([data], chunks_of(data, sizes), chunks_of(data, [1] * len(data))):
        stream = CompressedStream(algorithm, serving=True)
        found = b""
        try:
            for chunk in chunks:
                found += stream.decode(chunk)
        except ProtocolError as error:
            seen.append(error.message)
        else:
            seen.append(found.hex())
    assert len(set(seen)) == 1
